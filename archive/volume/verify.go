package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

// VerifyOptions are the options of Verify.
type VerifyOptions struct {
	// Deep reads and decodes every byte and compares every body with its SHA-256. Without it only the seek table and
	// the headers of the frames are read.
	Deep bool
	// SHA256 is what the file of a sealed volume should have: none if that is not known, more than one while it is being replaced.
	// Deep compares it, in a second pass.
	SHA256 []string
	// From is where a deep check goes on: Progress.Next of an earlier one, 0 for the beginning.
	From int64
	// BytesPerSecond limits how fast the file is read, 0 does not.
	BytesPerSecond int64
	// Progress is called after every frame, if it is not nil.
	Progress func(Progress)
	// Damage is called for everything that is not as it should be. Required.
	Damage func(Damage)
	// Entry is called by a deep check, in order, for every entry whose header could be read, before its body is; damage
	// of the body comes after it. An error ends the check and is returned. Nil is not called.
	Entry func(Entry) error
}

// Progress is how far a deep check is.
type Progress struct {
	Checked
	Done, Total int64 // bytes of the file
}

// Checked is what a deep check has behind it.
type Checked struct {
	Next     int64 // offset in the tar stream up to which all entries were checked
	Entries  int   // before that, from VerifyOptions.From on, whose bytes were compared with their SHA-256
	Messages int   // of these, whole or as a recipe
	Read     int64 // bytes, those behind Next, too
}

// A Damage is a stretch of a volume that is not as it should be.
type Damage struct {
	Volume       uint32
	File         string // name in the directory of the volumes: of the volume, or of its side file, which is derived
	Offset, Size int64  // the bytes in the file; a flipped bit is one of them
	// Tar and TarEnd are the stretch of the tar stream that is hit, and so the places of the entries. They are the same
	// when no entry is hit: in the seek table, or where the decoded bytes are the right ones all the same.
	Tar, TarEnd int64
	Entry       Entry // that is hit, if its header could be read; else Name is ""
	Err         error
}

// Verified sums up a check.
type Verified struct {
	Checked
	Volume  uint32
	Damages int
	// Opaque means that the volume is encrypted and the set has no identity: a deep check has compared all bytes
	// of the file with their checksums, but looked at no entry.
	Opaque bool
}

// Verify checks what is committed of a volume. All damage is given to o.Damage, and the check goes on behind it; the
// error is about the check itself: ctx, or a file that cannot be opened; what was checked before counts. It takes memory for one frame, and runs
// beside the writer and other readers.
func (s *Set) Verify(ctx context.Context, volume uint32, o VerifyOptions) (Verified, error) {
	c := &check{o: o, r: Verified{Checked: Checked{Next: o.From}, Volume: volume}, start: time.Now()}
	err := c.open(ctx, s, volume)
	if err == nil {
		err = c.structure()
	}
	if err == nil && o.Deep && !c.opaque {
		c.st.onLoad = c.loaded
		err = c.entries()
	}
	if err == nil && o.Deep && len(o.SHA256) > 0 && c.sealed {
		err = c.hash()
	}
	if c.st != nil {
		err = errors.Join(err, c.st.Close())
	}
	if err != nil {
		return c.r, fmt.Errorf("verify volume %d: %w", volume, err)
	}
	return c.r, nil
}

// A check is one Verify.
type check struct {
	o      VerifyOptions
	r      Verified
	st     *stream
	sealed bool
	opaque bool  // encrypted, and there is no key
	grows  bool  // the writer may be appending
	size   int64 // of the file as far as it is committed
	real   int64 // of the file
	known  int64
	tail   []frame // of a sealed volume, behind the last entry: the trailer

	start time.Time
}

func (c *check) open(ctx context.Context, s *Set, volume uint32) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.find(volume)
	if s.closed {
		return ErrClosed
	}
	if !ok {
		return ErrNoEntry
	}
	v := s.vols[i]
	st := s.stream(ctx, v)
	c.sealed, c.size, c.known = v.sealed, v.size, v.known
	c.opaque = v.encrypted && len(s.o.Identities) == 0
	c.r.Opaque = c.opaque
	c.grows = !v.sealed && !s.o.ReadOnly && i == len(s.vols)-1
	f, err := s.o.FS.OpenFile(v.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	st.f = f
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	c.st, c.real = st, info.Size()
	return nil
}

func (c *check) damage(d Damage) {
	d.Volume = c.r.Volume
	if d.File == "" {
		d.File = filepath.Base(c.st.v.path)
	}
	c.r.Damages++
	c.o.Damage(d)
}

