package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

func TestTokenSetsNoCredentials(t *testing.T) {
	s := newSite(t)
	nobody := s.browser("")
	for _, name := range []string{"admin", "user"} {
		token, tok, err := s.users.AddToken(name, "short", time.Now().Add(time.Hour))
		s.check(err)
		for _, c := range []struct{ method, path, body string }{
			{http.MethodPost, "me/tokens", `{"name":"without end"}`},
			{http.MethodDelete, "me/tokens/" + tok.ID, ""},
			{http.MethodPut, "me/password", `{"old":"` + password + `","new":"another password"}`},
			{http.MethodPut, "me/password", `{"old":"a wrong guess","new":"another password"}`},
			{http.MethodPut, "me/codes", `{"secret":"` + secret + `","code":"` + codeAt(t, secret, time.Now()) + `","password":"` + password + `"}`},
			{http.MethodPost, "users", `{"name":"eve","roles":["admin"],"password":"another password"}`},
			{http.MethodPatch, "users/officer", `{"password":"another password"}`},
			{http.MethodPost, "users/officer/tokens", `{"name":"without end"}`},
		} {
			before := fmt.Sprint(s.users.List())
			if got := nobody.do(c.method, "/api/v1/"+c.path, c.body, "Authorization", "Bearer "+token); got.code != http.StatusForbidden {
				t.Errorf("%s with a token of %s: %d %s", c.path, name, got.code, got.body)
			}
			if fmt.Sprint(s.users.List()) != before {
				t.Errorf("%s with a token of %s has changed somebody", c.path, name)
			}
		}
	}
}

func TestChangedCredentialsEndOtherSessionsAndTokens(t *testing.T) {
	for name, change := range map[string]func(*site, *browser) (answer, bool){
		"own password": func(_ *site, b *browser) (answer, bool) {
			return b.do(http.MethodPut, "/api/v1/me/password", `{"old":"`+password+`","new":"another password"}`), true
		},
		"own codes": func(s *site, b *browser) (answer, bool) {
			return b.do(http.MethodPut, "/api/v1/me/codes", `{"secret":"`+secret+`","code":"`+codeAt(s.t, secret, time.Now())+`","password":"`+password+`"}`), true
		},
		"a reset": func(s *site, _ *browser) (answer, bool) {
			return s.browser("admin").do(http.MethodPatch, "/api/v1/users/user", `{"password":"another password"}`), false
		},
		"being kept out and let in again": func(s *site, _ *browser) (answer, bool) {
			admin := s.browser("admin")
			got := admin.do(http.MethodPatch, "/api/v1/users/user", `{"disabled":true}`)
			admin.do(http.MethodPatch, "/api/v1/users/user", `{"disabled":false}`)
			return got, false
		},
		"the loss of a role": func(s *site, _ *browser) (answer, bool) {
			return s.browser("admin").do(http.MethodPatch, "/api/v1/users/user", `{"roles":["auditor"]}`), false
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			b, other := s.browser("user"), s.browser("user")
			token, _, err := s.users.AddToken("user", "x", time.Time{})
			s.check(err)
			got, goesOn := change(s, b)
			var p struct {
				Ended int `json:"ended_tokens"`
			}
			if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.code != http.StatusOK || p.Ended != 1 {
				t.Errorf("%d %s does not say that a token has ended", got.code, got.body)
			}
			if other.in() {
				t.Error("another session goes on")
			}
			if b.in() != goesOn {
				t.Errorf("the session goes on: %v, want %v", !goesOn, goesOn)
			}
			if got := s.browser("").do(http.MethodGet, "/api/v1/me", "", "Authorization", "Bearer "+token); got.code != http.StatusUnauthorized {
				t.Errorf("the token goes on: %d", got.code)
			}
		})
	}
}

