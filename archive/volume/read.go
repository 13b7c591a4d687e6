package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
)

// Open returns the committed entry at a place and its body, which the caller
// closes. Only the frames that the entry overlaps are decoded, one at a time. The
// SHA-256 of the body is not checked, only the checksums of the frames. Errors are
// ErrNoEntry, ErrRedacted (with the entry), a *DamageError, or those of the file system.
func (s *Set) Open(ctx context.Context, p Place) (Entry, io.ReadCloser, error) {
	s.mu.RLock()
	closed := s.closed
	i, ok := s.find(p.Volume)
	var st *stream
	if ok {
		st = s.stream(ctx, s.vols[i])
	}
	s.mu.RUnlock()
	if closed {
		return Entry{}, nil, ErrClosed
	}
	if !ok || p.Offset < 0 || p.Offset >= st.limit {
		return Entry{}, nil, fmt.Errorf("open %v: %w", p, ErrNoEntry)
	}
	st.pos, st.cache = p.Offset, s.cache
	e, err := st.entry()
	if err != nil {
		return Entry{}, nil, errors.Join(fmt.Errorf("open %v: %w", p, err), st.Close())
	}
	if e.Kind == KindRedacted {
		return e, nil, errors.Join(fmt.Errorf("open %v: %w", p, ErrRedacted), st.Close())
	}
	if e.End-e.Offset > FrameBytes {
		st.cache = nil // it would push out everything else
	}
	return e, body{io.LimitReader(st, e.Size), st}, nil
}

type body struct {
	io.Reader
	io.Closer
}

// Scan calls fn for every committed entry from a place on, in order, through all
// later volumes; the zero Place is the beginning. The reader yields the body and is
// good until fn returns; fn need not read it. An error of fn ends the scan and is
// returned as it is.
func (s *Set) Scan(ctx context.Context, from Place, fn func(Entry, io.Reader) error) error {
	return s.scan(ctx, func(v *vol) int64 {
		switch {
		case v.number < from.Volume:
			return v.end
		case v.number == from.Volume:
			return from.Offset
		}
		return 0
	}, fn)
}

// Unknown is like Scan for what lies beyond the ends that OpenSet was told: the
// entries that the ledger does not know yet.
func (s *Set) Unknown(ctx context.Context, fn func(Entry, io.Reader) error) error {
	return s.scan(ctx, func(v *vol) int64 { return v.known }, fn)
}

func (s *Set) scan(ctx context.Context, start func(*vol) int64, fn func(Entry, io.Reader) error) error {
	s.mu.RLock()
	streams := make([]*stream, 0, len(s.vols))
	for _, v := range s.vols {
		st := s.stream(ctx, v)
		st.pos = start(v)
		streams = append(streams, st)
	}
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	for _, st := range streams {
		if err := errors.Join(st.entries(fn), st.Close()); err != nil {
			return err
		}
	}
	return nil
}

// find returns the index of a volume. s.mu is held.
func (s *Set) find(number uint32) (int, bool) {
	i := sort.Search(len(s.vols), func(i int) bool { return s.vols[i].number >= number })
	return i, i < len(s.vols) && s.vols[i].number == number
}
