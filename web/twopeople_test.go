package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

// office is a site with dual control. ada is administrator and officer, eve administrator, olga and otto are officers who have made
// their accounts themselves.
func office(t *testing.T) *site {
	t.Helper()
	s := newSiteOf(t, true, hello())
	for name, roles := range map[string][]access.Role{
		"ada": {access.Admin, access.Officer}, "eve": {access.Admin}, "olga": {access.Officer}, "otto": {access.Officer},
	} {
		s.check(s.users.Add(t.Context(), users.User{Name: name, Roles: roles}, password))
	}
	return s
}

// as is somebody who has logged in with a password, and a code if a secret is given.
func (s *site) as(name, password string, secret ...string) *browser {
	s.t.Helper()
	b := newBrowser(s.t, s.web, "http://archive.example.com", "192.0.2.1")
	got := b.post("/login", "name", name, "password", password)
	for _, sec := range secret {
		got = b.post("/login", "code", codeAt(s.t, sec, time.Now().Add(30*time.Second))) // the next one: the present one was used
	}
	if got.code != http.StatusSeeOther {
		s.t.Fatalf("%s cannot log in: %d %s", name, got.code, got.body)
	}
	return b
}

func codeAt(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	c, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends JSON and expects a status.
func (b *browser) ask(want int, method, path, body string, header ...string) answer {
	b.t.Helper()
	got := b.do(method, "/api/v1/"+path, body, header...)
	if got.code != want {
		b.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, got.code, got.body, want)
	}
	return got
}

// local asks over the socket, as a system user.
func (s *site) local(name, method, path, body string) answer {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/api/v1/"+path, strings.NewReader(body))
	p := &access.Principal{Name: name, Roles: []access.Role{access.Local}, Scope: access.Scope{All: true}, Login: access.Login{How: access.BySocket}}
	s.api.ServeHTTP(w, r.WithContext(access.With(r.Context(), p)))
	return answer{w.Code, w.Header(), w.Body.String()}
}

// release has somebody ask for the release of a new hold, and returns the change.
func release(t *testing.T, ask func(method, path, body string) answer) string {
	t.Helper()
	if got := ask(http.MethodPost, "holds", `{"name":"matter","reason":"a matter","query":"contract"}`); got.code != http.StatusOK {
		t.Fatalf("%d %s", got.code, got.body)
	}
	got := ask(http.MethodPost, "holds/matter/release", `{"reason":"settled"}`)
	var h struct{ Pending string }
	if err := json.Unmarshal([]byte(got.body), &h); err != nil || h.Pending == "" {
		t.Fatalf("%d %s, %v", got.code, got.body, err)
	}
	return h.Pending
}

func (b *browser) asks(method, path, body string) answer { return b.do(method, "/api/v1/"+path, body) }

