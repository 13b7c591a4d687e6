package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller"
	"github.com/postkeep/postkeep/web/access"
)

func TestMain(m *testing.M) {
	// Bleve starts its analysis workers when it is imported.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

// instance is a server over an archive with the given messages, all indexed.
func instance(t *testing.T, messages ...string) (*Server, *archive.Store) {
	t.Helper()
	return instanceOn(t, archive.Options{}, messages...)
}

func instanceOn(t *testing.T, options archive.Options, messages ...string) (*Server, *archive.Store) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(archive.Create(t.Context(), dir, options))
	store, err := archive.Open(t.Context(), dir, options)
	check(err)
	t.Cleanup(func() { _ = store.Close() })
	index, err := indexer.Open(t.Context(), indexer.Options{Dir: filepath.Join(dir, "index")})
	check(err)
	t.Cleanup(func() { _ = index.Close() })
	bus, err := pipeline.Connect(t.Context(), pipeline.Options{Dir: filepath.Join(dir, "nats")})
	check(err)
	t.Cleanup(func() { _ = bus.Close() })
	p, err := poller.New(bus, nil, poller.Options{})
	check(err)
	var batch []archive.Delivery
	for _, m := range messages {
		batch = append(batch, archive.Delivery{
			ID: idOf(m), Size: int64(len(m)), Body: strings.NewReader(m),
			Deposit: archive.Deposit{Mailbox: "sales", UIDL: idOf(m), Received: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)},
		})
	}
	_, err = store.Put(t.Context(), batch)
	check(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- indexer.NewWorker(index, store, nil, indexer.WorkerOptions{}).Run(ctx) }()
	last, err := store.LastDeposit(t.Context())
	check(err)
	check(index.Wait(t.Context(), last))
	cancel()
	check(<-done)
	return NewServer(Options{
		Store: store, Index: index, Bus: bus, Poller: p, Mailboxes: func() []Mailbox { return nil }, DataDir: dir,
	}), store
}

func idOf(message string) string {
	sum := sha256.Sum256([]byte(message))
	return hex.EncodeToString(sum[:])
}

const hello = "From: Maria <maria@example.com>\r\nSubject: hello\r\n\r\nthe contract\r\n"

