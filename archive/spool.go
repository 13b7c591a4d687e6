package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/postkeep/postkeep/archive/volume"
)

const (
	// spoolBytes is the size in octets up to which a message waits in memory while its batch is made ready. A larger
	// one waits in a file.
	spoolBytes = 1 << 20
	// spoolTotal bounds what of one batch waits in memory.
	spoolTotal = 16 << 20
	// spoolPattern is the name of such a file. It has none any more while it is used, where the system allows that.
	spoolPattern = ".spool-*.tmp"
)

// A spool holds the bodies of a batch so that they can be read more than once.
type spool struct {
	store    *Store
	held     int64 // octets in memory
	files    []*os.File
	reserved int64 // bytes of disk, in store.reserved too
}

// A bodyError is an error of the reader that a delivery came with.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

// add reads the body of a message. It returns a *volume.MismatchError if that is not what was announced, and a
// bodyError if it cannot be read; all other errors are those of the archive's own disk.
func (sp *spool) add(ctx context.Context, d *Delivery) (io.ReaderAt, error) {
	if whole, ok := d.Body.(*bytes.Reader); ok && whole.Len() == int(whole.Size()) {
		h := sha256.New()
		_, err := whole.WriteTo(h)
		if err == nil {
			_, err = whole.Seek(0, io.SeekStart)
		}
		return whole, errors.Join(err, mismatch(d, h, whole.Size()))
	}
	body := &source{ctx: ctx, r: d.Body}
	at, w, err := sp.begin(d.Size)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(body, d.Size+1))
	switch {
	case body.err != nil:
		return nil, bodyError{body.err}
	case err != nil:
		return nil, fmt.Errorf("keep message for a moment: %w", err)
	}
	return at(), mismatch(d, h, n)
}

// mismatch says how a body of n octets differs from what was announced.
func mismatch(d *Delivery, h hash.Hash, n int64) error {
	if n != d.Size {
		return &volume.MismatchError{WantID: d.ID, WantSize: d.Size, GotSize: n}
	}
	if id := hex.EncodeToString(h.Sum(nil)); id != d.ID {
		return &volume.MismatchError{WantID: d.ID, GotID: id, WantSize: n, GotSize: n}
	}
	return nil
}

// begin makes room for a body of so many octets. What is written to w can then be read from what at returns.
func (sp *spool) begin(size int64) (at func() io.ReaderAt, w io.Writer, err error) {
	if size <= spoolBytes && sp.held+size <= spoolTotal {
		sp.held += size
		var b bytes.Buffer
		b.Grow(int(size) + bytes.MinRead)
		return func() io.ReaderAt { return bytes.NewReader(b.Bytes()) }, &b, nil
	}
	// Once here and once in the volume: a disk that runs full in between would break the writer.
	// Other batches do the same at the same time.
	sp.reserved += 2 * size
	if err := sp.store.room(sp.store.reserved.Add(2 * size)); err != nil {
		return nil, nil, err
	}
	f, err := os.CreateTemp(sp.store.dir, spoolPattern)
	if err != nil {
		return nil, nil, fmt.Errorf("keep message for a moment: %w", err)
	}
	sp.files = append(sp.files, f)
	_ = os.Remove(f.Name()) // not possible everywhere: close does it again
	return func() io.ReaderAt { return f }, f, nil
}

// close forgets the bodies.
func (sp *spool) close() {
	sp.store.reserved.Add(-sp.reserved)
	for _, f := range sp.files {
		_, _ = f.Close(), os.Remove(f.Name()) // it was never meant to last
	}
}

// removeSpooled removes what a crash has left.
func removeSpooled(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, spoolPattern))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// A source tells the errors of reading from those of writing.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
