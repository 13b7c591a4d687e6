package disktest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/postkeep/postkeep/archive/disk"
)

// A Recorder wraps the file system below a directory and keeps account of what
// is durable, as the most forgetful disk that POSIX allows would have it:
//
//   - a file has the content and the mode of its last successful Sync, and no
//     content before the first one;
//   - a created, renamed or removed name, or a new directory, takes effect with the
//     next SyncDir of the directory that it is in, and not before; a rename between
//     two directories is two changes.
//
// What was in the directory when the Recorder was made counts as durable; what
// comes into it later by another way is not seen. Nothing is really fsynced: the
// Recorder is the disk. Durable content is kept in memory.
// All methods may be called concurrently; operations are serialised.
type Recorder struct {
	// Ignore chooses the Syncs and SyncDirs that report success without making
	// anything durable, so that a test can show that it notices the loss of one.
	// It is called under the Recorder's lock and must be set before use.
	Ignore func(Op) bool

	fsys disk.FS
	root string

	mu   sync.Mutex
	tree *node
	ops  []Op
}

// A node is a file or a directory.
type node struct {
	dir           bool
	live, durable map[string]*node // of a directory: its entries, now and after a power cut

	content           []byte // of a file: after a power cut
	dirtyFrom         int64  // content differs from the file at most from here on
	mode, durableMode fs.FileMode
}

func newDir() *node {
	return &node{dir: true, live: map[string]*node{}, durable: map[string]*node{}}
}

// NewRecorder returns a Recorder for what is below the directory root, which
// must exist. Paths outside of it are refused.
func NewRecorder(fsys disk.FS, root string) (*Recorder, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	r := &Recorder{fsys: fsys, root: abs, tree: newDir()}
	if err := r.load(r.tree, abs); err != nil {
		return nil, fmt.Errorf("record %s: %w", root, err)
	}
	return r, nil
}

func (r *Recorder) load(dir *node, name string) error {
	entries, err := r.fsys.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		child, full := newDir(), filepath.Join(name, e.Name())
		if e.IsDir() {
			err = r.load(child, full)
		} else {
			child, err = r.loadFile(full)
		}
		if err != nil {
			return err
		}
		dir.live[e.Name()], dir.durable[e.Name()] = child, child
	}
	return nil
}

func (r *Recorder) loadFile(name string) (*node, error) {
	f, err := r.fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(f)
	return &node{
		content: content, dirtyFrom: int64(len(content)),
		mode: info.Mode().Perm(), durableMode: info.Mode().Perm(),
	}, err
}

// Ops returns the operations so far, in order, ignored ones included.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops)
}

// CrashImage writes into the directory dir, made if need be, what a power cut
// at this moment would leave at worst. Work may go on during and after it.
func (r *Recorder) CrashImage(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tree.image(dir)
}

func (n *node) image(name string) error {
	if !n.dir {
		return os.WriteFile(name, n.content, n.durableMode)
	}
	if err := os.MkdirAll(name, disk.DirPerm); err != nil {
		return err
	}
	for base, child := range n.durable {
		if err := child.image(filepath.Join(name, base)); err != nil {
			return err
		}
	}
	return nil
}

// rel returns the path relative to the root, with slashes.
func (r *Recorder) rel(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(r.root, abs)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is outside of the recorded %s", name, r.root)
	}
	return filepath.ToSlash(rel), nil
}

// node returns the node that a relative path leads to now, or nil.
func (r *Recorder) node(rel string) *node {
	n := r.tree
	if rel == "." {
		return n
	}
	for base := range strings.SplitSeq(rel, "/") {
		if n == nil || !n.dir {
			return nil
		}
		n = n.live[base]
	}
	return n
}

// parent returns the directory node and the last element of a relative path.
func (r *Recorder) parent(rel string) (*node, string) {
	return r.node(path.Dir(rel)), path.Base(rel)
}

// detach takes a name out of its directory and returns what it named, or nil.
func (r *Recorder) detach(rel string) *node {
	dir, base := r.parent(rel)
	if dir == nil {
		return nil
	}
	n := dir.live[base]
	delete(dir.live, base)
	return n
}

// OpenFile opens a file below the root.
func (r *Recorder) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	rel, err := r.rel(name)
	if err != nil {
		return nil, err
	}
	if flag&os.O_WRONLY != 0 {
		flag = flag&^os.O_WRONLY | os.O_RDWR // Sync reads what it makes durable
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, statErr := r.fsys.Stat(name)
	f, err := r.fsys.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	n := r.node(rel)
	switch {
	case n == nil:
		n = &node{mode: perm, durableMode: perm}
		if dir, base := r.parent(rel); dir != nil && errors.Is(statErr, fs.ErrNotExist) {
			dir.live[base] = n
		}
		r.ops = append(r.ops, Op{Kind: Create, Path: rel})
	case flag&os.O_TRUNC != 0:
		n.dirtyFrom = 0
		r.ops = append(r.ops, Op{Kind: Truncate, Path: rel})
	}
	return &recordedFile{File: f, r: r, node: n, rel: rel, appends: flag&os.O_APPEND != 0}, nil
}

