package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func exportMbox(t *testing.T, raws []string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "out.mbox")
	w := mustOpen(t, func(o Options) (Writer, error) { return NewMbox(path, o) })
	addAll(t, w, raws)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// restore reads one message back as the manifest says.
func restore(t fataler, mbox []byte, e Entry) []byte {
	t.Helper()
	if e.MboxPlace == nil || e.Offset+e.Length > int64(len(mbox)) {
		t.Fatalf("entry %+v does not fit in %d octets", e, len(mbox))
	}
	entry := mbox[e.Offset : e.Offset+e.Length]
	_, content, ok := bytes.Cut(entry, []byte("\n"))
	if !ok || !bytes.HasPrefix(entry, []byte("From ")) || !bytes.HasSuffix(content, []byte("\n")) {
		t.Fatalf("%q is not an mbox entry", entry)
	}
	content = bytes.TrimSuffix(content, []byte("\n"))
	var out bytes.Buffer
	if err := UnquoteMbox(&out, bytes.NewReader(content)); err != nil {
		t.Fatalf("UnquoteMbox: %v", err)
	}
	raw := out.Bytes()
	if e.AddedNewline {
		raw = bytes.TrimSuffix(raw, []byte("\n"))
	}
	return raw
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func TestMboxGivesBackEveryByte(t *testing.T) {
	path := exportMbox(t, samples())
	mbox, entries := readFile(t, path), readManifest(t, path+manifestSuffix)
	if len(entries) != len(samples()) {
		t.Fatalf("manifest has %d lines, want %d", len(entries), len(samples()))
	}
	next := int64(0)
	for i, want := range samples() {
		e := entries[i]
		if e.Offset != next {
			t.Errorf("message %d begins at %d, want %d", i, e.Offset, next)
		}
		next = e.Offset + e.Length
		raw := restore(t, mbox, e)
		if sum := sha256.Sum256(raw); string(raw) != want || hex.EncodeToString(sum[:]) != e.SHA256 {
			t.Errorf("got %q, want %q", raw, want)
		}
	}
	if next != int64(len(mbox)) {
		t.Errorf("manifest covers %d of %d octets", next, len(mbox))
	}
}

func TestMboxQuotesAsMboxrdDoes(t *testing.T) {
	raw := "From: a@example.com\r\n\r\nFrom one\r\n>From two\r\n>>From three\r\n From four\r\nFromage\r\nno end"
	path := exportMbox(t, []string{raw, "\n"})
	want := "From anna@example.com Thu Mar  5 13:07:09 2026\n" +
		"From: a@example.com\r\n\r\n>From one\r\n>>From two\r\n>>>From three\r\n From four\r\nFromage\r\nno end\n\n" +
		"From anna@example.com Thu Mar  5 13:07:09 2026\n\n\n"
	if got := string(readFile(t, path)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if e := readManifest(t, path+manifestSuffix); !e[0].AddedNewline || e[1].AddedNewline {
		t.Errorf("manifest records added newlines as %v, %v; want true, false", e[0].AddedNewline, e[1].AddedNewline)
	}
}

// mailText draws byte strings that are mostly made of what the format is about.
func mailText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		piece := rapid.OneOf(
			rapid.SampledFrom([]string{"From ", "From", ">", "\n", "\r\n", "\r", "\x00", "F", "Fr", "Subject: x"}),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 5), func(b []byte) string { return string(b) }),
		)
		return strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "pieces"), "")
	})
}

