package export

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
)

const (
	dirPerm = 0o700
	// writeBuffer is large enough that the cost of a system call vanishes.
	writeBuffer = 256 << 10
	// dirBatch bounds the directory entries held in memory.
	dirBatch = 1024
	// partialSuffix marks a file that is not finished.
	partialSuffix = ".partial"
	// tempPattern is the name of what only the running export needs.
	tempPattern = "export-*.tmp"
	lockName    = "export.lock"
)

var tempName = regexp.MustCompile(`^export-[0-9]+\.tmp$`)

// A sink is where the files of an export go. Names have slashes.
type sink interface {
	// create begins a file that is written at once: the next one may be created
	// when it was closed, and only then is it there under its name.
	create(name string) (io.WriteCloser, error)
	// grow begins a file that is written to while others are, or goes on with one
	// behind its first size octets.
	grow(name string, size int64) (growing, error)
	// mkdir makes an empty directory.
	mkdir(name string) error
	// tempDir is where temporary files may lie.
	tempDir() string
	// abort lets go of everything. With keep it leaves what an export can be resumed from.
	abort(keep bool) error
}

// A growing file gets its name when it is finished.
type growing interface {
	io.Writer
	// flush hands what was written to the operating system.
	flush() error
	// sync makes it durable.
	sync() error
	// reader returns what was written; nothing may be written any more.
	reader() (io.ReadCloser, error)
	finish() error
}

// A tally counts and hashes what is written through it.
type tally struct {
	w    io.Writer
	hash hash.Hash
	size int64
}

func newTally(w io.Writer) *tally { return &tally{w: w, hash: sha256.New()} }

func (t *tally) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.hash.Write(p[:n])
	t.size += int64(n)
	return n, err
}

func (t *tally) file(name string) File {
	return File{Path: name, Size: t.size, SHA256: hex.EncodeToString(t.hash.Sum(nil))}
}

// dirSink writes into a directory.
type dirSink struct {
	dir     string
	prefix  string // "" or the name of the one file, see place
	syncDir func(string) error
	made    map[string]bool // directories that are there
	buf     *bufio.Writer   // of the file being created
	open    []*os.File      // growing
	temp    *os.File        // being created
	lock    io.Closer
	isNew   bool // the directory was made by this export
	resumed bool // the files that are there are those of this export
}

// place is the path of a file. The companions of a single file lie beside it.
func (s *dirSink) place(name string) string {
	if s.prefix != "" && name != s.prefix {
		name = s.prefix + "." + name
	}
	return filepath.Join(s.dir, filepath.FromSlash(name))
}

func (s *dirSink) tempDir() string { return s.dir }

func (s *dirSink) mkdir(name string) error {
	if name == "." || s.made[name] {
		return nil
	}
	if err := os.MkdirAll(s.place(name), dirPerm); err != nil {
		return err
	}
	s.made[name] = true
	return nil
}

// create makes a file with mode 0600 under a temporary name.
func (s *dirSink) create(name string) (io.WriteCloser, error) {
	if err := s.mkdir(path.Dir(name)); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.dir, tempPattern)
	if err != nil {
		return nil, err
	}
	s.buf.Reset(f)
	s.temp = f
	return &dirFile{Writer: s.buf, f: f, name: s.place(name)}, nil
}

type dirFile struct {
	*bufio.Writer
	f    *os.File
	name string
}

func (d *dirFile) Close() error {
	err := errors.Join(d.Flush(), d.f.Close())
	if err == nil {
		err = os.Rename(d.f.Name(), d.name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(d.f.Name()))
	}
	return nil
}

func (s *dirSink) grow(name string, size int64) (growing, error) {
	if err := s.mkdir(path.Dir(name)); err != nil {
		return nil, err
	}
	place := s.place(name)
	if size == 0 && s.resumed { // left from behind the place where it goes on
		if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	} else if size == 0 {
		if err := absent(place); err != nil {
			return nil, err
		}
	} else if err := os.Rename(place, place+partialSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(place+partialSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(size); err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.open = append(s.open, f)
	return &dirGrowing{Writer: bufio.NewWriterSize(f, writeBuffer), f: f, name: place}, nil
}

type dirGrowing struct {
	*bufio.Writer
	f    *os.File
	name string
}

func (d *dirGrowing) flush() error { return d.Flush() }
func (d *dirGrowing) sync() error  { return errors.Join(d.Flush(), d.f.Sync()) }

func (d *dirGrowing) reader() (io.ReadCloser, error) {
	if err := d.Flush(); err != nil {
		return nil, err
	}
	return os.Open(d.f.Name())
}

func (d *dirGrowing) finish() error {
	if err := errors.Join(d.sync(), d.f.Close()); err != nil {
		return err
	}
	return os.Rename(d.f.Name(), d.name)
}

// abort closes the files that still grow, removes the one that is being created,
// and gives up the lock. Without keep it removes what it has made: nobody wants
// the remains of an export that had not begun.
func (s *dirSink) abort(keep bool) error {
	var errs []error
	if s.temp != nil && !errors.Is(s.temp.Close(), os.ErrClosed) {
		errs = append(errs, os.Remove(s.temp.Name()))
	}
	for _, f := range s.open {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
		if !keep {
			_ = os.Remove(f.Name()) // it is not there any more if it was finished
		}
	}
	s.open = nil
	errs = append(errs, s.unlock())
	if keep {
		return errors.Join(errs...)
	}
	for name := range s.made {
		for ; name != "."; name = path.Dir(name) {
			_ = os.Remove(s.place(name)) // if it is empty
		}
	}
	if s.isNew {
		_ = os.Remove(s.dir)
	}
	return errors.Join(errs...)
}

// walk calls fn with the name of every file below the directory, as the
// manifest has it. What is no regular file is ErrForeign.
func (s *dirSink) walk(fn func(name string) error) error {
	if s.prefix != "" {
		return s.walkBeside(fn)
	}
	return walkDir(s.dir, "", fn)
}

func walkDir(root, below string, fn func(name string) error) error {
	d, err := os.Open(filepath.Join(root, filepath.FromSlash(below)))
	if err != nil {
		return err
	}
	defer d.Close() // only read
	for {
		entries, err := d.ReadDir(dirBatch)
		for _, e := range entries {
			name := path.Join(below, e.Name())
			switch {
			case e.IsDir():
				err = walkDir(root, name, fn)
			case e.Type().IsRegular():
				err = fn(name)
			default:
				err = fmt.Errorf("%s: %w: not a regular file", name, ErrForeign)
			}
			if err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// walkBeside lists the one file and its companions.
func (s *dirSink) walkBeside(fn func(name string) error) error {
	for _, name := range []string{s.prefix, manifestName, proofName, howToName} {
		for _, suffix := range []string{"", partialSuffix} {
			_, err := os.Lstat(s.place(name) + suffix)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = fn(name + suffix)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// absent returns an error that wraps fs.ErrExist if there is anything at path.
func absent(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("%s: %w: choose another name or remove it", path, os.ErrExist)
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	return nil
}

// syncAll makes the directories durable, the deepest first by name.
func (s *dirSink) syncAll() error {
	for name := range s.made {
		for ; name != "."; name = path.Dir(name) {
			if err := s.syncDir(s.place(name)); err != nil {
				return err
			}
		}
	}
	if err := s.syncDir(s.dir); err != nil {
		return err
	}
	return s.syncDir(filepath.Dir(s.dir))
}

// syncFile makes a file durable that another descriptor wrote. It opens it for
// writing because Windows flushes no other.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
