package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var received = time.Date(2026, 3, 5, 14, 7, 9, 0, time.FixedZone("", 3600))

func noSync(string) error { return nil }

func testOptions() Options { return Options{SyncDir: noSync} }

func message(raw string) Message {
	sum := sha256.Sum256([]byte(raw))
	return Message{
		ID: hex.EncodeToString(sum[:]), Size: int64(len(raw)), Received: received,
		From: "anna@example.com", Mailboxes: []string{"sales"}, Body: strings.NewReader(raw),
	}
}

// samples are messages that a careless writer would change.
func samples() []string {
	return []string{
		"From: a@example.com\r\nSubject: plain\r\n\r\nHello\r\n",
		"Subject: bare LF\n\nFrom here on\n>From there\n>>From nowhere\nFrom\nFromage\n> From\n",
		"From sender@example.com Thu Jan  1 00:00:00 1970\nSubject: mbox line first\n\nx\n",
		"Subject: no final newline\r\n\r\nlast line",
		"Subject: ends in CR\r\n\r\nlast line\r",
		"Subject: NULs\r\n\r\na\x00b\x00\r\n\x00From \r\n",
		"Subject: bare CR\r\rFrom one\rFrom two\r",
		"Subject: ends within the pattern\n\n>>From",
		"Subject: 8-bit\r\n\r\n\xe9\xff\xfe\r\n",
		"",
		"\n",
		"\n\n\n",
		"From ",
		">",
	}
}

