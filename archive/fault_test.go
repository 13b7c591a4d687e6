package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
)

// TestFaultInAnyOperationLosesNoReceipt lets single operations on the file system fail in every mode, while messages are put
// whole and in parts, volumes are sealed and repacked. It takes what a power cut would leave then, opens it, and looks at everything:
// receipted messages byte for byte, ledger and volumes as a deep verification sees them, the catalog against one made anew.
// Operations and the bytes at which writes are torn are a sample; with POSTKEEP_TORTURE they are all.
func TestFaultInAnyOperationLosesNoReceipt(t *testing.T) {
	all := os.Getenv("POSTKEEP_TORTURE") != ""
	stride := 17
	if all {
		stride = 1
	}
	for i, mode := range []disktest.Mode{disktest.Fail, disktest.FailPersisted, disktest.Torn} {
		t.Run(mode.String(), func(t *testing.T) {
			for at := 1 + i; ; at += stride {
				fault := disktest.Fault{At: at, Mode: mode, Crash: at%2 == 0, Bytes: at * 37 % 700}
				op, fired := faultOnce(t, fault)
				if !fired {
					break
				}
				for fault.Bytes = 0; all && mode == disktest.Torn && op.Kind == disktest.Write && int64(fault.Bytes) < op.Size; fault.Bytes++ {
					faultOnce(t, fault)
				}
			}
		})
	}
}

// faultOnce returns the operation that failed, and whether there was one.
func faultOnce(t *testing.T, fault disktest.Fault) (disktest.Op, bool) {
	t.Helper()
	tmp, err := os.MkdirTemp(t.TempDir(), "") // removed at once: there are many
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	image, receipted, op, fired := imageOf(t, tmp, fault)
	checkImage(t, describe(fault, op), image, receipted)
	return op, fired
}

func describe(fault disktest.Fault, op disktest.Op) string {
	return fmt.Sprintf("operation %d (%s %s, %d of %d bytes), %s", fault.At, op.Kind, filepath.Base(op.Path), fault.Bytes, op.Size, fault.Mode)
}

// imageOf returns what a power cut after the fault leaves, in a directory in tmp.
func imageOf(t *testing.T, tmp string, fault disktest.Fault) (image string, receipted map[string]string, op disktest.Op, fired bool) {
	t.Helper()
	dir, image := filepath.Join(tmp, "data"), filepath.Join(tmp, "image")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	recorder, err := disktest.NewRecorder(disk.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	faulty := disktest.NewFaulty(recorder, fault)
	receipted = workUntilItFails(t, dir, faulty)
	op, fired = faulty.Fired()
	if err := recorder.CrashImage(image); err != nil {
		t.Fatal(err)
	}
	return image, receipted, op, fired
}

// TestPowerCutDuringTheRecoveryFromAnother opens what a power cut has left, lets the power go again during that or right behind it, and
// opens what that leaves.
func TestPowerCutDuringTheRecoveryFromAnother(t *testing.T) {
	first, second := 43, 5
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		first, second = 3, 1
	}
	recovered := 0 // how often there was something to recover
	for at := 20; ; at += first {
		fault := disktest.Fault{At: at, Mode: []disktest.Mode{disktest.Fail, disktest.FailPersisted, disktest.Torn}[at%3], Crash: true, Bytes: at * 37 % 700}
		tmp := t.TempDir()
		image, receipted, op, fired := imageOf(t, tmp, fault)
		if !fired {
			break
		}
		for again := 1 + at%second; ; again += second {
			next := disktest.Fault{At: again, Mode: disktest.Mode(again % 3), Crash: true, Bytes: again * 31 % 300}
			if !cutAgain(t, describe(fault, op), filepath.Join(tmp, fmt.Sprint(again)), image, receipted, next) {
				break
			}
			recovered++
		}
	}
	if recovered < 10 {
		t.Errorf("the power went during %d recoveries only", recovered)
	}
}

