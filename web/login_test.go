package web_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

func TestLogInLeadsToWhereOneWantedAndIsRecorded(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		b := h.browser()
		asked := b.get("/profile?done=look")
		if asked.code != http.StatusSeeOther || asked.to() != "/login?next=%2Fprofile%3Fdone%3Dlook" {
			t.Fatalf("before: %d %s", asked.code, asked.to())
		}
		form := b.get(asked.to())
		if form.code != http.StatusOK || !strings.Contains(form.body, `name="next" value="/profile?done=look"`) {
			t.Errorf("the form forgets where one wanted to go:\n%s", form.body)
		}
		got := b.post("/login", "name", " User ", "password", password, "next", "/profile?done=look")
		if got.code != http.StatusSeeOther || got.to() != "/profile?done=look" || !b.in() {
			t.Errorf("log-in: %d %s", got.code, got.to())
		}
		if !slices.Equal(h.recorded, []string{"user: login"}) {
			t.Errorf("recorded: %q", h.recorded)
		}
		if again := b.get("/login"); again.to() != "/" {
			t.Errorf("the form is shown to somebody who is logged in: %d", again.code)
		}
		if out := b.post("/logout"); out.to() != "/login" || b.in() {
			t.Errorf("logged out: %d %s", out.code, out.to())
		}
	})
}

func TestLogInIsRefusedInTheSameWordsAndRecorded(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		if err := h.users.Disable("officer", true); err != nil {
			t.Fatal(err)
		}
		for i, c := range [][2]string{{"user", "wrong password"}, {"user", ""}, {"nobody", password}, {"officer", password}, {"", ""}} {
			b := h.browser()
			got := b.post("/login", "name", c[0], "password", c[1])
			if got.code != http.StatusUnauthorized || !strings.Contains(got.body, "That is not right. Check the name and the password.") || b.in() {
				t.Errorf("%q: %d", c, got.code)
			}
			if len(h.recorded) != i+1 || h.recorded[i] != "unknown: login refused" {
				t.Errorf("%q is recorded as %q", c, h.recorded)
			}
		}
	})
}

func TestNobodyIsLoggedInWithoutTheLedger(t *testing.T) {
	full := func(context.Context, string, string, map[string]any) error {
		return errors.New("no space left on device")
	}
	inHouse(t, web.Options{Record: full}, func(_ *testing.T, h *house) {
		for path, enter := range map[string]func(*browser) answer{
			"password": func(b *browser) answer { return b.logIn("user") },
			"link":     func(b *browser) answer { return b.get(h.web.LogInLink("user", time.Hour)) },
		} {
			b := h.browser()
			if got := enter(b); got.code != http.StatusInternalServerError || b.in() {
				t.Errorf("%s: %d", path, got.code)
			}
		}
	})
}

const secret = "JBSWY3DPEHPK3PXP"

// withCodes turns one-time codes of the user on, and lets the first one pass.
func withCodes(t *testing.T, h *house) {
	t.Helper()
	if err := h.users.SetTOTP("user", secret, code(t)); err != nil {
		t.Fatal(err)
	}
	wait(30 * time.Second)
}

func code(t *testing.T) string {
	t.Helper()
	c, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPasswordAloneIsNotEnoughWhereCodesAreOn(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		withCodes(t, h)
		b := h.browser()
		if got := b.post("/login", "name", "user", "code", code(t)); got.code != http.StatusUnauthorized || b.in() {
			t.Fatalf("a code without the password: %d", got.code)
		}
		if got := b.logIn("user"); got.code != http.StatusOK || !strings.Contains(got.body, `name="code"`) || b.in() {
			t.Fatalf("the password alone: %d\n%s", got.code, got.body)
		}
		if got := b.post("/login", "code", "000000"); got.code != http.StatusUnauthorized || !strings.Contains(got.body, "That code is not right") || b.in() {
			t.Fatalf("a wrong code: %d", got.code)
		}
		right := code(t)
		if got := b.post("/login", "code", right, "name", "admin", "next", "/profile"); got.to() != "/profile" || !strings.Contains(b.get("/profile").body, "<h2>user</h2>") {
			t.Fatalf("password and code: %d", got.code)
		}
		other := h.browser()
		other.logIn("user")
		if got := other.post("/login", "code", right); got.code != http.StatusUnauthorized || other.in() {
			t.Errorf("a code works twice: %d", got.code)
		}
	})
}

