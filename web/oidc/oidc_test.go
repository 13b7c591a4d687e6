package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/oidc"
	"github.com/postkeep/postkeep/web/users"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"),
		// Connections to the provider are kept for the next log-in.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func newClient(t *testing.T, p *provider) *oidc.Provider {
	t.Helper()
	c, err := oidc.New(oidc.Options{
		Issuer: p.server.URL, ClientID: clientID, Redirect: redirectURL, MailboxClaim: "mailboxes",
		Secret: func(context.Context) (string, error) { return clientSecret, nil },
		Roles:  map[string]access.Role{"archive-audit": access.Auditor, "archive-admin": access.Admin},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// anna is what the provider says of somebody who may log in.
func anna() map[string]any {
	return map[string]any{"preferred_username": "Anna", "groups": []string{"staff", "archive-audit"}, "mailboxes": []string{"sales"}}
}

func TestIdentityIsWhatTheProviderSigned(t *testing.T) {
	p := startProvider(t)
	c := newClient(t, p)
	for name, want := range map[string]struct {
		claims map[string]any
		roles  []access.Role
		boxes  []string
	}{
		"one role":        {anna(), []access.Role{access.Auditor}, []string{"sales"}},
		"as a string":     {map[string]any{"preferred_username": "anna", "groups": "archive-admin"}, []access.Role{access.Admin}, nil},
		"two roles":       {map[string]any{"preferred_username": "anna", "groups": []string{"archive-admin", "archive-audit", "archive-admin"}}, []access.Role{access.Admin, access.Auditor}, nil},
		"other mailboxes": {map[string]any{"preferred_username": "anna", "groups": "archive-audit", "mailboxes": "board"}, []access.Role{access.Auditor}, []string{"board"}},
	} {
		p.claims = want.claims
		address, kept, err := c.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		who, err := c.Finish(t.Context(), kept, p.authorize(address))
		if err != nil || who.Name != "anna" || who.Subject != p.server.URL+"#4711" || !slices.Equal(who.Roles, want.roles) || !slices.Equal(who.Mailboxes, want.boxes) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
}

func TestAnswerThatDoesNotFitIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(p *provider, kept *[]byte, answer url.Values){
		"another state":      func(_ *provider, _ *[]byte, a url.Values) { a.Set("state", "invented") },
		"no state":           func(_ *provider, _ *[]byte, a url.Values) { a.Del("state") },
		"nothing was begun":  func(_ *provider, kept *[]byte, a url.Values) { *kept = nil; a.Del("state") },
		"an empty beginning": func(_ *provider, kept *[]byte, a url.Values) { *kept = []byte("{}"); a.Del("state") },
		"refused there":      func(_ *provider, _ *[]byte, a url.Values) { a.Set("error", "access_denied") },
		"another nonce": func(p *provider, _ *[]byte, _ url.Values) {
			p.spoil = func(c map[string]any) { c["nonce"] = "invented" }
		},
		"no nonce":           func(p *provider, _ *[]byte, _ url.Values) { p.spoil = func(c map[string]any) { delete(c, "nonce") } },
		"for another client": func(p *provider, _ *[]byte, _ url.Values) { p.spoil = func(c map[string]any) { c["aud"] = "wiki" } },
		"another issuer": func(p *provider, _ *[]byte, _ url.Values) {
			p.spoil = func(c map[string]any) { c["iss"] = "https://evil.example" }
		},
		"expired": func(p *provider, _ *[]byte, _ url.Values) {
			p.spoil = func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }
		},
		"another key": func(p *provider, _ *[]byte, _ url.Values) { p.forged = true },
		"no role": func(p *provider, _ *[]byte, _ url.Values) {
			p.spoil = func(c map[string]any) { c["groups"] = []string{"staff"} }
		},
		"no name": func(p *provider, _ *[]byte, _ url.Values) {
			p.spoil = func(c map[string]any) { delete(c, "preferred_username") }
		},
		"two names": func(p *provider, _ *[]byte, _ url.Values) {
			p.spoil = func(c map[string]any) { c["preferred_username"] = []string{"anna", "bert"} }
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProvider(t)
			p.claims = anna()
			c := newClient(t, p)
			address, kept, err := c.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			answer := p.authorize(address)
			spoil(p, &kept, answer)
			if who, err := c.Finish(t.Context(), kept, answer); !errors.Is(err, oidc.ErrRefused) {
				t.Errorf("%+v, %v", who, err)
			}
		})
	}
}

func TestCodeIsOfNoUseToWhoStoleIt(t *testing.T) {
	p := startProvider(t)
	p.claims = anna()
	c := newClient(t, p)
	address, _, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stolen := p.authorize(address)
	other, kept, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stolen.Set("state", p.authorize(other).Get("state")) // everything fits but verifier and nonce
	p.spoil = func(map[string]any) { t.Error("the provider gave a token for a code with another verifier") }
	if who, err := c.Finish(t.Context(), kept, stolen); err == nil || p.tokens == 0 {
		t.Errorf("%+v after %d requests", who, p.tokens)
	}
}

func TestProviderThatIsAwayIsAskedAgain(t *testing.T) {
	p := startProvider(t)
	p.claims = anna()
	away := true
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		p.server.Config.Handler.ServeHTTP(w, r)
	}))
	defer front.Close()
	p.server.Close()
	p.server.URL = front.URL
	c := newClient(t, p)
	if _, _, err := c.Begin(t.Context()); err == nil || errors.Is(err, oidc.ErrRefused) {
		t.Errorf("away: %v", err)
	}
	away = false
	address, kept, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Finish(t.Context(), kept, p.authorize(address)); err != nil {
		t.Error(err)
	}
}

