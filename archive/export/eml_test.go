package export

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func openEML(t *testing.T, dir string) Writer {
	t.Helper()
	return mustOpen(t, func(o Options) (Writer, error) { return NewEML(dir, o) })
}

func exportEML(t *testing.T, dir string, raws []string) {
	t.Helper()
	w := openEML(t, dir)
	addAll(t, w, raws)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEMLKeepsEveryByte(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "out")
	exportEML(t, dir, samples())
	for _, raw := range samples() {
		if got := readFile(t, filepath.Join(dir, message(raw).ID+".eml")); string(got) != raw {
			t.Errorf("got %q, want %q", got, raw)
		}
	}
	if names := fileNames(t, dir); len(names) != len(samples())+1 {
		t.Errorf("directory holds %q", names)
	}
	var want []Entry
	for _, raw := range samples() {
		want = append(want, newEntry(message(raw), nil))
	}
	if got := readManifest(t, filepath.Join(dir, manifestName)); !reflect.DeepEqual(got, want) {
		t.Errorf("manifest holds %+v, want %+v", got, want)
	}
}

func TestEMLFilesArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	dir := filepath.Join(t.TempDir(), "out")
	exportEML(t, dir, []string{"a\n"})
	for name, want := range map[string]os.FileMode{"": dirPerm, message("a\n").ID + ".eml": 0o600, manifestName: 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", name, fi.Mode().Perm(), want)
		}
	}
}

func TestEMLResumesWithoutReadingWhatItHas(t *testing.T) {
	dir := t.TempDir()
	w := openEML(t, dir)
	addAll(t, w, samples()[:3])
	// A killed process calls neither Close nor Abort.
	if names := fileNames(t, dir); len(names) != 4 {
		t.Fatalf("interrupted export left %q, want three messages and the manifest's temporary file", names)
	}
	old := time.Now().Add(-time.Hour)
	kept := filepath.Join(dir, message(samples()[0]).ID+".eml")
	if err := os.Chtimes(kept, old, old); err != nil {
		t.Fatal(err)
	}

	w = openEML(t, dir)
	first := message(samples()[0])
	first.Body = errReader{errors.New("the body was read")}
	if err := w.Add(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	addAll(t, w, samples()[1:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(kept)
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(fi.ModTime()); age < 30*time.Minute {
		t.Error("a file that was there was written again")
	}
	if n := len(readManifest(t, filepath.Join(dir, manifestName))); n != len(samples()) {
		t.Errorf("manifest has %d lines, want %d", n, len(samples()))
	}
	if names := fileNames(t, dir); len(names) != len(samples())+1 {
		t.Errorf("directory holds %q", names)
	}
	exportEML(t, dir, samples()) // a finished export may be made again
}

func TestEMLRefusesAFileThatDiffers(t *testing.T) {
	for name, content := range map[string]string{"other bytes": "b\n", "truncated": "", "longer": "a\n\n"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, message("a\n").ID+".eml")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			err := openEML(t, dir).Add(t.Context(), message("a\n"))
			if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), path) {
				t.Errorf("Add = %v, want ErrMismatch that names %s", err, path)
			}
			if got := readFile(t, path); string(got) != content {
				t.Errorf("the file was changed to %q", got)
			}
		})
	}
}

func TestEMLRefusesADirectoryOfSomethingElse(t *testing.T) {
	for _, name := range []string{"thesis.doc", "export-1.tmp.doc", "abc.eml", ".hidden"} {
		dir := t.TempDir()
		for _, n := range []string{name, "export-1.tmp"} {
			if err := os.WriteFile(filepath.Join(dir, n), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := NewEML(dir, testOptions()); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), name) {
			t.Errorf("NewEML beside %s = %v, want ErrForeign with its name", name, err)
		}
		if names := fileNames(t, dir); len(names) != 2 {
			t.Errorf("refused directory now holds %q", names)
		}
	}
}

func TestEMLRefusesMessagesOfAnotherExport(t *testing.T) {
	dir := t.TempDir()
	exportEML(t, dir, []string{"a\n", "b\n"})
	w := openEML(t, dir)
	addAll(t, w, []string{"b\n", "c\n"})
	if err := w.Close(); !errors.Is(err, ErrForeign) {
		t.Errorf("Close = %v, want ErrForeign", err)
	}
}

func TestEMLNoticesAMessageAddedTwice(t *testing.T) {
	w := openEML(t, t.TempDir())
	addAll(t, w, []string{"a\n", "a\n"})
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("Close = %v, want an error", err)
	}
}

func TestEMLDoesNotFollowLinks(t *testing.T) {
	dir, target := t.TempDir(), filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, message("a\n").ID+".eml")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	if err := openEML(t, dir).Add(t.Context(), message("a\n")); !errors.Is(err, ErrForeign) {
		t.Errorf("Add = %v, want ErrForeign", err)
	}
}

func TestEMLRefusesAFileAsDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewEML(path, testOptions()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("NewEML = %v, want an error that names %s", err, path)
	}
}
