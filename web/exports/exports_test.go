package exports

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller"
	"github.com/postkeep/postkeep/web/api"
)

func TestMain(m *testing.M) {
	// Bleve starts its analysis workers when it is imported.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func idOf(message []byte) string {
	sum := sha256.Sum256(message)
	return hex.EncodeToString(sum[:])
}

// begin is when the first message of a test archive was received.
func begin() time.Time { return time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC) }

// instance is a client of an archive with the given messages, a minute apart.
func instance(t testing.TB, messages [][]byte) *api.Client {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	must(t, archive.Create(t.Context(), dir, archive.Options{}))
	store, err := archive.Open(t.Context(), dir, archive.Options{})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	index, err := indexer.Open(t.Context(), indexer.Options{Dir: filepath.Join(dir, "index")})
	must(t, err)
	t.Cleanup(func() { _ = index.Close() })
	bus, err := pipeline.Connect(t.Context(), pipeline.Options{Dir: filepath.Join(dir, "nats")})
	must(t, err)
	t.Cleanup(func() { _ = bus.Close() })
	p, err := poller.New(bus, nil, poller.Options{})
	must(t, err)
	put(t, store, index, messages, begin())
	c := api.Local(t.Context(), api.NewServer(api.Options{
		Store: store, Index: index, Bus: bus, Poller: p, Mailboxes: func() []api.Mailbox { return nil }, DataDir: dir,
	}))
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// put archives and indexes messages.
func put(t testing.TB, store *archive.Store, index *indexer.Index, messages [][]byte, at time.Time) {
	t.Helper()
	for n := 0; n < len(messages); {
		var batch []archive.Delivery
		for ; n < len(messages) && len(batch) < 500; n++ {
			m := messages[n]
			batch = append(batch, archive.Delivery{ID: idOf(m), Size: int64(len(m)), Body: bytes.NewReader(m), Deposit: archive.Deposit{
				Mailbox: []string{"sales", "support"}[n%2], UIDL: idOf(m)[:20], Received: at.Add(time.Duration(n) * time.Minute),
			}})
		}
		_, err := store.Put(t.Context(), batch)
		must(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- indexer.NewWorker(index, store, nil, indexer.WorkerOptions{}).Run(ctx) }()
	last, err := store.LastDeposit(t.Context())
	must(t, err)
	must(t, index.Wait(t.Context(), last))
	cancel()
	must(t, <-done)
}

// nasty are messages that break careless writers.
func nasty() [][]byte {
	var out [][]byte
	for _, s := range []string{
		"From: a@example.com\r\nSubject: plain\r\nDate: Sun, 1 Mar 2026 10:00:00 +0100\r\n\r\nHello\r\n",
		"Subject: bare LF\n\nFrom here on\n>From there\n>>From nowhere\nFrom\nFromage\n> From\n",
		"From sender@example.com Thu Jan  1 00:00:00 1970\nSubject: mbox line first\n\nx\n",
		"Subject: no final newline\r\n\r\nlast line",
		"Subject: ends in CR\r\n\r\nlast line\r",
		"Subject: NULs\r\n\r\na\x00b\x00\r\n\x00From \r\n",
		"Subject: 8-bit\r\n\r\n\xe9\xff\xfe\r\n",
		"\n",
		"From: \"<script>alert(1)</script>\" <x@evil.example>\r\nSubject: </title><script>alert(2)</script> =SUM(A1)\r\n" +
			"Content-Type: text/html\r\n\r\n<img src=http://evil.example/x.png onerror=alert(3)>&lt;script&gt;alert(4)&lt;/script&gt;\r\n",
		"Subject: =HYPERLINK(\"http://evil.example\",\"x\")\r\nFrom: =?utf-8?q?=C3=BE=14=C2=AE?= <thorn@example.com>\r\n\r\nþ\r\n",
		"Subject: family\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee attached\r\n" +
			"--b\r\nContent-Type: text/csv; name=\"../../etc/a.csv\"\r\nContent-Disposition: attachment\r\n\r\n1;2\r\n3;4\r\n" +
			"--b\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\nSubject: inner\r\n\r\ninner text\r\n" +
			"--b\r\nContent-Type: application/octet-stream; name=x.DAT\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC/w==\r\n--b--\r\n",
	} {
		out = append(out, []byte(s))
	}
	return out
}

func generated(t testing.TB, n int) [][]byte {
	t.Helper()
	g, err := mailgen.New(mailgen.Options{Seed: 7, Count: n})
	must(t, err)
	var out [][]byte
	for _, m := range g.All() {
		out = append(out, m)
	}
	return out
}

func unzip(t testing.TB, path string, into map[string]string) {
	t.Helper()
	z, err := zip.OpenReader(path)
	must(t, err)
	for _, f := range z.File {
		r, err := f.Open()
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		if f.Name != "proof.json" {
			into[f.Name] = string(data)
		}
	}
	must(t, z.Close())
}

func options(format export.Format, out string) export.Options {
	none := func(string) error { return nil } // a test that waits for the disk shows nothing more
	return export.Options{Format: format, Out: out, SyncDir: none, SyncFile: none}
}

func run(t testing.TB, c *api.Client, opts export.Options) export.Result {
	t.Helper()
	r, err := Run(t.Context(), c, opts)
	must(t, err)
	return r
}

func verified(t testing.TB, path string, opts export.VerifyOptions) export.Report {
	t.Helper()
	r, err := export.Verify(t.Context(), path, opts)
	must(t, err)
	return r
}

// snapshot is every file below a directory, and in zips below it, with its content, but
// for proof.json.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "proof.json") {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		must(t, err)
		if filepath.Ext(path) == ".zip" {
			unzip(t, path, out)
			return nil
		}
		data, err := os.ReadFile(path)
		out[rel] = string(data)
		return err
	}))
	return out
}

