package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"

	"github.com/postkeep/postkeep/archive/disk"
)

// Open returns the committed entry at a place and its body, which the caller
// closes. Only the frames that the entry overlaps are decoded, one at a time. The
// SHA-256 of the body is not checked, only the checksums of the frames. Errors are
// ErrNoEntry, a *DamageError, or those of the file system.
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

// stream returns a stream over the committed frames of v. s.mu is held; the
// stream then needs no lock, because frames are only ever appended.
func (s *Set) stream(ctx context.Context, v *vol) *stream {
	return &stream{ctx: ctx, fsys: s.o.FS, codec: s.codec, number: v.number, path: v.path, frames: v.frames, limit: v.end}
}

// A stream reads the tar stream of one volume. It opens the file when it
// first needs a frame.
type stream struct {
	ctx    context.Context
	fsys   disk.FS
	codec  *codec
	cache  *frameCache // nil: do not keep frames
	number uint32
	path   string
	frames []frame
	pos    int64 // next byte to read
	limit  int64

	f      disk.File
	err    error // of the file, of a frame, or of ctx; sticky
	cur    frame
	data   []byte // of cur
	own    []byte // decoded into when nothing is kept
	packed []byte
}

// Read reads on at pos.
func (st *stream) Read(p []byte) (int, error) {
	if st.err != nil {
		return 0, st.err
	}
	if st.pos >= st.limit {
		return 0, io.EOF
	}
	if st.data == nil || st.pos < st.cur.tar || st.pos >= st.cur.tarEnd() {
		if st.err = st.load(); st.err != nil {
			return 0, st.err
		}
	}
	n := copy(p, st.data[st.pos-st.cur.tar:min(st.cur.tarEnd(), st.limit)-st.cur.tar])
	st.pos += int64(n)
	return n, nil
}

// load decodes the frame at pos.
func (st *stream) load() error {
	if err := st.ctx.Err(); err != nil {
		return err
	}
	st.data = nil
	i, ok := frameAt(st.frames, st.pos)
	if !ok {
		return fmt.Errorf("volume %d has no frame for offset %d", st.number, st.pos)
	}
	st.cur = st.frames[i]
	key := frameKey{st.number, st.cur.off}
	if st.cache != nil {
		if st.data = st.cache.get(key); st.data != nil {
			return nil
		}
	}
	if st.cur.packed > maxPackedBytes {
		return st.damage(errors.New("seek table: frame is too large"))
	}
	if err := st.readPacked(); err != nil {
		return err
	}
	dst := st.own
	if st.cache != nil {
		dst = nil
	}
	data, err := st.codec.unpack(dst, st.packed, st.cur)
	if err != nil {
		return st.damage(err)
	}
	st.data = data
	if st.cache != nil {
		st.cache.put(key, data)
	} else {
		st.own = data
	}
	return nil
}

func (st *stream) readPacked() error {
	if st.f == nil {
		f, err := st.fsys.OpenFile(st.path, os.O_RDONLY, 0)
		if err != nil {
			return fmt.Errorf("volume %d: %w", st.number, err)
		}
		st.f = f
	}
	if cap(st.packed) < int(st.cur.packed) {
		st.packed = make([]byte, st.cur.packed)
	}
	st.packed = st.packed[:st.cur.packed]
	err := readFull(st.f, st.packed, st.cur.off)
	if errors.Is(err, io.EOF) {
		return st.damage(errors.New("the file ends before"))
	}
	if err != nil {
		return fmt.Errorf("volume %d: %w", st.number, err)
	}
	return nil
}

// damage says that err was found in the current frame.
func (st *stream) damage(err error) error {
	return &DamageError{Volume: st.number, Offset: st.cur.off, Size: int64(st.cur.packed), Err: err}
}

// entry reads the headers at pos. What is left to read of the stream begins
// with the body.
func (st *stream) entry() (Entry, error) {
	e, err := readHeader(st, Place{st.number, st.pos})
	if st.err != nil {
		return Entry{}, st.err
	}
	if err == nil && e.End > st.limit {
		err = errors.New("tar entry is cut off")
	}
	if err != nil {
		return Entry{}, st.damage(err)
	}
	return e, nil
}

// entries calls fn for the entries from pos on.
func (st *stream) entries(fn func(Entry, io.Reader) error) error {
	for st.pos < st.limit {
		e, err := st.entry()
		if err != nil {
			return err
		}
		if err := fn(e, io.LimitReader(st, e.Size)); err != nil {
			return err
		}
		st.pos = e.End
	}
	return nil
}

// Close closes the file.
func (st *stream) Close() error {
	f := st.f
	st.f, st.err = nil, fs.ErrClosed
	if f == nil {
		return nil
	}
	return f.Close()
}