// cutAgain opens a copy of the image on a disk that goes away at the fault, and reports whether it came to that.
func cutAgain(t *testing.T, name, tmp, image string, receipted map[string]string, fault disktest.Fault) (fired bool) {
	t.Helper()
	dir, left := filepath.Join(tmp, "data"), filepath.Join(tmp, "image")
	defer func() { _ = os.RemoveAll(tmp) }()
	err := errors.Join(os.CopyFS(dir, os.DirFS(image)), filepath.WalkDir(image, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(image, path)
		return errors.Join(err, os.Chmod(filepath.Join(dir, name), info.Mode().Perm())) // which CopyFS widens
	}))
	if err != nil {
		t.Fatal(err)
	}
	recorder, err := disktest.NewRecorder(disk.OS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	faulty := disktest.NewFaulty(recorder, fault)
	if s, err := Open(t.Context(), dir, Options{FS: faulty, VolumeBytes: 3000}); err == nil {
		_ = s.Close() // the fault may come here too
	}
	op, fired := faulty.Fired()
	if err := recorder.CrashImage(left); err != nil {
		t.Fatal(err)
	}
	checkImage(t, name+"; again "+describe(fault, op), left, maps.Clone(receipted))
	return fired
}

// workUntilItFails opens the store, puts batches, repacks what is sealed, and closes it. It returns the bodies of what was
// receipted.
func workUntilItFails(t *testing.T, dir string, fsys disk.FS) map[string]string {
	t.Helper()
	receipted := map[string]string{}
	s, err := Open(t.Context(), dir, Options{FS: fsys, VolumeBytes: 3000})
	if err != nil {
		return receipted
	}
	defer func() { _ = s.Close() }() // the fault may come here too
	rest := "From: a@example.org\r\n\r\n" + string(noise(9, 1200))
	for n := range 4 {
		bodies := []string{fmt.Sprintf("small %d", n), copyOf(fmt.Sprint(n), rest), string(noise(uint64(n), 900)), "the same in all batches"}
		for range 2 { // what failed without breaking the store may be tried again
			var batch []Delivery
			for i, body := range bodies {
				batch = append(batch, delivery("sales", fmt.Sprintf("%d.%d", n, i), body))
			}
			receipts, err := s.Put(t.Context(), batch)
			for i, r := range receipts {
				if r.Refused == "" {
					receipted[r.ID] = bodies[i]
				}
			}
			if err == nil {
				break
			}
			if broken := s.ReadOnly(); errors.Is(err, ErrBroken) != (broken != nil) {
				t.Errorf("Put failed with %v, but the store says %v", err, broken)
			}
		}
		for _, v := range s.volumes.Volumes() {
			if v.Sealed && n != 1 { // two at a time, too
				_ = s.maintain(t.Context(), v)
			}
		}
	}
	return receipted
}

func checkImage(t *testing.T, name, image string, receipted map[string]string) {
	t.Helper()
	s, err := Open(t.Context(), image, Options{VolumeBytes: 3000})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(s.ReadOnly())
	verified := func() {
		t.Helper()
		report, err := s.Verify(t.Context(), VerifyOptions{Deep: true})
		check(err)
		for _, d := range report.Damage {
			t.Errorf("%s: %+v", name, d)
		}
	}
	verified()
	r := mustPut(t, s, delivery("later", "1", "after the crash"))[0]
	receipted[r.ID] = "after the crash"
	for _, v := range s.volumes.Volumes() {
		if v.Sealed {
			check(s.maintain(t.Context(), v))
		}
	}
	verified()
	for id, body := range receipted {
		if got := content(t, s, id); got != body {
			t.Errorf("%s: receipted message %s has other bytes", name, id)
		}
	}
	check(s.Close())
	before := rows(t, image)
	s, err = Open(t.Context(), image, Options{RebuildCatalog: true})
	check(err)
	check(s.Close())
	if after := rows(t, image); !slices.Equal(before, after) {
		t.Errorf("%s: the catalog is not as one made anew", name)
	}
}
