package volume

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/time/rate"

	"github.com/postkeep/postkeep/archive/disk"
)

// DefaultRepackLevel is how hard Repack compresses: of the levels that encode faster than disks
// write, the one that packs best.
const DefaultRepackLevel = zstd.SpeedBetterCompression

// RepackOptions are the options of Repack.
type RepackOptions struct {
	Level zstd.EncoderLevel // of compression, 0 for DefaultRepackLevel
	// BytesPerSecond limits how fast tar is read, and so the use of a processor; 0 does not.
	BytesPerSecond int64
	// Before is called, if it is not nil, when the new file is durable and has not got its name yet. Its error leaves all as
	// it was, and is returned.
	Before func(Rewritten) error
}

// Repack compresses a sealed volume again, better and in full frames, which ingest does
// not give when batches are small. All entries are read and checked against their SHA-256
// on the way: an entry that is damaged gives a *DamageError and the volume stays as it is.
// No place changes. An encrypted volume is encrypted anew, for Options.Recipients: so keys are rotated. It runs beside the writer and the readers, one at a time; for its
// length the new file needs space beside the old one.
//
// After ErrBroken the new file is there but may be gone after a power cut, and the set
// has to be opened again. Other errors, among them ErrNotSealed, leave everything as it was.
func (s *Set) Repack(ctx context.Context, volume uint32, o RepackOptions) (Rewritten, error) {
	if o.Level == 0 {
		o.Level = DefaultRepackLevel
	}
	codec, err := newCodec(o.Level, 1)
	if err != nil {
		return Rewritten{}, err
	}
	codec.recipients, codec.identities = s.o.Recipients, s.o.Identities
	entries := 0
	r, err := s.rewrite(ctx, volume, func(ctx context.Context, src *stream, f disk.File) (frames []frame, err error) {
		codec, err := s.codecFor(src.v, codec)
		if err == nil {
			src.onLoad = o.pace(ctx)
			frames, entries, err = s.repack(ctx, codec, src, f)
		}
		return frames, err
	}, o.Before)
	if err != nil {
		return Rewritten{}, fmt.Errorf("repack volume %d: %w", volume, err)
	}
	r.Entries = entries
	return r, nil
}

// pace returns what waits for a frame to be due, nil if it always is.
func (o *RepackOptions) pace(ctx context.Context) func([]byte, frame) error {
	if o.BytesPerSecond <= 0 {
		return nil
	}
	limit := rate.NewLimiter(rate.Limit(o.BytesPerSecond), MaxFrameBytes)
	return func(_ []byte, f frame) error { return limit.WaitN(ctx, int(f.bytes)) }
}

func (s *Set) repack(ctx context.Context, codec *codec, src *stream, f disk.File) (_ []frame, entries int, err error) {
	for _, f := range src.frames {
		if f.bytes == 0 {
			return nil, 0, errors.New("it has frames that a later version of this program has written")
		}
	}
	// One frame is compressed while the next is read: ingest needs the other processors.
	p := &packer{codec: codec, parallel: 1}
	defer p.drain()
	w := &writer{o: &s.o, packer: p, v: &vol{number: src.v.number}, f: f, cur: p.get()}
	for ; src.pos < src.limit; entries++ {
		e, head, err := src.header()
		if err != nil {
			return nil, 0, err
		}
		if err := copyEntry(ctx, w, src, e, head); err != nil {
			return nil, 0, err
		}
	}
	if err := w.finish(); err != nil {
		return nil, 0, err
	}
	return w.frames, entries, nil
}

// copyEntry writes an entry as it is, and checks it.
func copyEntry(ctx context.Context, w *writer, src *stream, e Entry, head []byte) error {
	body := newEntry{name: e.Name, size: e.Size, body: io.LimitReader(src, e.Size)}
	if e.Kind != KindUnknown {
		body.sha256 = e.SHA256
	}
	at, end, err := w.place(ctx, head, body)
	var mismatch *MismatchError
	switch {
	case src.err != nil:
		return src.err
	case errors.As(err, &mismatch):
		return src.damage(fmt.Errorf("%s does not have its SHA-256", e.Name))
	case err != nil:
		return err
	case at != e.Offset || end != e.End:
		return fmt.Errorf("%s would move from offset %d to %d", e.Name, e.Offset, at)
	}
	return src.padding(e)
}
