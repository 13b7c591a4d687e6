package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/postkeep/postkeep/archive/disk"
)

const (
	tailSuffix = ".tail"
	// RestSuffix is that of files in the quarantine that begin with a whole entry: it was behind damage. None of its bytes was ever
	// receipted, but nobody else may have them.
	RestSuffix = ".messages"
)

// quarantine copies what f holds beyond the end of v to files of their own, durably: up to the first whole entry, and the rest.
func (s *Set) quarantine(ctx context.Context, v *vol, f disk.File, size int64) error {
	fsys, dir := s.o.FS, s.o.Quarantine
	if dir == "" {
		return errors.New("no quarantine directory is set for what has to be cut")
	}
	rest, err := s.wholeRest(ctx, v, f, size)
	if err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	if err := fsys.MkdirAll(dir, disk.DirPerm); err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := s.setAside(v, f, v.size, rest, tailSuffix); err != nil {
		return err
	}
	if err := s.setAside(v, f, rest, size, RestSuffix); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// setAside copies a piece of f. The name has the offset and the hash, so that the same piece twice is one file.
func (s *Set) setAside(v *vol, f disk.File, from, to int64, suffix string) error {
	if from == to {
		return nil
	}
	fsys, dir := s.o.FS, s.o.Quarantine
	tmp := filepath.Join(dir, fmt.Sprintf("%08d.tmp", v.number))
	out, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, disk.FilePerm)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), io.NewSectionReader(f, from, to-from))
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	name := filepath.Join(dir, fmt.Sprintf("%08d-%d-%s%s", v.number, from, hex.EncodeToString(h.Sum(nil)[:4]), suffix))
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	s.o.Logger.Warn("the end of the volume is cut off, nothing of it was receipted",
		"volume", v.number, "offset", from, "bytes", to-from, "kept", name)
	return nil
}

// wholeRest returns where, beyond the end of v, the first frame begins that begins with a whole entry; size if there is none. Without a key
// it is the first of frames in a row that are whole and end with an entry.
func (s *Set) wholeRest(ctx context.Context, v *vol, f disk.File, size int64) (int64, error) {
	opaque := v.encrypted && len(s.o.Identities) == 0
	for at, row := v.size, v.size; ; {
		found, err := findMagic(ctx, f, at, size, v.encrypted)
		if err != nil || found == size {
			return size, err
		}
		first, _, err := readFrame(f, frame{off: found}, size)
		if errors.Is(err, errFrame) {
			at, row = found+1, found+1
			continue
		}
		if err != nil {
			return 0, err
		}
		if found != at {
			row = found
		}
		at = first.end()
		if !opaque {
			if whole, err := s.beginsWhole(ctx, v, f, first, size); err != nil || whole {
				return found, err
			}
			continue
		}
		packed := make([]byte, first.packed)
		if err := readFull(f, packed, found); err != nil {
			return 0, err
		}
		switch {
		case s.codec.check(packed, first) != nil:
			row = at
		case entryEnds(packed):
			return row, nil
		}
	}
}

// beginsWhole reports whether a frame begins with a whole entry.
func (s *Set) beginsWhole(ctx context.Context, v *vol, f disk.File, first frame, size int64) (bool, error) {
	frames := []frame{first}
	st := s.stream(ctx, v)
	st.frames, st.limit = frames, math.MaxInt64
	e, err := st.entry()
	if err := errors.Join(ctx.Err(), st.Close()); err != nil {
		return false, err
	}
	if err != nil {
		return errors.Is(err, ErrNoIdentity), nil // then nobody knows
	}
	if e.End > first.tarEnd() {
		if frames, _, err = walk(f, frames, size); err != nil {
			return false, err
		}
	}
	n, err := s.wholeEntries(ctx, v, frames, 0)
	return n > 0, err
}

// frameMagic is what frames with entries begin with.
func frameMagic(encrypted bool) []byte {
	if encrypted {
		return binary.LittleEndian.AppendUint32(nil, envelopeMagic)
	}
	return []byte{0x28, 0xb5, 0x2f, 0xfd} // RFC 8878 section 3.1.1
}

// findMagic returns the first offset from at on where a frame may begin, size if there is none.
func findMagic(ctx context.Context, f io.ReaderAt, at, size int64, encrypted bool) (int64, error) {
	magic := frameMagic(encrypted)
	buf := make([]byte, 64<<10)
	for ; size-at >= int64(len(magic)); at += int64(len(buf) - len(magic) + 1) {
		buf = buf[:min(int64(len(buf)), size-at)]
		if err := errors.Join(ctx.Err(), readFull(f, buf, at)); err != nil {
			return 0, err
		}
		if i := bytes.Index(buf, magic); i >= 0 {
			return at + int64(i), nil
		}
	}
	return size, nil
}
