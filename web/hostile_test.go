package web_test

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/bounds"
)

// from is a browser at an address.
func (h *house) from(address string) *browser { return newBrowser(h.t, h.web, h.url, address) }

// spool is a multipart body that a form reader writes to disk: it keeps 32 MiB in memory.
func spool(t *testing.T) (body, kind string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("name", "name")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(make([]byte, 33<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestNothingOfARequestIsWrittenToDisk(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	body, kind := spool(t)
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		known := h.from("192.0.2.9")
		known.logIn("user")
		for _, c := range [][2]string{
			{http.MethodPost, "/login"}, {http.MethodGet, "/login"}, {http.MethodPost, "/setup/x"}, {http.MethodGet, "/login/provider/back"},
			{http.MethodPut, "/api/v1/me/password"}, {http.MethodGet, "/api/v1/search"}, {http.MethodPost, "/profile/look"}, {http.MethodGet, "/profile"},
		} {
			for _, b := range []*browser{h.browser(), known} {
				if got := b.do(c[0], c[1], body, "Content-Type", strings.Replace(kind, "m", "M", 1)); got.code != http.StatusUnsupportedMediaType {
					t.Errorf("%s: %d", c, got.code)
				}
			}
		}
		if left, err := filepath.Glob(filepath.Join(dir, "multipart-*")); err != nil || len(left) > 0 {
			t.Errorf("%d files are left in TMPDIR, %v", len(left), err)
		}
	})
}

func TestFormsOfStrangersAreShort(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		for _, size := range []int{bounds.MaxOpenForm, 1_000_000, 1 << 21, bounds.MaxBody + 1} {
			for _, path := range []string{"/login", h.web.SetupLink(time.Hour)} {
				got := h.browser().post(path, "name", strings.Repeat("a", size), "password", "x")
				if got.code != http.StatusRequestEntityTooLarge || len(got.body) > 64<<10 {
					t.Errorf("%s with a name of %d octets: %d, an answer of %d octets", path, size, got.code, len(got.body))
				}
			}
		}
		if len(h.recorded) != 0 {
			t.Errorf("recorded: %q", h.recorded)
		}
		if got := h.browser().logIn("user"); got.code != http.StatusSeeOther {
			t.Errorf("somebody is kept out: %d", got.code)
		}
	})
}

// exhaust takes all attempts at the name of the user, from addresses of its own.
func exhaust(t *testing.T, h *house) {
	t.Helper()
	for i := range 8 {
		if got := h.from(fmt.Sprint("198.51.100.", i)).post("/login", "name", "user", "password", "a guess"); got.code != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i, got.code)
		}
	}
	if got := h.from("198.51.100.99").post("/login", "name", "user", "password", "a guess"); got.code != http.StatusTooManyRequests {
		t.Fatalf("one more guess: %d", got.code)
	}
}

func TestGuessesOfOthersDoNotKeepTheOwnerOut(t *testing.T) {
	for name, c := range map[string]struct {
		at    string // the address of the owner then
		codes bool
		keep  bool // the browser of before
		want  int
	}{
		"with the browser of before, elsewhere":      {at: "203.0.113.1", keep: true, want: http.StatusSeeOther},
		"with a new browser, at the address before":  {at: "192.0.2.1", want: http.StatusSeeOther},
		"with a code, a new browser, elsewhere":      {at: "203.0.113.1", codes: true, want: http.StatusSeeOther},
		"with nothing, as those who guess":           {at: "203.0.113.1", want: http.StatusTooManyRequests},
		"with the browser of before, and codes":      {at: "203.0.113.1", keep: true, codes: true, want: http.StatusSeeOther},
		"with the address of before, and with codes": {at: "192.0.2.1", codes: true, want: http.StatusSeeOther},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, web.Options{}, func(t *testing.T, h *house) {
				b := h.browser()
				b.logIn("user")
				b.post("/logout")
				if c.codes {
					withCodes(t, h)
				}
				wait(24 * time.Hour)
				for range 50 { // days of guessing
					exhaust(t, h)
					other := b
					if !c.keep {
						other = h.from(c.at)
					} else {
						other.Transport = direct{h.web, c.at}
					}
					pairs := []string{"name", "user", "password", password}
					if c.codes {
						pairs = append(pairs, "code", code(t))
					}
					if got := other.post("/login", pairs...); got.code != c.want {
						t.Fatalf("%d, want %d", got.code, c.want)
					}
					other.post("/logout")
					wait(5 * time.Minute)
				}
			})
		})
	}
}

