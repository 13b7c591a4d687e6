package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/postkeep/postkeep/archive/disk"
)

// derive computes the tree of the events in s, proves it against the
// checkpoint, and makes the stored hashes agree with it unless read-only. It
// relies on the hashes that were fsynced before the checkpoint, and on none if
// they do not lead to its root. A ledger that contradicts its checkpoint keeps its
// stored hashes, for they tell which leaf was changed.
func (l *Log) derive(ctx context.Context, s state, cp checkpoint) error {
	from := cp.size / hashSync * hashSync
	same, err := l.deriveFrom(ctx, s, cp, from, false)
	if err != nil && from > 0 && ctx.Err() == nil {
		from = 0
		same, err = l.deriveFrom(ctx, s, cp, from, false)
	}
	if err != nil || same || l.opt.ReadOnly {
		return err
	}
	l.opt.Logger.Info("deriving the stored hashes of the ledger", "dir", l.opt.Dir, "from", from, "to", s.size)
	if _, err := l.deriveFrom(ctx, s, cp, from, true); err != nil {
		return err
	}
	return l.hashes.Sync()
}

// deriveFrom hashes the leaves of s from one on, sets the tree, and writes the
// stored hashes or reports whether they were the same.
func (l *Log) deriveFrom(ctx context.Context, s state, cp checkpoint, from int64, write bool) (same bool, err error) {
	t, err := readTree(l.hashes, from)
	if err != nil {
		return false, err
	}
	lines := newLineReader(l.events, 0, 0)
	if from < s.size {
		if lines, err = find(l.events, s.eventsEnd, from); err != nil {
			return false, fmt.Errorf("%s: %w", eventsName, err)
		}
	}
	hashes := hashFile{file: l.hashes, at: storedCount(from) * tlog.HashSize, write: write, same: true}
	for {
		if t.size == cp.size && t.root() != cp.root {
			return false, fmt.Errorf("%w: the first %d events have the root %s, the checkpoint has %s: put back the newest copy of %s",
				ErrDiverged, cp.size, t.root(), cp.root, l.opt.Dir)
		}
		if t.size == s.size {
			l.tree = t
			err := hashes.flush()
			return hashes.same, err
		}
		line, err := lines.next()
		if err != nil {
			return false, fmt.Errorf("%w: %s: event %d: %w", ErrDiverged, eventsName, t.size, err)
		}
		if n, ok := indexOf(line); !ok || n != t.size {
			return false, fmt.Errorf("%w: %s: the line of event %d is another's, or none", ErrDiverged, eventsName, t.size)
		}
		hashes.buf = t.add(tlog.RecordHash(line), hashes.buf)
		if len(hashes.buf) >= readSize {
			if err := errors.Join(ctx.Err(), hashes.flush()); err != nil {
				return false, err
			}
		}
	}
}

// A hashFile compares computed hashes with the stored ones, or writes them.
type hashFile struct {
	file  disk.File
	at    int64 // offset of buf in the file
	buf   []byte
	write bool
	same  bool
}

func (h *hashFile) flush() error {
	if h.write {
		if _, err := h.file.WriteAt(h.buf, h.at); err != nil {
			return err
		}
	} else if h.same {
		stored := make([]byte, len(h.buf))
		_, err := io.ReadFull(io.NewSectionReader(h.file, h.at, int64(len(stored))), stored)
		h.same = err == nil && bytes.Equal(stored, h.buf) // what cannot be read is derived again
	}
	h.at += int64(len(h.buf))
	h.buf = h.buf[:0]
	return nil
}