// frameDamage reports the frame f, and that the stretch of the tar stream is lost.
func (c *check) frameDamage(f frame, tar, tarEnd int64, e Entry, err error) {
	var inner *DamageError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	c.damage(Damage{Offset: f.off, Size: int64(f.packed), Tar: tar, TarEnd: tarEnd, Entry: e, Err: err})
}

// structure checks the size of the file, the seek table, and the frames that hold no entries.
func (c *check) structure() error {
	st, end := c.st, last(c.st.frames).end()
	switch {
	case c.real < c.size:
		c.damage(Damage{Offset: c.real, Size: c.size - c.real, Err: errors.New("the file ends before")})
	case c.real > c.size && !c.grows:
		c.damage(Damage{Offset: c.size, Size: c.real - c.size, Err: errors.New("bytes that are no whole frames and entries")})
	}
	if st.limit < c.known {
		c.damage(Damage{Offset: c.size, Size: max(c.real-c.size, 0), Tar: st.limit, TarEnd: c.known, Err: ErrShort})
	}
	if c.sealed {
		frames, err := readTable(st.f, c.size)
		if err == nil && (len(frames) <= len(st.frames) || last(frames[:len(st.frames)]).tarEnd() != st.limit) {
			err = errors.New("seek table is not the one from when the volume was opened")
		}
		if err != nil {
			c.damage(Damage{Offset: end, Size: max(c.size-end, 0), Tar: st.limit, TarEnd: st.limit, Err: err})
		} else {
			st.frames, c.tail = frames[:len(st.frames)], frames[len(st.frames):]
		}
	} else if err := c.side(); err != nil {
		return err
	}
	for _, f := range c.tail {
		if err := c.frame(f, true); err != nil {
			return err
		}
	}
	for _, f := range st.frames {
		if f.bytes == 0 || !c.o.Deep || c.opaque {
			if err := c.frame(f, f.bytes == 0 || c.o.Deep); err != nil {
				return err
			}
		}
	}
	return nil
}

// side checks the side file of a volume that is not sealed, as far as it is about what is checked. That it is missing
// or ends too early is no damage: it is never synced.
func (c *check) side() error {
	st := c.st
	data, err := disk.ReadFile(st.set.o.FS, st.v.sidePath(), int64(sideHead)+sideRecord*maxTableFrames)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.grows {
		data = data[:min(len(data), sideHead+sideRecord*len(st.frames))]
	}
	side := parseSide(data, c.r.Volume, math.MaxInt64)
	n := min(len(side.frames), len(st.frames))
	same := slices.EqualFunc(side.frames[:n], st.frames[:n], func(a, b frame) bool {
		if b.crc == 0 { // the volume was opened without it
			a.crc = 0
		}
		return a == b
	})
	if side.wrong || !same {
		at := 0
		if same && n > 0 {
			at = sideHead + sideRecord*n
		}
		c.damage(Damage{File: filepath.Base(st.v.sidePath()), Offset: int64(at), Size: int64(len(data) - at), Tar: st.limit, TarEnd: st.limit,
			Err: errors.New("side file is not what was written; it is derived, and made anew when the archive is opened")})
	}
	return nil
}

// frame checks a frame by itself: whole, or only its headers.
func (c *check) frame(f frame, whole bool) error {
	if err := c.st.ctx.Err(); err != nil {
		return err
	}
	got, _, err := readFrame(c.st.f, frame{off: f.off, tar: f.tar}, c.real)
	got.crc = f.crc
	if err == nil && got != f {
		err = errNotInTable
	}
	if err == nil && whole {
		c.st.cur = f
		err = c.st.readPacked()
		switch {
		case err != nil || f.bytes == 0:
		case c.opaque:
			err = c.st.set.codec.check(c.st.packed, f)
		default:
			_, err = c.st.set.codec.unpack(nil, c.st.packed, f)
		}
		if err == nil {
			return c.loaded(c.st.packed, f)
		}
	}
	if err != nil {
		c.frameDamage(f, f.tar, min(f.tarEnd(), max(c.st.limit, f.tar)), Entry{}, err)
	}
	return nil
}

// loaded is called for every frame that was decoded without an error.
func (c *check) loaded(packed []byte, f frame) error {
	if f.crc != 0 && checksum(packed) != f.crc {
		c.frameDamage(f, f.tar, f.tar, Entry{}, errors.New("packed bytes were changed, and decode to what they should all the same"))
	}
	if c.o.Progress != nil {
		c.o.Progress(Progress{c.r.Checked, f.end(), c.size})
	}
	return c.pace(int64(f.packed))
}

// pace waits until n bytes more may have been read.
func (c *check) pace(n int64) error {
	c.r.Read += n
	if c.o.BytesPerSecond <= 0 {
		return nil
	}
	due := time.Duration(float64(c.r.Read) / float64(c.o.BytesPerSecond) * float64(time.Second))
	timer := time.NewTimer(due - time.Since(c.start))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.st.ctx.Done():
		return c.st.ctx.Err()
	}
}