func TestNobodyApprovesWhoCouldBeTheOneWhoAsked(t *testing.T) {
	const other = "another password"
	for name, c := range map[string]struct {
		// do returns the change and the session that approves it.
		do   func(*testing.T, *site) (string, *browser)
		want int
		says string
	}{
		"two who have set their own": {func(t *testing.T, s *site) (string, *browser) {
			return release(t, s.as("olga", password).asks), s.as("otto", password)
		}, http.StatusOK, ""},
		"a password that the one who asks has reset": {func(t *testing.T, s *site) (string, *browser) {
			ada := s.as("ada", password)
			ada.ask(http.StatusOK, http.MethodPatch, "users/otto", `{"password":"`+other+`"}`)
			return release(t, ada.asks), s.as("otto", other)
		}, http.StatusConflict, "ada set the password of otto"},
		"a token that an administrator made of the one who asks, and a password that she has reset": {func(t *testing.T, s *site) (string, *browser) {
			ada := s.as("ada", password)
			var tok struct{ Token string }
			s.check(json.Unmarshal([]byte(ada.ask(http.StatusOK, http.MethodPost, "users/olga/tokens", `{"name":"report"}`).body), &tok))
			nobody := s.browser("")
			ada.ask(http.StatusOK, http.MethodPatch, "users/otto", `{"password":"`+other+`"}`)
			return release(t, func(method, path, body string) answer {
				return nobody.do(method, "/api/v1/"+path, body, "Authorization", "Bearer "+tok.Token)
			}), s.as("otto", other)
		}, http.StatusConflict, "ada made a token of olga"},
		"two officers that one administrator has made": {func(t *testing.T, s *site) (string, *browser) {
			ada, eve := s.as("ada", password), s.as("eve", password)
			for _, n := range []string{"olaf", "oskar"} {
				ada.ask(http.StatusOK, http.MethodPost, "users", `{"name":"`+n+`","roles":["officer"],"password":"`+other+`"}`)
				eve.approveGrant(n)
			}
			return release(t, s.as("olaf", other).asks), s.as("oskar", other)
		}, http.StatusConflict, "ada made the account of oskar"},
		"two officers that two administrators have made": {func(t *testing.T, s *site) (string, *browser) {
			ada, eve := s.as("ada", password), s.as("eve", password)
			ada.ask(http.StatusOK, http.MethodPost, "users", `{"name":"olaf","roles":["officer"],"password":"`+other+`"}`)
			eve.approveGrant("olaf")
			eve.ask(http.StatusOK, http.MethodPost, "users", `{"name":"oskar","roles":["officer"],"password":"`+other+`"}`)
			ada.approveGrant("oskar")
			return release(t, s.as("olaf", other).asks), s.as("oskar", other)
		}, http.StatusOK, ""},
		"an administrator that the one who asks has taken over has reset it": {func(t *testing.T, s *site) (string, *browser) {
			ada := s.as("ada", password)
			ada.ask(http.StatusOK, http.MethodPatch, "users/eve", `{"password":"`+other+`"}`)
			s.as("eve", other).ask(http.StatusOK, http.MethodPatch, "users/otto", `{"password":"`+other+`"}`)
			return release(t, ada.asks), s.as("otto", other)
		}, http.StatusConflict, "ada set the password of eve"},
		"a new own password after a code from before the reset": {func(t *testing.T, s *site) (string, *browser) {
			s.check(s.users.SetTOTP("otto", secret, codeAt(t, secret, time.Now())))
			ada := s.as("ada", password)
			ada.ask(http.StatusOK, http.MethodPatch, "users/otto", `{"password":"`+other+`"}`)
			id := release(t, ada.asks)
			otto := s.as("otto", other, secret)
			otto.ask(http.StatusOK, http.MethodPut, "me/password", `{"old":"`+other+`","new":"a password of my own"}`)
			return id, otto
		}, http.StatusOK, ""},
		"a code from after the reset": {func(t *testing.T, s *site) (string, *browser) {
			s.check(s.users.SetTOTP("otto", secret, codeAt(t, secret, time.Now())))
			ada := s.as("ada", password)
			ada.ask(http.StatusOK, http.MethodPatch, "users/otto", `{"password":"`+other+`","codes":false}`)
			id := release(t, ada.asks)
			s.as("otto", other).ask(http.StatusOK, http.MethodPut, "me/codes", `{"secret":"`+secret+`","code":"`+codeAt(t, secret, time.Now())+`","password":"`+other+`"}`)
			otto := s.as("otto", other, secret)
			otto.ask(http.StatusOK, http.MethodPut, "me/password", `{"old":"`+other+`","new":"a password of my own"}`)
			return id, otto
		}, http.StatusConflict, "ada set the password of otto"},
		"the system user who asked has set the password": {func(t *testing.T, s *site) (string, *browser) {
			by := func(method, path, body string) answer { return s.local(`root (login "kim")`, method, path, body) }
			if got := by(http.MethodPatch, "users/otto", `{"password":"`+other+`"}`); got.code != http.StatusOK {
				t.Fatal(got.body)
			}
			return release(t, by), s.as("otto", other)
		}, http.StatusConflict, "kim set the password of otto"},
		"the system user asked, and has set nothing": {func(t *testing.T, s *site) (string, *browser) {
			return release(t, func(method, path, body string) answer { return s.local("root", method, path, body) }), s.as("otto", password)
		}, http.StatusOK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := office(t)
			id, second := c.do(t, s)
			got := second.do(http.MethodPost, "/api/v1/retention/changes/"+id+"/approve", "")
			if got.code != c.want || !strings.Contains(got.body, c.says) {
				t.Errorf("%d %s, want %d and %q", got.code, got.body, c.want, c.says)
			}
		})
	}
}