// TestMboxrdIsReversible checks every split into writes, the independent
// definition of the quoting, and that no line can be taken for a separator.
func TestMboxrdIsReversible(t *testing.T) {
	quotable := regexp.MustCompile(`(?m)^(>*From )`)
	rapid.Check(t, func(t *rapid.T) {
		raw := mailText().Draw(t, "message")
		var quoted, back bytes.Buffer
		q := newFromRewriter(&quoted, quote)
		for rest := raw; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if _, err := io.WriteString(q, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := q.finish(); err != nil {
			t.Fatal(err)
		}
		if want := quotable.ReplaceAllString(raw, ">$1"); quoted.String() != want {
			t.Fatalf("%q was quoted as %q, want %q", raw, quoted.String(), want)
		}
		if wantHead := raw == "" || strings.HasSuffix(raw, "\n"); q.head != wantHead {
			t.Fatalf("%q: at the start of a line: %v, want %v", raw, q.head, wantHead)
		}
		if err := UnquoteMbox(&back, &quoted); err != nil {
			t.Fatal(err)
		}
		if back.String() != raw {
			t.Fatalf("%q came back as %q", raw, back.String())
		}
	})
}

func TestMboxFileIsReversible(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		raws := rapid.SliceOfNDistinct(mailText(), 1, 5, rapid.ID).Draw(t, "messages")
		path := filepath.Join(dir, "out.mbox")
		w, err := NewMbox(path, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range raws {
			if err := w.Add(t.Context(), message(raw)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		mbox, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := os.ReadFile(path + manifestSuffix)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(manifest))
		for _, want := range raws {
			var e Entry
			if err := dec.Decode(&e); err != nil {
				t.Fatal(err)
			}
			if got := restore(t, mbox, e); string(got) != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		if err := errors.Join(os.Remove(path), os.Remove(path+manifestSuffix)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzMboxrd(f *testing.F) {
	for _, s := range samples() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var quoted, back bytes.Buffer
		q := newFromRewriter(&quoted, quote)
		if _, err := q.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(q.finish(), UnquoteMbox(&back, bytes.NewReader(quoted.Bytes()))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Bytes(), raw) {
			t.Errorf("%q came back as %q", raw, back.Bytes())
		}
		if bytes.HasPrefix(quoted.Bytes(), []byte("From ")) || bytes.Contains(quoted.Bytes(), []byte("\nFrom ")) {
			t.Errorf("%q still has a separator", quoted.Bytes())
		}
	})
}

func TestMboxIsReadByPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("POSTKEEP_REAL") == "required" {
			t.Fatal("python3 is required: ", err)
		}
		t.Skip("SKIPPED: python3 is not installed, nobody but us has read the mbox")
	}
	path := exportMbox(t, samples())
	out, err := exec.CommandContext(t.Context(), python, "-c", `
import json, mailbox, sys
for m in mailbox.mbox(sys.argv[1]):
    print(json.dumps([m.get_from(), m["Subject"]]))`, path).CombinedOutput()
	if err != nil {
		t.Fatalf("python3: %v\n%s", err, out)
	}
	var subjects []string
	for line := range strings.Lines(string(out)) {
		var got [2]string
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if want := "anna@example.com Thu Mar  5 13:07:09 2026"; got[0] != want {
			t.Errorf("From_ line %q, want %q", got[0], want)
		}
		subjects = append(subjects, got[1])
	}
	if len(subjects) != len(samples()) || subjects[0] != "plain" || subjects[1] != "bare LF" {
		t.Errorf("python3 read %d messages %q, want %d", len(subjects), subjects, len(samples()))
	}
}

func TestFromLineTakesOnlyPlainAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"anna@example.com":            "anna@example.com",
		"":                            daemonAddress,
		"a b@example.com":             daemonAddress,
		"a@example.com\nFrom x":       daemonAddress,
		"a\x00@example.com":           daemonAddress,
		"jürgen@example.com":          daemonAddress,
		strings.Repeat("a", 254):      strings.Repeat("a", 254),
		strings.Repeat("a", 255):      daemonAddress,
		`"quoted"@example.com`:        `"quoted"@example.com`,
		"anna@example.com\tThu\x7f-x": daemonAddress,
	} {
		if got := fromAddress(in); got != want {
			t.Errorf("fromAddress(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMboxNeverReplacesAFile(t *testing.T) {
	for _, name := range []string{"out.mbox", "out.mbox" + manifestSuffix} {
		for _, when := range []string{"before", "meanwhile"} {
			t.Run(name+" "+when, func(t *testing.T) {
				dir := t.TempDir()
				there := filepath.Join(dir, name)
				occupy := func() {
					if err := os.WriteFile(there, []byte("precious"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if when == "before" {
					occupy()
				}
				w, err := NewMbox(filepath.Join(dir, "out.mbox"), testOptions())
				if when == "meanwhile" {
					if err != nil {
						t.Fatal(err)
					}
					occupy()
					addAll(t, w, []string{"a\n"})
					err = w.Close()
				}
				if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), there) {
					t.Errorf("got %v, want fs.ErrExist that names %s", err, there)
				}
				if got := string(readFile(t, there)); got != "precious" {
					t.Errorf("the file now holds %q", got)
				}
				if names := fileNames(t, dir); len(names) != 1 {
					t.Errorf("directory holds %q", names)
				}
			})
		}
	}
}

func TestMboxInAMissingDirectoryIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "out.mbox")
	if _, err := NewMbox(path, testOptions()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewMbox = %v, want fs.ErrNotExist", err)
	}
}

// zeros yields n octets without holding them.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestLargeMessageIsStreamed(t *testing.T) {
	const size = 64 << 20
	h := sha256.New()
	if _, err := io.Copy(h, zeros(size)); err != nil {
		t.Fatal(err)
	}
	formats(t, func(t *testing.T, _ string, open func(Options) (Writer, error)) {
		w := mustOpen(t, open)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m := Message{ID: hex.EncodeToString(h.Sum(nil)), Size: size, Received: received, Body: zeros(size)}
		if err := errors.Join(w.Add(t.Context(), m), w.Close()); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		const limit = 4 << 20
		if got := after.TotalAlloc - before.TotalAlloc; got > limit {
			t.Errorf("a message of %d octets allocated %d, want at most %d", size, got, limit)
		}
	})
}
