package export

import (
	"archive/zip"
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
)

// zipTime stands for all times in a zip: the earliest that the format has, so
// that the same files give the same bytes.
func zipTime() time.Time { return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC) }

// zipHeader describes a file. Nothing is compressed: what a compressor gives
// changes from version to version, and verifying builds the zip again.
func zipHeader(name string) *zip.FileHeader {
	h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: zipTime()}
	if name[len(name)-1] == '/' {
		h.SetMode(os.ModeDir | dirPerm)
	} else {
		h.SetMode(0o600)
	}
	return h
}

// zipSink writes into a zip file, which may be encrypted.
type zipSink struct {
	name string // of the file when it is finished
	f    *os.File
	buf  *bufio.Writer
	age  io.WriteCloser // nil if it is not encrypted
	zip  *zip.Writer
	made map[string]bool
	grew []*zipGrowing
}

func newZipSink(name string, to []age.Recipient) (_ *zipSink, err error) {
	if err := absent(name); err != nil {
		return nil, err
	}
	s := &zipSink{name: name, made: map[string]bool{}}
	if s.f, err = os.CreateTemp(filepath.Dir(name), tempPattern); err != nil {
		return nil, err
	}
	s.buf = bufio.NewWriterSize(s.f, writeBuffer)
	var w io.Writer = s.buf
	if len(to) > 0 {
		if s.age, err = age.Encrypt(s.buf, to...); err != nil {
			return nil, errors.Join(err, s.abort(false))
		}
		w = s.age
	}
	s.zip = zip.NewWriter(w)
	return s, nil
}

func (s *zipSink) tempDir() string { return filepath.Dir(s.name) }

func (s *zipSink) mkdir(name string) error {
	if s.made[name] {
		return nil
	}
	s.made[name] = true
	_, err := s.zip.CreateHeader(zipHeader(name + "/"))
	return err
}

func (s *zipSink) create(name string) (io.WriteCloser, error) {
	w, err := s.zip.CreateHeader(zipHeader(name))
	return nopCloser{w}, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (s *zipSink) grow(name string, _ int64) (growing, error) {
	g := &zipGrowing{spool: spool{dir: s.tempDir()}, sink: s, name: name}
	s.grew = append(s.grew, g)
	return g, nil
}

// A zipGrowing is put into the zip when it is finished.
type zipGrowing struct {
	spool
	sink *zipSink
	name string
}

func (g *zipGrowing) flush() error { return nil }
func (g *zipGrowing) sync() error  { return nil }

func (g *zipGrowing) reader() (io.ReadCloser, error) {
	r, err := g.spool.reader()
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(r, 0, g.size)), nil
}

func (g *zipGrowing) finish() error {
	r, err := g.reader()
	if err != nil {
		return err
	}
	w, err := g.sink.create(g.name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		return err
	}
	return g.reset()
}

// commit ends the file and gives it its name.
func (s *zipSink) commit(syncDir func(string) error) error {
	err := s.zip.Close()
	if s.age != nil {
		err = errors.Join(err, s.age.Close())
	}
	if err == nil {
		err = errors.Join(s.buf.Flush(), s.f.Sync())
	}
	if err = errors.Join(err, s.f.Close()); err != nil {
		return err
	}
	if err := absent(s.name); err != nil {
		return err
	}
	if err := os.Rename(s.f.Name(), s.name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.name))
}

// abort removes everything that has no name yet.
func (s *zipSink) abort(bool) error {
	var errs []error
	for _, g := range s.grew {
		errs = append(errs, g.reset())
	}
	if err := s.f.Close(); !errors.Is(err, os.ErrClosed) {
		errs = append(errs, err)
	}
	if err := os.Remove(s.f.Name()); !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
