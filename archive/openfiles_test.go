package archive

import (
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
)

// crowded is a file system on which, each time it is told, the next so many attempts to open something find too many open files.
type crowded struct {
	disk.FS
	left, refused atomic.Int32
}

func (c *crowded) full() error {
	if c.left.Add(-1) < 0 {
		return nil
	}
	c.refused.Add(1)
	return &os.PathError{Op: "open", Path: "file", Err: syscall.EMFILE}
}

func (c *crowded) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if err := c.full(); err != nil {
		return nil, err
	}
	return c.FS.OpenFile(name, flag, perm)
}

func (c *crowded) SyncDir(name string) error {
	if err := c.full(); err != nil {
		return err
	}
	return c.FS.SyncDir(name)
}

// Too many open files are a pause of the writer, not its end.
func TestTooManyOpenFilesAreAPause(t *testing.T) {
	dir := t.TempDir()
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	c := &crowded{FS: disk.OS()}
	s, err := Open(t.Context(), dir, Options{FS: c})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for n := range 3 {
		c.left.Store(2)
		if receipts, err := s.Put(t.Context(), []Delivery{delivery("sales", string(rune('a'+n)), "Subject: crowded\r\n\r\n"+string(rune('a'+n))+"\r\n")}); err != nil || !receipts[0].Stored {
			t.Fatalf("put while too many files are open: %v, %v", receipts, err)
		}
		c.left.Store(2)
		if _, err := s.Record(t.Context(), Action{Type: ActionView, Actor: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	if c.refused.Load() == 0 {
		t.Error("nothing was refused: the test tests nothing")
	}
	if err := s.ReadOnly(); err != nil {
		t.Error(err)
	}
}
