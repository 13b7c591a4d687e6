package volume

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"github.com/postkeep/postkeep/archive/disk"
)

// A Target is an entry to be blanked out.
type Target struct {
	Offset int64  // of its place
	ID     string // that the entry must have: nothing is destroyed on a wrong place
}

// Redact blanks out entries of a sealed volume, all in one pass: the names change to those of redacted
// entries, the bodies become zeros of the same length, and so does the SHA-256 that was noted. Nothing
// else changes, no place moves, and stock tools still read the volume. A volume that is being
// written has to be sealed first. Afterwards Open gives ErrRedacted for the entries. Redacting what is redacted
// does nothing.
//
// None of the bytes is left in the new file. The old one is not overwritten: that is up to the disk, as
// are copies of the volume, and readers that have it open. Errors are as with Repack.
//
// before is called, if it is not nil and there is something to blank out, when the new file is durable and has not got its name
// yet. Its error leaves all as it was.
func (s *Set) Redact(ctx context.Context, volume uint32, targets []Target, before func(Rewritten) error) (Rewritten, error) {
	n := 0
	r, err := s.rewrite(ctx, volume, func(ctx context.Context, src *stream, f disk.File) ([]frame, error) {
		edits, err := findEdits(ctx, src, targets)
		if err != nil || len(edits) == 0 {
			return nil, err
		}
		n = len(edits)
		return s.applyEdits(src, edits, f)
	}, before)
	if err == nil && n == 0 {
		r.SHA256, r.Bytes, err = s.HashFile(ctx, volume)
	}
	if err != nil {
		return Rewritten{}, fmt.Errorf("redact in volume %d: %w", volume, err)
	}
	r.Entries = n
	return r, nil
}

// An edit replaces an entry: with head, and zeros up to end.
type edit struct {
	offset, end int64
	head        []byte
}

// findEdits returns the edits for those targets that are not redacted yet, in order.
func findEdits(ctx context.Context, src *stream, targets []Target) ([]edit, error) {
	targets = slices.SortedFunc(slices.Values(targets), func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.ID, b.ID))
	})
	var edits []edit
	for _, t := range slices.Compact(targets) {
		if t.Offset < 0 || t.Offset >= src.limit {
			return nil, fmt.Errorf("offset %d: %w", t.Offset, ErrNoEntry)
		}
		src.pos = t.Offset
		e, head, err := src.header()
		switch {
		case err != nil:
			return nil, err
		case e.ID != t.ID || e.Kind == KindUnknown:
			return nil, fmt.Errorf("the entry at offset %d is %s, expected was %.70q: nothing was changed", t.Offset, e.Name, t.ID)
		case e.Kind == KindRedacted:
			continue
		}
		blank, err := redactedHeader(ctx, e)
		if err != nil {
			return nil, err
		}
		if len(blank) != len(head) {
			return nil, fmt.Errorf("header of %s has %d bytes, without its content %d", e.Name, len(head), len(blank))
		}
		edits = append(edits, edit{offset: e.Offset, end: e.End, head: blank})
	}
	return edits, nil
}

// redactedHeader returns the header blocks for e with a body of zeros.
func redactedHeader(ctx context.Context, e Entry) ([]byte, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(readerWithContext{ctx, zeros{}}, e.Size)); err != nil {
		return nil, err
	}
	return headerBytes(redactedName(e), e.Size, hex.EncodeToString(h.Sum(nil)), e.ModTime)
}

// zeros yields zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// applyEdits copies all frames to f. Those that an edit touches are compressed again, all others
// are copied as they are, even if they are damaged: that must not keep anybody from erasing.
func (s *Set) applyEdits(src *stream, edits []edit, f disk.File) ([]frame, error) {
	if src.f == nil {
		if err := src.open(); err != nil {
			return nil, err
		}
	}
	codec, err := s.codecFor(src.v, s.codec)
	if err != nil {
		return nil, err
	}
	frames := make([]frame, 0, len(src.frames))
	var j job
	for _, old := range src.frames {
		if err := src.ctx.Err(); err != nil {
			return nil, err
		}
		for len(edits) > 0 && edits[0].end <= old.tar {
			edits = edits[1:]
		}
		src.cur = old
		if err := src.readPacked(); err != nil {
			return nil, err
		}
		next, err := s.editFrame(codec, src, edits, &j)
		if err != nil {
			return nil, err
		}
		next.off, next.tar = last(frames).end(), last(frames).tarEnd()
		if _, err := f.WriteAt(j.packed, next.off); err != nil {
			return nil, err
		}
		frames = append(frames, next)
	}
	return frames, nil
}

// editFrame puts the current frame of src into j, edited if that is due.
func (s *Set) editFrame(codec *codec, src *stream, edits []edit, j *job) (frame, error) {
	old := src.cur
	if old.bytes > 0 { // not a skippable frame
		var err error
		j.src, err = codec.unpack(j.src, src.packed, old)
		touched := len(edits) > 0 && edits[0].offset < old.tarEnd()
		switch {
		case err != nil && touched:
			return frame{}, src.damage(err)
		case err != nil:
			s.o.Logger.Error("frame is damaged, and copied as it is", "error", src.damage(err))
		case touched:
			for i := 0; i < len(edits) && edits[i].offset < old.tarEnd(); i++ {
				edits[i].apply(j.src, old.tar)
			}
			j.ends = entryEnds(src.packed)
			err := j.pack(codec)
			return j.frame(frame{}), err
		}
	}
	j.packed = append(j.packed[:0], src.packed...)
	old.crc = checksum(j.packed)
	return old, nil
}

// apply edits the bytes of the tar stream from an offset on, as far as the edit concerns them.
func (e edit) apply(data []byte, offset int64) {
	from, to := max(e.offset, offset)-offset, min(e.end, offset+int64(len(data)))-offset
	if from >= to {
		return
	}
	clear(data[from:to])
	if done := offset + from - e.offset; done < int64(len(e.head)) {
		copy(data[from:to], e.head[done:])
	}
}
