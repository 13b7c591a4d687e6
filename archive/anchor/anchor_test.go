package anchor

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
	"github.com/postkeep/postkeep/archive/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newLedger returns a ledger and its checkpoints with 0 to 3 events.
func newLedger(t testing.TB) (*ledger.Log, [][]byte) {
	t.Helper()
	dir := t.TempDir()
	opt := ledger.Options{Dir: filepath.Join(dir, "ledger"), KeyDir: filepath.Join(dir, "keys")}
	if err := ledger.Create(context.Background(), opt); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	checkpoints := [][]byte{l.Checkpoint()}
	for range 3 {
		if _, err := l.Append(context.Background(), []ledger.Event{{Type: ledger.TypeVerify}}); err != nil {
			t.Fatal(err)
		}
		checkpoints = append(checkpoints, l.Checkpoint())
	}
	return l, checkpoints
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func writeFile(t testing.TB, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileKeepsEveryCheckpointAndTheLedgerAgrees(t *testing.T) {
	ctx := context.Background()
	l, checkpoints := newLedger(t)
	f := NewFile(FileOptions{Path: filepath.Join(t.TempDir(), "checkpoints")})
	if _, err := f.Verify(ctx, l.CheckAgainst); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	var before string
	for _, c := range checkpoints {
		for range 2 { // the same one is kept once
			if err := f.Anchor(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		after := readFile(t, f.path)
		if after != before+string(c)+"\n\n" {
			t.Fatalf("%q has become %q", before, after)
		}
		before = after
	}
	if n, err := f.Verify(ctx, l.CheckAgainst); n != 4 || err != nil {
		t.Errorf("%d checkpoints, %v", n, err)
	}
	// Another ledger, one that was rolled back, and an altered file do not.
	other, _ := newLedger(t)
	if n, err := f.Verify(ctx, other.CheckAgainst); n != 4 || !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("another ledger: %d checkpoints, %v", n, err)
	}
	writeFile(t, f.path, strings.Replace(before, "\n2\n", "\n1\n", 1))
	if _, err := f.Verify(ctx, l.CheckAgainst); !errors.Is(err, ledger.ErrCheckpoint) || !strings.Contains(err.Error(), "note 3:") {
		t.Errorf("an altered note: %v", err)
	}
	if err := f.Anchor(ctx, []byte("x\n1\n")); !errors.Is(err, ErrInvalid) {
		t.Errorf("anchored garbage: %v", err)
	}
	writeFile(t, f.path, strings.Repeat("x", 3*maxCheckpoint))
	if _, err := f.Verify(ctx, l.CheckAgainst); !errors.Is(err, ErrInvalid) {
		t.Errorf("one endless note: %v", err)
	}
}

// Whatever a crash leaves of an append, what was acknowledged before and after it is read.
func TestTornFileIsContinued(t *testing.T) {
	ctx := context.Background()
	l, checkpoints := newLedger(t)
	for torn := range len(checkpoints[1]) + len(separator) {
		opt := FileOptions{Path: filepath.Join(t.TempDir(), "checkpoints")}
		if err := NewFile(opt).Anchor(ctx, checkpoints[0]); err != nil {
			t.Fatal(err)
		}
		isWrite := func(op disktest.Op) bool { return op.Kind == disktest.Write }
		faulty := FileOptions{FS: disktest.NewFaulty(disk.OS(), disktest.Fault{At: 1, Only: isWrite, Mode: disktest.Torn, Bytes: torn}), Path: opt.Path}
		if err := NewFile(faulty).Anchor(ctx, checkpoints[1]); !errors.Is(err, disktest.ErrInjected) {
			t.Fatalf("%d bytes: %v", torn, err)
		}
		if err := NewFile(opt).Anchor(ctx, checkpoints[2]); err != nil {
			t.Fatal(err)
		}
		sound := map[string]bool{}
		_, err := NewFile(opt).Verify(ctx, func(ctx context.Context, c []byte) error {
			err := l.CheckAgainst(ctx, c)
			sound[string(c)] = err == nil
			return err
		})
		if !sound[string(checkpoints[0])] || !sound[string(checkpoints[2])] || (err == nil) != (torn == 0 || sound[string(checkpoints[1])]) {
			t.Errorf("%d bytes: %v, %v", torn, sound, err)
		}
	}
}

func TestFailedAnchorIsReported(t *testing.T) {
	_, checkpoints := newLedger(t)
	for k := 1; ; k++ {
		faulty := disktest.NewFaulty(disk.OS(), disktest.Fault{At: k})
		err := NewFile(FileOptions{FS: faulty, Path: filepath.Join(t.TempDir(), "checkpoints")}).Anchor(context.Background(), checkpoints[1])
		if _, fired := faulty.Fired(); fired != (err != nil) || !fired && k < 5 {
			t.Fatalf("operation %d: %v", k, err)
		} else if !fired {
			return
		}
	}
}

func TestURLReceivesCheckpointsAndIsTriedAgain(t *testing.T) {
	ctx := context.Background()
	_, checkpoints := newLedger(t)
	for _, c := range []struct {
		what     string
		answers  []int
		requests int
		ok       bool
	}{
		{"success", []int{204}, 1, true},
		{"twice unavailable", []int{503, 429, 201}, 3, true},
		{"never available", []int{503, 503, 503, 200}, 3, false},
		{"refused", []int{403, 200}, 1, false},
	} {
		var requests atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != string(checkpoints[3]) || r.Method != http.MethodPut || r.URL.Path != "/log/3.txt" || r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("%s %s: %q, %v", r.Method, r.URL, body, err)
			}
			w.WriteHeader(c.answers[requests.Add(1)-1])
			if _, err := io.WriteString(w, "because of reasons"); err != nil && c.answers[0] != http.StatusNoContent {
				t.Error(err)
			}
		}))
		u, err := NewURL(URLOptions{
			URL: server.URL + "/log/{size}.txt", Method: http.MethodPut, Header: http.Header{"authorization": {"Bearer secret"}}, Pause: time.Millisecond, Client: server.Client(),
		})
		if err != nil {
			t.Fatal(err)
		}
		err = u.Anchor(ctx, checkpoints[3])
		if (err == nil) != c.ok || int(requests.Load()) != c.requests {
			t.Errorf("%s: %v after %d requests", c.what, err, requests.Load())
		}
		if err != nil && (!strings.Contains(err.Error(), "because of reasons") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", c.what, err)
		}
		server.Close()
		if err := u.Anchor(ctx, checkpoints[3]); err == nil {
			t.Error("anchored at a server that is gone")
		}
	}
}

func TestURLStopsWhenItIsTold(t *testing.T) {
	_, checkpoints := newLedger(t)
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		w.WriteHeader(500)
	}))
	defer server.Close()
	u, err := NewURL(URLOptions{URL: server.URL, Pause: time.Hour, Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Anchor(ctx, checkpoints[0]); err == nil {
		t.Error("anchored")
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, bad := range []string{"", "ftp://example.com", "https://", "http://user:hunter2@exa mple/", "/path"} {
		if _, err := NewURL(URLOptions{URL: bad}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := NewTSA(TSAOptions{URL: bad}); err == nil {
			t.Errorf("%q was accepted as authority", bad)
		}
	}
	if _, err := NewURL(URLOptions{URL: "https://example.com", Method: "GET"}); err == nil {
		t.Error("GET was accepted")
	}
	if _, err := NewTSA(TSAOptions{URL: "https://example.com"}); err == nil {
		t.Error("an authority without roots was accepted")
	}
}