// approveGrant approves what waits for a user.
func (b *browser) approveGrant(user string) {
	b.t.Helper()
	var changes []struct{ ID, Name, State string }
	if err := json.Unmarshal([]byte(b.ask(http.StatusOK, http.MethodGet, "users/changes", "").body), &changes); err != nil {
		b.t.Fatal(err)
	}
	for _, c := range changes {
		if c.Name == user && c.State == "open" {
			b.ask(http.StatusOK, http.MethodPost, "users/changes/"+c.ID+"/approve", "")
			return
		}
	}
	b.t.Fatalf("nothing waits for %s: %+v", user, changes)
}

func TestRoleOfAnOfficerAndOwnRolesTakeAnotherAdministrator(t *testing.T) {
	s := office(t)
	ada, eve, otto := s.as("ada", password), s.as("eve", password), s.as("otto", password)
	roles := func(name string) []access.Role {
		t.Helper()
		u, err := s.users.Get(name)
		s.check(err)
		return u.Roles
	}
	for _, c := range []struct {
		by         *browser
		name, body string
		role       access.Role
	}{
		{ada, "user", `{"roles":["user","officer"]}`, access.Officer},
		{eve, "eve", `{"roles":["admin","auditor"]}`, access.Auditor},
		{eve, "eve", `{"roles":["admin","officer"]}`, access.Officer},
	} {
		got := c.by.ask(http.StatusOK, http.MethodPatch, "users/"+c.name, c.body)
		var p struct{ Pending string }
		s.check(json.Unmarshal([]byte(got.body), &p))
		if p.Pending == "" || slices.Contains(roles(c.name), c.role) {
			t.Fatalf("%s %s is granted by one person: %s", c.name, c.body, got.body)
		}
		path := "users/changes/" + p.Pending
		c.by.ask(http.StatusConflict, http.MethodPost, path+"/approve", "")
		otto.ask(http.StatusForbidden, http.MethodPost, path+"/approve", "")
		otto.ask(http.StatusNotFound, http.MethodPost, "retention/changes/"+p.Pending+"/approve", "")
		if c.role == access.Auditor {
			ada.ask(http.StatusOK, http.MethodPost, path+"/reject", "")
			continue
		}
		second := map[*browser]*browser{ada: eve, eve: ada}[c.by]
		second.ask(http.StatusOK, http.MethodPost, path+"/approve", "")
		if !slices.Contains(roles(c.name), c.role) {
			t.Errorf("%s %s was approved and is not granted", c.name, c.body)
		}
	}
	s.check(s.users.Update("eve", func(u *users.User) error { u.Roles = []access.Role{access.Admin}; return nil }))
	s.as("eve", password).ask(http.StatusBadRequest, http.MethodPatch, "users/auditor", `{"roles":["officer","auditor"],"password":"another password"}`)
	if got := s.local("root", http.MethodPost, "users", `{"name":"oskar","roles":["officer"],"password":"another password"}`); got.code != http.StatusOK || slices.Contains(roles("oskar"), access.Officer) {
		t.Errorf("the socket makes officers where administrators could approve it: %d %s", got.code, got.body)
	}
}

func TestLastAdministratorStays(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct{ body string }{{`{"disabled":true}`}, {`{"roles":["user"]}`}} {
		if got := s.browser("admin").do(http.MethodPatch, "/api/v1/users/admin", c.body); got.code != http.StatusConflict {
			t.Errorf("by themselves %s: %d %s", c.body, got.code, got.body)
		}
		if got := s.local("root", http.MethodPatch, "users/admin", c.body); got.code != http.StatusConflict {
			t.Errorf("over the socket %s: %d %s", c.body, got.code, got.body)
		}
	}
	s.check(s.users.Add(t.Context(), users.User{Name: "program", Roles: []access.Role{access.Admin}}, "")) // nobody can log in as it
	if got := s.browser("admin").do(http.MethodPatch, "/api/v1/users/admin", `{"disabled":true}`); got.code != http.StatusConflict {
		t.Errorf("with an administrator who cannot log in: %d %s", got.code, got.body)
	}
	s.check(s.users.Add(t.Context(), users.User{Name: "eve", Roles: []access.Role{access.Admin}}, password))
	if got := s.browser("admin").do(http.MethodPatch, "/api/v1/users/admin", `{"roles":["user"]}`); got.code != http.StatusOK {
		t.Errorf("with another one: %d %s", got.code, got.body)
	}
}