func addAll(t *testing.T, w Writer, raws []string) {
	t.Helper()
	for _, raw := range raws {
		if err := w.Add(t.Context(), message(raw)); err != nil {
			t.Fatalf("Add(%q): %v", raw, err)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readManifest(t *testing.T, name string) []Entry {
	t.Helper()
	var entries []Entry
	dec := json.NewDecoder(bytes.NewReader(readFile(t, name)))
	dec.DisallowUnknownFields()
	for {
		var e Entry
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		entries = append(entries, e)
	}
}

func fileNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// formats runs a test for every kind of writer with a destination in a new directory.
func formats(t *testing.T, test func(t *testing.T, dir string, open func(Options) (Writer, error))) {
	t.Run("eml", func(t *testing.T) {
		dir := t.TempDir()
		test(t, dir, func(o Options) (Writer, error) { return NewEML(filepath.Join(dir, "out"), o) })
	})
	t.Run("mbox", func(t *testing.T) {
		dir := t.TempDir()
		test(t, dir, func(o Options) (Writer, error) { return NewMbox(filepath.Join(dir, "out"), o) })
	})
}

func mustOpen(t *testing.T, open func(Options) (Writer, error)) Writer {
	t.Helper()
	w, err := open(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Abort(); err != nil {
			t.Errorf("Abort: %v", err)
		}
	})
	return w
}

func TestWrongBytesStopTheExport(t *testing.T) {
	good := message("Subject: x\r\n\r\nright\r\n")
	cases := map[string]func(m *Message){
		"other bytes": func(m *Message) { m.Body = strings.NewReader("Subject: x\r\n\r\nwrong\r\n") },
		"too short":   func(m *Message) { m.Body = strings.NewReader("Subject: x\r\n\r\nright\r") },
		"too long":    func(m *Message) { m.Body = strings.NewReader("Subject: x\r\n\r\nright\r\n\n") },
		"wrong size":  func(m *Message) { m.Size-- },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			formats(t, func(t *testing.T, dir string, open func(Options) (Writer, error)) {
				w := mustOpen(t, open)
				m := good
				m.Body = strings.NewReader("Subject: x\r\n\r\nright\r\n")
				change(&m)
				if err := w.Add(t.Context(), m); !errors.Is(err, ErrMismatch) {
					t.Fatalf("Add = %v, want ErrMismatch", err)
				}
				if err := w.Add(t.Context(), message("fine\n")); !errors.Is(err, ErrMismatch) {
					t.Errorf("second Add = %v, want the first error", err)
				}
				if err := w.Close(); !errors.Is(err, ErrMismatch) {
					t.Errorf("Close = %v, want the first error", err)
				}
				err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						t.Errorf("%s is left", path)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestOnlyHashesBecomeFileNames(t *testing.T) {
	upper := strings.ToUpper(message("x").ID)
	for _, id := range []string{"", "abc", "../../../../etc/passwd", strings.Repeat("g", 64), strings.Repeat("/", 64), upper, message("x").ID + "0"} {
		formats(t, func(t *testing.T, _ string, open func(Options) (Writer, error)) {
			m := message("x")
			m.ID = id
			if err := mustOpen(t, open).Add(t.Context(), m); err == nil {
				t.Errorf("Add accepted id %q", id)
			}
		})
	}
}

func TestBodyErrorIsReported(t *testing.T) {
	broken := errors.New("frame 7 is damaged")
	formats(t, func(t *testing.T, _ string, open func(Options) (Writer, error)) {
		m := message("0123456789")
		m.Body = io.MultiReader(strings.NewReader("01234"), errReader{broken})
		if err := mustOpen(t, open).Add(t.Context(), m); !errors.Is(err, broken) || !strings.Contains(err.Error(), m.ID) {
			t.Errorf("Add = %v, want the body's error with the id", err)
		}
	})
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestCancelledExportStops(t *testing.T) {
	formats(t, func(t *testing.T, _ string, open func(Options) (Writer, error)) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := mustOpen(t, open).Add(ctx, message("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("Add = %v, want context.Canceled", err)
		}
	})
}

func TestAbortLeavesNothingIncomplete(t *testing.T) {
	formats(t, func(t *testing.T, dir string, open func(Options) (Writer, error)) {
		w := mustOpen(t, open)
		addAll(t, w, []string{"a\n"})
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err == nil {
			t.Error("Close finished an aborted export")
		}
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(path, ".tmp") || strings.HasSuffix(path, ".jsonl") {
				t.Errorf("%s is left", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestDirectoryIsSyncedAfterTheLastRename(t *testing.T) {
	formats(t, func(t *testing.T, _ string, open func(Options) (Writer, error)) {
		var seen []string
		w, err := open(Options{SyncDir: func(d string) error {
			seen = fileNames(t, d)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		addAll(t, w, []string{"a\n"})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 2 || strings.Contains(strings.Join(seen, " "), ".tmp") {
			t.Errorf("at the last SyncDir the directory held %q, want message file and manifest", seen)
		}
	})
}

func TestFailedDirectorySyncFailsClose(t *testing.T) {
	full := errors.New("no space left on device")
	formats(t, func(t *testing.T, _ string, open func(Options) (Writer, error)) {
		fail := false
		w, err := open(Options{SyncDir: func(string) error {
			if fail {
				return full
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		addAll(t, w, []string{"a\n"})
		fail = true
		if err := w.Close(); !errors.Is(err, full) {
			t.Errorf("Close = %v, want the error of SyncDir", err)
		}
	})
}

func TestSameInputGivesTheSameFiles(t *testing.T) {
	formats(t, func(t *testing.T, first string, open func(Options) (Writer, error)) {
		w := mustOpen(t, open)
		addAll(t, w, samples())
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, first)
		if err := os.RemoveAll(filepath.Join(first, "out")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(first, "out"+manifestSuffix)); err != nil {
			t.Fatal(err)
		}
		w = mustOpen(t, open)
		addAll(t, w, samples())
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if after := snapshot(t, first); after != before {
			t.Errorf("second export differs:\n%s\nfirst:\n%s", after, before)
		}
	})
}

// snapshot lists every file below dir with its content.
func snapshot(t *testing.T, dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b.WriteString(path + "\n" + string(readFile(t, path)) + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMissingSyncDirIsRefused(t *testing.T) {
	formats(t, func(t *testing.T, _ string, open func(Options) (Writer, error)) {
		if _, err := open(Options{}); err == nil {
			t.Error("a writer without SyncDir was opened")
		}
	})
}