func TestCodeHasToFollowThePasswordSoon(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		withCodes(t, h)
		b := h.browser()
		b.logIn("user")
		wait(5*time.Minute + time.Second)
		if got := b.post("/login", "code", code(t)); got.code != http.StatusUnauthorized || b.in() {
			t.Errorf("%d", got.code)
		}
	})
}

func TestGuessingIsSlowedDownByNameAndByAddress(t *testing.T) {
	const free, every = 8, 10 * time.Second
	guess := func(b *browser, name string) int { return b.post("/login", "name", name, "password", "a guess").code }
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		for i := range free {
			if got := guess(newBrowser(t, h.web, h.url, "192.0.2."+string(rune('1'+i))), "user"); got != http.StatusUnauthorized {
				t.Fatalf("guess %d: %d", i, got)
			}
		}
		b := newBrowser(t, h.web, h.url, "198.51.100.1")
		if got := b.logIn("user"); got.code != http.StatusTooManyRequests || b.in() {
			t.Errorf("the right password after %d guesses from elsewhere: %d", free, got.code)
		}
		if got := h.browser().logIn("admin"); got.code != http.StatusSeeOther {
			t.Errorf("somebody else is kept out too: %d", got.code)
		}
		wait(every)
		if got := b.logIn("user"); got.code != http.StatusSeeOther {
			t.Errorf("the owner is locked out after %v: %d", every, got.code)
		}
	})
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		b := h.browser()
		for i := range free {
			if got := guess(b, "name"+string(rune('a'+i))); got != http.StatusUnauthorized {
				t.Fatalf("guess %d: %d", i, got)
			}
		}
		if got := b.logIn("user"); got.code != http.StatusTooManyRequests {
			t.Errorf("one address tries as many names as it likes: %d", got.code)
		}
	})
}

func TestAddressBehindAProxyIsTheOneThatTheProxySaw(t *testing.T) {
	for behind, want := range map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests} {
		inHouse(t, web.Options{BehindProxy: behind}, func(t *testing.T, h *house) {
			b, last := h.browser(), 0
			for i := range 9 {
				last = b.do(http.MethodPost, "/login", "name=n"+string(rune('a'+i))+"&password=x", "Content-Type", "application/x-www-form-urlencoded",
					"X-Forwarded-For", "192.0.2.1, 203.0.113."+string(rune('1'+i))).code
			}
			if last != want {
				t.Errorf("behind a proxy %v: %d, want %d", behind, last, want)
			}
		})
	}
}

func TestSessionEnds(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *house, *browser){
		"when it is not used": func(*testing.T, *house, *browser) { wait(31 * time.Minute) },
		"after a working day of use": func(t *testing.T, _ *house, b *browser) {
			for range 3*11 + 2 { // and 29 minutes
				if !b.in() {
					t.Fatal("too early")
				}
				wait(20 * time.Minute)
			}
		},
		"when the password is changed": func(t *testing.T, h *house, _ *browser) {
			wait(time.Second)
			if err := h.users.SetPassword(t.Context(), "user", "another password"); err != nil {
				t.Fatal(err)
			}
		},
		"when the user is disabled": func(t *testing.T, h *house, _ *browser) {
			if err := h.users.Disable("user", true); err != nil {
				t.Fatal(err)
			}
		},
		"when the user was disabled and let in again": func(t *testing.T, h *house, _ *browser) {
			wait(time.Second)
			for _, disabled := range []bool{true, false} {
				if err := h.users.Disable("user", disabled); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, web.Options{}, func(t *testing.T, h *house) {
				b := h.browser()
				b.logIn("user")
				if !b.in() {
					t.Fatal("not logged in")
				}
				wait(29 * time.Minute)
				if !b.in() {
					t.Fatal("a session in use has ended")
				}
				end(t, h, b)
				if b.in() {
					t.Error("still logged in")
				}
			})
		})
	}
}

