package volume

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"

	"github.com/postkeep/postkeep/archive/disk"
)

// A writer appends to one volume. Tar is gathered in cur until a frame is
// full; frames are compressed by the packer and written in order.
type writer struct {
	o      *Options
	packer *packer
	v      *vol
	f      disk.File
	fresh  bool // the file's name is not durable yet

	cur    *job
	base   int64   // offset of cur in the tar stream
	issued int     // frames given to the packer since the last commit
	frames []frame // of them, those that are written

	side    disk.File // nil when it failed: it is made again at the next OpenSet
	sideOff int64
	sideCRC uint32
}

func newWriter(s *Set, v *vol, f disk.File) *writer {
	return &writer{o: &s.o, packer: s.packer, v: v, f: f, cur: s.packer.get(), base: v.end}
}

// append writes one entry. An entry of more than a frame has frames of its own.
func (w *writer) append(ctx context.Context, e newEntry) (at, end int64, err error) {
	head, err := headerBytes(e.name, e.size, e.sha256, e.time)
	if err != nil {
		return 0, 0, err
	}
	return w.place(ctx, head, e)
}

// place writes an entry with the header blocks that it has already.
func (w *writer) place(ctx context.Context, head []byte, e newEntry) (at, end int64, err error) {
	total := int64(len(head)) + e.size + padding(e.size)
	large := total > int64(w.o.frameBytes)
	if large || len(w.cur.src)+int(total) > w.o.frameBytes {
		if err := w.flush(true); err != nil {
			return 0, 0, err
		}
	}
	issued, filled := w.issued, len(w.cur.src)
	at = w.base + int64(filled)
	w.cur.src = append(w.cur.src, head...)
	err = w.copyBody(ctx, e)
	if err == nil && large {
		err = w.flush(true)
	}
	if err != nil {
		if !errors.Is(err, ErrBroken) {
			err = errors.Join(err, w.rollback(issued, filled))
		}
		return 0, 0, err
	}
	return at, at + total, nil
}

// copyBody writes the body and its padding, and checks it.
func (w *writer) copyBody(ctx context.Context, e newEntry) error {
	h := sha256.New()
	for left := e.size; left > 0; {
		if len(w.cur.src) >= w.o.frameBytes {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.flush(false); err != nil {
				return err
			}
		}
		n, err := w.fill(e.body, h, min(left, int64(w.o.frameBytes-len(w.cur.src))))
		left -= n
		if errors.Is(err, io.EOF) {
			return e.wrongSize(e.size - left)
		}
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
	}
	var more [1]byte
	switch _, err := io.ReadFull(e.body, more[:]); {
	case err == nil:
		return e.wrongSize(e.size + 1)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read body: %w", err)
	}
	w.cur.src = append(w.cur.src, make([]byte, padding(e.size))...)
	return e.check(h.Sum(nil))
}

// fill reads n bytes of the body into the current frame; io.EOF means that it has fewer.
func (w *writer) fill(body io.Reader, h hash.Hash, n int64) (int64, error) {
	start := len(w.cur.src)
	w.cur.src = slices.Grow(w.cur.src, int(n))
	got, err := io.ReadFull(body, w.cur.src[start:start+int(n)])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	w.cur.src = w.cur.src[:start+got]
	h.Write(w.cur.src[start:])
	return int64(got), err
}

// flush gives the current frame to the packer and begins another. ends is whether it ends with an entry.
func (w *writer) flush(ends bool) error {
	if len(w.cur.src) == 0 {
		return nil
	}
	if w.packer.full() {
		if err := w.write(); err != nil {
			return err
		}
	}
	w.base += int64(len(w.cur.src))
	w.issued++
	w.cur.ends = ends
	w.packer.start(w.cur)
	w.cur = w.packer.get()
	return nil
}

// tail is the last frame in the file.
func (w *writer) tail() frame {
	if len(w.frames) > 0 {
		return last(w.frames)
	}
	return last(w.v.frames)
}

