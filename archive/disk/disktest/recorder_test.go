package disktest_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
)

// A world is a recorder with helpers that fail the test.
type world struct {
	t    *testing.T
	root string
	*disktest.Recorder
}

func newWorld(t *testing.T) world {
	t.Helper()
	root := t.TempDir()
	r, err := disktest.NewRecorder(disk.OS(), root)
	if err != nil {
		t.Fatal(err)
	}
	return world{t, root, r}
}

func (w world) path(name string) string { return filepath.Join(w.root, filepath.FromSlash(name)) }

func (w world) open(name string, flag int) disk.File {
	w.t.Helper()
	f, err := w.OpenFile(w.path(name), flag, disk.FilePerm)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	return f
}

// make writes a new file and, if sync, makes its content durable.
func (w world) make(name, content string, sync bool) disk.File {
	w.t.Helper()
	f := w.open(name, os.O_CREATE|os.O_WRONLY)
	if _, err := f.Write([]byte(content)); err != nil {
		w.t.Fatal(err)
	}
	if sync {
		w.must(f.Sync())
	}
	return f
}

func (w world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// wantImage compares the files, and the directories with a final slash, that a
// power cut would leave.
func (w world) wantImage(want map[string]string) {
	w.t.Helper()
	dir := w.t.TempDir()
	w.must(w.CrashImage(dir))
	got := map[string]string{}
	w.must(fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			got[name+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		got[name] = string(data)
		return err
	}))
	if !maps.Equal(got, want) {
		w.t.Errorf("after a power cut: %q, want %q", got, want)
	}
}

type image = map[string]string

func TestFileNeedsItsOwnSyncAndThatOfItsDirectory(t *testing.T) {
	w := newWorld(t)
	w.make("neither", "x", false)
	w.make("synced", "x", true)
	w.wantImage(image{})
	w.must(w.SyncDir(w.root))
	w.wantImage(image{"neither": "", "synced": "x"})
}

func TestWritesAfterSyncAreLost(t *testing.T) {
	w := newWorld(t)
	f := w.make("f", "abcdef", true)
	w.must(w.SyncDir(w.root))
	if _, err := f.WriteAt([]byte("XY"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("gh")); err != nil {
		t.Fatal(err)
	}
	w.wantImage(image{"f": "abcdef"})
	w.must(f.Sync())
	w.wantImage(image{"f": "aXYdefgh"})
	w.must(f.Truncate(2))
	w.wantImage(image{"f": "aXYdefgh"})
	w.must(f.Truncate(4))
	w.must(f.Sync())
	w.wantImage(image{"f": "aX\x00\x00"})
	a := w.open("f", os.O_APPEND|os.O_WRONLY)
	if _, err := a.Write([]byte("z")); err != nil {
		t.Fatal(err)
	}
	w.must(a.Sync())
	w.wantImage(image{"f": "aX\x00\x00z"})
	w.open("f", os.O_TRUNC|os.O_WRONLY)
	w.wantImage(image{"f": "aX\x00\x00z"})
	w.must(f.Sync())
	w.wantImage(image{"f": ""})
}

func TestRenameAndRemoveNeedADirectorySync(t *testing.T) {
	w := newWorld(t)
	w.make("old", "new content", true)
	w.make("target", "old content", true)
	w.must(w.SyncDir(w.root))
	w.must(w.Rename(w.path("old"), w.path("target")))
	w.wantImage(image{"old": "new content", "target": "old content"})
	w.must(w.SyncDir(w.root))
	w.wantImage(image{"target": "new content"})
	w.must(w.Remove(w.path("target")))
	w.wantImage(image{"target": "new content"})
	w.must(w.SyncDir(w.root))
	w.wantImage(image{})
}

func TestRenameBetweenDirectoriesIsTwoChanges(t *testing.T) {
	w := newWorld(t)
	w.must(w.MkdirAll(w.path("a"), disk.DirPerm))
	w.must(w.MkdirAll(w.path("b"), disk.DirPerm))
	w.make("a/f", "x", true)
	w.must(w.SyncDir(w.root))
	w.must(w.SyncDir(w.path("a")))
	w.must(w.Rename(w.path("a/f"), w.path("b/f")))
	w.must(w.SyncDir(w.path("b")))
	w.wantImage(image{"a/": "", "b/": "", "a/f": "x", "b/f": "x"})
	w.must(w.SyncDir(w.path("a")))
	w.wantImage(image{"a/": "", "b/": "", "b/f": "x"})
}

func TestNewDirectoryNeedsASyncOfItsParent(t *testing.T) {
	w := newWorld(t)
	w.must(w.MkdirAll(w.path("a/b"), disk.DirPerm))
	w.make("a/b/f", "x", true)
	w.must(w.SyncDir(w.path("a/b")))
	w.must(w.SyncDir(w.root))
	w.wantImage(image{"a/": ""})
	w.must(w.SyncDir(w.path("a")))
	w.wantImage(image{"a/": "", "a/b/": "", "a/b/f": "x"})
}

func TestIgnoredSyncReportsSuccess(t *testing.T) {
	w := newWorld(t)
	w.Ignore = func(op disktest.Op) bool { return op.Kind == disktest.Sync && op.Path == "f" }
	w.make("f", "x", true)
	w.make("g", "x", true)
	w.must(w.SyncDir(w.root))
	w.wantImage(image{"f": "", "g": "x"})

	w.Ignore = func(op disktest.Op) bool { return op.Kind == disktest.SyncDir }
	w.make("h", "x", true)
	w.must(w.SyncDir(w.root))
	w.wantImage(image{"f": "", "g": "x"})
}

func TestModeIsDurableWithTheFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such modes on Windows")
	}
	w := newWorld(t)
	f := w.make("f", "x", true)
	w.must(w.SyncDir(w.root))
	w.must(w.Chmod(w.path("f"), disk.SealedPerm))
	mode := func() fs.FileMode {
		dir := t.TempDir()
		w.must(w.CrashImage(dir))
		info, err := os.Stat(filepath.Join(dir, "f"))
		w.must(err)
		return info.Mode().Perm()
	}
	if got := mode(); got != disk.FilePerm {
		t.Errorf("mode before Sync is %o", got)
	}
	w.must(f.Sync())
	if got := mode(); got != disk.SealedPerm {
		t.Errorf("mode after Sync is %o", got)
	}
}

