package disktest_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
)

// Every operation of disk.WriteFile fails once in every mode: the error comes
// back, and the file holds the old content or the new.
func TestEveryFaultOfWriteFileIsReported(t *testing.T) {
	for _, mode := range []disktest.Mode{disktest.Fail, disktest.FailPersisted, disktest.Torn} {
		k := 1
		for ; ; k++ {
			name := filepath.Join(t.TempDir(), "f")
			if err := disk.WriteFile(disk.OS(), name, []byte("old content"), disk.FilePerm); err != nil {
				t.Fatal(err)
			}
			faulty := disktest.NewFaulty(disk.OS(), disktest.Fault{At: k, Mode: mode, Bytes: 3})
			err := disk.WriteFile(faulty, name, []byte("new content"), disk.FilePerm)
			op, fired := faulty.Fired()
			if !fired {
				if err != nil {
					t.Fatalf("%v: no fault, but %v", mode, err)
				}
				break
			}
			if !errors.Is(err, disktest.ErrInjected) {
				t.Errorf("%v of %v is reported as %v", mode, op, err)
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			renamed := op.Kind == disktest.SyncDir || op.Kind == disktest.Rename && mode == disktest.FailPersisted
			if want := map[bool]string{false: "old content", true: "new content"}[renamed]; string(data) != want {
				t.Errorf("after %v of %v the file holds %q, want %q", mode, op, data, want)
			}
		}
		if k != 6 {
			t.Errorf("%v: %d operations were counted, want create, write, sync, rename, syncdir", mode, k-1)
		}
	}
}

func TestTornWriteKeepsTheFirstBytes(t *testing.T) {
	for mode, want := range map[disktest.Mode]string{disktest.Fail: "", disktest.Torn: "ab", disktest.FailPersisted: "abc"} {
		name := filepath.Join(t.TempDir(), "f")
		isWrite := func(op disktest.Op) bool { return op.Kind == disktest.Write }
		faulty := disktest.NewFaulty(disk.OS(), disktest.Fault{At: 1, Only: isWrite, Mode: mode, Bytes: 2})
		f, err := faulty.OpenFile(name, os.O_CREATE|os.O_RDWR, disk.FilePerm)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n, err := f.WriteAt([]byte("abc"), 0)
		if n != len(want) || !errors.Is(err, disktest.ErrInjected) {
			t.Errorf("%v: wrote %d, %v", mode, n, err)
		}
		if data, err := os.ReadFile(name); err != nil || string(data) != want {
			t.Errorf("%v: file holds %q, want %q", mode, data, want)
		}
		if _, err := f.WriteAt([]byte("abc"), 0); err != nil {
			t.Errorf("%v: the write after the fault: %v", mode, err)
		}
	}
}

func TestNothingWorksAfterACrash(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	faulty := disktest.NewFaulty(disk.OS(), disktest.Fault{At: 2, Crash: true})
	f, err := faulty.OpenFile(name, os.O_CREATE|os.O_RDWR, disk.FilePerm)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, disktest.ErrInjected) {
		t.Fatalf("the fault gave %v", err)
	}
	_, writeErr := f.Write([]byte("x"))
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, openErr := faulty.OpenFile(name, os.O_RDONLY, 0)
	_, statErr := faulty.Stat(name)
	_, listErr := faulty.ReadDir(dir)
	for what, err := range map[string]error{
		"write": writeErr, "read": readErr, "open": openErr, "stat": statErr, "list": listErr,
		"sync": f.Sync(), "truncate": f.Truncate(0), "remove": faulty.Remove(name),
		"rename": faulty.Rename(name, name+"2"), "mkdir": faulty.MkdirAll(name+"3", disk.DirPerm),
		"chmod": faulty.Chmod(name, disk.SealedPerm), "syncdir": faulty.SyncDir(dir),
	} {
		if !errors.Is(err, disktest.ErrCrashed) {
			t.Errorf("%s after the crash: %v", what, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Errorf("close after the crash: %v", err)
	}
	if faulty.Count() != 2 {
		t.Errorf("counted %d operations, want 2", faulty.Count())
	}
}

func TestFailedCreateMakesNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	for mode, want := range map[disktest.Mode]bool{disktest.Fail: false, disktest.FailPersisted: true} {
		faulty := disktest.NewFaulty(disk.OS(), disktest.Fault{At: 1, Mode: mode})
		if _, err := faulty.OpenFile(name, os.O_CREATE|os.O_RDWR, disk.FilePerm); !errors.Is(err, disktest.ErrInjected) {
			t.Errorf("%v: %v", mode, err)
		}
		_, err := os.Stat(name)
		if exists := !errors.Is(err, fs.ErrNotExist); exists != want {
			t.Errorf("%v: file exists: %v", mode, exists)
		}
		_ = os.Remove(name)
	}
}
