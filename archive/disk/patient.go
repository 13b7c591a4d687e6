package disk

import (
	"errors"
	"io/fs"
	"syscall"
	"time"
)

const (
	// openPatience is how long an operation waits for other files to be closed. Files of searches and connections of people are open
	// for seconds; a process that has too many for longer is not going to recover.
	openPatience = 30 * time.Second
	// firstOpenPause and lastOpenPause bound the pauses between tries.
	firstOpenPause = 5 * time.Millisecond
	lastOpenPause  = 500 * time.Millisecond
)

// Patient returns fsys with a pause where too many files are open (EMFILE, ENFILE): nothing has happened to the disk then, and a
// writer that gave up would have to be opened again, for which it needs files, too.
func Patient(fsys FS) FS { return patientFS{fsys} }

type patientFS struct{ FS }

func (p patientFS) OpenFile(name string, flag int, perm fs.FileMode) (f File, err error) {
	err = patiently(func() error {
		f, err = p.FS.OpenFile(name, flag, perm)
		return err
	})
	return f, err
}

func (p patientFS) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = patiently(func() error {
		entries, err = p.FS.ReadDir(name)
		return err
	})
	return entries, err
}

func (p patientFS) SyncDir(name string) error {
	return patiently(func() error { return p.FS.SyncDir(name) })
}

func patiently(open func() error) error {
	began := time.Now()
	for pause := firstOpenPause; ; pause = min(2*pause, lastOpenPause) {
		err := open()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) || time.Since(began) > openPatience {
			return err
		}
		time.Sleep(pause)
	}
}
