package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/postkeep/postkeep/archive/disk"
)

// Rewritten describes the file of a sealed volume after Repack or Redact. What a Place
// names, it names still.
type Rewritten struct {
	Volume  uint32
	SHA256  string // of the file, lower-case hex
	Bytes   int64  // size of the file
	Was     int64  // size of the file before
	Entries int    // that were packed again, or are redacted now and were not before
}

// HashFile returns the SHA-256, in lower-case hex, and the size of the file of a sealed
// volume. It is safe for concurrent use.
func (s *Set) HashFile(ctx context.Context, volume uint32) (sum string, size int64, err error) {
	s.mu.RLock()
	v, err := s.sealedVolume(volume)
	var f disk.File
	if err == nil {
		size = v.size
		f, err = s.o.FS.OpenFile(v.path, os.O_RDONLY, 0)
	}
	s.mu.RUnlock()
	if err != nil {
		return "", 0, fmt.Errorf("hash volume %d: %w", volume, err)
	}
	defer f.Close()
	if sum, err = hashFile(ctx, f, size); err != nil {
		return "", 0, fmt.Errorf("hash volume %d: %w", volume, err)
	}
	return sum, size, nil
}

func hashFile(ctx context.Context, f io.ReaderAt, size int64) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, readerWithContext{ctx, io.NewSectionReader(f, 0, size)})
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// sealedVolume finds a volume that is not written any more. s.mu is held.
func (s *Set) sealedVolume(number uint32) (*vol, error) {
	i, ok := s.find(number)
	switch {
	case s.closed:
		return nil, ErrClosed
	case !ok:
		return nil, ErrNoEntry
	case !s.vols[i].sealed:
		return nil, ErrNotSealed
	}
	return s.vols[i], nil
}

// rewrite puts a new file in the place of a sealed volume. fill reads the old one from src, writes
// frames for the same stretch of tar to f and returns them; it may return nothing to leave all as it is. The new
// file is whole and durable before it gets its name, so a crash leaves the one or the other. before is called between the two.
func (s *Set) rewrite(ctx context.Context, number uint32, fill func(ctx context.Context, src *stream, f disk.File) ([]frame, error),
	before func(Rewritten) error) (Rewritten, error) {
	ctx, done, err := s.startRewrite(ctx)
	if err != nil {
		return Rewritten{}, err
	}
	defer done()
	s.mu.RLock()
	v, err := s.sealedVolume(number)
	if err != nil {
		s.mu.RUnlock()
		return Rewritten{}, err
	}
	r, src := Rewritten{Volume: number, Was: v.size}, s.stream(ctx, v)
	s.mu.RUnlock()
	tmp := v.path + tmpSuffix
	f, err := s.o.FS.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, disk.FilePerm)
	if err != nil {
		return Rewritten{}, err
	}
	frames, err := fill(ctx, src, f)
	if err == nil && frames != nil {
		r.Bytes, err = s.finish(f, tmp, frames, src.limit)
	}
	if err == nil && frames != nil {
		r.SHA256, err = hashFile(ctx, f, r.Bytes)
	}
	err = errors.Join(err, src.Close(), f.Close())
	if err == nil && frames != nil && before != nil && ctx.Err() == nil {
		err = before(r)
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && frames != nil:
		return r, s.replace(v, tmp, frames, r.Bytes)
	}
	// Only a file that nobody knows is half written: whatever failed, the set is as it was.
	var b *brokenError
	if errors.As(err, &b) {
		err = fmt.Errorf("%s: %w", b.op, b.err)
	}
	s.removeLeftover(tmp)
	return r, err
}

// startRewrite waits until no other rewrite runs. Close ends the context that it returns.
func (s *Set) startRewrite(ctx context.Context) (_ context.Context, done func(), err error) {
	if err := s.writable(); err != nil {
		return nil, nil, err
	}
	select {
	case s.rewriting <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	ctx, stop := context.WithCancelCause(ctx)
	s.mu.Lock()
	closed := s.closed
	s.stopRewrite = stop
	s.mu.Unlock()
	done = func() {
		s.mu.Lock()
		s.stopRewrite = nil
		s.mu.Unlock()
		stop(nil)
		<-s.rewriting
	}
	if closed {
		done()
		return nil, nil, ErrClosed
	}
	return ctx, done, nil
}

// codecFor returns c as it is needed to write a volume anew: what is encrypted stays so, for the recipients of today.
func (s *Set) codecFor(v *vol, c *codec) (*codec, error) {
	if !v.encrypted {
		return c.plain(), nil
	}
	if len(s.o.Recipients) == 0 {
		return nil, errors.New("volume is encrypted, and there is no recipient to encrypt it for")
	}
	return c, nil
}

// finish writes the end of a sealed volume behind frames and makes the file durable. It returns its size.
func (s *Set) finish(f disk.File, name string, frames []frame, end int64) (int64, error) {
	if last(frames).tarEnd() != end {
		return 0, fmt.Errorf("new file ends at offset %d of the tar stream instead of %d", last(frames).tarEnd(), end)
	}
	tail, err := sealTail(s.codec, frames)
	if err != nil {
		return 0, err
	}
	if _, err := f.WriteAt(tail, last(frames).end()); err != nil {
		return 0, err
	}
	if err := s.o.FS.Chmod(name, disk.SealedPerm); err != nil {
		return 0, err
	}
	return last(frames).end() + int64(len(tail)), f.Sync()
}

// replace gives the new file its name. Readers that have the old one open read on in it.
func (s *Set) replace(v *vol, tmp string, frames []frame, size int64) error {
	s.mu.Lock()
	err := s.rename(tmp, v)
	var b *brokenError
	if err == nil || errors.As(err, &b) {
		v.frames, v.size = frames, size
		v.gen++
	}
	s.mu.Unlock()
	s.cache.forget(v.number)
	if err == nil {
		if err = s.o.FS.SyncDir(s.o.Dir); err != nil {
			err = broken("sync directory", err)
		}
	}
	return s.failed(err)
}

// rename renames the new file of v. An ErrBroken means that it has happened all the same.
func (s *Set) rename(tmp string, v *vol) error {
	if runtime.GOOS == "windows" {
		// A read-only file is not replaced there. One that is being read is not either: the caller
		// has to try another time.
		if err := s.o.FS.Chmod(v.path, disk.FilePerm); err != nil {
			return err
		}
	}
	err := s.o.FS.Rename(tmp, v.path)
	if err == nil {
		return nil
	}
	if _, statErr := s.o.FS.Stat(tmp); errors.Is(statErr, fs.ErrNotExist) {
		return broken("rename", err)
	}
	s.removeLeftover(tmp)
	return err
}
