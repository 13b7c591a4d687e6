package corpus

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// makeCorpus writes an archive with the given files and points the environment to it.
func makeCorpus(t *testing.T, files [][2]string) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "made.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(f, zstd.WithWindowSize(maxWindow))
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(enc)
	werr := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "set/", Mode: 0o755})
	for _, file := range files {
		werr = errors.Join(werr, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file[0], Mode: 0o644, Size: int64(len(file[1]))}))
		_, err := tw.Write([]byte(file[1]))
		werr = errors.Join(werr, err)
	}
	if err := errors.Join(werr, tw.Close(), enc.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	t.Setenv(env, dir)
}

func TestLoadGivesMessagesWithoutTheirDescription(t *testing.T) {
	makeCorpus(t, [][2]string{
		{"set/SOURCE.txt", "x"}, {"set/LICENSE", "x"}, {"set/README.md", "x"},
		{"set/1.eml", "a\x00\r\nb"}, {"set/2.txt", ""},
	})
	if !Available(t, "made") {
		t.Fatal("the corpus is not available")
	}
	Require(t, "made")
	var got []string
	err := Load(t.Context(), "made", func(path string, msg []byte) error {
		got = append(got, path+"="+string(msg))
		return nil
	})
	if want := []string{"set/1.eml=a\x00\r\nb", "set/2.txt="}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestLoadReturnsTheErrorOfTheCallback(t *testing.T) {
	makeCorpus(t, [][2]string{{"1.eml", "a"}, {"2.eml", "b"}})
	stop, calls := errors.New("stop"), 0
	err := Load(t.Context(), "made", func(string, []byte) error { calls++; return stop })
	if !errors.Is(err, stop) || !strings.Contains(err.Error(), "1.eml") || calls != 1 {
		t.Errorf("got %v after %d calls, want the error of the first with its path", err, calls)
	}
}

func TestLoadStopsWithItsContext(t *testing.T) {
	makeCorpus(t, [][2]string{{"1.eml", "a"}, {"2.eml", "b"}})
	ctx, cancel := context.WithCancel(t.Context())
	err := Load(ctx, "made", func(string, []byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestDamagedArchiveIsAnError(t *testing.T) {
	makeCorpus(t, [][2]string{{"1.eml", strings.Repeat("a", 5000)}})
	file, err := archive("made")
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, fi.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := Load(t.Context(), "made", func(string, []byte) error { return nil }); err == nil {
		t.Error("half an archive was loaded without an error")
	}
}

func TestWithoutCorporaNothingIsAvailable(t *testing.T) {
	t.Setenv(env, "")
	if Available(t, "natural-small") {
		t.Error("a corpus is available without " + env)
	}
	if err := Load(t.Context(), "natural-small", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Load = %v, want ErrUnavailable", err)
	}
	t.Run("Require skips", func(t *testing.T) {
		skipped := false
		defer func() { skipped = t.Skipped() }()
		t.Cleanup(func() {
			if !skipped {
				t.Error("Require let the test go on")
			}
		})
		Require(t, "natural-small")
	})
}

func TestMissingArchiveIsNotTakenForNoCorpora(t *testing.T) {
	makeCorpus(t, nil)
	if err := check("absent"); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want that the archive is missing", err)
	}
}

func TestNaturalSmallIsComplete(t *testing.T) {
	Require(t, "natural-small")
	n := 0
	err := Load(t.Context(), "natural-small", func(_ string, msg []byte) error {
		if len(msg) == 0 {
			return errors.New("empty message")
		}
		n++
		return nil
	})
	if err != nil || n != 6046 {
		t.Errorf("%d messages, %v; want 6046", n, err)
	}
}