// forms are the formats as directories, except mbox, which is a file with its
// companions, and as zips.
func forms(t *testing.T, test func(t *testing.T, format export.Format, name string)) {
	for _, format := range export.Formats() {
		for _, name := range []string{"out-" + string(format), string(format) + ".zip"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // they wait for fsync
				test(t, format, name)
			})
		}
	}
}

func TestEveryFormatIsVerifiedAndTheSameAgain(t *testing.T) {
	messages := append(nasty(), generated(t, 40)...)
	c := instance(t, messages)
	forms(t, func(t *testing.T, format export.Format, name string) {
		first, second := t.TempDir(), t.TempDir()
		r := run(t, c, options(format, filepath.Join(first, name)))
		run(t, c, options(format, filepath.Join(second, name)))
		if r.Messages != int64(len(messages)) {
			t.Errorf("%d messages, want %d", r.Messages, len(messages))
		}
		one, two := snapshot(t, first), snapshot(t, second)
		for f, content := range one {
			if two[f] != content {
				t.Errorf("%s is not the same the second time", f)
			}
		}
		if len(one) == 0 || len(one) != len(two) {
			t.Errorf("%d files, the second time %d", len(one), len(two))
		}
		path := filepath.Join(first, name)
		v := verified(t, path, export.VerifyOptions{})
		if len(v.Problems) > 0 || v.SignerVerified || v.Messages != r.Messages || v.Deposits != r.Messages || v.Event != r.Event {
			t.Errorf("%+v", v)
		}
		for _, key := range []string{export.Fingerprint(r.Key), "SHA256:" + export.Fingerprint(r.Key), r.Key + "\n"} {
			if v := verified(t, path, export.VerifyOptions{Key: key}); len(v.Problems) > 0 || !v.SignerVerified {
				t.Errorf("with the key %q: %+v", key, v)
			}
		}
		if v := verified(t, path, export.VerifyOptions{Key: strings.Repeat("0", 64)}); len(v.Problems) == 0 || v.SignerVerified {
			t.Errorf("with another key: %+v", v)
		}
	})
}
