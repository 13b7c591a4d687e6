package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/postkeep/postkeep/archive/disk"
)

var (
	// ErrInjected is the error of the operation that a Faulty lets fail.
	ErrInjected = errors.New("injected fault")
	// ErrCrashed is the error of every operation after the fault of a Faulty
	// whose Fault says Crash.
	ErrCrashed = errors.New("file system is gone after an injected fault")
)

// Mode is how an operation fails.
type Mode int

const (
	// Fail does nothing and returns an error.
	Fail Mode = iota
	// FailPersisted does the operation and returns an error all the same.
	FailPersisted
	// Torn writes the first Fault.Bytes bytes of a Write and returns an error;
	// any other operation fails as with Fail.
	Torn
)

func (m Mode) String() string {
	return [...]string{"fail", "fail-persisted", "torn"}[m]
}

// A Fault says which operation fails, and how.
type Fault struct {
	// At is the operation that fails, counted from 1; 0 means none.
	At int
	// Only chooses the operations that count; nil counts all that change the
	// disk or make a change durable.
	Only func(Op) bool
	Mode Mode
	// Bytes is how much of a Torn write is done; at most all of it.
	Bytes int
	// Crash lets every later operation fail too, reads included; only Close works.
	Crash bool
	// Err is the error of the operation, such as syscall.ENOSPC; nil is ErrInjected.
	Err error
	// Lasts lets every later operation that counts fail in the same way, as on a full disk.
	Lasts bool
}

// A Faulty wraps a file system in which one operation fails. A test loops over
// Fault.At until Fired says that there was no such operation. All methods may
// be called concurrently.
type Faulty struct {
	fsys  disk.FS
	fault Fault

	mu    sync.Mutex
	count int
	fired *Op
}

// NewFaulty returns a file system on top of fsys that has the fault.
func NewFaulty(fsys disk.FS, fault Fault) *Faulty {
	return &Faulty{fsys: fsys, fault: fault}
}

// Count returns how many operations were counted.
func (f *Faulty) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Fired returns the operation that failed, and false if none has yet.
func (f *Faulty) Fired() (Op, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fired == nil {
		return Op{}, false
	}
	return *f.fired, true
}

// alive returns an error after the crash.
func (f *Faulty) alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.aliveLocked()
}

func (f *Faulty) aliveLocked() error {
	if f.fired != nil && f.fault.Crash {
		return ErrCrashed
	}
	return nil
}

// strike counts an operation and reports whether it is the one that fails.
func (f *Faulty) strike(op Op) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.aliveLocked(); err != nil {
		return false, err
	}
	if f.fault.Only != nil && !f.fault.Only(op) {
		return false, nil
	}
	f.count++
	if f.count != f.fault.At {
		return f.fault.Lasts && f.fired != nil, nil
	}
	f.fired = &op
	return true, nil
}

// do does an operation, or lets it fail.
func (f *Faulty) do(op Op, work func() error) error {
	struck, err := f.strike(op)
	switch {
	case err != nil:
		return err
	case !struck:
		return work()
	case f.fault.Mode == FailPersisted:
		_ = work() // its own error must not make the fault look like something harmless
	}
	return f.injected(op)
}

func (f *Faulty) injected(op Op) error {
	err := f.fault.Err
	if err == nil {
		err = ErrInjected
	}
	return fmt.Errorf("%s %s: %w", op.Kind, op.Path, err)
}

// OpenFile opens a file; it counts, as Create or Truncate, if it makes or empties one.
func (f *Faulty) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	var file disk.File
	open := func() (err error) {
		file, err = f.fsys.OpenFile(name, flag, perm)
		return err
	}
	_, statErr := f.fsys.Stat(name)
	var err error
	switch {
	case flag&os.O_CREATE != 0 && errors.Is(statErr, fs.ErrNotExist):
		err = f.do(Op{Kind: Create, Path: name}, open)
	case flag&os.O_TRUNC != 0:
		err = f.do(Op{Kind: Truncate, Path: name}, open)
	default:
		if err = f.alive(); err == nil {
			err = open()
		}
	}
	if err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, err
	}
	return &faultyFile{File: file, f: f, name: name}, nil
}

// Rename renames a file or directory.
func (f *Faulty) Rename(oldname, newname string) error {
	return f.do(Op{Kind: Rename, Path: oldname, To: newname}, func() error { return f.fsys.Rename(oldname, newname) })
}

// Remove removes a file or an empty directory.
func (f *Faulty) Remove(name string) error {
	return f.do(Op{Kind: Remove, Path: name}, func() error { return f.fsys.Remove(name) })
}

// MkdirAll makes a directory and its parents.
func (f *Faulty) MkdirAll(name string, perm fs.FileMode) error {
	return f.do(Op{Kind: Mkdir, Path: name}, func() error { return f.fsys.MkdirAll(name, perm) })
}

// Chmod changes the mode of a file.
func (f *Faulty) Chmod(name string, mode fs.FileMode) error {
	return f.do(Op{Kind: Chmod, Path: name}, func() error { return f.fsys.Chmod(name, mode) })
}

// SyncDir makes the entries of a directory durable.
func (f *Faulty) SyncDir(name string) error {
	return f.do(Op{Kind: SyncDir, Path: name}, func() error { return f.fsys.SyncDir(name) })
}

// ReadDir lists a directory.
func (f *Faulty) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.fsys.ReadDir(name)
}

// Stat describes a file.
func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	return f.fsys.Stat(name)
}

// A faultyFile is an open file of a Faulty.
type faultyFile struct {
	disk.File
	f    *Faulty
	name string
}

func (f *faultyFile) Read(p []byte) (int, error) {
	if err := f.f.alive(); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.f.alive(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) Stat() (fs.FileInfo, error) {
	if err := f.f.alive(); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f *faultyFile) Write(p []byte) (int, error) {
	return f.write(p, f.File.Write)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *faultyFile) write(p []byte, work func([]byte) (int, error)) (int, error) {
	op := Op{Kind: Write, Path: f.name, Size: int64(len(p))}
	struck, err := f.f.strike(op)
	if err != nil {
		return 0, err
	}
	if !struck {
		return work(p)
	}
	n := 0
	switch f.f.fault.Mode {
	case Torn:
		n, _ = work(p[:min(f.f.fault.Bytes, len(p))])
	case FailPersisted:
		n, _ = work(p)
	}
	return n, f.f.injected(op)
}

func (f *faultyFile) Truncate(size int64) error {
	return f.f.do(Op{Kind: Truncate, Path: f.name, Size: size}, func() error { return f.File.Truncate(size) })
}

func (f *faultyFile) Sync() error {
	return f.f.do(Op{Kind: Sync, Path: f.name}, f.File.Sync)
}
