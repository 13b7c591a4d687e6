package anchor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/postkeep/postkeep/archive/disk"
)

// separator stands behind each note of a file: two empty notes, which no note has.
const separator = "\n\n"

// FileOptions says where a File is.
type FileOptions struct {
	// FS is the file system; nil means the operating system's.
	FS disk.FS
	// Path is the file; its directory must exist. It should be one that only
	// lets itself be appended to (chattr +a), or lie on another machine.
	Path string
}

// A File keeps checkpoints one after the other. What it holds is never
// rewritten. All methods may be called concurrently; other processes should not append to it.
type File struct {
	fsys disk.FS
	path string
	mu   sync.Mutex
}

// NewFile returns a File. The file itself is made by the first Anchor.
func NewFile(opt FileOptions) *File {
	if opt.FS == nil {
		opt.FS = disk.OS()
	}
	return &File{fsys: opt.FS, path: opt.Path}
}

// Anchor appends a checkpoint, and returns when that is durable. A checkpoint that is already
// the last one is not appended again.
func (f *File) Anchor(ctx context.Context, checkpoint []byte) error {
	if _, err := sizeOf(checkpoint); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.append(checkpoint); err != nil {
		return fmt.Errorf("anchor checkpoint: %w", err)
	}
	return nil
}

func (f *File) append(checkpoint []byte) (err error) {
	file, err := f.fsys.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, disk.FilePerm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	record := append(bytes.Clone(checkpoint), separator...)
	tail := make([]byte, min(size, int64(len(record))))
	if _, err := file.ReadAt(tail, size-int64(len(tail))); err != nil {
		return err
	}
	if !bytes.Equal(tail, record) {
		if size > 0 && !bytes.HasSuffix(tail, []byte("\n"+separator)) {
			record = append([]byte("\n"+separator), record...) // a crash has torn the last one
		}
		if _, err := file.Write(record); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return f.fsys.SyncDir(filepath.Dir(f.path)) // the file may be new
}

// Verify calls check with every checkpoint in the file, in order, and returns how
// many there are, and the errors joined. A part that is no checkpoint is ErrInvalid.
// The torn remains of a crash are one too, they stay in the file. A file that is not
// there is an error: it may have been taken away.
func (f *File) Verify(ctx context.Context, check Check) (checkpoints int, err error) {
	file, err := f.fsys.OpenFile(f.path, os.O_RDONLY, 0)
	if err != nil {
		return 0, fmt.Errorf("anchored checkpoints: %w", err)
	}
	defer file.Close()
	notes := bufio.NewScanner(file)
	notes.Buffer(nil, maxCheckpoint+2*len(separator))
	notes.Split(splitNotes)
	var errs []error
	for n := 1; notes.Scan(); n++ {
		if err := ctx.Err(); err != nil {
			return checkpoints, err
		}
		note := bytes.TrimLeft(bytes.Clone(notes.Bytes()), "\n")
		_, err := sizeOf(note)
		if err == nil {
			checkpoints++
			err = check(ctx, note)
		}
		if err != nil && len(errs) < maxErrors {
			errs = append(errs, fmt.Errorf("%s: note %d: %w", f.path, n, err))
		}
	}
	if err := notes.Err(); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w: %w", f.path, ErrInvalid, err))
	}
	return checkpoints, errors.Join(errs...)
}

// maxErrors is how many errors a verification lists: more do not say more.
const maxErrors = 100

// splitNotes is a bufio.SplitFunc. A token ends with the newline of its last line.
func splitNotes(data []byte, atEOF bool) (advance int, token []byte, err error) {
	end := []byte("\n" + separator)
	if i := bytes.Index(data, end); i >= 0 {
		return i + len(end), data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
