package ledger

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// A tree is the right edge of the Merkle tree: the roots of its complete
// subtrees, one for each bit of the size. It is all that appending needs. Trees
// are values: a copy is independent.
type tree struct {
	size int64
	edge [63]tlog.Hash // edge[i] is meaningful if bit i of size is set
}

// add appends a leaf, and its stored hashes in the order of
// tlog.StoredHashIndex to b.
func (t *tree) add(h tlog.Hash, b []byte) []byte {
	b = append(b, h[:]...)
	level := bits.TrailingZeros64(^uint64(t.size))
	for i := range level {
		h = tlog.NodeHash(t.edge[i], h)
		b = append(b, h[:]...)
	}
	t.edge[level] = h
	t.size++
	return b
}

// root returns the hash of the tree (RFC 6962 section 2.1).
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	level := bits.TrailingZeros64(uint64(t.size))
	h := t.edge[level]
	for level++; t.size>>level > 0; level++ {
		if t.size>>level&1 == 1 {
			h = tlog.NodeHash(t.edge[level], h)
		}
	}
	return h
}

// readTree returns the tree of the first size leaves from their stored hashes.
func readTree(hashes io.ReaderAt, size int64) (tree, error) {
	t := tree{size: size}
	for level := range t.edge {
		if size>>level&1 == 0 {
			continue
		}
		at := tlog.StoredHashIndex(level, size>>level-1) * tlog.HashSize
		if _, err := hashes.ReadAt(t.edge[level][:], at); err != nil {
			return tree{}, fmt.Errorf("read stored hash: %w", err)
		}
	}
	return t, nil
}
