package oauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/poller/oauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID = "client"
	secret   = "client hunter2"
	scope    = "pop offline_access"
)

// authServer is an authorization server that rotates refresh tokens: each is
// good once.
type authServer struct {
	*httptest.Server
	t *testing.T

	mu        sync.Mutex
	issued    int
	refresh   string // the one that is good
	challenge string // of PKCE
	pending   int    // polls of the device code that are too early
	lifetime  int    // of access tokens, in seconds
	fail      func(w http.ResponseWriter) bool
	requests  []url.Values // to the token endpoint
}

func startAuthServer(t *testing.T) *authServer {
	t.Helper()
	a := &authServer{t: t, lifetime: 3600}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", a.token)
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != clientID || r.FormValue("scope") != scope {
			t.Errorf("device request %v", r.Form)
		}
		_, _ = w.Write([]byte(`{"device_code":"dc","user_code":"ABCD-EFGH","verification_uri":"https://example.com/device","expires_in":600,"interval":1}`))
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func (a *authServer) token(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		a.t.Error(err)
	}
	a.requests = append(a.requests, r.PostForm)
	if a.fail != nil && a.fail(w) {
		return
	}
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "No.\nReally."})
	}
	if r.PostForm.Get("client_id") != clientID || r.PostForm.Get("client_secret") != secret {
		refuse("invalid_client")
		return
	}
	switch grant := r.PostForm.Get("grant_type"); grant {
	case "client_credentials":
		if r.PostForm.Get("scope") != scope {
			a.t.Errorf("scope %q", r.PostForm.Get("scope"))
		}
	case "refresh_token":
		if r.PostForm.Get("refresh_token") != a.refresh {
			refuse("invalid_grant")
			return
		}
	case "authorization_code":
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if r.PostForm.Get("code") != "the code" || base64.RawURLEncoding.EncodeToString(sum[:]) != a.challenge {
			refuse("invalid_grant")
			return
		}
	case "urn:ietf:params:oauth:grant-type:device_code":
		if a.pending--; a.pending >= 0 {
			refuse("authorization_pending")
			return
		}
	default:
		a.t.Errorf("grant type %q", grant)
	}
	a.issued++
	answer := map[string]any{"access_token": fmt.Sprintf("access-%d", a.issued), "token_type": "Bearer", "expires_in": a.lifetime}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		a.refresh = fmt.Sprintf("refresh-%d", a.issued)
		answer["refresh_token"] = a.refresh
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func (a *authServer) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.requests)
}

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (a *authServer) options(t *testing.T) oauth.Options {
	return oauth.Options{
		ClientID: clientID, ClientSecret: func(context.Context) (string, error) { return secret, nil },
		Scopes: strings.Fields(scope), TokenURL: a.URL + "/token", AuthURL: a.URL + "/auth", DeviceURL: a.URL + "/device",
		AuthParams: map[string]string{"prompt": "consent"}, File: filepath.Join(t.TempDir(), "sales.json"),
	}
}

func newSource(t *testing.T, opts oauth.Options) *oauth.Source {
	t.Helper()
	s, err := oauth.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func authorize(t *testing.T, s *oauth.Source) {
	t.Helper()
	if err := s.AuthorizeDevice(t.Context(), func(string, string) {}); err != nil {
		t.Fatal(err)
	}
}

// want checks the next token.
func want(t *testing.T, s *oauth.Source, refused, token string) {
	t.Helper()
	got, err := s.Token(t.Context(), refused)
	if err != nil || got != token {
		t.Errorf("token %q, %v; want %q", got, err, token)
	}
}

func TestDeviceFlowWaitsForTheUserAndKeepsTheTokens(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	a.pending = 1
	opts := a.options(t)
	var shown string
	if err := newSource(t, opts).AuthorizeDevice(t.Context(), func(url, code string) { shown = url + " " + code }); err != nil {
		t.Fatal(err)
	}
	if shown != "https://example.com/device ABCD-EFGH" {
		t.Errorf("shown %q", shown)
	}
	want(t, newSource(t, opts), "", "access-1")
	info, err := os.Stat(opts.File)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v", info.Mode(), err)
	}
}