// write waits for the oldest frame and writes it.
func (w *writer) write() error {
	j := w.packer.wait()
	defer w.packer.put(j)
	if j.err != nil {
		return broken("compress", j.err)
	}
	f := j.frame(w.tail())
	if _, err := w.f.WriteAt(j.packed, f.off); err != nil {
		return broken("write", err)
	}
	w.frames = append(w.frames, f)
	return nil
}

// rollback drops everything after the first filled bytes of the frame that was
// current when issued frames had been given to the packer.
func (w *writer) rollback(issued, filled int) error {
	if w.issued == issued {
		w.cur.src = w.cur.src[:filled]
		return nil
	}
	for len(w.packer.queue) > 0 && len(w.frames) < issued {
		if err := w.write(); err != nil {
			return err
		}
	}
	w.packer.drain()
	if len(w.frames) > issued {
		w.frames = w.frames[:issued]
		if err := w.f.Truncate(w.tail().end()); err != nil {
			return broken("truncate", err)
		}
	}
	// Frames have been issued since, so the entry was larger than one and began its own:
	// filled is 0.
	w.issued, w.base, w.cur.src = issued, w.tail().tarEnd(), w.cur.src[:0]
	return nil
}

// discard drops everything since the last commit.
func (w *writer) discard() error {
	w.cur.src = w.cur.src[:0]
	return w.rollback(0, 0)
}

// finish writes everything.
func (w *writer) finish() error {
	if err := w.flush(true); err != nil {
		return err
	}
	for len(w.packer.queue) > 0 {
		if err := w.write(); err != nil {
			return err
		}
	}
	return nil
}

// sync writes everything and makes it durable.
func (w *writer) sync() error {
	if err := w.finish(); err != nil {
		return err
	}
	w.issued = 0
	if len(w.frames) == 0 {
		return nil
	}
	if err := w.f.Sync(); err != nil {
		return broken("sync", err)
	}
	if w.fresh {
		if err := w.o.FS.SyncDir(w.o.Dir); err != nil {
			return broken("sync directory", err)
		}
		w.fresh = false
	}
	return nil
}

// startSide writes the side file from the beginning.
func (w *writer) startSide() {
	side, err := w.o.FS.OpenFile(w.v.sidePath(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, disk.FilePerm)
	if err != nil {
		w.sideFailed(err)
		return
	}
	head, crc := appendSideHead(nil, w.v.number)
	w.side, w.sideOff, w.sideCRC = side, 0, crc
	w.writeSide(head)
	w.extendSide(w.v.frames)
}

// continueSide appends to a side file that is complete.
func (w *writer) continueSide(crc uint32) {
	side, err := w.o.FS.OpenFile(w.v.sidePath(), os.O_RDWR, 0)
	if err != nil {
		w.sideFailed(err)
		return
	}
	w.side, w.sideOff, w.sideCRC = side, int64(sideHead+sideRecord*len(w.v.frames)), crc
}

// extendSide adds the frames of a commit to the side file.
func (w *writer) extendSide(frames []frame) {
	var data []byte
	data, w.sideCRC = appendSide(nil, w.sideCRC, frames)
	w.writeSide(data)
}

func (w *writer) writeSide(data []byte) {
	if w.side == nil || len(data) == 0 {
		return
	}
	if _, err := w.side.WriteAt(data, w.sideOff); err != nil {
		w.sideFailed(errors.Join(err, w.side.Close()))
		w.side = nil
		return
	}
	w.sideOff += int64(len(data))
}

func (w *writer) sideFailed(err error) {
	w.o.Logger.Warn("side file is not written; opening the volume will take longer", "volume", w.v.number, "error", err)
}

// close closes the files and gives the buffers back.
func (w *writer) close() error {
	w.cur.src = w.cur.src[:0]
	w.packer.put(w.cur)
	err := w.f.Close()
	if w.side != nil {
		err = errors.Join(err, w.side.Close())
	}
	return err
}