// Rename renames a file or directory below the root.
func (r *Recorder) Rename(oldname, newname string) error {
	from, err := r.rel(oldname)
	if err != nil {
		return err
	}
	to, err := r.rel(newname)
	if err != nil {
		return err
	}
	return r.change(Op{Kind: Rename, Path: from, To: to},
		func() error { return r.fsys.Rename(oldname, newname) },
		func() {
			n := r.detach(from)
			if dir, base := r.parent(to); dir != nil && n != nil {
				dir.live[base] = n
			}
		})
}

// Remove removes a file or an empty directory below the root.
func (r *Recorder) Remove(name string) error {
	rel, err := r.rel(name)
	if err != nil {
		return err
	}
	return r.change(Op{Kind: Remove, Path: rel},
		func() error { return r.fsys.Remove(name) },
		func() { r.detach(rel) })
}

// MkdirAll makes a directory below the root and its parents.
func (r *Recorder) MkdirAll(name string, perm fs.FileMode) error {
	rel, err := r.rel(name)
	if err != nil {
		return err
	}
	return r.change(Op{Kind: Mkdir, Path: rel},
		func() error { return r.fsys.MkdirAll(name, perm) },
		func() {
			n := r.tree
			for base := range strings.SplitSeq(rel, "/") {
				if base == "." {
					return
				}
				if n.live[base] == nil {
					n.live[base] = newDir()
				}
				n = n.live[base]
			}
		})
}

// Chmod changes the mode of a file below the root; it is durable with the next
// Sync of the file.
func (r *Recorder) Chmod(name string, mode fs.FileMode) error {
	rel, err := r.rel(name)
	if err != nil {
		return err
	}
	return r.change(Op{Kind: Chmod, Path: rel},
		func() error { return r.fsys.Chmod(name, mode) },
		func() {
			if n := r.node(rel); n != nil {
				n.mode = mode
			}
		})
}

// SyncDir makes the present entries of a directory durable.
func (r *Recorder) SyncDir(name string) error {
	rel, err := r.rel(name)
	if err != nil {
		return err
	}
	op := Op{Kind: SyncDir, Path: rel}
	return r.change(op,
		func() error {
			if n := r.node(rel); n == nil || !n.dir {
				return &fs.PathError{Op: "syncdir", Path: name, Err: fs.ErrNotExist}
			}
			return nil
		},
		func() {
			if r.ignored(op) {
				return
			}
			n := r.node(rel)
			clear(n.durable)
			for base, child := range n.live {
				n.durable[base] = child
			}
		})
}

// ReadDir lists a directory.
func (r *Recorder) ReadDir(name string) ([]fs.DirEntry, error) { return r.fsys.ReadDir(name) }

// Stat describes a file.
func (r *Recorder) Stat(name string) (fs.FileInfo, error) { return r.fsys.Stat(name) }

// change does an operation and, if it succeeds, accounts for it.
func (r *Recorder) change(op Op, do func() error, account func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := do(); err != nil {
		return err
	}
	account()
	r.ops = append(r.ops, op)
	return nil
}

func (r *Recorder) ignored(op Op) bool { return r.Ignore != nil && r.Ignore(op) }

// A recordedFile is an open file of a Recorder.
type recordedFile struct {
	disk.File
	r       *Recorder
	node    *node
	rel     string // when it was opened
	appends bool
}

func (f *recordedFile) Write(p []byte) (int, error) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	whence := io.SeekCurrent
	if f.appends {
		whence = io.SeekEnd
	}
	at, err := f.Seek(0, whence)
	if err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.wrote(at, n)
	return n, err
}

func (f *recordedFile) WriteAt(p []byte, off int64) (int, error) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	n, err := f.File.WriteAt(p, off)
	f.wrote(off, n)
	return n, err
}

// wrote accounts for n bytes written at an offset.
func (f *recordedFile) wrote(at int64, n int) {
	f.node.dirtyFrom = min(f.node.dirtyFrom, at)
	f.r.ops = append(f.r.ops, Op{Kind: Write, Path: f.rel, Size: int64(n)})
}

func (f *recordedFile) Truncate(size int64) error {
	return f.r.change(Op{Kind: Truncate, Path: f.rel, Size: size},
		func() error { return f.File.Truncate(size) },
		func() { f.node.dirtyFrom = min(f.node.dirtyFrom, size) })
}

// Sync makes the file's present content and mode durable.
func (f *recordedFile) Sync() error {
	op, n := Op{Kind: Sync, Path: f.rel}, f.node
	var tail []byte
	return f.r.change(op,
		func() (err error) {
			tail, err = io.ReadAll(io.NewSectionReader(f.File, n.dirtyFrom, math.MaxInt64-n.dirtyFrom))
			return err
		},
		func() {
			if !f.r.ignored(op) {
				n.content = append(n.content[:n.dirtyFrom], tail...)
				n.dirtyFrom = int64(len(n.content))
				n.durableMode = n.mode
			}
		})
}