func TestBrowserFlowUsesPKCEAndChecksTheState(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	opts := a.options(t)
	opts.RedirectHost = "localhost"
	get := func(base string, query url.Values) int {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get(base + "/?" + query.Encode())
		if err != nil {
			t.Error(err)
			return 0
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	var browser sync.WaitGroup
	err := newSource(t, opts).AuthorizeBrowser(t.Context(), func(text string) {
		u, err := url.Parse(text)
		if err != nil {
			t.Error(err)
			return
		}
		q := u.Query()
		if q.Get("client_id") != clientID || q.Get("scope") != scope || q.Get("code_challenge_method") != "S256" ||
			q.Get("response_type") != "code" || q.Get("prompt") != "consent" || !strings.HasPrefix(q.Get("redirect_uri"), "http://localhost:") {
			t.Errorf("URL %s", text)
		}
		a.challenge = q.Get("code_challenge")
		browser.Go(func() {
			base := strings.Replace(q.Get("redirect_uri"), "localhost", "127.0.0.1", 1)
			if status := get(base, url.Values{"code": {"forged"}, "state": {"guessed"}}); status != http.StatusBadRequest {
				t.Errorf("forged state: status %d", status)
			}
			if status := get(base, url.Values{"code": {"the code"}, "state": {q.Get("state")}}); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		})
	})
	browser.Wait()
	if err != nil {
		t.Fatal(err)
	}
	want(t, newSource(t, opts), "", "access-1")
}

func TestBrowserFlowReportsARefusalAndTheEndOfPatience(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	var browser sync.WaitGroup
	err := newSource(t, a.options(t)).AuthorizeBrowser(t.Context(), func(text string) {
		u, _ := url.Parse(text)
		browser.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			response, err := client.Get(u.Query().Get("redirect_uri") + "/?error=access_denied&state=" + u.Query().Get("state"))
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
		})
	})
	browser.Wait()
	var refused *oauth.Error
	if !errors.As(err, &refused) || refused.Code != "access_denied" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := newSource(t, a.options(t)).AuthorizeBrowser(ctx, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTokenIsRefreshedAheadOfItsEndAndRotationIsKept(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	opts, now := a.options(t), &clock{now: time.Now()}
	opts.Now = now.Now
	s := newSource(t, opts)
	authorize(t, s)
	now.add(54 * time.Minute)
	want(t, s, "", "access-1")
	now.add(2 * time.Minute) // 4 minutes are left
	want(t, s, "", "access-2")
	want(t, newSource(t, opts), "", "access-2") // as after a restart
	now.add(time.Hour)
	want(t, newSource(t, opts), "", "access-3") // the rotated refresh token was kept
}

func TestRefusedTokenIsReplacedOnlyIfItIsStillTheOneAtHand(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	s := newSource(t, a.options(t))
	authorize(t, s)
	want(t, s, "access-1", "access-2")
	want(t, s, "access-1", "access-2")
	if n := a.count(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestConcurrentUsersRefreshOnce(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	opts, now := a.options(t), &clock{now: time.Now()}
	opts.Now = now.Now
	authorize(t, newSource(t, opts))
	now.add(time.Hour)
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() { want(t, newSource(t, opts), "", "access-2") }) // as if each were a process
	}
	users.Wait()
	if n := a.count(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

func TestClientCredentialsNeedNoUser(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	opts := a.options(t)
	opts.Grant = oauth.ClientCredentials
	want(t, newSource(t, opts), "", "access-1")
	want(t, newSource(t, opts), "", "access-1")
	want(t, newSource(t, opts), "access-1", "access-2")
}

func TestRevokedAndMissingPermissionAskForAUser(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	s := newSource(t, a.options(t))
	if _, err := s.Token(t.Context(), ""); !errors.Is(err, oauth.ErrAuthorize) || a.count() != 0 {
		t.Errorf("before authorization: %v", err)
	}
	authorize(t, s)
	a.refresh = "revoked"
	_, err := s.Token(t.Context(), "access-1")
	var refused *oauth.Error
	if !errors.Is(err, oauth.ErrAuthorize) || !errors.As(err, &refused) || refused.Temporary() ||
		err.Error() != "the authorization server refused: invalid_grant: No. Really." {
		t.Errorf("revoked: %v", err)
	}
}

func TestTokensAreNotSentToAnotherServerOrForAnotherClient(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	opts := a.options(t)
	authorize(t, newSource(t, opts))
	for name, change := range map[string]func(o *oauth.Options){
		"client": func(o *oauth.Options) { o.ClientID = "other" },
		"server": func(o *oauth.Options) { o.TokenURL = a.URL + "/elsewhere" },
		"scopes": func(o *oauth.Options) { o.Scopes = []string{"all"} },
	} {
		other := opts
		change(&other)
		if token, err := newSource(t, other).Token(t.Context(), ""); !errors.Is(err, oauth.ErrAuthorize) {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
	if a.count() != 1 {
		t.Error("something was sent")
	}
}

func TestFailureOfTheServerIsTemporaryAndSparesAGoodToken(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	opts, now := a.options(t), &clock{now: time.Now()}
	opts.Now = now.Now
	s := newSource(t, opts)
	authorize(t, s)
	a.fail = func(w http.ResponseWriter) bool {
		http.Error(w, "<html>"+secret, http.StatusBadGateway)
		return true
	}
	now.add(57 * time.Minute)
	want(t, s, "", "access-1")
	now.add(time.Hour)
	_, err := s.Token(t.Context(), "")
	var refused *oauth.Error
	if !errors.As(err, &refused) || !refused.Temporary() || refused.Status != http.StatusBadGateway || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
	a.Close()
	if _, err := s.Token(t.Context(), ""); err == nil || errors.Is(err, oauth.ErrAuthorize) {
		t.Errorf("server is gone: %v", err)
	}
}

func TestRedirectDoesNotTakeSecretsElsewhere(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	var stolen bool
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen = true }))
	t.Cleanup(thief.Close)
	a.fail = func(w http.ResponseWriter) bool {
		w.Header().Set("Location", thief.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	opts := a.options(t)
	opts.Grant = oauth.ClientCredentials
	if _, err := newSource(t, opts).Token(t.Context(), ""); err == nil || stolen {
		t.Errorf("got %v, stolen %v", err, stolen)
	}
}

func TestDamagedFileAsksForAUser(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	opts := a.options(t)
	if err := os.WriteFile(opts.File, []byte(`{"access_token":`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSource(t, opts)
	if _, err := s.Token(t.Context(), ""); !errors.Is(err, oauth.ErrAuthorize) {
		t.Errorf("got %v", err)
	}
	authorize(t, s)
	want(t, s, "", "access-1")
}

func TestPermissionWithoutRefreshTokenIsAnError(t *testing.T) {
	t.Parallel()
	a := startAuthServer(t)
	a.fail = func(w http.ResponseWriter) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"a","token_type":"Bearer","expires_in":3600}`))
		return true
	}
	err := newSource(t, a.options(t)).AuthorizeDevice(t.Context(), func(string, string) {})
	if err == nil || !strings.Contains(err.Error(), "offline_access") {
		t.Errorf("got %v", err)
	}
}
