package export

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/gofrs/flock"
)

// A resumed is how far an interrupted or finished export is there.
type resumed struct {
	offset int64     // in the manifest, behind the last entry that holds; 0 if there is none
	hash   hash.Hash // of the manifest up to there
	shared []File    // of the volume, behind that entry
}

// size is how much is there of a file that grows.
func (r *resumed) size(name string) int64 {
	if name == manifestName {
		return r.offset
	}
	for _, f := range r.shared {
		if f.Path == name {
			return f.Size
		}
	}
	return 0
}

// acquire takes the lock of the destination.
func (s *dirSink) acquire() error {
	l := flock.New(s.place(lockName), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: another export is writing to %s", ErrForeign, s.dir)
	}
	s.lock = l
	return nil
}

// unlock gives the lock up, and removes its file.
func (s *dirSink) unlock() error {
	if s.lock == nil {
		return nil
	}
	l := s.lock
	s.lock = nil
	err := l.Close()
	if rerr := os.Remove(s.place(lockName)); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// inspect looks at what is in the destination. It changes nothing before it
// knows that it is the same export.
func (f *fetching) inspect(ctx context.Context) (found resumed, err error) {
	name := f.dir.place(manifestName)
	m, err := os.Open(name + partialSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		m, err = os.Open(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return found, f.empty()
	}
	if err != nil {
		return found, err
	}
	defer m.Close() // only read
	if found, err = f.compare(ctx, m); err != nil {
		return found, err
	}
	f.dir.resumed = true
	for _, suffix := range []string{"", partialSuffix} {
		if err := os.Remove(f.dir.place(proofName) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found, err
		}
	}
	return found, f.removeTemp()
}

// empty fails if there is anything in the way.
func (f *fetching) empty() error {
	return f.dir.walk(func(name string) error {
		if name == lockName || tempName.MatchString(name) {
			return nil
		}
		return fmt.Errorf("%w: %s is not part of an export; choose another name or an empty directory", ErrForeign, name)
	})
}

// removeTemp removes the temporary files of an export that was killed.
func (f *fetching) removeTemp() error {
	if f.dir.prefix != "" {
		return nil // they may belong to another one
	}
	entries, err := os.ReadDir(f.dir.dir)
	for _, e := range entries {
		if err == nil && tempName.MatchString(e.Name()) {
			err = os.Remove(f.dir.place(e.Name()))
		}
	}
	return err
}

// compare reads the manifest and stops at the first entry that does not hold.
func (f *fetching) compare(ctx context.Context, r io.Reader) (found resumed, _ error) {
	want, err := headLine(f.opts.request())
	if err != nil {
		return found, err
	}
	m, err := newManifestReader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return found, nil // killed before the first line was whole
	}
	if err != nil {
		return found, fmt.Errorf("%w: %s: %w", ErrForeign, manifestName, err)
	}
	if !bytes.Equal(m.request, want) {
		return found, fmt.Errorf("%w: an export of another query, format or other options; choose another place", ErrForeign)
	}
	shared := sharedReaders{dir: f.dir, at: map[string]*sharedReader{}}
	defer shared.close()
	for entries := int64(1); ctx.Err() == nil; entries++ {
		e, err := m.next()
		if err != nil {
			break // the end, or what was being written
		}
		files := e.Files
		if e.File != nil {
			files = []File{*e.File}
		}
		if ok, err := f.holds(ctx, files, e.Shared, &shared); err != nil || !ok {
			return found, err
		}
		if e.File != nil {
			continue
		}
		found = resumed{offset: m.offset, shared: e.Shared}
		f.done++
		f.ids.Write([]byte(e.ID + "\n"))
		if found.hash, err = cloneHash(m.hash); err != nil {
			return found, err
		}
	}
	return found, ctx.Err()
}

func cloneHash(h hash.Hash) (hash.Hash, error) {
	c, ok := h.(hash.Cloner)
	if !ok {
		return nil, errors.New("SHA-256 cannot be cloned")
	}
	return c.Clone()
}

// holds reports whether files are what an entry says, and shared files as far as it
// says.
func (f *fetching) holds(ctx context.Context, files, reached []File, shared *sharedReaders) (bool, error) {
	for _, file := range files {
		r, err := os.Open(f.dir.place(file.Path))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		t := newTally(io.Discard)
		_, err = io.Copy(t, contextReader{ctx, io.LimitReader(r, file.Size+1)})
		if err = errors.Join(err, r.Close()); err != nil {
			return false, err
		}
		if t.size != file.Size || hex.EncodeToString(t.hash.Sum(nil)) != file.SHA256 {
			return false, nil
		}
		f.dir.made[path.Dir(file.Path)] = true
	}
	for _, file := range reached {
		if ok, err := shared.reach(ctx, file); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// sharedReaders follow the shared files from entry to entry.
type sharedReaders struct {
	dir *dirSink
	at  map[string]*sharedReader
}

type sharedReader struct {
	f *os.File
	*tally
}

// reach reads on to the place that f names and compares the hash.
func (s *sharedReaders) reach(ctx context.Context, f File) (bool, error) {
	r := s.at[f.Path]
	if r == nil {
		place := s.dir.place(f.Path)
		file, err := os.Open(place + partialSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			file, err = os.Open(place)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		r = &sharedReader{file, newTally(io.Discard)}
		s.at[f.Path] = r
	}
	_, err := io.CopyN(r.tally, contextReader{ctx, r.f}, f.Size-r.size)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil && hex.EncodeToString(r.hash.Sum(nil)) == f.SHA256, err
}

func (s *sharedReaders) close() {
	for _, r := range s.at {
		_ = r.f.Close() // only read
	}
}
