package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/postkeep/postkeep/archive/disk"
)

const (
	checkpointName = "checkpoint"
	keyName        = "ledger.key"
	pubName        = "ledger.pub"

	originPrefix = "postkeep/"
	installSize  = 8 // bytes of the random installation id

	maxKeyFile    = 4 << 10  // a key is one line of about 100 bytes
	maxCheckpoint = 64 << 10 // a checkpoint has 250 bytes, and room for cosignatures
)

// A checkpoint is the signed state of the tree (C2SP tlog-checkpoint).
type checkpoint struct {
	size int64
	root tlog.Hash
}

// sign returns the checkpoint of the tree as a signed note.
func sign(t *tree, signer note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", signer.Name(), t.size, t.root())}, signer)
}

// parseCheckpoint reads a signed note that the verifier accepts. Lines and
// signatures beyond ours are allowed, as C2SP says.
func parseCheckpoint(msg []byte, v note.Verifier) (checkpoint, error) {
	if v == nil {
		return checkpoint{}, fmt.Errorf("%w: there is no public key to verify it with", ErrCheckpoint)
	}
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		return checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if !strings.HasPrefix(n.Text, v.Name()+"\n") {
		return checkpoint{}, fmt.Errorf("%w: it is not of %s", ErrCheckpoint, v.Name())
	}
	cp, err := parseState(n.Text)
	if err != nil {
		return cp, err
	}
	return cp, checkFormat(n.Text)
}

// formatLine begins an extension line of the checkpoint in which later versions of the program say that the ledger is not to be read as
// this one does. Version 1 has none.
const formatLine = "postkeep-format "

// checkFormat returns ErrNewer if a signed checkpoint says that this program cannot read the ledger.
func checkFormat(text string) error {
	for line := range strings.SplitSeq(text, "\n") {
		if version, ok := strings.CutPrefix(line, formatLine); ok && version != "1" {
			return fmt.Errorf("%w (its format is %.20q, known is 1)", ErrNewer, version)
		}
	}
	return nil
}

// parseState reads the text of a checkpoint, signed or not.
func parseState(text string) (checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 {
		return checkpoint{}, fmt.Errorf("%w: it has fewer than three lines", ErrCheckpoint)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return checkpoint{}, fmt.Errorf("%w: size %q", ErrCheckpoint, lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return checkpoint{}, fmt.Errorf("%w: root %q", ErrCheckpoint, lines[2])
	}
	return checkpoint{size, root}, nil
}

// readCheckpoint reads and verifies the file.
func readCheckpoint(opt Options, v note.Verifier) (checkpoint, []byte, error) {
	name := filepath.Join(opt.Dir, checkpointName)
	msg, err := disk.ReadFile(opt.FS, name, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return checkpoint{}, nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if err != nil {
		return checkpoint{}, nil, err
	}
	cp, err := parseCheckpoint(msg, v)
	if err != nil {
		return checkpoint{}, nil, fmt.Errorf("%s: %w", name, err)
	}
	return cp, msg, nil
}

// makeKeys makes a key pair of a new origin.
func makeKeys(opt Options) error {
	id := make([]byte, installSize)
	if _, err := io.ReadFull(opt.Rand, id); err != nil {
		return fmt.Errorf("installation id: %w", err)
	}
	skey, vkey, err := note.GenerateKey(opt.Rand, originPrefix+hex.EncodeToString(id))
	if err != nil {
		return fmt.Errorf("make ledger key: %w", err)
	}
	if err := disk.WriteFile(opt.FS, filepath.Join(opt.KeyDir, pubName), []byte(vkey+"\n"), disk.FilePerm); err != nil {
		return err
	}
	return disk.WriteFile(opt.FS, filepath.Join(opt.KeyDir, keyName), []byte(skey+"\n"), disk.SealedPerm)
}

// readVerifier returns the public key, also as text.
func readVerifier(opt Options) (note.Verifier, string, error) {
	name := filepath.Join(opt.KeyDir, pubName)
	data, err := disk.ReadFile(opt.FS, name, maxKeyFile)
	if err != nil {
		return nil, "", fmt.Errorf("public key of the ledger: %w", err)
	}
	vkey := string(bytes.TrimSpace(data))
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, "", fmt.Errorf("%w: public key: %s: %w: put back a copy", ErrKey, name, err)
	}
	return v, vkey, nil
}

// readSigner returns the private key, which must belong to v unless that is nil.
func readSigner(opt Options, v note.Verifier) (note.Signer, error) {
	name := filepath.Join(opt.KeyDir, keyName)
	data, err := disk.ReadFile(opt.FS, name, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("signing key of the ledger: %w", err)
	}
	s, err := note.NewSigner(string(bytes.TrimSpace(data)))
	if err != nil {
		return nil, fmt.Errorf("%w: signing key: %s: %w: put back a copy", ErrKey, name, err)
	}
	if v != nil && (s.Name() != v.Name() || s.KeyHash() != v.KeyHash()) {
		return nil, fmt.Errorf("%w: signing key: %s does not belong to %s", ErrKey, name, pubName)
	}
	return s, nil
}
