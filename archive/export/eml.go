package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	manifestName = "manifest.jsonl"
	tempPattern  = "export-*.tmp"
	// dirBatch bounds the directory entries held in memory.
	dirBatch = 1024
)

var tempName = regexp.MustCompile(`^export-[0-9]+\.tmp$`)

type emlWriter struct {
	dir      string
	opts     Options
	manifest *tempFile
	buf      *bufio.Writer // of the message being written
	count    int64         // messages added
	err      error         // why the export cannot go on
}

// NewEML starts, or resumes, an export of one <id>.eml per message with the
// exact bytes into dir, which is created with mode 0700 if it is missing.
//
// A message that an earlier, interrupted export has written is kept and not
// read again; a file of the same name with other content is an error
// (ErrMismatch). A directory that holds anything but an export, or at Close
// messages that were not added, is refused (ErrForeign). The manifest is
// manifest.jsonl; it appears only when the export is complete.
func NewEML(dir string, opts Options) (Writer, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	dir = filepath.Clean(dir)
	if err := makeDir(dir, opts.SyncDir); err != nil {
		return nil, fmt.Errorf("start eml export: %w", err)
	}
	if err := removeLeftovers(dir); err != nil {
		return nil, fmt.Errorf("start eml export: %w", err)
	}
	manifest, err := createTemp(dir, tempPattern, newBuffer())
	if err != nil {
		return nil, fmt.Errorf("start eml export: %w", err)
	}
	return &emlWriter{dir: dir, opts: opts, manifest: manifest, buf: newBuffer()}, nil
}

func makeDir(dir string, syncDir func(string) error) error {
	if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// removeLeftovers deletes the temporary files of an interrupted export. It
// deletes nothing if the directory holds anything foreign.
func removeLeftovers(dir string) error {
	var leftovers []string
	err := eachName(dir, func(name string) error {
		switch {
		case tempName.MatchString(name):
			leftovers = append(leftovers, name)
		case name != manifestName && !isEML(name):
			return fmt.Errorf("%s: %w: %q is not part of an export; choose an empty directory", dir, ErrForeign, name)
		}
		return nil
	})
	for _, name := range leftovers {
		if err != nil {
			break
		}
		err = os.Remove(filepath.Join(dir, name))
	}
	return err
}

func isEML(name string) bool {
	id, ok := strings.CutSuffix(name, ".eml")
	return ok && validID(id)
}

func eachName(dir string, fn func(name string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // only read
	for {
		entries, err := d.ReadDir(dirBatch)
		for _, e := range entries {
			if err := fn(e.Name()); err != nil {
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

func (w *emlWriter) Add(ctx context.Context, m Message) error {
	if w.err == nil {
		w.err = w.add(ctx, m)
	}
	return w.err
}

func (w *emlWriter) add(ctx context.Context, m Message) error {
	if err := m.validate(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	name := filepath.Join(w.dir, m.ID+".eml")
	have, err := holds(ctx, name, m)
	if err == nil && !have {
		err = w.writeMessage(ctx, name, m)
	}
	if err == nil {
		err = w.manifest.write(newEntry(m, nil))
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", w.dir, err)
	}
	w.count++
	return nil
}

// holds reports whether the file is there with the bytes of the message.
func holds(ctx context.Context, name string, m Message) (bool, error) {
	fi, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !fi.Mode().IsRegular() {
		return false, fmt.Errorf("%s: %w: not a regular file", name, ErrForeign)
	}
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close() // only read
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return false, err
	}
	if fi.Size() != m.Size || hex.EncodeToString(h.Sum(nil)) != m.ID {
		return false, fmt.Errorf("existing file %s: %w; remove it, or choose another directory", name, ErrMismatch)
	}
	return true, nil
}

func (w *emlWriter) writeMessage(ctx context.Context, name string, m Message) error {
	t, err := createTemp(w.dir, tempPattern, w.buf)
	if err != nil {
		return err
	}
	if err = copyVerified(ctx, t, m); err == nil {
		err = t.commit(name)
	}
	if err != nil {
		return errors.Join(err, t.discard())
	}
	return nil
}

func (w *emlWriter) Close() error {
	if w.err != nil {
		return errors.Join(w.err, w.manifest.discard())
	}
	err := w.finish()
	if err != nil {
		w.err = fmt.Errorf("finish export to %s: %w", w.dir, err)
		return errors.Join(w.err, w.manifest.discard())
	}
	w.err = errClosed
	return nil
}

func (w *emlWriter) finish() error {
	var found int64
	err := eachName(w.dir, func(name string) error {
		if !isEML(name) {
			return nil
		}
		found++
		return syncFile(filepath.Join(w.dir, name))
	})
	if err != nil {
		return err
	}
	switch {
	case found > w.count:
		return fmt.Errorf("%w: %d messages there, %d exported; choose an empty directory", ErrForeign, found, w.count)
	case found < w.count:
		return fmt.Errorf("%d messages exported, %d there: one was added twice, or a file was removed", w.count, found)
	}
	if err := w.manifest.sync(); err != nil {
		return err
	}
	if err := w.manifest.commit(filepath.Join(w.dir, manifestName)); err != nil {
		return err
	}
	return w.opts.SyncDir(w.dir)
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

// Abort keeps the messages that are complete, for an export that resumes.
func (w *emlWriter) Abort() error {
	if w.err == nil {
		w.err = errClosed
	}
	return w.manifest.discard()
}