// entries checks everything that the frames hold.
func (c *check) entries() error {
	st := c.st
	for st.pos = c.o.From; st.pos < st.limit; {
		c.r.Next = st.pos
		e, _, err := st.header()
		if err != nil {
			err = c.resync(err)
		} else {
			err = c.entry(e)
		}
		if err != nil {
			return err
		}
	}
	c.r.Next = st.limit
	if c.o.Progress != nil {
		c.o.Progress(Progress{c.r.Checked, c.size, c.size})
	}
	return nil
}

// retry makes the stream usable again after an error. It returns the error if that is about the check itself.
func (c *check) retry() error {
	err := c.st.err
	c.st.err, c.st.data = nil, nil
	if errors.Is(err, ErrNoIdentity) {
		return err
	}
	return c.st.ctx.Err()
}

// entry checks the body of e, and its padding. Damage in a frame of a large entry does not keep the frames
// behind it from being checked.
func (c *check) entry(e Entry) error {
	if c.o.Entry != nil {
		if err := c.o.Entry(e); err != nil {
			return err
		}
	}
	st, h, whole := c.st, sha256.New(), true
	bodyEnd := e.End - padding(e.Size)
	for st.pos < bodyEnd {
		if _, err := io.Copy(h, io.LimitReader(st, bodyEnd-st.pos)); err != nil {
			if err := c.retry(); err != nil {
				return err
			}
			c.frameDamage(st.cur, st.cur.tar, min(st.cur.tarEnd(), e.End), e, err)
			whole, st.pos = false, st.cur.tarEnd()
		}
	}
	whole = whole && e.Kind != KindUnknown
	if whole {
		if hex.EncodeToString(h.Sum(nil)) != e.SHA256 {
			c.entryDamage(e, errors.New("body does not have its SHA-256"))
		}
	}
	if st.pos == bodyEnd {
		if err := st.padding(e); err != nil {
			if err := c.retry(); err != nil {
				return err
			}
			c.entryDamage(e, err)
		}
	}
	st.pos, c.r.Next = e.End, e.End
	if whole {
		c.r.Entries++
		if e.Kind == KindMessage || e.Kind == KindRecipe {
			c.r.Messages++
		}
	}
	return nil
}

// entryDamage reports an entry all of whose frames can be decoded.
func (c *check) entryDamage(e Entry, err error) {
	first, _ := frameAt(c.st.frames, e.Offset)
	end, _ := frameAt(c.st.frames, e.End-1)
	f := c.st.frames[first]
	c.damage(Damage{Offset: f.off, Size: c.st.frames[end].end() - f.off, Tar: e.Offset, TarEnd: e.End, Entry: e, Err: err})
}

// resync reports that there is no good header at c.r.Next, and looks for the next frame that begins with
// one. What is in between was a large entry, or is damaged too.
func (c *check) resync(err error) error {
	st := c.st
	if err := c.retry(); err != nil {
		return err
	}
	bad, tar := st.cur, c.r.Next
	for i, _ := frameAt(st.frames, tar); ; {
		st.pos = st.frames[i].tarEnd()
		if st.pos >= st.limit {
			break
		}
		i, _ = frameAt(st.frames, st.pos)
		_, _, again := st.header()
		lost := st.err != nil && st.cur == st.frames[i]
		if err := c.retry(); err != nil {
			return err
		}
		st.pos = st.frames[i].tar
		if again == nil {
			break
		}
		if lost { // this frame cannot be decoded either
			c.frameDamage(bad, tar, st.pos, Entry{}, err)
			bad, tar, err = st.frames[i], st.pos, again
		}
	}
	c.frameDamage(bad, tar, min(st.pos, st.limit), Entry{}, err)
	return nil
}

// hash compares the whole file with the SHA-256 that it should have.
func (c *check) hash() error {
	sum, err := hashFile(c.st.ctx, pacedFile{c.st.f, c}, c.real)
	if e := c.st.ctx.Err(); e != nil {
		return e
	}
	if err == nil && !slices.Contains(c.o.SHA256, sum) {
		err = fmt.Errorf("file has SHA-256 %s, the ledger says %s", sum, strings.Join(c.o.SHA256, " or "))
	}
	if err != nil {
		c.damage(Damage{Size: c.real, Err: err})
	}
	return nil
}

// A pacedFile is read at the pace of a check.
type pacedFile struct {
	io.ReaderAt
	c *check
}

func (f pacedFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.c.pace(int64(len(p))); err != nil {
		return 0, err
	}
	return f.ReaderAt.ReadAt(p, off)
}