func TestGuessesOfTheOwnPasswordAreSlowedDownAndRecorded(t *testing.T) {
	for _, path := range []string{"/api/v1/me/password", "/api/v1/me/codes", "/profile/password", "/profile/codes"} {
		inHouse(t, web.Options{}, func(t *testing.T, h *house) {
			b := h.browser()
			b.logIn("user")
			before := len(h.events())
			guess := func() int {
				if strings.HasPrefix(path, "/api") {
					return b.do(http.MethodPut, path, map[bool]string{true: `{"old":"a wrong guess","new":"another password"}`, false: `{"password":"a wrong guess"}`}[strings.HasSuffix(path, "password")]).code
				}
				return b.post(path, "old", "a wrong guess", "new", "another password", "password", "a wrong guess").code
			}
			refused := 0
			for range 100 {
				if guess() == http.StatusTooManyRequests {
					refused++
				}
			}
			if refused < 80 { // eight by the browser, which is known, and eight by the address
				t.Errorf("%s: %d of 100 guesses were refused", path, refused)
			}
			if n := len(h.events()) - before; n == 0 || n > 10 {
				t.Errorf("%s: 100 guesses are %d events: %q", path, n, h.events()[before:])
			}
			wait(10 * time.Minute)
			if got := b.do(http.MethodPut, "/api/v1/me/searches", "[]"); got.code != http.StatusOK {
				t.Errorf("%s: %d", path, got.code)
			}
		})
	}
}

// listening serves a site on a port.
func (s *site) listening() (address string) {
	s.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	s.check(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	served := make(chan error, 1)
	go func() { served <- api.ServePeople(ctx, l, s.web) }()
	s.t.Cleanup(func() {
		cancel()
		s.check(<-served)
	})
	return l.Addr().String()
}

// dial sends a request by hand, which is how one holds something back.
func (s *site) dial(address, head, body string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", address)
	s.check(err)
	s.t.Cleanup(func() { _ = c.Close() })
	_, err = fmt.Fprintf(c, "%s\r\n%s", strings.ReplaceAll(head, "\n", "\r\n"), body)
	s.check(err)
	s.check(c.SetReadDeadline(time.Now().Add(time.Minute)))
	return c, bufio.NewReader(c)
}

// The ways in which an account, or a session, ends.
func endings() map[string]func(*site, *browser) {
	patch := func(body string) func(*site, *browser) {
		return func(s *site, _ *browser) {
			s.check(s.users.Add(s.t.Context(), users.User{Name: "eve", Roles: []access.Role{access.Admin}}, password))
			s.browser("eve").ask(http.StatusOK, http.MethodPatch, "users/boss", body)
		}
	}
	return map[string]func(*site, *browser){
		"logout":   func(_ *site, b *browser) { b.post("/logout") },
		"disabled": patch(`{"disabled":true}`),
		"demoted":  patch(`{"roles":["user"]}`),
		"reset":    patch(`{"password":"another password"}`),
	}
}

// boss is administrator and officer.
func (s *site) boss() *browser {
	s.check(s.users.Add(s.t.Context(), users.User{Name: "boss", Roles: []access.Role{access.Admin, access.Officer}}, password))
	return s.browser("boss")
}

func TestRequestOutlivesNeitherItsSessionNorItsAccount(t *testing.T) {
	for name, end := range endings() {
		t.Run("held back, "+name, func(t *testing.T) {
			s := newSite(t)
			b, address := s.boss(), s.listening()
			session := b.session()
			body := `{"name":"carla","roles":["user"],"password":"another password"}`
			conn, r := s.dial(address, fmt.Sprintf("POST /api/v1/users HTTP/1.1\nHost: archive.example.com\nCookie: postkeep_session=%s\nContent-Length: %d\n", session, len(body)), body[:10])
			until(t, "the request does not begin", func() bool { return requests() > 0 })
			end(s, b)
			_, _ = io.WriteString(conn, body[10:]) // it may be cut off already
			if resp, err := http.ReadResponse(r, nil); err == nil {
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("status %d", resp.StatusCode)
				}
				_ = resp.Body.Close()
			}
			until(t, "the request goes on", func() bool { return requests() == 0 })
			if _, err := s.users.Get("carla"); err == nil {
				t.Error("it was done after the end")
			}
			again := s.browser("")
			if got := again.do(http.MethodGet, "/api/v1/me", "", "Cookie", "postkeep_session="+session); got.code != http.StatusUnauthorized {
				t.Errorf("the session is there again: %d", got.code)
			}
		})
	}
	for name, end := range endings() {
		t.Run("events, "+name, func(t *testing.T) {
			s := newSite(t)
			b, address := s.boss(), s.listening()
			_, r := s.dial(address, "GET /mailboxes/events HTTP/1.1\nHost: archive.example.com\nCookie: postkeep_session="+b.session()+"\n", "")
			if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
				t.Fatalf("%q, %v", line, err)
			}
			end(s, b)
			if _, err := io.Copy(io.Discard, r); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Error("events go on for a minute")
			}
			until(t, "the request goes on", func() bool { return requests() == 0 })
		})
	}
}

