package api

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// longDir is a data directory whose path is too long for a socket.
func longDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("directory/", 20))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", shortDir(t))
	return dir
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func listen(t *testing.T, dir string) *net.UnixListener {
	t.Helper()
	l, err := Listen(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: readHeaderTimeout}
		_ = srv.Serve(l)
		_ = srv.Close()
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-served
	})
	return l.(*net.UnixListener)
}

// crash ends a listener as the end of its process would.
func crash(t *testing.T, l *net.UnixListener) {
	t.Helper()
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func answers(t *testing.T, dir string) bool {
	t.Helper()
	c, err := Dial(t.Context(), dir)
	if err != nil {
		return false
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestPrivateDirectoryOfACrashedRunIsRemoved(t *testing.T) {
	dir := longDir(t)
	first := listen(t, dir)
	crash(t, first)
	if !exists(t, first.Addr().String()) {
		t.Fatal("nothing was left behind")
	}
	second := listen(t, dir)
	if old := filepath.Dir(first.Addr().String()); exists(t, old) {
		t.Errorf("%s is still there", old)
	}
	if !answers(t, dir) {
		t.Error("the new socket does not answer")
	}

	// The data directory has moved to where it needs none.
	crash(t, second)
	moved := shortDir(t)
	if err := os.Rename(filepath.Join(dir, pathName), filepath.Join(moved, pathName)); err != nil {
		t.Fatal(err)
	}
	third := listen(t, moved)
	if exists(t, filepath.Dir(second.Addr().String())) || exists(t, filepath.Join(moved, pathName)) {
		t.Error("the note or what it names is still there")
	}
	if filepath.Dir(third.Addr().String()) != moved || !answers(t, moved) {
		t.Error("the socket in the data directory does not answer")
	}
}

func TestSocketOfACopiedDataDirectoryStays(t *testing.T) {
	dir := longDir(t)
	original := listen(t, dir)
	theirs, err := os.ReadFile(filepath.Join(dir, pathName))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "copy")
	if err := os.Mkdir(copied, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, pathName), theirs, 0o600); err != nil {
		t.Fatal(err)
	}
	if answers(t, copied) {
		t.Error("the original answers for the copy")
	}
	if l := listen(t, copied); l.Addr().String() == original.Addr().String() {
		t.Error("the copy took the socket over")
	}
	if !answers(t, dir) || !answers(t, copied) {
		t.Error("not both answer")
	}
}

func TestUntrustworthyDirectoryIsNotFollowed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	for name, spoil := range map[string]func(t *testing.T, private string) (path string){
		"as it was made": func(_ *testing.T, private string) string { return private },
		"others can enter": func(t *testing.T, private string) string {
			must(t, os.Chmod(private, 0o711))
			return private
		},
		"symbolic link": func(t *testing.T, private string) string {
			must(t, os.Rename(private, private+".real"))
			must(t, os.Symlink(private+".real", private))
			return private
		},
		"of somebody else": func(t *testing.T, private string) string {
			if os.Getuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			must(t, os.Chown(private, 12345, 12345))
			return private
		},
		"another name": func(t *testing.T, private string) string {
			other := filepath.Join(filepath.Dir(private), "other")
			must(t, os.Rename(private, other))
			return other
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := longDir(t)
			private := filepath.Dir(listen(t, dir).Addr().String())
			now := spoil(t, private)
			must(t, os.WriteFile(filepath.Join(dir, pathName), []byte(filepath.Join(now, socketName)+"\n"), 0o600))
			// A process that is there answers.
			c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", filepath.Join(now, socketName))
			must(t, err)
			must(t, c.Close())
			if got, want := answers(t, dir), name == "as it was made"; got != want {
				t.Errorf("answers: %v", got)
			}
			// Nor is anything in it touched.
			listen(t, dir)
			if !exists(t, filepath.Join(now, socketName)) {
				t.Error("the socket was removed")
			}
		})
	}
}

func TestDataDirectoryOfAnotherUserIsServedByItsOwner(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() != 0 {
		t.Skip("only root can give directories away")
	}
	dir := longDir(t)
	private := filepath.Dir(listen(t, dir).Addr().String())
	must(t, os.Chown(dir, 12345, 12345))
	if !answers(t, dir) {
		t.Error("a directory of root is not followed")
	}
	must(t, os.Chown(private, 12345, 12345))
	if !answers(t, dir) {
		t.Error("a directory of the owner is not followed")
	}
	must(t, os.Chown(private, 12346, 12346))
	if answers(t, dir) {
		t.Error("a directory of a third user is followed")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
