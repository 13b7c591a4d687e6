// Package setsum is a hash of a set of deposits that does not depend on their order, and that adding and removing deposits keeps up to
// date: ledger, catalog and index each keep one of what they hold, and disposal trusts none of them unless all agree.
//
// A Sum is the number of deposits, and the sum modulo 2^256 of a SHA-256 of each. One that is missing and another that is there twice do
// not cancel each other, as they would with XOR. It finds mistakes, not malice: whoever can choose the hashes can make sums collide.
package setsum

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Size is the size of the hash of a Sum in bytes.
const Size = sha256.Size

// A Sum is of a set of deposits. The zero value is that of the empty set; equal sets have equal sums, which == compares.
type Sum struct {
	N     int64     // deposits
	words [4]uint64 // the least significant first
}

// New returns the sum of n deposits with a hash as Hash gives it.
func New(n int64, hash []byte) (Sum, error) {
	s := Sum{N: n}
	if len(hash) != Size {
		return s, fmt.Errorf("hash of a set of deposits has %d bytes, want %d", len(hash), Size)
	}
	s.words = words([Size]byte(hash))
	return s, nil
}

// Hash returns the hash without the number.
func (s Sum) Hash() []byte {
	out := make([]byte, 0, Size)
	for i := len(s.words) - 1; i >= 0; i-- {
		out = binary.BigEndian.AppendUint64(out, s.words[i])
	}
	return out
}

// Add adds a deposit: its ledger index, the id of its message and its mailbox.
func (s *Sum) Add(index int64, id, mailbox string) { s.Merge(one(index, id, mailbox)) }

// Remove takes away a deposit that was added.
func (s *Sum) Remove(index int64, id, mailbox string) { s.Subtract(one(index, id, mailbox)) }

// Merge adds all deposits of another set.
func (s *Sum) Merge(other Sum) {
	s.N += other.N
	carry := uint64(0)
	for i := range s.words {
		s.words[i], carry = bits.Add64(s.words[i], other.words[i], carry)
	}
}

// Subtract takes away all deposits of another set.
func (s *Sum) Subtract(other Sum) {
	s.N -= other.N
	borrow := uint64(0)
	for i := range s.words {
		s.words[i], borrow = bits.Sub64(s.words[i], other.words[i], borrow)
	}
}

// String is the number and the hash in hexadecimal.
func (s Sum) String() string { return strconv.FormatInt(s.N, 10) + ":" + hex.EncodeToString(s.Hash()) }

// MarshalText encodes the sum as String does.
func (s Sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText decodes what MarshalText has encoded.
func (s *Sum) UnmarshalText(text []byte) error {
	n, hash, ok := strings.Cut(string(text), ":")
	number, err := strconv.ParseInt(n, 10, 64)
	raw, hexErr := hex.DecodeString(hash)
	if err = errors.Join(err, hexErr); err != nil || !ok {
		return fmt.Errorf("hash of a set of deposits is malformed: %w", err)
	}
	*s, err = New(number, raw)
	return err
}

// one is the set of one deposit. Its hash is the SHA-256 of the index in 8 bytes, the id in 32, and the mailbox: for most names
// that is one block.
func one(index int64, id, mailbox string) Sum {
	var buf [8 + Size + 256]byte
	b := binary.BigEndian.AppendUint64(buf[:0], uint64(index))
	b, err := hex.AppendDecode(b, []byte(id))
	if err != nil || len(b) != 8+Size {
		b = append(append(b[:8], id...), 0) // no id, but not nothing either
	}
	return Sum{N: 1, words: words(sha256.Sum256(append(b, mailbox...)))}
}

func words(hash [Size]byte) (w [4]uint64) {
	for i := range w {
		w[len(w)-1-i] = binary.BigEndian.Uint64(hash[8*i:])
	}
	return w
}
