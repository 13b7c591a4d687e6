package indexer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An index on a medium that cannot be written to is searched, and stays as it is.
func TestReadOnlyIndexIsSearchedAndStaysAsItIs(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	a.put("one", "box", "Subject: pears\n\nripe pears\n")
	r := start(t, dir, a, WorkerOptions{})
	r.catchUp()
	r.stop()

	before := stateOf(t, dir)
	x, err := Open(t.Context(), Options{Dir: dir, Location: time.UTC, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	res, err := x.Search(t.Context(), Request{Query: "pears", Limit: 10})
	if err != nil || res.Total != 1 {
		t.Errorf("search: %+v, %v", res, err)
	}
	if at := x.Position(); at != a.last() {
		t.Errorf("complete up to %d, want %d", at, a.last())
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if after := stateOf(t, dir); after != before {
		t.Errorf("the directory changed:\n%s\n%s", before, after)
	}

	// What is not there, or cannot be read, is an error and not made.
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if x, err := Open(t.Context(), Options{Dir: dir, ReadOnly: true}); err == nil {
			t.Errorf("%s: opened", dir)
			_ = x.Close()
		}
	}
	overwrite(t, filepath.Join(dir, slotsFile))
	if x, err := Open(t.Context(), Options{Dir: dir, ReadOnly: true}); err == nil {
		t.Error("an index whose list is damaged opened")
		_ = x.Close()
	}
}

// stateOf is names, sizes and times of change of what is in a directory.
func stateOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			b.WriteString(path + " " + info.ModTime().String() + " " + info.Mode().String() + "\n")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