func TestSessionGetsANewTokenAtLogIn(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		withCodes(t, h)
		b := h.browser()
		b.logIn("user") // makes a session without anybody logged in
		before := b.session()
		b.post("/login", "code", code(t))
		if after := b.session(); before == "" || after == before || !b.in() {
			t.Errorf("session %q becomes %q", before, after)
		}
	})
}

func TestLinkLogsInOnceAndForAShortTime(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		link := h.web.LogInLink("officer", time.Hour)
		b, late := h.browser(), h.browser()
		if got := b.get(link); got.to() != "/" || !b.in() {
			t.Errorf("%d %s", got.code, got.to())
		}
		if got := late.get(link); got.code != http.StatusNotFound || late.in() {
			t.Errorf("the second time: %d", got.code)
		}
		link = h.web.LogInLink("officer", time.Hour)
		wait(time.Hour + time.Second)
		if got := late.get(link); got.code != http.StatusNotFound || late.in() {
			t.Errorf("an old link: %d", got.code)
		}
		if err := h.users.Disable("officer", true); err != nil {
			t.Fatal(err)
		}
		late.get(h.web.LogInLink("officer", time.Hour))
		if late.in() {
			t.Error("a link lets in somebody who is kept out")
		}
		if got := late.get(strings.Replace(h.web.SetupLink(time.Hour), "/setup/", "/login/link/", 1)); got.code != http.StatusNotFound || late.in() {
			t.Errorf("the link for setting up logs in: %d", got.code)
		}
	})
}

func TestFirstUserIsMadeOnceAndOnlyWhereThereIsNobody(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		if got := h.browser().get(h.web.SetupLink(time.Hour)); got.code != http.StatusNotFound {
			t.Errorf("with users: %d", got.code)
		}
		nobody, err := users.Open(t.TempDir(), users.Options{HashMemory: littleMemory})
		if err != nil {
			t.Fatal(err)
		}
		empty := newHouse(t, web.Options{}, nobody)
		defer empty.web.Close()
		link := empty.web.SetupLink(time.Hour)
		b := empty.browser()
		if got := b.get(link); got.code != http.StatusOK || !strings.Contains(got.body, "Make the first user") {
			t.Fatalf("%d", got.code)
		}
		for _, bad := range [][]string{
			{"name", "anna", "password", "short", "role", "admin"},
			{"name", "not a name", "password", password, "role", "admin"},
			{"name", "anna", "password", password},
			{"name", "anna", "password", password, "role", "local"},
		} {
			if got := b.post(link, bad...); got.code != http.StatusBadRequest || len(empty.users.List()) != 0 {
				t.Errorf("%q: %d, %d users", bad, got.code, len(empty.users.List()))
			}
		}
		if len(empty.recorded) != 0 {
			t.Errorf("recorded though nothing was made: %q", empty.recorded)
		}
		if got := b.post(link, "name", "anna", "password", password, "role", "admin", "role", "officer"); got.to() != "/" || !b.in() {
			t.Fatalf("%d\n%s", got.code, got.body)
		}
		u, err := empty.users.Get("anna")
		if err != nil || !slices.Equal(u.Roles, []access.Role{access.Admin, access.Officer}) {
			t.Errorf("%+v, %v", u, err)
		}
		if !slices.Equal(empty.recorded, []string{"anna: first user", "anna: login"}) {
			t.Errorf("recorded: %q", empty.recorded)
		}
		late := empty.browser()
		for _, l := range []string{link, empty.web.SetupLink(time.Hour)} {
			if got := late.post(l, "name", "eve", "password", password, "role", "admin"); got.code != http.StatusNotFound || len(empty.users.List()) != 1 {
				t.Errorf("a second first user: %d", got.code)
			}
		}
	})
}

func TestNextLeadsNowhereElse(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		for next, want := range map[string]string{
			"/search?q=a": "/search?q=a", "": "/", "search": "/", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/",
			"/\t/evil.example": "/", "/\n/evil.example": "/", "\t//evil.example": "/", "/\x00/evil.example": "/", "javascript:alert(1)": "/", " /search": "/",
		} {
			b := h.browser()
			wait(time.Minute) // as long as attempts need
			if got := b.post("/login", "name", "user", "password", password, "next", next); got.to() != want {
				t.Errorf("log-in with %q leads to %q, want %q", next, got.to(), want)
			}
			if next == "" {
				continue // the profile itself comes again
			}
			if got := b.post("/profile/look", "lang", "de", "next", next); got.to() != want {
				t.Errorf("profile with %q leads to %q, want %q", next, got.to(), want)
			}
		}
	})
}

