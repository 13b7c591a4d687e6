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
	offset  int64     // in the manifest, behind the last entry that holds; 0 if there is none
	hash    hash.Hash // of the manifest up to there
	entries int64     // up to there
	volume  int
	shared  []File // of the volume, behind that entry
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
func (x *exporter) inspect(ctx context.Context, found resumed) (resumed, error) {
	name := x.dir.place(manifestName)
	f, err := os.Open(name + partialSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.Open(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return found, x.empty()
	}
	if err != nil {
		return found, err
	}
	defer f.Close() // only read
	if found, err = x.compare(ctx, f, found); err != nil {
		return found, err
	}
	x.dir.resumed = true
	for _, suffix := range []string{"", partialSuffix} {
		if err := os.Remove(x.dir.place(proofName) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found, err
		}
	}
	return found, x.removeTemp()
}

// empty fails if there is anything in the way.
func (x *exporter) empty() error {
	return x.dir.walk(func(name string) error {
		if name == lockName || tempName.MatchString(name) {
			return nil
		}
		return fmt.Errorf("%w: %s is not part of an export; choose another name or an empty directory", ErrForeign, name)
	})
}

// removeTemp removes the temporary files of an export that was killed.
func (x *exporter) removeTemp() error {
	if x.dir.prefix != "" {
		return nil // they may belong to another one
	}
	entries, err := os.ReadDir(x.dir.dir)
	for _, e := range entries {
		if err == nil && tempName.MatchString(e.Name()) {
			err = os.Remove(x.dir.place(e.Name()))
		}
	}
	return err
}

// compare reads the manifest and stops at the first entry that does not hold.
func (x *exporter) compare(ctx context.Context, r io.Reader, found resumed) (resumed, error) {
	want, err := headLine(x.opts.request())
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
	shared := sharedReaders{dir: x.dir, at: map[string]*sharedReader{}}
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
		if ok, err := x.holds(ctx, files, e.Shared, &shared); err != nil || !ok {
			return found, err
		}
		if e.File != nil {
			continue
		}
		found = resumed{offset: m.offset, entries: entries, volume: e.Volume, shared: e.Shared}
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
func (x *exporter) holds(ctx context.Context, files, reached []File, shared *sharedReaders) (bool, error) {
	for _, f := range files {
		r, err := os.Open(x.dir.place(f.Path))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		t := newTally(io.Discard)
		_, err = io.Copy(t, contextReader{ctx, io.LimitReader(r, f.Size+1)})
		if err = errors.Join(err, r.Close()); err != nil {
			return false, err
		}
		if t.size != f.Size || hex.EncodeToString(t.hash.Sum(nil)) != f.SHA256 {
			return false, nil
		}
		x.dir.made[path.Dir(f.Path)] = true
	}
	for _, f := range reached {
		if ok, err := shared.reach(ctx, f); err != nil || !ok {
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

// replay counts what is there already.
func (x *exporter) replay(found resumed) error {
	r, err := x.manifest.reader()
	if err != nil {
		return err
	}
	defer r.Close() // only read
	m, err := newManifestReader(io.LimitReader(r, found.offset))
	for err == nil && m.offset < found.offset {
		var e Entry
		if e, err = m.next(); err != nil || e.File != nil {
			continue
		}
		x.count(&e)
		if e.Volume != x.volume.number || e.Omitted != "" {
			continue
		}
		x.volume.messages++
		for _, f := range e.Files {
			x.volume.size += f.Size
		}
		x.volume.format.replay(e)
	}
	return err
}
