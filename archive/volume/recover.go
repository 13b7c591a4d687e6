package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/postkeep/postkeep/archive/disk"
)

// openVolume reads what v holds. newest is whether it is the last volume, the only one that may be written.
func (s *Set) openVolume(ctx context.Context, v *vol, newest bool) (err error) {
	f, err := s.o.FS.OpenFile(v.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	frames, err := readTable(f, info.Size())
	switch {
	case err == nil:
		v.setSealed(frames, info.Size())
		if err := s.checkShort(v); err != nil {
			return err
		}
		s.finishSeal(v, info.Mode())
		return nil
	case !errors.Is(err, errTable):
		return err
	}
	return s.recover(ctx, v, f, info, newest)
}

// setSealed takes the frames of a file that is never written again. The end of
// the tar file, and what follows it, holds no entry.
func (v *vol) setSealed(frames []frame, size int64) {
	for len(frames) > 0 && last(frames).bytes == 0 {
		frames = frames[:len(frames)-1]
	}
	if last(frames).bytes == trailerBytes {
		frames = frames[:len(frames)-1]
	}
	v.frames, v.size, v.end, v.sealed = frames, size, last(frames).tarEnd(), true
}

// finishSeal tidies up after the seek table is durable, which a crash may have left undone. If it
// fails nothing is lost, and the next OpenSet tries again.
func (s *Set) finishSeal(v *vol, mode fs.FileMode) {
	if s.o.ReadOnly {
		return
	}
	err := s.o.FS.Remove(v.sidePath())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if writable(mode) {
		// The table was read from memory: whether it is on the disk nobody has waited for.
		err = errors.Join(err, s.harden(v), s.o.FS.Chmod(v.path, disk.SealedPerm), s.o.FS.SyncDir(s.o.Dir))
	}
	if err != nil {
		s.o.Logger.Warn("sealed volume is not tidied up", "volume", v.number, "error", err)
	}
}

// harden writes the end of a volume again, with its seek table, and fsyncs the file.
func (s *Set) harden(v *vol) error {
	f, err := s.o.FS.OpenFile(v.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = rewrite(f, last(v.frames).end(), v.size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func writable(mode fs.FileMode) bool { return mode.Perm()&0o200 != 0 }

// recover reads a volume that does not end in a good seek table: one that is
// being written, that a crash has left, or that is damaged.
func (s *Set) recover(ctx context.Context, v *vol, f disk.File, info fs.FileInfo, newest bool) error {
	side := s.readSide(v, f, info.Size())
	frames, sealed, err := walk(f, side.frames, info.Size())
	if err != nil {
		return err
	}
	// A table that is there but bad was torn by a crash while sealing, if the file had not been made
	// read-only yet. Else it is damaged, and the walk has replaced it.
	// What the ledger knows to be sealed is never cut, whatever its end and its mode are now.
	if s.o.Sealed[v.number] || sealed && (!newest || !writable(info.Mode())) {
		s.o.Logger.Error("seek table is damaged, read the volume instead", "volume", v.number)
		v.setSealed(frames, info.Size())
		return s.checkShort(v)
	}
	// What the ledger or the side file knows was durable once: it is not cut whatever it
	// holds now. Entries are looked for after it.
	durable, ok := frameEnding(frames, v.known)
	if !ok || durable < len(side.frames) {
		durable = len(side.frames)
	}
	whole, err := s.wholeEntries(ctx, v, frames, durable)
	if err != nil {
		return err
	}
	v.frames = frames[:whole:whole]
	v.size, v.end = last(v.frames).end(), last(v.frames).tarEnd()
	if err := s.checkShort(v); err != nil {
		return err
	}
	switch {
	case s.o.ReadOnly:
		return nil
	case !newest:
		s.o.Logger.Error("volume is not the last one but has no end", "volume", v.number)
		return nil
	}
	return s.openWriter(ctx, v, info, last(frames[:durable]).end(), side)
}

// A sideFile is what is good of a side file.
type sideFile struct {
	frames []frame
	crc    uint32 // to go on with
	whole  bool   // nothing else is in it
	wrong  bool   // a record is not what was written
}

// readSide reads the side file of v as far as it fits the volume. A side
// file that is missing or wrong costs time, nothing else.
func (s *Set) readSide(v *vol, f disk.File, size int64) sideFile {
	data, err := disk.ReadFile(s.o.FS, v.sidePath(), int64(sideHead)+sideRecord*maxTableFrames)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.o.Logger.Warn("side file is not readable", "volume", v.number, "error", err)
		}
		return sideFile{}
	}
	side := parseSide(data, v.number, size)
	if n := len(side.frames); n > 0 {
		got, _, err := readFrame(f, last(side.frames[:n-1]), size)
		got.crc = last(side.frames).crc // of bytes that are not read here
		if err != nil || got != last(side.frames) {
			s.o.Logger.Warn("side file does not fit the volume", "volume", v.number)
			return sideFile{}
		}
	}
	return side
}

// wholeEntries returns how many frames there are up to the last that ends with a whole entry whose
// bytes have the SHA-256 that they should have, starting after the first n frames.
func (s *Set) wholeEntries(ctx context.Context, v *vol, frames []frame, n int) (int, error) {
	st := s.stream(ctx, v)
	st.frames, st.pos, st.limit = frames, last(frames[:n]).tarEnd(), last(frames).tarEnd()
	if v.encrypted && len(s.o.Identities) == 0 {
		n, err := s.wholeEnvelopes(st, frames, n)
		return n, errors.Join(err, st.Close())
	}
	err := st.entries(func(e Entry, body io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, body); err != nil {
			return err
		}
		if e.Kind != KindUnknown && hex.EncodeToString(h.Sum(nil)) != e.SHA256 {
			return st.damage(fmt.Errorf("%s does not have its SHA-256", e.Name))
		}
		if k, ok := frameEnding(frames, e.End); ok {
			n = k
		}
		return nil
	})
	var damage *DamageError
	if errors.As(err, &damage) {
		s.o.Logger.Warn("volume has no whole entry after this", "volume", v.number, "frames", n, "error", err)
		err = nil
	}
	return n, errors.Join(err, st.Close())
}

// openWriter cuts what v does not count of its file and makes the rest durable. durable is where
// what was synced for certain ends in the file.
func (s *Set) openWriter(ctx context.Context, v *vol, info fs.FileInfo, durable int64, side sideFile) error {
	if !writable(info.Mode()) {
		if err := s.o.FS.Chmod(v.path, disk.FilePerm); err != nil {
			return err
		}
	}
	f, err := s.o.FS.OpenFile(v.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if info.Size() > v.size {
		err = s.quarantine(ctx, v, f, info.Size())
		if err == nil {
			err = f.Truncate(v.size)
		}
	}
	if err == nil {
		err = rewrite(f, durable, v.size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.o.FS.SyncDir(s.o.Dir)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := checksumFrames(f, v.frames, len(side.frames)); err != nil {
		return errors.Join(err, f.Close())
	}
	s.w = newWriter(s, v, f)
	if side.whole && len(side.frames) == len(v.frames) {
		s.w.continueSide(side.crc)
	} else {
		s.w.startSide()
	}
	return nil
}

// checksumFrames reads the frames after the first n, of which nobody has noted the checksum of the packed bytes.
func checksumFrames(f disk.File, frames []frame, n int) error {
	h := crc32.New(castagnoli)
	for i := min(n, len(frames)); i < len(frames); i++ {
		h.Reset()
		if _, err := io.Copy(h, io.NewSectionReader(f, frames[i].off, int64(frames[i].packed))); err != nil {
			return err
		}
		frames[i].crc = h.Sum32()
	}
	return nil
}

// rewrite writes the bytes of a file again where they are. After a failed
// fsync the kernel may hold pages as clean that the disk never got, and another
// fsync would not write them.
func rewrite(f disk.File, from, to int64) error {
	buf := make([]byte, min(to-from, 1<<20))
	for from < to {
		chunk := buf[:min(int64(len(buf)), to-from)]
		if err := readFull(f, chunk, from); err != nil {
			return err
		}
		if _, err := f.WriteAt(chunk, from); err != nil {
			return err
		}
		from += int64(len(chunk))
	}
	return nil
}