func TestFormsFromOtherSitesAreRefused(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		b := h.browser()
		b.logIn("user")
		_, token, err := tokenOf(h, "user")
		if err != nil {
			t.Fatal(err)
		}
		form := []string{"Content-Type", "application/x-www-form-urlencoded"}
		for _, c := range []struct {
			name, method, path string
			header             []string
			want               int
		}{
			{"another site, new browser", http.MethodPost, "/profile/look", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
			{"another site, old browser", http.MethodPost, "/profile/look", []string{"Origin", "https://evil.example"}, http.StatusForbidden},
			{"a subdomain", http.MethodPost, "/profile/look", []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
			{"no origin", http.MethodPost, "/profile/look", []string{"Origin", "null"}, http.StatusForbidden},
			{"log-in from another site", http.MethodPost, "/login", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
			{"log-out from another site", http.MethodPost, "/logout", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
			{"API with the cookie", http.MethodPut, "/api/v1/me/searches", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
			{"API with a token", http.MethodPut, "/api/v1/me/searches", []string{"Sec-Fetch-Site", "cross-site", "Authorization", "Bearer " + token}, http.StatusOK},
			{"our own page", http.MethodPost, "/profile/look", []string{"Sec-Fetch-Site", "same-origin", "Origin", h.url}, http.StatusSeeOther},
		} {
			body := "lang=de"
			if strings.HasPrefix(c.path, "/api/") {
				body = "[]"
			}
			if got := b.do(c.method, c.path, body, append(form, c.header...)...); got.code != c.want {
				t.Errorf("%s: %d, want %d", c.name, got.code, c.want)
			}
		}
		if !b.in() {
			t.Error("a refused form logged somebody out")
		}
	})
}

func TestTokenOpensTheAPIAndNothingElse(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		_, token, err := tokenOf(h, "user")
		if err != nil {
			t.Fatal(err)
		}
		b := h.browser()
		me := func(authorization string) answer {
			return b.do(http.MethodGet, "/api/v1/me", "", "Authorization", authorization)
		}
		if got := me("Bearer " + token); got.code != http.StatusOK || !strings.Contains(got.body, `"name":"user"`) || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%d %s, cookie %q", got.code, got.body, got.header.Get("Set-Cookie"))
		}
		if got := b.do(http.MethodGet, "/profile", "", "Authorization", "Bearer "+token); got.code != http.StatusSeeOther {
			t.Errorf("a page: %d", got.code)
		}
		refused := func(why, authorization string) {
			t.Helper()
			got := me(authorization)
			if got.code != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` || got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d %v", why, got.code, got.header)
			}
		}
		b.logIn("admin") // whose session must not stand in for a bad token
		refused("a wrong token", "Bearer postkeep_AAAA")
		refused("no token", "Bearer ")
		refused("a password", "Basic dXNlcjpwYXNz")
		refused("another case", "Bearer "+strings.ToUpper(token))
		if err := h.users.Disable("user", true); err != nil {
			t.Fatal(err)
		}
		refused("of somebody who is kept out", "Bearer "+token)
		if err := h.users.Disable("user", false); err != nil {
			t.Fatal(err)
		}
		refused("of somebody who was kept out in the meantime", "Bearer "+token)
		id, token, err := tokenOf(h, "user")
		if err != nil {
			t.Fatal(err)
		}
		if got := me("Bearer " + token); got.code != http.StatusOK {
			t.Errorf("a new one: %d", got.code)
		}
		if err := h.users.RevokeToken("user", id); err != nil {
			t.Fatal(err)
		}
		refused("revoked", "Bearer "+token)
		short, _, err := h.users.AddToken("user", "short", time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if got := me("Bearer " + short); got.code != http.StatusOK {
			t.Errorf("before it expires: %d", got.code)
		}
		wait(time.Hour)
		refused("expired", "Bearer "+short)
	})
}

func tokenOf(h *house, name string) (id, token string, err error) {
	token, t, err := h.users.AddToken(name, "test", time.Time{})
	return t.ID, token, err
}
