package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestVolumesMayBeOnAnotherFileSystem(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege there")
	}
	other := t.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "postkeep-"); err == nil { // it is another one on Linux
		other = shm
		t.Cleanup(func() { _ = os.RemoveAll(shm) })
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, volumesName)
	if err := errors.Join(os.Remove(link), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	o := Options{VolumeBytes: 4 << 10}
	s := reopen(t, dir, o)
	bodies := fill(t, s, 2)
	maintained(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	last := filepath.Join(other, "00000003.tar.zst")
	f, err := os.OpenFile(last, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("torn") // which goes into the quarantine
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, o)
	for id, body := range bodies {
		if content(t, s, id) != body {
			t.Errorf("message %s has other bytes", id)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, quarantineName)); err != nil || len(files) != 1 {
		t.Errorf("quarantine has %v, %v", files, err)
	}
	sound(t, s)
}

func TestFullFileSystemOfTheVolumesTakesNoMessages(t *testing.T) {
	s, dir := create(t)
	s = again(t, s, dir, Options{Free: func(path string) (int64, error) {
		if strings.HasSuffix(path, volumesName) {
			return 1 << 20, nil
		}
		return 1 << 40, nil
	}})
	if err := s.ReadOnly(); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), volumesName) {
		t.Errorf("ReadOnly gives %v", err)
	}
}

func TestNobodyElseReadsTheFilesOfAnArchive(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such modes")
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir, Options{VolumeBytes: 4 << 10})
	fill(t, s, 2)
	maintained(t, s)
	sealed := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if strings.HasSuffix(path, ".tar.zst") && info.Mode().Perm() == 0o400 {
			sealed++
		}
		return nil
	})
	if err != nil || sealed != 2 {
		t.Errorf("%d volumes are read-only, want the 2 that are finished; %v", sealed, err)
	}
}
