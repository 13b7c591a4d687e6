package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	zap "github.com/blevesearch/zapx/v17"
	"github.com/klauspost/compress/zstd"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/api"
)

// canaries are words that are nowhere but in the mail that is to go. They are all of letters, so that no
// tokenizer and no encoding but base64 changes them.
func canaries() []string {
	var out []string
	for i := range 20 {
		out = append(out, "canary"+string(rune('a'+i))+"xqz")
	}
	return out
}

// canaryMail puts them into body, headers, addresses and attachments of two messages, of which one is too large to pass
// through the streams in one piece.
func canaryMail(c []string) (small, large string) {
	small = fmt.Sprintf("From: %s <%s@%s.example>\r\nTo: <%s@example.com>\r\nCc: %s <x@example.com>\r\nSubject: %s offer\r\n"+
		"Message-ID: <%s@example.com>\r\nX-Reference: %s\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello %s\r\n"+
		"--b\r\nContent-Type: text/html\r\n\r\n<p>dear <b>%s</b></p>\r\n"+
		"--b\r\nContent-Type: text/plain; name=\"%s.txt\"\r\nContent-Disposition: attachment; filename=\"%s.txt\"\r\n"+
		"Content-Transfer-Encoding: base64\r\n\r\n%s\r\n--b--\r\n",
		c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[10],
		base64.StdEncoding.EncodeToString([]byte("attached: "+c[11]+" and more")))
	large = fmt.Sprintf("From: <%s@example.com>\r\nSubject: %s\r\nReceived: from %s.example\r\nList-Id: <%s.example>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n%s\r\n%s\r\n"+
		"--b\r\nContent-Type: application/octet-stream\r\n\r\n%s%s\r\n--b--\r\n",
		c[12], c[13], c[14], c[15], c[16], c[17], strings.Repeat("0123456789 "+c[18]+"\r\n", 60_000), c[19])
	return small, large
}

// A scanner looks for words in everything that is below a directory. While an instance runs files come and go, and a segment
// of the index may be half written: it is read when the instance has stopped.
type scanner struct {
	t       *testing.T
	running bool
	words   []string
	forms   map[string][][]byte        // of each word
	found   map[string]map[string]bool // word, where
	plain   *zstd.Decoder
}

func scan(t *testing.T, dir string, words []string, running bool) map[string]map[string]bool {
	t.Helper()
	s := &scanner{t: t, running: running, words: words, forms: map[string][][]byte{}, found: map[string]map[string]bool{}}
	for _, w := range words {
		s.found[w] = map[string]bool{}
		s.forms[w] = [][]byte{[]byte(w)}
		for shift := range 3 { // as base64 has it, wherever it begins
			text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + w + "xx"))
			s.forms[w] = append(s.forms[w], []byte(text[4:len(text)-4]))
		}
	}
	var err error
	if s.plain, err = zstd.NewReader(nil); err != nil {
		t.Fatal(err)
	}
	defer s.plain.Close()
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			err = s.file(path, strings.TrimPrefix(path, dir))
		}
		if running && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.found
}

