package export

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// A tree is an export that is read.
type tree interface {
	open(name string) (io.ReadCloser, error)
	walk(fn func(name string) error) error
	// check looks at the bytes that belong to no file.
	check(ctx context.Context, problem func(file, format string, args ...any)) error
	close() error
}

// damaged tells errors of the content from those of the disk.
func damaged(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.Is(err, zip.ErrChecksum) || errors.Is(err, zip.ErrFormat) || errors.Is(err, zip.ErrAlgorithm) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) || errors.Is(err, io.EOF)
}

func openTree(path string, identities []age.Identity) (tree, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return &dirTree{dirSink{dir: path}}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, len(ageMagic))
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, f.Close())
	}
	head = head[:n]
	if _, err := os.Lstat(path + "." + manifestName); err == nil {
		return &dirTree{dirSink{dir: filepath.Dir(path), prefix: filepath.Base(path)}}, f.Close()
	}
	t, err := openZip(f, fi.Size(), string(head) == ageMagic, identities)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

// ageMagic begins every age file.
const ageMagic = "age-encryption.org/v1\n"

func openZip(f *os.File, size int64, encrypted bool, identities []age.Identity) (*zipTree, error) {
	t := &zipTree{name: filepath.Base(f.Name()), f: f, raw: f, size: size, files: map[string]*zip.File{}}
	var err error
	if encrypted {
		if len(identities) == 0 {
			return nil, errors.New("it is encrypted: say with which identity file it opens (--identity)")
		}
		if t.raw, t.size, err = age.DecryptReaderAt(f, size, identities...); err != nil {
			return nil, Problem{t.name, err.Error()}
		}
	}
	if t.zip, err = zip.NewReader(t.raw, t.size); err != nil {
		return nil, fmt.Errorf("%w: neither a directory, nor a zip, nor an mbox with %s beside it: %w", ErrNotExport, manifestName, err)
	}
	for _, z := range t.zip.File {
		t.files[z.Name] = z
	}
	return t, nil
}

type dirTree struct{ dirSink }

func (d *dirTree) open(name string) (io.ReadCloser, error) {
	if !fs.ValidPath(name) || strings.ContainsRune(name, '\\') {
		return nil, Problem{manifestName, fmt.Sprintf("%q is no name of a file in an export", name)}
	}
	f, err := os.Open(d.place(name))
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(Problem{name, "it is not a regular file"}, f.Close())
	}
	return f, nil
}

func (d *dirTree) check(context.Context, func(string, string, ...any)) error { return nil }
func (d *dirTree) close() error                                              { return nil }

// zipTree is an export in a zip, which may be encrypted.
type zipTree struct {
	name  string
	f     *os.File
	raw   io.ReaderAt // of the zip
	size  int64
	zip   *zip.Reader
	files map[string]*zip.File
}

func (t *zipTree) open(name string) (io.ReadCloser, error) {
	z := t.files[name]
	if z == nil {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	r, err := z.Open()
	if damaged(err) {
		return nil, Problem{name, err.Error()}
	}
	return r, err
}

func (t *zipTree) walk(fn func(name string) error) error {
	for _, z := range t.zip.File {
		if strings.HasSuffix(z.Name, "/") {
			continue
		}
		if err := fn(z.Name); err != nil {
			return err
		}
	}
	return nil
}

func (t *zipTree) close() error { return t.f.Close() }

// check builds the zip again from the files in it, and compares: a zip has many
// places that readers pass over.
func (t *zipTree) check(ctx context.Context, problem func(file, format string, args ...any)) error {
	same := &comparer{r: bufio.NewReaderSize(contextReader{ctx, io.NewSectionReader(t.raw, 0, t.size)}, writeBuffer)}
	zw := zip.NewWriter(same)
	err := func() error {
		for _, z := range t.zip.File {
			w, err := zw.CreateHeader(zipHeader(z.Name))
			if err != nil || strings.HasSuffix(z.Name, "/") {
				if err != nil {
					return err
				}
				continue
			}
			r, err := z.Open()
			if err != nil {
				return err
			}
			if _, err := io.Copy(w, r); err != nil {
				return errors.Join(err, r.Close())
			}
			if err := r.Close(); err != nil {
				return err
			}
		}
		return zw.Close()
	}()
	if err == nil {
		if _, eof := same.r.ReadByte(); !errors.Is(eof, io.EOF) {
			err = errDiffers
		}
	}
	if errors.Is(err, errDiffers) || damaged(err) {
		problem(t.name, "the zip around the files was changed at byte %d or before", same.at)
		return nil
	}
	return err
}

var errDiffers = errors.New("not the same bytes")

// A comparer fails when something else is written to it than r reads.
type comparer struct {
	r  *bufio.Reader
	at int64
}

func (c *comparer) Write(p []byte) (int, error) {
	buf := make([]byte, min(len(p), writeBuffer))
	for done := 0; done < len(p); {
		part := buf[:min(len(p)-done, len(buf))]
		if _, err := io.ReadFull(c.r, part); err != nil {
			return done, err
		}
		if !bytes.Equal(part, p[done:done+len(part)]) {
			return done, errDiffers
		}
		done += len(part)
		c.at += int64(len(part))
	}
	return len(p), nil
}
