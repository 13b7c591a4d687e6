package archive

import (
	"crypto/sha256"
	"encoding/hex"
)

// identityBytes are 128 bits.
const identityBytes = 16

// Identity names the installation, in 32 hexadecimal digits: on a NATS server it tells what belongs to this archive from what
// belongs to others. It is made of the ledger's public key, which init makes at random and which every checkpoint is signed
// with, so that it is as old as the archive and nobody else can claim it in a ledger of their own.
func (s *Store) Identity() string {
	sum := sha256.Sum256([]byte("postkeep identity\n" + s.ledger.Verifier()))
	return hex.EncodeToString(sum[:identityBytes])
}
