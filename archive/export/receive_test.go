package export

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mixed are messages of unequal sizes, some of them too large for memory.
func mixed(n int) []string {
	var out []string
	for i := range n {
		text := fmt.Sprintf("Subject: %d\n\n", i)
		switch i % 7 {
		case 2:
			text += strings.Repeat("a line that is long enough\n", 9_000)
		case 4:
			text += strings.Repeat("x", spoolMemory-len(text))
		case 5:
			text += strings.Repeat("y", spoolMemory+1)
		}
		out = append(out, text)
	}
	return out
}

func TestFilesStandInTheOrderOfTheSourceWhateverTheirSize(t *testing.T) {
	f := newFake(t)
	all := mixed(40)
	for _, m := range all {
		f.text(t, m)
	}
	out := filepath.Join(t.TempDir(), "out.zip")
	if _, err := Run(t.Context(), f, testOptions(EML, out)); err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(out)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for i, m := range f.messages {
		r, err := z.File[i].Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || z.File[i].Name != m.ID+".eml" || string(data) != all[i] {
			t.Errorf("file %d is %s with %d octets, want %s with %d: %v", i, z.File[i].Name, len(data), m.ID, m.Size, err)
		}
	}
}

// TestErrorEndsTheExportInItsTurn has everything before the message in the export and nothing behind it, however far
// ahead things are read.
func TestErrorEndsTheExportInItsTurn(t *testing.T) {
	broken := errors.New("the stream broke off")
	for name, c := range map[string]struct {
		body func() io.Reader
		want error
	}{
		"wrong bytes":    {func() io.Reader { return strings.NewReader("wrong") }, ErrMismatch},
		"broken stream":  {func() io.Reader { return iotest.ErrReader(broken) }, broken},
		"cut-off stream": {func() io.Reader { return iotest.ErrReader(io.ErrUnexpectedEOF) }, io.ErrUnexpectedEOF},
	} {
		const bad = 9
		f := newFake(t)
		for _, m := range mixed(30) {
			f.text(t, m)
		}
		f.bodies[bad] = c.body
		dir := filepath.Join(t.TempDir(), "out")
		progress := 0
		opts := testOptions(EML, dir)
		opts.Progress = func(int64) { progress++ }
		_, err := Run(t.Context(), f, opts)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "message "+f.messages[bad].ID+": ") {
			t.Errorf("%s: %v", name, err)
		}
		manifest, err := os.ReadFile(filepath.Join(dir, manifestName+partialSuffix))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(manifest, []byte("\n")) - 1; lines != bad || progress != bad {
			t.Errorf("%s: %d lines and %d messages, want %d", name, lines, progress, bad)
		}
		for i, m := range f.messages {
			if _, err := os.Stat(filepath.Join(dir, m.ID+".eml")); (err == nil) != (i < bad) {
				t.Errorf("%s: file of message %d: %v", name, i, err)
			}
		}
		f.bodies[bad] = func() io.Reader { return strings.NewReader(mixed(30)[bad]) }
		if r, err := Run(t.Context(), f, testOptions(EML, dir)); err != nil || r.Messages != 30 {
			t.Errorf("%s: goes on with %d messages: %v", name, r.Messages, err)
		}
	}
}

// TestWhatIsReadAheadIsBounded counts the octets that the source has given and that are not written yet.
func TestWhatIsReadAheadIsBounded(t *testing.T) {
	const size, messages = 100_000, 120
	f := newFake(t)
	var given, written atomic.Int64
	most := int64(0)
	for i := range messages {
		text := fmt.Sprintf("%0*d", size, i)
		f.text(t, text)
		f.bodies[i] = func() io.Reader {
			given.Add(size)
			return strings.NewReader(text)
		}
	}
	opts := testOptions(Mbox, filepath.Join(t.TempDir(), "out.mbox"))
	opts.Progress = func(int64) {
		written.Add(size)
		most = max(most, given.Load()-written.Load())
	}
	if _, err := Run(t.Context(), f, opts); err != nil {
		t.Fatal(err)
	}
	if written.Load() != messages*size || most > aheadBytes+size {
		t.Errorf("%d octets were read ahead, at most %d may be", most, aheadBytes+size)
	}
}
