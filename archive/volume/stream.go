package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/postkeep/postkeep/archive/disk"
)

// A stream reads the tar stream of one volume. It opens the file when it
// first needs a frame.
type stream struct {
	ctx    context.Context
	set    *Set
	v      *vol
	cache  *frameCache // nil: do not keep frames
	frames []frame
	gen    int   // of the file that frames are about
	pos    int64 // next byte to read
	limit  int64
	onLoad func(packed []byte, f frame) error // if not nil, for every frame that was decoded

	f      disk.File
	err    error // of the file, of a frame, or of ctx; sticky
	cur    frame
	data   []byte // of cur
	own    []byte // decoded into when nothing is kept
	packed []byte
	head   bytes.Buffer
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
	if err := st.find(); err != nil || st.data != nil {
		return err
	}
	if st.f == nil {
		if err := st.open(); err != nil {
			return err
		}
		if err := st.find(); err != nil || st.data != nil {
			return err
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
	data, err := st.set.codec.unpack(dst, st.packed, st.cur)
	if errors.Is(err, ErrNoIdentity) {
		return fmt.Errorf("volume %d: %w", st.v.number, err)
	}
	if err != nil {
		return st.damage(err)
	}
	if st.onLoad != nil {
		if err := st.onLoad(st.packed, st.cur); err != nil {
			return err
		}
	}
	st.data = data
	if st.cache != nil {
		st.cache.put(st.key(), data)
	} else {
		st.own = data
	}
	return nil
}

func (st *stream) key() frameKey { return frameKey{st.v.number, st.gen, st.cur.off} }

// find makes the frame at pos the current one, and takes its data from the cache if they are there.
func (st *stream) find() error {
	i, ok := frameAt(st.frames, st.pos)
	if !ok {
		return fmt.Errorf("volume %d has no frame for offset %d", st.v.number, st.pos)
	}
	st.cur = st.frames[i]
	if st.cache != nil {
		st.data = st.cache.get(st.key())
	}
	return nil
}

// open opens the file, which may have been replaced since the stream was made.
func (st *stream) open() error {
	s := st.set
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, err := s.o.FS.OpenFile(st.v.path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("volume %d: %w", st.v.number, err)
	}
	st.f = f
	if st.gen != st.v.gen {
		st.frames, st.gen = st.v.frames, st.v.gen
	}
	return nil
}

func (st *stream) readPacked() error {
	if cap(st.packed) < int(st.cur.packed) {
		st.packed = make([]byte, st.cur.packed)
	}
	st.packed = st.packed[:st.cur.packed]
	err := readFull(st.f, st.packed, st.cur.off)
	if errors.Is(err, io.EOF) {
		return st.damage(errors.New("the file ends before"))
	}
	if err != nil {
		return fmt.Errorf("volume %d: %w", st.v.number, err)
	}
	return nil
}

// damage says that err was found in the current frame.
func (st *stream) damage(err error) error {
	return &DamageError{Volume: st.v.number, Offset: st.cur.off, Size: int64(st.cur.packed), Err: err}
}

// entry reads the headers at pos. What is left to read of the stream begins
// with the body.
func (st *stream) entry() (Entry, error) {
	e, _, err := st.header()
	return e, err
}

// header is like entry, and returns the header blocks too. They are good until the next call.
func (st *stream) header() (Entry, []byte, error) {
	st.head.Reset()
	e, err := readHeader(io.TeeReader(st, &st.head), Place{st.v.number, st.pos})
	if st.err != nil {
		return Entry{}, nil, st.err
	}
	if err == nil && e.End > st.limit {
		err = errors.New("tar entry is cut off")
	}
	if err != nil {
		return Entry{}, nil, st.damage(err)
	}
	return e, st.head.Bytes(), nil
}

// padding reads what fills the last block of an entry, behind its body.
func (st *stream) padding(e Entry) error {
	var pad [tarBlock]byte
	p := pad[:padding(e.Size)]
	if _, err := io.ReadFull(st, p); err != nil {
		return err
	}
	for _, b := range p {
		if b != 0 {
			return st.damage(fmt.Errorf("padding of %s is not zero", e.Name))
		}
	}
	return nil
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

// stream returns a stream over the committed frames of v. s.mu is held; the
// stream then needs no lock, because frames are only ever appended, or replaced as a whole.
func (s *Set) stream(ctx context.Context, v *vol) *stream {
	return &stream{ctx: ctx, set: s, v: v, frames: v.frames, gen: v.gen, limit: v.end}
}
