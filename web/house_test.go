package web_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

func TestMain(m *testing.M) {
	// Bleve starts its analysis workers when it is imported.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

// password is that of everybody in these tests.
const password = "correct horse battery"

// house is a server with people and no archive behind it, which is all that the
// way in needs.
type house struct {
	t        testing.TB
	web      *web.Server
	users    *users.Store
	mu       sync.Mutex
	recorded []string // actor and what, in order
	url      string
}

// inHouse runs a test with a clock that only the test moves (time.Sleep).
func inHouse(t *testing.T, opts web.Options, test func(*testing.T, *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, opts, people(t, t.TempDir()))
		defer h.web.Close()
		test(t, h)
	})
}

func newHouse(t testing.TB, opts web.Options, store *users.Store) *house {
	t.Helper()
	h := &house{t: t, users: store, url: "http://archive.example.com"}
	if opts.Secure {
		h.url = "https://archive.example.com"
	}
	opts.API, opts.Users, opts.ExportDir = api.NewServer(api.Options{Users: store}), store, filepath.Join(t.TempDir(), "exports")
	if opts.Record == nil {
		opts.Record = func(_ context.Context, actor, what string, _ map[string]any) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.recorded = append(h.recorded, actor+": "+what)
			return nil
		}
	}
	var err error
	if h.web, err = web.New(opts); err != nil {
		t.Fatal(err)
	}
	return h
}

// littleMemory is what hashing takes in these tests, in KiB: their passwords
// protect nothing.
const littleMemory = 64

// people is a store with one person of each role, named after it.
func people(t testing.TB, dir string) *users.Store {
	t.Helper()
	s, err := users.Open(dir, users.Options{HashMemory: littleMemory})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range access.Roles() {
		if err := s.Add(t.Context(), users.User{Name: string(role), Roles: []access.Role{role}}, password); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// direct is a transport that calls a handler, so that no connection has to be
// waited for.
type direct struct {
	h    http.Handler
	from string // address of the client
}

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	served := r.Clone(r.Context())
	if served.Body == nil {
		served.Body = http.NoBody
	}
	served.RequestURI, served.RemoteAddr = r.URL.RequestURI(), d.from+":4711"
	if served.Host == "" {
		served.Host = r.URL.Host
	}
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, served)
	return w.Result(), nil
}

// browser is somebody with a browser: it keeps cookies and follows no redirect.
type browser struct {
	t    testing.TB
	ctx  context.Context
	base string
	http.Client
}

func newBrowser(t testing.TB, h http.Handler, base, from string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, ctx: t.Context(), base: base, Client: http.Client{
		Transport: direct{h, from}, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// events are what was recorded until now.
func (h *house) events() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.recorded)
}

func (h *house) browser() *browser { return newBrowser(h.t, h.web, h.url, "192.0.2.1") }

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   string
}

// to is where a redirect leads.
func (a answer) to() string { return a.header.Get("Location") }

func (b *browser) do(method, path, body string, header ...string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.ctx, method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = resp.Body.Close() // of a recorder
	return answer{resp.StatusCode, resp.Header, string(content)}
}

func (b *browser) get(path string) answer { return b.do(http.MethodGet, path, "") }

// post sends a form of names and values.
func (b *browser) post(path string, pairs ...string) answer {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.do(http.MethodPost, path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func (b *browser) logIn(name string) answer {
	return b.post("/login", "name", name, "password", password)
}

// in reports whether somebody is logged in.
func (b *browser) in() bool { return b.get("/profile").code == http.StatusOK }

// session is the value of the session cookie.
func (b *browser) session() string {
	at, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(at) {
		if strings.HasSuffix(c.Name, "postkeep_session") {
			return c.Value
		}
	}
	return ""
}

// wait lets time go by, in the bubble of the test, until what it brings is done.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