func TestDownloadEndsWithTheAccount(t *testing.T) {
	m := big()
	s := newSite(t, m)
	b, address := s.boss(), s.listening()
	conn, r := s.dial(address, "GET /m/"+m.id()+"/raw HTTP/1.1\nHost: archive.example.com\nCookie: postkeep_session="+b.session()+"\n", "")
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	endings()["disabled"](s, b)
	// It ends although the client reads nothing.
	until(t, "the download goes on", func() bool { return requests() == 0 })
	if n, err := io.Copy(io.Discard, r); n > 20<<20 {
		t.Errorf("%d octets came after the end, %v", n, err)
	}
	_ = conn.Close()
}

func TestStreamOfATokenEndsWithTheToken(t *testing.T) {
	m := big()
	s := newSite(t, m)
	address := s.listening()
	for name, end := range map[string]func(id string){
		"revoked": func(id string) { s.check(s.users.RevokeToken("officer", id)) },
		"expired": func(string) {},
	} {
		valid := time.Hour
		if name == "expired" {
			valid = 2 * time.Second
		}
		token, tok, err := s.users.AddToken("officer", "x", time.Now().Add(valid))
		s.check(err)
		_, r := s.dial(address, "GET /api/v1/messages/"+m.id()+"/raw HTTP/1.1\nHost: archive.example.com\nAuthorization: Bearer "+token+"\n", "")
		if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%s: %q, %v", name, line, err)
		}
		end(tok.ID)
		until(t, name+": the download goes on", func() bool { return requests() == 0 })
	}
}

func TestFinishedExportGoesWithTheGrant(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"narrowed":      {`{"mailboxes":["support"]}`, http.StatusNotFound},
		"fewer days":    {`{"from":"2026-03-02T00:00:00Z"}`, http.StatusNotFound},
		"wider":         {`{"mailboxes":["sales","support"]}`, http.StatusOK},
		"the same":      {`{"mailboxes":["sales"]}`, http.StatusOK},
		"lost the role": {`{"roles":["admin"]}`, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, hello())
			s.check(s.users.Update("auditor", grant("sales")))
			b := s.browser("auditor")
			if got := b.post("/exports", "query", "contract", "format", "eml"); got.code != http.StatusSeeOther {
				t.Fatalf("%d %s", got.code, got.body)
			}
			var path string
			until(t, "no export", func() bool {
				path = regexp.MustCompile(`/exports/[A-Z0-9]+/download`).FindString(b.get("/exports").body)
				return path != ""
			})
			if got := b.get(path); got.code != http.StatusOK {
				t.Fatalf("before: %d", got.code)
			}
			s.browser("admin").ask(http.StatusOK, http.MethodPatch, "users/auditor", c.body)
			if !b.in() {
				b = s.browser("auditor")
			}
			if got := b.get(path); got.code != c.want {
				t.Errorf("afterwards: %d, want %d", got.code, c.want)
			}
		})
	}
}
