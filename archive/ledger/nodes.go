package ledger

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// A nodePlace is where a node is in the tree: the level above the leaves, and the number in its level.
type nodePlace struct {
	level int
	n     int64
}

// maxKeptNodes bounds the nodes that are kept, at about 100 bytes each: the proofs of a thousand neighbours need two for each event.
const maxKeptNodes = 1 << 16

// nodes reads nodes of the tree. It is a tlog.HashReader.
type nodes struct {
	f    io.ReaderAt             // the stored ones
	kept map[nodePlace]tlog.Hash // that were read or computed; nil keeps none
}

// hashReader gives tlog the nodes that it asks for, and keeps none.
func hashReader(f io.ReaderAt) tlog.HashReaderFunc { return (&nodes{f: f}).ReadHashes }

// ReadHashes gives tlog the nodes that it asks for.
func (r *nodes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		var err error
		if out[i], err = r.node(nodePlace{level, n}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// node returns a node. What is missing from the file is ErrDamaged.
func (r *nodes) node(p nodePlace) (h tlog.Hash, err error) {
	if h, ok := r.kept[p]; ok {
		return h, nil
	}
	if p.level%storedLevels == 0 {
		at := storedIndex(p.level, p.n)
		if _, err = r.f.ReadAt(h[:], at*tlog.HashSize); errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %s ends before hash %d", ErrDamaged, hashesName, at)
		}
	} else {
		h, err = r.computed(p)
	}
	if err == nil && r.kept != nil {
		if len(r.kept) >= maxKeptNodes {
			clear(r.kept)
		}
		r.kept[p] = h
	}
	return h, err
}

// computed returns a node that is not stored.
func (r *nodes) computed(p nodePlace) (h tlog.Hash, err error) {
	left, err := r.node(nodePlace{p.level - 1, 2 * p.n})
	if err != nil {
		return h, err
	}
	right, err := r.node(nodePlace{p.level - 1, 2*p.n + 1})
	return tlog.NodeHash(left, right), err
}