func TestWhatWasThereIsDurable(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "d", "f"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := disktest.NewRecorder(disk.OS(), root)
	if err != nil {
		t.Fatal(err)
	}
	w := world{t, root, r}
	f := w.open("d/f", os.O_RDWR)
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		t.Fatal(err)
	}
	w.wantImage(image{"d/": "", "d/f": "old"})
	w.must(f.Sync())
	w.wantImage(image{"d/": "", "d/f": "new"})
}

func TestPathOutsideIsRefused(t *testing.T) {
	w := newWorld(t)
	if _, err := w.OpenFile(filepath.Join(w.root, "..", "x"), os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		t.Error("opened a file outside")
	}
	if err := w.SyncDir(filepath.Join(w.root, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of nothing: %v", err)
	}
}

func TestOpsAreInOrder(t *testing.T) {
	w := newWorld(t)
	w.must(disk.WriteFile(w, w.path("f"), []byte("abc"), disk.FilePerm))
	want := []disktest.Op{
		{Kind: disktest.Create, Path: "f.tmp"},
		{Kind: disktest.Write, Path: "f.tmp", Size: 3},
		{Kind: disktest.Sync, Path: "f.tmp"},
		{Kind: disktest.Rename, Path: "f.tmp", To: "f"},
		{Kind: disktest.SyncDir, Path: "."},
	}
	got := w.Ops()
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("operation %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// disk.WriteFile promises old or new content whenever the power is cut, and
// the new once it has returned; leaving out either fsync breaks that.
func TestWriteFileNeedsBothOfItsSyncs(t *testing.T) {
	for _, kind := range []disktest.Kind{"", disktest.Sync, disktest.SyncDir} {
		w := newWorld(t)
		w.must(disk.WriteFile(w, w.path("f"), []byte("old"), disk.FilePerm))
		w.Ignore = func(op disktest.Op) bool { return op.Kind == kind }
		w.must(disk.WriteFile(w, w.path("f"), []byte("new"), disk.FilePerm))
		dir := t.TempDir()
		w.must(w.CrashImage(dir))
		data, err := os.ReadFile(filepath.Join(dir, "f"))
		w.must(err)
		if kept := string(data) == "new"; kept != (kind == "") {
			t.Errorf("without %q the file holds %q", kind, data)
		}
	}
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for range 20 {
				if err := disk.WriteFile(w, w.path(name), []byte(name), disk.FilePerm); err != nil {
					t.Error(err)
				}
			}
		})
	}
	w.must(w.CrashImage(t.TempDir()))
	wg.Wait()
	w.wantImage(image{"a": "a", "b": "b", "c": "c", "d": "d"})
}