func client(t *testing.T, s *Server) *Client {
	t.Helper()
	c := Local(t.Context(), s)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestSearchShowAndRawAreOneMessage(t *testing.T) {
	s, _ := instance(t, hello, "Subject: other\r\n\r\nnothing\r\n")
	c := client(t, s)
	r, err := c.Search(t.Context(), SearchRequest{Query: "contract", Limit: 10})
	if err != nil || r.Total != 1 || len(r.Hits) != 1 || r.Hits[0].ID != idOf(hello) || r.Hits[0].Subject != "hello" {
		t.Fatalf("search: %+v, %v", r, err)
	}
	if m := r.Hits[0].Marks; len(m) != 1 || r.Hits[0].Snippet[m[0][0]:m[0][1]] != "contract" {
		t.Errorf("marks %v in %q", m, r.Hits[0].Snippet)
	}
	d, err := c.Message(t.Context(), idOf(hello)[:8])
	if err != nil || d.ID != idOf(hello) || !strings.Contains(d.Text, "the contract") || d.Deposits[0].Mailbox != "sales" {
		t.Errorf("message: %+v, %v", d, err)
	}
	var raw bytes.Buffer
	if err := c.Raw(t.Context(), idOf(hello), &raw); err != nil || raw.String() != hello {
		t.Errorf("raw: %q, %v", raw.String(), err)
	}
}

// Without an instance nobody indexes what is missing, such as after a backup was put back.
func TestSearchWithoutAnInstanceSaysThatTheIndexIsBehindAndWhatToDo(t *testing.T) {
	s, store := instance(t, hello)
	const later = "Subject: later\r\n\r\nnot indexed\r\n"
	if r, err := client(t, s).Search(t.Context(), SearchRequest{Limit: 10}); err != nil || r.Partial != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := store.Put(t.Context(), []archive.Delivery{{
		ID: idOf(later), Size: int64(len(later)), Body: strings.NewReader(later), Deposit: archive.Deposit{Mailbox: "sales", Received: time.Now()},
	}}); err != nil {
		t.Fatal(err)
	}
	for running, want := range map[bool]string{false: "postkeep rebuild index", true: ""} {
		s.opts.Running = running
		r, err := client(t, s).Search(t.Context(), SearchRequest{Limit: 10})
		if err != nil || r.Total != 1 || !strings.Contains(r.Partial, want) || (r.Partial == "") != running {
			t.Errorf("running %t: %+v, %v", running, r, err)
		}
	}
}

func TestCountAloneShowsNoMessage(t *testing.T) {
	s, _ := instance(t, hello)
	if r, err := client(t, s).Search(t.Context(), SearchRequest{Query: "", Limit: 0}); err != nil || r.Total != 1 || len(r.Hits) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestErrorsAreProblemDocuments(t *testing.T) {
	s, _ := instance(t, hello)
	for path, want := range map[string]int{
		"/api/v1/messages/0123456789":     http.StatusNotFound,
		"/api/v1/messages/0123456789/raw": http.StatusNotFound,
		"/api/v1/search?q=(":              http.StatusBadRequest,
		"/api/v1/search?limit=-1":         http.StatusBadRequest,
		"/api/v1/search?limit=many":       http.StatusBadRequest,
		"/api/v1/search?sort=colour":      http.StatusBadRequest,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		s.ServeHTTP(w, r.WithContext(local(r.Context(), "anna")))
		if w.Code != want || w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(w.Body.String(), `"detail"`) {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}

func TestEveryOperationIsRefusedToThoseWhoMayNot(t *testing.T) {
	s, _ := instance(t, hello)
	for _, route := range s.routes() {
		method, path, _ := strings.Cut(route.pattern, " ")
		for _, role := range append(access.Roles(), "") {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, strings.ReplaceAll(path, "{id}", idOf(hello)), strings.NewReader("{"))
			p, want := &access.Principal{Name: "anna", Roles: []access.Role{role}}, http.StatusForbidden
			if role == "" {
				p, want = nil, http.StatusUnauthorized
			}
			if p.May(route.may) {
				continue
			}
			s.ServeHTTP(w, r.WithContext(access.With(r.Context(), p)))
			if w.Code != want {
				t.Errorf("%s for role %q: %d %s, want %d", route.pattern, role, w.Code, w.Body, want)
			}
		}
	}
}

func TestExportThatBreaksOffIsAnError(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", exportMedia)
		_, _ = w.Write(bytes.Repeat([]byte{'m', 0, 1, 1}, 100))
		panic(http.ErrAbortHandler)
	})
	c := Local(t.Context(), h)
	defer func() { _ = c.Close() }()
	out := filepath.Join(t.TempDir(), "out")
	if _, err := export.Fetch(t.Context(), c.Export, export.Options{Format: export.EML, Out: out, SyncDir: func(string) error { return nil }}); err == nil {
		t.Error("no error")
	}
	if err := c.Raw(t.Context(), "x", io.Discard); err == nil {
		t.Error("a raw answer that was cut off is no error")
	}
}

func TestSocketTellsWhoAsks(t *testing.T) {
	for _, depth := range []int{0, 20} { // the second path is too long for a socket
		dir := filepath.Join(t.TempDir(), strings.Repeat("directory/", depth))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := Listen(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(l.Addr().String()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket: %v, %v", info.Mode(), err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- Serve(ctx, l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				panicIfNot(Actor(r.Context()) == SystemUser())
			}))
		}()
		c, err := Dial(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Raw(t.Context(), "x", io.Discard); err != nil {
			t.Errorf("actor is not the current user (%v)", err)
		}
		stop()
		if err := errors.Join(<-served, c.Close()); err != nil {
			t.Error(err)
		}
		if _, err := Dial(t.Context(), dir); err == nil {
			t.Error("the socket still answers")
		}
	}
}

// panicIfNot cuts the answer off, which the client sees as an error.
func panicIfNot(ok bool) {
	if !ok {
		panic(http.ErrAbortHandler)
	}
}

func TestHealthFollowsTheArchive(t *testing.T) {
	s, store := instance(t)
	get := func() int {
		w := httptest.NewRecorder()
		s.Health().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		return w.Code
	}
	if got := get(); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != http.StatusServiceUnavailable {
		t.Errorf("status %d after the archive was closed", got)
	}
}
