package web_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/web"
)

func TestCookieIsOfNoUseToScriptsAndOtherSites(t *testing.T) {
	for secure, name := range map[bool]string{false: "postkeep_session", true: "__Host-postkeep_session"} {
		inHouse(t, web.Options{Secure: secure}, func(t *testing.T, h *house) {
			b := h.browser()
			got := b.logIn("user")
			cookies := (&http.Response{Header: got.header}).Cookies()
			if len(cookies) != 2 || !b.in() {
				t.Fatalf("cookies %v", cookies)
			}
			slices.SortFunc(cookies, func(a, b *http.Cookie) int { return strings.Compare(b.Name, a.Name) })
			c, device := cookies[0], cookies[1]
			if device.Name != strings.Replace(name, "session", "device", 1) || !device.HttpOnly || device.SameSite != http.SameSiteLaxMode || device.Secure != secure || device.Path != "/" || device.Domain != "" {
				t.Errorf("secure %v: %v", secure, device)
			}
			if c.Name != name || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != secure || c.Path != "/" || c.Domain != "" || !c.Expires.IsZero() || c.MaxAge != 0 {
				t.Errorf("secure %v: %v", secure, c)
			}
			if strings.Contains(h.web.LogInLink("user", 0), c.Value) || len(c.Value) < 40 {
				t.Errorf("the token %q can be guessed", c.Value)
			}
		})
	}
}

func TestEveryAnswerKeepsTheBrowserFromBeingUsed(t *testing.T) {
	for _, secure := range []bool{false, true} {
		inHouse(t, web.Options{Secure: secure}, func(t *testing.T, h *house) {
			nobody, user := h.browser(), h.browser()
			user.logIn("user")
			for _, b := range []*browser{nobody, user} {
				for _, path := range []string{"/", "/login", "/profile", "/system", "/nowhere", "/static/style.css", "/static/nothing", "/setup/x", "/api/v1/me", "/api/v1/nothing"} {
					checkHeaders(t, path, b.get(path).header, secure)
				}
				checkHeaders(t, "a refused form", b.do(http.MethodPost, "/login", "", "Sec-Fetch-Site", "cross-site").header, secure)
			}
		})
	}
}

// checkHeaders looks for what every answer has to have.
func checkHeaders(t *testing.T, what string, h http.Header, secure bool) {
	t.Helper()
	policy := map[string]string{}
	for _, d := range strings.Split(h.Get("Content-Security-Policy"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), " ")
		policy[name] = value
	}
	directives := []string{"script-src", "style-src", "connect-src", "form-action"}
	if _, sandboxed := policy["sandbox"]; sandboxed { // what a message brought, without script and origin
		directives = []string{"script-src", "connect-src", "form-action"}
		if strings.Contains(policy["sandbox"], "allow-scripts") || strings.Contains(policy["sandbox"], "allow-same-origin") || strings.Contains(policy["sandbox"], "allow-forms") {
			t.Errorf("%s: sandbox %q", what, policy["sandbox"])
		}
	} else if policy["base-uri"] != "'none'" || policy["frame-ancestors"] != "'none'" {
		t.Errorf("%s: policy %q", what, policy)
	}
	if policy["default-src"] != "'none'" {
		t.Errorf("%s: policy %q", what, policy)
	}
	for _, d := range directives {
		if v := policy[d]; v != "" && v != "'self'" && v != "'none'" {
			t.Errorf("%s: %s is %q", what, d, v)
		}
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "no-referrer",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %s is %q", what, name, got)
		}
	}
	if got := h.Get("Strict-Transport-Security") != ""; got != secure {
		t.Errorf("%s: Strict-Transport-Security %v with TLS %v", what, got, secure)
	}
	if got := h.Get("Cache-Control"); got != "no-store" && !strings.HasPrefix(what, "/static/") {
		t.Errorf("%s: may stay in a cache: %q", what, got)
	}
}
