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

// storedLevels is every how many levels of the tree the nodes are stored: the others are computed of at most eight that are. To store
// all of them would take twice the room.
const storedLevels = 4

// storedCount is how many nodes are stored of a tree with so many leaves.
func storedCount(leaves int64) (n int64) {
	for ; leaves > 0; leaves >>= storedLevels {
		n += leaves
	}
	return n
}

// storedIndex is the place of a node of a stored level among the stored ones. They are in the order in which leaves complete them.
func storedIndex(level int, n int64) int64 {
	return storedCount((n+1)<<level-1) + int64(level/storedLevels)
}

// add appends a leaf, and those of its nodes that are stored to b.
func (t *tree) add(h tlog.Hash, b []byte) []byte {
	b = append(b, h[:]...)
	level := bits.TrailingZeros64(^uint64(t.size))
	for i := range level {
		h = tlog.NodeHash(t.edge[i], h)
		if (i+1)%storedLevels == 0 {
			b = append(b, h[:]...)
		}
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

// readTree returns the tree of the first size leaves from the stored nodes.
func readTree(hashes io.ReaderAt, size int64) (tree, error) {
	t, read := tree{size: size}, nodes{f: hashes}
	for level := range t.edge {
		if size>>level&1 == 0 {
			continue
		}
		var err error
		if t.edge[level], err = read.node(nodePlace{level, size>>level - 1}); err != nil {
			return tree{}, fmt.Errorf("read stored hash: %w", err)
		}
	}
	return t, nil
}