// What lets the owner in lets nobody else guess more.
func TestWaysInForTheOwnerAreNoneForOthers(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		b := h.browser()
		b.logIn("user")
		b.post("/logout")
		for name, guess := range map[string]func() answer{
			"the device of somebody else": func() answer { return b.post("/login", "name", "officer", "password", "a guess") },
			"a stolen device":             func() answer { return b.post("/login", "name", "user", "password", "a guess") },
			"a forged device": func() answer {
				return h.from("203.0.113.2").do(http.MethodPost, "/login", "name=user&password=x", "Content-Type", "application/x-www-form-urlencoded",
					"Cookie", "postkeep_device=ABC.DEF")
			},
			"guessed codes": func() answer {
				return h.from("203.0.113.3").post("/login", "name", "user", "password", "a guess", "code", "000000")
			},
		} {
			tried := 0
			for range 100 {
				if guess().code == http.StatusUnauthorized {
					tried++
				}
			}
			if tried > 16 { // of the device, then of the address
				t.Errorf("%s: %d of 100 guesses were tried", name, tried)
			}
			wait(time.Hour)
		}
		if err := h.users.SetPassword(t.Context(), "user", "another password"); err != nil {
			t.Fatal(err)
		}
		exhaust(t, h)
		b.Transport = direct{h.web, "203.0.113.1"}
		if got := b.post("/login", "name", "user", "password", "another password"); got.code != http.StatusTooManyRequests {
			t.Errorf("a device is known after the password was changed: %d", got.code)
		}
	})
}

func TestThrowawayNamesGiveNoGuesses(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		exhaust(t, h)
		for i := range 10_000 {
			h.from(fmt.Sprintf("10.%d.%d.1", i>>8, i&255)).post("/login", "name", fmt.Sprint("throwaway", i), "password", "x")
		}
		if got := h.from("203.0.113.1").post("/login", "name", "user", "password", "a guess"); got.code != http.StatusTooManyRequests {
			t.Errorf("a guess after 10,000 throwaway names: %d", got.code)
		}
	})
}

func TestManyPeopleLogInFromOneAddress(t *testing.T) {
	inHouse(t, web.Options{}, func(t *testing.T, h *house) {
		for i := range 50 {
			if got := h.browser().logIn([]string{"user", "auditor", "officer", "admin"}[i%4]); got.code != http.StatusSeeOther {
				t.Fatalf("log-in %d: %d", i, got.code)
			}
		}
	})
}

func TestRefusedLogInsAreRecordedTogether(t *testing.T) {
	type event struct {
		what    string
		details map[string]any
	}
	var (
		mu       sync.Mutex
		recorded []event
	)
	record := func(_ context.Context, _, what string, details map[string]any) error {
		mu.Lock()
		defer mu.Unlock()
		recorded = append(recorded, event{what, details})
		return nil
	}
	events := func() []event {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(recorded)
	}
	inHouse(t, web.Options{Record: record}, func(t *testing.T, h *house) {
		const window = 10*time.Minute + time.Second
		for i := range 300 {
			h.from(fmt.Sprintf("10.%d.%d.1", i>>8, i&255)).post("/login", "name", fmt.Sprint("my secret password ", i%100), "password", "x")
		}
		for range 8 {
			h.from("203.0.113.1").post("/login", "name", "user", "password", "x")
		}
		h.from("203.0.113.1").post("/login", "name", "user", "password", "x")
		if len(events()) != 5 {
			t.Errorf("%d events at once, want the first five", len(events()))
		}
		wait(window)
		if len(events()) != 6 || events()[5].what != "logins refused" || events()[5].details["refused"] != 303 || events()[5].details["not tried"] != 1 {
			t.Fatalf("%d events, the last is %v", len(events()), events()[len(events())-1])
		}
		for _, e := range events() {
			if s := fmt.Sprint(e.details); strings.Contains(s, "secret") || len(s) > 4096 {
				t.Errorf("recorded: %d octets, %.200s", len(s), s)
			}
		}
		if wait(window); len(events()) != 6 {
			t.Errorf("%d events though nobody came", len(events()))
		}
		for range 7 {
			h.from("203.0.113.5").post("/login", "name", "user", "password", "x")
		}
		h.web.Close()
		if len(events()) != 12 || events()[11].details["refused"] != 2 {
			t.Errorf("what was counted is lost when the program stops: %d events, %v", len(events()), events()[len(events())-1])
		}
	})
}

// A proxy is believed as far as it says an address.
func TestAddressesAreAddresses(t *testing.T) {
	var from []string
	record := func(_ context.Context, _, _ string, details map[string]any) error {
		from = append(from, fmt.Sprint(details["from"]))
		return nil
	}
	inHouse(t, web.Options{BehindProxy: true, Record: record}, func(t *testing.T, h *house) {
		for _, header := range []string{strings.Repeat("a", 60_000), "<script>", "2001:db8::1%eth0", "192.0.2.77:1234"} {
			h.browser().do(http.MethodPost, "/login", "name=user&password="+strings.ReplaceAll(password, " ", "+"), "Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", header)
		}
		for _, f := range from {
			if len(f) > 64 || strings.ContainsAny(f, "<>a") {
				t.Errorf("recorded as the address: %.80q", f)
			}
		}
		if len(from) != 4 {
			t.Errorf("%d log-ins", len(from))
		}
	})
}