func (s *scanner) file(path, rel string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	s.look(rel, data)
	s.look(rel+" (name)", []byte(rel))
	if strings.HasSuffix(path, ".zap") {
		if s.running {
			return nil
		}
		return s.segment(path, rel)
	}
	// Every zstd frame, wherever it begins in whatever file.
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	for at := bytes.Index(data, magic); at >= 0; {
		s.frame(rel, data[at:])
		next := bytes.Index(data[at+1:], magic)
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return nil
}

// frame decodes as much as can be decoded of one frame.
func (s *scanner) frame(rel string, data []byte) {
	if err := s.plain.Reset(bytes.NewReader(data)); err != nil {
		return
	}
	const enough = 4 << 20 // frames hold up to 1 MiB of tar; those behind it are decoded for themselves
	out, _ := io.ReadAll(io.LimitReader(s.plain, enough))
	s.look(rel+" (zstd)", out)
}

// segment reads every dictionary and every document id of a segment of Bleve's index, whether anything refers to it or
// not.
func (s *scanner) segment(path, rel string) error {
	seg, err := (&zap.ZapPlugin{}).Open(path)
	if err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	for _, field := range seg.Fields() {
		dict, err := seg.Dictionary(field)
		if err != nil {
			return err
		}
		terms := dict.AutomatonIterator(nil, nil, nil)
		for e, err := terms.Next(); e != nil || err != nil; e, err = terms.Next() {
			if err != nil {
				return err
			}
			s.look(rel+" (dictionary)", []byte(e.Term))
		}
	}
	for n := range seg.Count() {
		if err := seg.VisitStoredFields(n, func(_ string, _ byte, value []byte, _ []uint64) bool {
			s.look(rel+" (stored)", value)
			return true
		}); err != nil {
			return err
		}
	}
	return seg.Close()
}

func (s *scanner) look(where string, data []byte) {
	for _, w := range s.words {
		for _, form := range s.forms[w] {
			if bytes.Contains(data, form) {
				s.found[w][where] = true
			}
		}
	}
}

// TestNothingOfAnErasedOrDisposedMessageIsLeft scans all files of an instance before and after. It works through a running
// instance, as people do.
func TestNothingOfAnErasedOrDisposedMessageIsLeft(t *testing.T) {
	words := canaries()
	first, second := canaryMail(words)
	server := startScripted(t, pop3test.Config{}, append(small(20),
		pop3test.Message{UIDL: "uid-" + words[0], Size: int64(len(first)), Open: opener(first)}, pop3test.Bytes([]byte(second)))...)
	s := newSite(t, scriptedYAML(server, "delete: never"))
	s.ok("poll")
	checkpoint := filepath.Join(s.dir, "checkpoint")
	s.ok("verify", "--deep", "--save-checkpoint", checkpoint)
	before := scan(t, s.data(), words, false)
	everywhere := map[string]bool{}
	for _, w := range words {
		if len(before[w]) == 0 {
			t.Errorf("%s is not found before the disposal", w)
		}
		maps.Copy(everywhere, before[w])
	}
	for _, part := range []string{"volumes", "(zstd)", "catalog.db", "(dictionary)", "snippets", "ledger"} {
		if !hasPart(everywhere, part) {
			t.Errorf("no canary is found in %s before the disposal", part)
		}
	}

	// Once more through the streams of the instance in which they are disposed of.
	for _, name := range []string{"volumes", "ledger", "catalog.db", "index", "nats", "keys"} {
		if err := os.RemoveAll(s.data(name)); err != nil {
			t.Fatal(err)
		}
	}
	s.ok("init", s.dir)
	_, stop := s.daemon()
	s.ok("poll")
	s.ok("verify", "--deep", "--save-checkpoint", checkpoint)
	clear(everywhere)
	for _, where := range scan(t, s.data(), words, true) {
		maps.Copy(everywhere, where)
	}
	// The streams are looked into where messages wait in them, in package pipeline.
	if !hasPart(everywhere, "catalog.db-wal") {
		t.Error("no canary is found in the journal of the catalog before the disposal")
	}
	erased, due := idOf(first), idOf(second)
	s.ok("hold", "place", "--name", "matter", "--reason", "a claim", "--custodian", "sales", "--query", "id:"+erased[:16])
	if r := s.run("erase", erased[:16], "--reason", "a request", "--yes"); r.code != 1 || !strings.Contains(r.stderr, "matter") {
		t.Errorf("erasure under a hold: exit code %d, %s", r.code, r.stderr)
	}
	if out := s.ok("search", "--count", "is:held"); strings.TrimSpace(out) != "1" {
		t.Errorf("is:held finds %s", out)
	}
	s.ok("hold", "release", "matter", "--reason", "settled")
	s.ok("erase", erased[:16], "--reason", "a request", "--yes")
	s.ok("retention", "policy", "add", "--name", "short", "--query", "id:"+due[:16], "--max", "1s")
	plan := s.plan()
	if r := s.run("retention", "apply", plan); r.code != 1 || !strings.Contains(r.stderr, "not confirmed") {
		t.Errorf("apply without an answer: exit code %d, %s", r.code, r.stderr)
	}
	s.ok("retention", "apply", plan, "--yes")
	s.clean(words, true)
	if code, log := stop(os.Interrupt); code != 0 {
		t.Fatalf("exit code %d\n%s", code, log)
	}

	s.clean(words, false)
	for id, want := range map[string]string{erased: "a request", due: `rule "short"`} {
		if out := s.ok("show", id); !strings.Contains(out, "Disposed") || !strings.Contains(out, want) {
			t.Errorf("show of what was disposed of:\n%s", out)
		}
		if r := s.run("show", "--raw", id); r.code != 1 || !strings.Contains(r.stderr, "disposed of") {
			t.Errorf("show --raw: exit code %d, %s", r.code, r.stderr)
		}
		s.remains(id)
	}
	if out := s.ok("verify", "--deep", "--checkpoint", checkpoint); out == "" {
		t.Error("verify says nothing")
	}
	if out := s.ok("search", "--count", "hello"); strings.TrimSpace(out) != "20" {
		t.Errorf("of the other messages %s are found", out)
	}
	s.stockTools()
	if out := s.ok("poll", "--json"); reports(t, out)["sales"].Archived != 0 {
		t.Errorf("poll after the disposal: %s", out)
	}
}

// remains looks at the chain of custody of a message that was disposed of.
func (s *site) remains(id string) {
	s.t.Helper()
	out := s.ok("show", id, "--custody")
	for _, want := range []string{"nothing of the bytes is kept any more", "Disposed of", "disposal-intent", "sales"} {
		if !strings.Contains(out, want) {
			s.t.Errorf("the chain of custody of what was disposed of lacks %q:\n%s", want, out)
		}
	}
	wantWidth(s.t, out)
	var c api.Custody
	if err := json.Unmarshal([]byte(s.ok("show", id, "--custody", "--json")), &c); err != nil {
		s.t.Fatal(err)
	}
	types := map[string]bool{}
	for _, e := range c.Events {
		types[e.Type] = true
	}
	if c.Place != nil || len(c.Deposits) != 0 || len(c.Disposed) == 0 || !types["disposal-intent"] || !types["view"] {
		s.t.Errorf("the chain of custody of what was disposed of: %+v", c)
	}
}

func hasPart(where map[string]bool, part string) bool {
	for place := range where {
		if strings.Contains(place, part) {
			return true
		}
	}
	return false
}

// clean complains about everything that is left.
func (s *site) clean(words []string, running bool) {
	s.t.Helper()
	for w, where := range scan(s.t, s.data(), words, running) {
		for place := range where {
			s.t.Errorf("%s is left in %s (running: %v)", w, place, running)
		}
	}
}

func idOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func opener(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// plan plans until something is due: the shortest period is a second.
func (s *site) plan() string {
	s.t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		var p struct {
			ID  string
			Due int
		}
		if err := json.Unmarshal([]byte(s.ok("retention", "plan", "--json")), &p); err != nil {
			s.t.Fatal(err)
		}
		if p.Due > 0 {
			return p.ID
		}
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatal("nothing becomes due")
		}
	}
}

// stockTools unpacks all volumes with zstd and tar, or with Go's where the machine has none.
func (s *site) stockTools() {
	s.t.Helper()
	names, err := filepath.Glob(s.data("volumes", "*.tar.zst"))
	if err != nil || len(names) == 0 {
		s.t.Fatal(names, err)
	}
	for _, name := range names {
		if _, err := exec.LookPath("zstd"); err == nil {
			out, err := exec.CommandContext(s.t.Context(), "sh", "-c", `zstd -dc "$1" | tar tf -`, "sh", name).CombinedOutput()
			if err != nil {
				s.t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
		f, err := os.Open(name)
		if err != nil {
			s.t.Fatal(err)
		}
		z, err := zstd.NewReader(f)
		if err != nil {
			s.t.Fatal(err)
		}
		redacted := 0
		for tr := tar.NewReader(z); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				s.t.Errorf("%s: %v", name, err)
				break
			}
			if strings.HasSuffix(h.Name, ".redacted") {
				redacted++
			}
		}
		if redacted == 0 {
			s.t.Errorf("%s has no redacted entry", name)
		}
		z.Close()
		_ = f.Close() // it was read
	}
}
