package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web"
)

// stranger sends what nobody who is known would, and wants an answer that is no error of ours, lets nobody in and is short.
func stranger(t *testing.T, h *house, method, path, kind, body string, header ...string) {
	t.Helper()
	r := httptest.NewRequest(method, "http://archive.example.com/", strings.NewReader(body))
	u, err := r.URL.Parse(path)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return
	}
	r.URL, r.RequestURI = u, u.RequestURI()
	r.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, before := httptest.NewRecorder(), len(h.users.List())
	h.web.ServeHTTP(w, r)
	if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
		t.Errorf("%s %q with %q: %d %.200s", method, path, body, w.Code, w.Body)
	}
	if w.Body.Len() > 256<<10 || len(h.users.List()) != before {
		t.Errorf("%s %q with %q: %d octets, %d users", method, path, body, w.Body.Len(), len(h.users.List()))
	}
	for _, e := range h.recorded {
		if !strings.HasPrefix(e, "unknown: login") {
			t.Errorf("%s %q with %q: recorded %q", method, path, body, e)
		}
	}
	h.recorded = nil
}

func fuzzHouse(f *testing.F) *house {
	f.Helper()
	h := newHouse(f, web.Options{BehindProxy: true}, people(f, f.TempDir()))
	f.Cleanup(h.web.Close)
	return h
}

const form = "application/x-www-form-urlencoded"

func FuzzLogInForm(f *testing.F) {
	h := fuzzHouse(f)
	for _, s := range []string{"", "name=user&password=x", "name=%zz", "a&b;c=d", "name=user&code=000000", "next=//evil", strings.Repeat("a=b&", 2000), "--x\r\n\r\n--x--"} {
		f.Add(s, form, "192.0.2.1", "postkeep_device=a.b; postkeep_session=x")
		f.Add(s, "multipart/form-data; boundary=x", "", "")
	}
	f.Fuzz(func(t *testing.T, body, kind, from, cookie string) {
		stranger(t, h, http.MethodPost, "/login", kind, body, "X-Forwarded-For", from, "Cookie", cookie)
	})
}

func FuzzSetupForm(f *testing.F) {
	h := fuzzHouse(f)
	f.Add("name=anna&password=correct+horse+battery&role=admin", form, "x")
	f.Add("role=&role=%00", form, "../login")
	f.Fuzz(func(t *testing.T, body, kind, secret string) {
		stranger(t, h, http.MethodPost, "/setup/"+secret, kind, body)
		stranger(t, h, http.MethodPost, h.web.SetupLink(time.Hour), kind, body)
	})
}

func FuzzRequestOfAStranger(f *testing.F) {
	h := fuzzHouse(f)
	patterns := h.web.Patterns()
	for i := range patterns {
		f.Add(uint8(i), "x", "q=a&after=b", `{"name":"x"}`, "Bearer postkeep_x")
	}
	f.Fuzz(func(t *testing.T, n uint8, in, query, body, authorization string) {
		method, path, _ := strings.Cut(patterns[int(n)%len(patterns)], " ")
		for _, name := range []string{"{id}", "{name}", "{path}", "{what}", "{secret}", "{token}", "{$}"} {
			path = strings.ReplaceAll(path, name, in)
		}
		stranger(t, h, method, path+"?"+query, "application/json", body, "Authorization", authorization)
	})
}
