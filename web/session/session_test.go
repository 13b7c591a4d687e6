package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/web/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// visitor is a browser that keeps one cookie.
type visitor struct {
	m      *session.Manager
	cookie *http.Cookie
}

// visit does something in the visitor's session.
func (v *visitor) visit(t *testing.T, do func(context.Context) error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if v.cookie != nil {
		r.AddCookie(v.cookie)
	}
	w := httptest.NewRecorder()
	v.m.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := do(r.Context()); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		v.cookie = c
		if c.MaxAge < 0 {
			v.cookie = nil
		}
	}
}

func (v *visitor) start(t *testing.T, name string) {
	t.Helper()
	v.visit(t, func(ctx context.Context) error { return v.m.Start(ctx, name, "password") })
}

func (v *visitor) name(t *testing.T) (name string, since time.Time) {
	t.Helper()
	v.visit(t, func(ctx context.Context) error {
		name, since = v.m.Name(ctx)
		return nil
	})
	return name, since
}

// in runs a test with a clock of its own.
func in(t *testing.T, opts session.Options, test func(*testing.T, *session.Manager)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, session.New(opts))
	})
}

func TestSessionIsOfThePersonWhoLoggedIn(t *testing.T) {
	in(t, session.Options{}, func(t *testing.T, m *session.Manager) {
		anna, eve := &visitor{m: m}, &visitor{m: m}
		begun := time.Now()
		anna.start(t, "anna")
		time.Sleep(time.Minute)
		if name, since := anna.name(t); name != "anna" || !since.Equal(begun) {
			t.Errorf("%q since %v, want %v", name, since, begun)
		}
		if name, _ := eve.name(t); name != "" {
			t.Errorf("somebody without a cookie is %q", name)
		}
		eve.cookie = &http.Cookie{Name: anna.cookie.Name, Value: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
		if name, _ := eve.name(t); name != "" {
			t.Errorf("somebody with an invented cookie is %q", name)
		}
	})
}

func TestTokenFromBeforeTheLogInIsWorthNothing(t *testing.T) {
	in(t, session.Options{}, func(t *testing.T, m *session.Manager) {
		anna := &visitor{m: m}
		anna.visit(t, func(ctx context.Context) error { return m.Pend(ctx, "anna") })
		eve := &visitor{m: m, cookie: anna.cookie} // who planted it
		anna.start(t, "anna")
		if name, _ := eve.name(t); name != "" {
			t.Errorf("the planted token is logged in as %q", name)
		}
		if anna.cookie.Value == eve.cookie.Value {
			t.Error("the token stayed the same")
		}
	})
}

func TestSessionEndsUnusedOrAfterItsLifetime(t *testing.T) {
	opts := session.Options{Idle: 10 * time.Minute, Lifetime: time.Hour}
	in(t, opts, func(t *testing.T, m *session.Manager) {
		idle, busy := &visitor{m: m}, &visitor{m: m}
		idle.start(t, "idle")
		busy.start(t, "busy")
		for range 6 {
			time.Sleep(9 * time.Minute)
			if name, _ := busy.name(t); name != "busy" {
				t.Fatal("a session in use has ended")
			}
		}
		if name, _ := idle.name(t); name != "" {
			t.Error("a session goes on without use")
		}
		time.Sleep(7 * time.Minute)
		if name, _ := busy.name(t); name != "" {
			t.Error("a session goes on after its lifetime")
		}
	})
}

func TestLoggedOutTokenIsWorthNothing(t *testing.T) {
	in(t, session.Options{}, func(t *testing.T, m *session.Manager) {
		anna := &visitor{m: m}
		anna.start(t, "anna")
		kept := &visitor{m: m, cookie: anna.cookie}
		anna.visit(t, m.End)
		if name, _ := kept.name(t); name != "" {
			t.Errorf("still %q", name)
		}
	})
}

func TestPasswordWithoutItsCodeIsNoLogInAndIsForgotten(t *testing.T) {
	in(t, session.Options{}, func(t *testing.T, m *session.Manager) {
		anna := &visitor{m: m}
		pending := func() (name string) {
			anna.visit(t, func(ctx context.Context) error {
				name = m.Pending(ctx)
				return nil
			})
			return name
		}
		if pending() != "" {
			t.Error("somebody new owes a code")
		}
		anna.visit(t, func(ctx context.Context) error { return m.Pend(ctx, "anna") })
		if name, _ := anna.name(t); name != "" || pending() != "anna" {
			t.Errorf("logged in as %q, pending %q", name, pending())
		}
		time.Sleep(5*time.Minute + time.Second)
		if got := pending(); got != "" {
			t.Errorf("%q owes a code for ever", got)
		}
		anna.start(t, "anna")
		if got := pending(); got != "" {
			t.Errorf("%q owes a code after the log-in", got)
		}
	})
}

func TestStateComesBackOnceAndToItsSessionOnly(t *testing.T) {
	in(t, session.Options{}, func(t *testing.T, m *session.Manager) {
		anna, eve := &visitor{m: m}, &visitor{m: m}
		take := func(v *visitor, want string) {
			t.Helper()
			v.visit(t, func(ctx context.Context) error {
				got, err := m.TakeState(ctx)
				if string(got) != want || want == "" && !errors.Is(err, session.ErrNoState) {
					t.Errorf("%q, %v, want %q", got, err, want)
				}
				return nil
			})
		}
		anna.visit(t, func(ctx context.Context) error {
			m.PutState(ctx, []byte("state"))
			return nil
		})
		take(eve, "")
		take(anna, "state")
		take(anna, "")
	})
}

func TestCookieIsAsNarrowAsItCanBe(t *testing.T) {
	for secure, name := range map[bool]string{false: "postkeep_session", true: "__Host-postkeep_session"} {
		in(t, session.Options{Secure: secure}, func(t *testing.T, m *session.Manager) {
			anna := &visitor{m: m}
			anna.start(t, "anna")
			if c := anna.cookie; c.Name != name || !c.HttpOnly || c.Secure != secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
				t.Errorf("secure %v: %v", secure, c)
			}
		})
	}
}
