package pages

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/web/bounds"
	"github.com/postkeep/postkeep/web/users"
)

const (
	// attempts are free, then one every attemptEvery, for an address and for a name: nobody guesses a password in that way, and who
	// mistypes one is not locked out. Those that succeed do not count.
	attempts     = 8
	attemptEvery = 10 * time.Second
	// codeEvery is attemptEvery for one-time codes, of which three of a million are right at a time: who has the password guesses
	// one in half a year.
	codeEvery = time.Minute
	// begins are log-ins at an identity provider that an address may begin at once, then one every beginEvery: each is remembered.
	begins     = 30
	beginEvery = 2 * time.Second
	// maxQueue is how many strangers wait for their password to be checked: some seconds, for two are checked at a time, in 0.2 s.
	maxQueue = 32
	// maxNetworks is how many networks are known of a person, for networkTime.
	maxNetworks = 8
	networkTime = 30 * 24 * time.Hour
	// deviceTime is how long a browser is known after a log-in.
	deviceTime = 180 * 24 * time.Hour
)

var (
	errTooMany = errors.New("too many attempts")
	errBusy    = errors.New("too many wait for their password to be checked")
)

// guard decides who may try to log in. Guesses are counted by address and by name, so that neither one address nor many guess
// much. Others' guesses at a name do not keep its owner out: a device and a network from which the owner has logged in have
// counters of their own, and the right one-time code lets a password be checked whatever was guessed.
type guard struct {
	addresses, names, pairs, devices, codes, begun *bounds.Attempts

	queue chan struct{}

	mu sync.Mutex
	// known are the networks of people, latest last. Only who has logged in has any.
	known map[string][]network
}

type network struct {
	name string
	seen time.Time
}

func newGuard() guard {
	count := func() *bounds.Attempts { return bounds.NewAttempts(attempts, attemptEvery) }
	return guard{
		addresses: count(), names: count(), pairs: count(), devices: count(),
		codes: bounds.NewAttempts(attempts, codeEvery), begun: bounds.NewAttempts(begins, beginEvery),
		queue: make(chan struct{}, maxQueue), known: map[string][]network{},
	}
}

// An admission is an attempt that is let in.
type admission struct {
	now    time.Time
	from   string // network
	taken  []taken
	device bool // which the person has logged in with before
	coded  bool // the one-time code was right, and is used
}

type taken struct {
	by  *bounds.Attempts
	key string
}

// succeeded gives the attempt back: it was no guess.
func (a *admission) succeeded() {
	for _, t := range a.taken {
		t.by.Return(a.now, t.key)
	}
}

func (a *admission) take(by *bounds.Attempts, key string) bool {
	if !by.Take(a.now, key) {
		return false
	}
	a.taken = append(a.taken, taken{by, key})
	return true
}

// admit lets an attempt in or returns errTooMany. owed means that the password was right, and the code is what is tried.
func (s *Server) admit(r *http.Request, name, code string, owed bool) (admission, error) {
	g, a := &s.door.guard, admission{now: s.opts.Now(), from: bounds.Network(s.door.Client(r))}
	u, err := s.door.Users.Get(name)
	if err != nil && !errors.Is(err, users.ErrUnknown) {
		return a, err
	}
	if id := s.deviceOf(r, &u); id != "" && a.take(g.devices, id) {
		a.device = true
		return a, nil
	}
	if !a.take(g.addresses, a.from) {
		return a, errTooMany
	}
	ok := false
	switch {
	case owed:
		ok = a.take(g.codes, name)
	case g.knows(name, a.from, a.now):
		ok = a.take(g.pairs, name+" "+a.from)
	default:
		ok = a.take(g.names, name)
	}
	if ok {
		return a, nil
	}
	if owed || code == "" {
		return a, errTooMany
	}
	err = s.door.Users.Code(name, code)
	if errors.Is(err, users.ErrRefused) {
		return a, errTooMany
	}
	a.coded = true
	return a, err
}

// wait returns when a password may be checked, or errBusy; leave makes room for the next one. Known devices are not kept waiting by strangers.
func (g *guard) wait(a *admission) (leave func(), err error) {
	if a.device {
		return func() {}, nil
	}
	select {
	case g.queue <- struct{}{}:
		return func() { <-g.queue }, nil
	default:
		return nil, errBusy
	}
}

func (g *guard) knows(name, from string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.known[name], func(n network) bool { return n.name == from && now.Sub(n.seen) < networkTime })
}

func (g *guard) remember(name, from string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	of := slices.DeleteFunc(g.known[name], func(n network) bool { return n.name == from })
	if of = append(of, network{from, now}); len(of) > maxNetworks {
		of = of[1:]
	}
	g.known[name] = of
}

// deviceCookie names the cookie by which a browser is known again.
func (s *Server) deviceCookie() string {
	if s.door.Secure {
		return "__Host-postkeep_device"
	}
	return "postkeep_device"
}

// deviceOf returns the number of a browser with which a user has logged in, "" for any other.
func (s *Server) deviceOf(r *http.Request, u *users.User) string {
	c, err := r.Cookie(s.deviceCookie())
	if err != nil || u.Password == "" {
		return ""
	}
	id, mac, ok := strings.Cut(c.Value, ".")
	if !ok || !hmac.Equal([]byte(mac), []byte(deviceMAC(u, id))) {
		return ""
	}
	return id
}

// deviceMAC proves that a device was known to us. The salted hash of the password is a key that nobody else has: a new password
// makes all devices strangers.
func deviceMAC(u *users.User, id string) string {
	h := hmac.New(sha256.New, []byte("postkeep device\x00"+u.Password))
	h.Write([]byte(u.Name + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// know has the browser known from now on. It does not log anybody in: guesses of strangers do not count for it.
func (s *Server) know(w http.ResponseWriter, name string) {
	u, err := s.door.Users.Get(name)
	if err != nil || u.Password == "" {
		return
	}
	id := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: s.deviceCookie(), Value: id + "." + deviceMAC(&u, id), Path: "/", MaxAge: int(deviceTime / time.Second),
		HttpOnly: true, Secure: s.door.Secure, SameSite: http.SameSiteLaxMode})
}