func TestUnknownRoleInTheConfigurationIsAnError(t *testing.T) {
	for _, role := range []access.Role{"root", access.Local, ""} {
		if _, err := oidc.New(oidc.Options{Roles: map[string]access.Role{"staff": role}}); err == nil {
			t.Errorf("%q is a role", role)
		}
	}
}

// site is the pages with a provider.
type site struct {
	t     *testing.T
	p     *provider
	web   *web.Server
	users *users.Store
}

func newSite(t *testing.T) *site {
	t.Helper()
	p := startProvider(t)
	const littleMemory = 64 // KiB
	store, err := users.Open(t.TempDir(), users.Options{HashMemory: littleMemory})
	if err != nil {
		t.Fatal(err)
	}
	s, err := web.New(web.Options{
		API: api.NewServer(api.Options{Users: store}), Users: store, Provider: newClient(t, p), ExportDir: t.TempDir(),
		Record: func(context.Context, string, string, map[string]any) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &site{t, p, s, store}
}

// logIn goes through the provider and returns the status of the way back, and
// whether somebody is logged in after it.
func (s *site) logIn(change func(answer url.Values)) (code int, in bool) {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	at, err := url.Parse(redirectURL)
	if err != nil {
		s.t.Fatal(err)
	}
	get := func(path string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for _, c := range jar.Cookies(at) {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		s.web.ServeHTTP(w, r)
		jar.SetCookies(at, w.Result().Cookies())
		return w.Result()
	}
	answer := s.p.authorize(get("/login/provider").Header.Get("Location"))
	change(answer)
	back := get("/login/provider/back?" + answer.Encode())
	return back.StatusCode, get("/profile").StatusCode == http.StatusOK
}

func TestWhoComesFromTheProviderIsLoggedIn(t *testing.T) {
	s := newSite(t)
	s.p.claims = anna()
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusSeeOther || !in {
		t.Fatalf("%d, logged in %v", code, in)
	}
	u, err := s.users.Get("anna")
	if err != nil || u.Password != "" || u.Subject != s.p.server.URL+"#4711" || !slices.Equal(u.Mailboxes, []string{"sales"}) {
		t.Errorf("%+v, %v", u, err)
	}
	s.p.claims = map[string]any{"preferred_username": "renamed", "groups": "archive-admin"}
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusSeeOther || !in || len(s.users.List()) != 1 {
		t.Errorf("the same person again: %d, logged in %v, %d users", code, in, len(s.users.List()))
	}
	if u, err := s.users.Get("anna"); err != nil || !slices.Equal(u.Roles, []access.Role{access.Admin}) || len(u.Mailboxes) != 0 {
		t.Errorf("what the provider took away is still granted: %+v, %v", u, err)
	}
	s.p.claims = anna() // who is no admin in it, and the last one
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusSeeOther || !in {
		t.Errorf("the last administrator, who is none for the provider: %d, logged in %v", code, in)
	}
	if u, err := s.users.Get("anna"); err != nil || !slices.Contains(u.Roles, access.Admin) || len(u.Roles) != 2 || !slices.Equal(u.Mailboxes, []string{"sales"}) {
		t.Errorf("the provider has left the archive without an administrator: %+v, %v", u, err)
	}
	if err := s.users.Add(t.Context(), users.User{Name: "bert", Roles: []access.Role{access.Admin}}, "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusSeeOther || !in {
		t.Errorf("with another administrator: %d, logged in %v", code, in)
	}
	if u, err := s.users.Get("anna"); err != nil || slices.Contains(u.Roles, access.Admin) {
		t.Errorf("still an administrator where there is another one: %+v, %v", u, err)
	}
	if err := s.users.Disable("anna", true); err != nil {
		t.Fatal(err)
	}
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusForbidden || in {
		t.Errorf("somebody who is kept out: %d, logged in %v", code, in)
	}
}

func TestNameOfALocalUserIsNotTakenOver(t *testing.T) {
	s := newSite(t)
	const password = "correct horse battery"
	if err := s.users.Add(t.Context(), users.User{Name: "anna", Roles: []access.Role{access.Officer}}, password); err != nil {
		t.Fatal(err)
	}
	s.p.claims = anna()
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusForbidden || in {
		t.Errorf("%d, logged in %v", code, in)
	}
	u, err := s.users.LogIn(t.Context(), "anna", password)
	if err != nil || u.Subject != "" || !slices.Equal(u.Roles, []access.Role{access.Officer}) {
		t.Errorf("the local user is now %+v, %v", u, err)
	}
	s.p.claims["sub"], s.p.claims["preferred_username"] = "4712", "bert"
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusSeeOther || !in {
		t.Errorf("another name: %d, logged in %v", code, in)
	}
	s.p.claims["sub"] = "4713" // another person of the same name
	if code, in := s.logIn(func(url.Values) {}); code != http.StatusForbidden || in {
		t.Errorf("a name that another person of the provider has: %d, logged in %v", code, in)
	}
}

func TestLogInThatWasNotBegunHereIsRefused(t *testing.T) {
	s := newSite(t)
	s.p.claims = anna()
	if code, in := s.logIn(func(a url.Values) { a.Set("state", "invented") }); code != http.StatusForbidden || in {
		t.Errorf("another state: %d, logged in %v", code, in)
	}
	w := httptest.NewRecorder()
	s.web.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/login/provider/back?code=x&state=y", nil))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "not begun here") {
		t.Errorf("without a session: %d", w.Code)
	}
	if len(s.users.List()) != 0 {
		t.Error("a user was made")
	}
}
