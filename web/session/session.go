// Package session keeps people logged in between requests, with a cookie that
// no script and no other site can use.
//
// Sessions are in memory: a restart of the program ends them all.
package session

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
)

// Defaults of Options.
const (
	DefaultIdle     = 30 * time.Minute
	DefaultLifetime = 12 * time.Hour // a working day
)

// Options are the settings of sessions. The zero value is for plain HTTP on
// loopback.
type Options struct {
	// Idle ends a session that is not used, Lifetime one that is. 0 is the default.
	Idle, Lifetime time.Duration
	// Secure keeps the cookie off connections without TLS.
	Secure bool
	Now    func() time.Time // time.Now if nil
}

// Manager keeps sessions. It is safe for concurrent use.
type Manager struct {
	scs   *scs.SessionManager
	store *store
	now   func() time.Time
}

// New makes a Manager.
func New(opts Options) *Manager {
	if opts.Idle == 0 {
		opts.Idle = DefaultIdle
	}
	if opts.Lifetime == 0 {
		opts.Lifetime = DefaultLifetime
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	name := "postkeep_session"
	if opts.Secure {
		name = "__Host-postkeep_session" // browsers take it from this host over TLS only
	}
	sessions := &store{kept: map[string]kept{}}
	// scs.New would start a goroutine that nothing can stop.
	return &Manager{now: opts.Now, store: sessions, scs: &scs.SessionManager{
		IdleTimeout: opts.Idle, Lifetime: opts.Lifetime, HashTokenInStore: true,
		Store: sessions, Codec: codec{},
		ErrorFunc: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		},
		Cookie: scs.SessionCookie{Name: name, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: opts.Secure, Path: "/"},
	}}
}

// Wrap gives every request of h its session.
func (m *Manager) Wrap(h http.Handler) http.Handler {
	wrapped := m.scs.LoadAndSave(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wrapped.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), foundKey{}, &found{})))
	})
}

// Watch has fn called with the ID of every session that a log-out or another log-in has ended. It is called before requests are wrapped.
func (m *Manager) Watch(fn func(id string)) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.ended = fn
}

// ID names the session that a request came with. It is no secret: nobody can use it.
func (m *Manager) ID(ctx context.Context) string { return foundIn(ctx).token }

// Going reports whether a session is there.
func (m *Manager) Going(id string) bool { return m.store.has(id) }

// Deadline is when the session ends in any case.
func (m *Manager) Deadline(ctx context.Context) time.Time { return m.scs.Deadline(ctx) }

const (
	nameKey    = "name"
	sinceKey   = "since"
	pendingKey = "pending"
	stateKey   = "state"
	howKey     = "how"
)

// Start logs a person in, who has proved in some way, such as by a password, who they are. The session gets a new token, so that nobody who knew
// the old one is logged in with them.
func (m *Manager) Start(ctx context.Context, name, how string) error {
	if err := m.scs.RenewToken(ctx); err != nil {
		return err
	}
	m.scs.Remove(ctx, pendingKey)
	m.scs.Remove(ctx, stateKey)
	m.scs.Put(ctx, nameKey, name)
	m.scs.Put(ctx, howKey, how)
	m.scs.Put(ctx, sinceKey, m.now().UnixNano())
	return nil
}

// End logs the person out.
func (m *Manager) End(ctx context.Context) error { return m.scs.Destroy(ctx) }

// Name is who is logged in, and since when; "" if nobody is.
func (m *Manager) Name(ctx context.Context) (name string, since time.Time) {
	return m.scs.GetString(ctx, nameKey), time.Unix(0, m.scs.GetInt64(ctx, sinceKey))
}

// How is the way in which the person has proved who they are, as Start was told.
func (m *Manager) How(ctx context.Context) string { return m.scs.GetString(ctx, howKey) }

// pendingTime is how long somebody has to type a one-time code.
const pendingTime = 5 * time.Minute

// Pend notes that somebody gave the right password and owes a one-time code.
func (m *Manager) Pend(ctx context.Context, name string) error {
	if err := m.scs.RenewToken(ctx); err != nil {
		return err
	}
	m.scs.Put(ctx, pendingKey, name)
	m.scs.Put(ctx, sinceKey, m.now().UnixNano())
	return nil
}

// Pending is who owes a one-time code, "" if nobody does any more.
func (m *Manager) Pending(ctx context.Context) string {
	if m.now().Sub(time.Unix(0, m.scs.GetInt64(ctx, sinceKey))) > pendingTime {
		return ""
	}
	return m.scs.GetString(ctx, pendingKey)
}

// PutState keeps what a log-in at an identity provider must come back with.
func (m *Manager) PutState(ctx context.Context, state []byte) { m.scs.Put(ctx, stateKey, state) }

// ErrNoState means that no such log-in was begun in this session.
var ErrNoState = errors.New("this log-in was not begun here, or too long ago")

// TakeState returns what PutState kept, once.
func (m *Manager) TakeState(ctx context.Context) ([]byte, error) {
	state := m.scs.PopBytes(ctx, stateKey)
	if len(state) == 0 {
		return nil, ErrNoState
	}
	return state, nil
}
