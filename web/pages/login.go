package pages

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/bounds"
	"github.com/postkeep/postkeep/web/oidc"
	"github.com/postkeep/postkeep/web/session"
	"github.com/postkeep/postkeep/web/users"
)

// Accounts are what logging in needs.
type Accounts struct {
	Users    *users.Store
	Sessions *session.Manager
	// Provider logs people in elsewhere; nil if there is none.
	Provider *oidc.Provider
	// Record writes log-ins into the ledger. Nobody is logged in without.
	Record func(ctx context.Context, actor, what string, details map[string]any) error
	// Client is the address of who asks, for counting attempts.
	Client func(*http.Request) string
	// Secure keeps cookies off connections without TLS.
	Secure bool
}

// door is the way in.
type door struct {
	Accounts
	guard    guard
	refusals refusals

	mu    sync.Mutex
	links map[string]link // by secret
}

// link logs somebody in once, or lets the first person make themselves.
type link struct {
	name    string // "" to set up
	expires time.Time
}

// Link returns the path of a link that works once: with a name it logs that
// person in, without it makes the first user.
func (s *Server) Link(name string, valid time.Duration) string {
	secret := rand.Text() + rand.Text()
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	s.door.links[secret] = link{name, s.opts.Now().Add(valid)}
	if name == "" {
		return "/setup/" + secret
	}
	return "/login/link/" + secret
}

// peek returns a link that is still good; taken ones are gone.
func (s *Server) peek(secret string, take bool) (link, bool) {
	somebody := len(s.door.Users.List()) > 0
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	l, ok := s.door.links[secret]
	if ok && l.name == "" && somebody { // it dies with the first user, however that one was made
		delete(s.door.links, secret)
		return link{}, false
	}
	if take || ok && s.opts.Now().After(l.expires) {
		delete(s.door.links, secret)
	}
	return l, ok && !s.opts.Now().After(l.expires)
}

type loginPage struct {
	Name, Wrong, Next string
	Code              bool // the one-time code is what is asked for
	Both              bool // it may be given along with the password
	Provider          bool
}

func (s *Server) loginForm(w http.ResponseWriter, r *http.Request, v *View) error {
	if v.Principal != nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	return s.gate(w, http.StatusOK, v, &loginPage{Next: local(r.FormValue("next"))})
}

func (s *Server) gate(w http.ResponseWriter, code int, v *View, p *loginPage) error {
	v.Title, p.Provider = v.T("Log in"), s.door.Provider != nil
	return s.render(w, code, "login", v, p)
}

// local returns the path if it stays on this server, else "/". Browsers drop
// tabs and line ends from addresses, and take a backslash for a slash.
func local(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsRune(path, '\\') || strings.ContainsFunc(path, unicode.IsControl) {
		return "/"
	}
	return path
}

func (s *Server) login(w http.ResponseWriter, r *http.Request, v *View) error {
	ctx := r.Context()
	p := &loginPage{Name: strings.ToLower(strings.TrimSpace(r.PostFormValue("name"))), Next: local(r.PostFormValue("next"))}
	pending := s.door.Sessions.Pending(ctx)
	code := r.PostFormValue("code")
	if code != "" && pending != "" {
		p.Name, p.Code = pending, true
	}
	try, err := s.admit(r, p.Name, code, p.Code)
	if err != nil {
		return s.notNow(w, v, p, err)
	}
	how, err := s.check(r, p, code, &try)
	switch {
	case errors.Is(err, users.ErrCode):
		p.Code = true
		try.succeeded()
		if err := s.door.Sessions.Pend(ctx, p.Name); err != nil {
			return err
		}
		return s.gate(w, http.StatusOK, v, p)
	case errors.Is(err, users.ErrRefused):
		if err := s.refused(r, p.Name); err != nil {
			return err
		}
		p.Wrong = v.T("That is not right. Check the name and the password.")
		if p.Code {
			p.Wrong = v.T("That code is not right, or it was used already.")
		}
		return s.gate(w, http.StatusUnauthorized, v, p)
	case err != nil:
		return s.notNow(w, v, p, err)
	}
	try.succeeded()
	return s.enter(w, r, p.Name, "login", how, p.Next)
}

// check checks what was typed, and returns how it proves who somebody is.
func (s *Server) check(r *http.Request, p *loginPage, code string, try *admission) (how string, err error) {
	if p.Code {
		return byCode, s.door.Users.Code(p.Name, code)
	}
	leave, err := s.door.guard.wait(try)
	if err != nil {
		return "", err
	}
	defer leave()
	_, err = s.door.Users.LogIn(r.Context(), p.Name, r.PostFormValue("password"))
	switch {
	case errors.Is(err, users.ErrCode) && try.coded:
		return byCode, nil
	case errors.Is(err, users.ErrCode) && code != "":
		if s.door.Users.Code(p.Name, code) == nil {
			return byCode, nil
		}
	}
	return byPassword, err
}

// notNow answers attempts that are not let in.
func (s *Server) notNow(w http.ResponseWriter, v *View, p *loginPage, err error) error {
	status := http.StatusTooManyRequests
	switch {
	case errors.Is(err, errTooMany):
		s.door.refusals.tooMany()
		p.Both, p.Wrong = !p.Code, v.T("Too many attempts. Wait a minute and try again.")
	case errors.Is(err, errBusy):
		status, p.Wrong = http.StatusServiceUnavailable, v.T("Too many people are logging in. Wait a minute and try again.")
	default:
		return err
	}
	w.Header().Set("Retry-After", "60")
	return s.gate(w, status, v, p)
}

// refused notes a log-in that was refused, with the name if somebody has it.
func (s *Server) refused(r *http.Request, name string) error {
	if _, err := s.door.Users.Get(name); err != nil {
		name = ""
	}
	return s.door.refusals.refused(r.Context(), name, bounds.Network(s.door.Client(r)))
}

// The ways in which people prove who they are.
const (
	byPassword = access.ByPassword
	byCode     = access.ByCode
	byProvider = access.ByProvider
	byLink     = access.ByLink
)

// Interactive reports whether somebody who logged in so has proved it themselves: a link may have been made by somebody else.
func Interactive(how string) bool {
	return how == byPassword || how == byCode || how == byProvider
}

// enter logs somebody in, after the ledger has it.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, name, what, how, next string) error {
	if err := s.door.Record(r.Context(), name, what, map[string]any{"from": s.door.Client(r), "by": how}); err != nil {
		return err
	}
	if err := s.door.Sessions.Start(r.Context(), name, how); err != nil {
		return err
	}
	s.door.guard.remember(name, bounds.Network(s.door.Client(r)), s.opts.Now())
	if how == byPassword || how == byCode {
		s.know(w, name)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request, _ *View) error {
	if err := access.Settle(r.Context()); err != nil {
		return err
	}
	if err := s.door.Sessions.End(r.Context()); err != nil {
		return err
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}

func staleLink(v *View) error {
	return &api.Problem{Status: http.StatusNotFound, Title: v.T("This link does not work any more"),
		Detail: v.T("Each link works once, for a short time.")}
}

func (s *Server) loginLink(w http.ResponseWriter, r *http.Request, v *View) error {
	l, ok := s.peek(r.PathValue("secret"), true)
	if !ok || l.name == "" {
		return staleLink(v)
	}
	return s.enter(w, r, l.name, "login by link", byLink, "/")
}

// setup makes the first user, who may do everything but needs a second person
// for what takes two.
func (s *Server) setup(w http.ResponseWriter, r *http.Request, v *View) error {
	secret := r.PathValue("secret")
	if l, ok := s.peek(secret, false); !ok || l.name != "" {
		return staleLink(v)
	}
	p := &loginPage{Name: strings.ToLower(strings.TrimSpace(r.PostFormValue("name")))}
	v.Title = v.T("Make the first user")
	if r.Method != http.MethodPost {
		return s.render(w, http.StatusOK, "setup", v, p)
	}
	var roles []access.Role
	for _, role := range r.PostForm["role"] {
		roles = append(roles, access.Role(role))
	}
	password, first := r.PostFormValue("password"), users.User{Name: p.Name, Roles: roles}
	if err := errors.Join(first.Check(), users.CheckPassword(password)); err != nil {
		p.Wrong = err.Error()
		return s.render(w, http.StatusBadRequest, "setup", v, p)
	}
	if _, ok := s.peek(secret, true); !ok {
		return staleLink(v) // somebody else was faster
	}
	if err := s.door.Record(r.Context(), p.Name, "first user", map[string]any{"roles": roles}); err != nil {
		return err
	}
	// The owner of the data directory was given the link.
	first.Note(users.SetLink, users.Setter{By: archive.Person(api.SystemUser()), How: access.BySocket}, s.opts.Now())
	err := s.door.Users.AddFirst(r.Context(), first, password)
	if errors.Is(err, users.ErrExists) {
		return staleLink(v)
	}
	if err != nil {
		return err
	}
	return s.enter(w, r, p.Name, "login", byPassword, "/")
}

func (s *Server) toProvider(w http.ResponseWriter, r *http.Request, v *View) error {
	if s.door.Provider == nil {
		return &api.Problem{Status: http.StatusNotFound, Title: "Not found"}
	}
	if !s.door.guard.begun.Take(s.opts.Now(), bounds.Network(s.door.Client(r))) {
		return s.notNow(w, v, &loginPage{}, errTooMany)
	}
	address, state, err := s.door.Provider.Begin(r.Context())
	if err != nil {
		return err
	}
	s.door.Sessions.PutState(r.Context(), state)
	http.Redirect(w, r, address, http.StatusSeeOther)
	return nil
}

// fromProvider logs in who comes back. Roles and mailboxes are taken over anew
// each time: the provider is where they are managed.
func (s *Server) fromProvider(w http.ResponseWriter, r *http.Request, v *View) error {
	if s.door.Provider == nil {
		return &api.Problem{Status: http.StatusNotFound, Title: "Not found"}
	}
	state, err := s.door.Sessions.TakeState(r.Context())
	var who oidc.Identity
	if err == nil {
		who, err = s.door.Provider.Finish(r.Context(), state, r.URL.Query())
	}
	if errors.Is(err, oidc.ErrRefused) || errors.Is(err, session.ErrNoState) {
		if err := s.refused(r, ""); err != nil {
			return err
		}
		return s.gate(w, http.StatusForbidden, v, &loginPage{Wrong: err.Error()})
	}
	if err != nil {
		return err
	}
	name, err := s.adopt(r.Context(), who)
	if errors.Is(err, users.ErrRefused) || errors.Is(err, users.ErrExists) || errors.Is(err, users.ErrInvalid) {
		return s.gate(w, http.StatusForbidden, v, &loginPage{Wrong: v.T("The name %s cannot log in in this way. Ask an administrator.", who.Name)})
	}
	if err != nil {
		return err
	}
	return s.enter(w, r, name, "login by identity provider", byProvider, "/")
}

// adopt finds or makes the user of an identity. A name that is taken by
// somebody else is not taken over.
func (s *Server) adopt(ctx context.Context, who oidc.Identity) (string, error) {
	u, err := s.door.Users.BySubject(who.Subject)
	if errors.Is(err, users.ErrUnknown) {
		made := users.User{Name: who.Name, Roles: who.Roles, Mailboxes: who.Mailboxes, Subject: who.Subject}
		if err := s.door.Users.Rehearsal().Add(ctx, made, ""); err != nil {
			return "", err // what cannot be made is not recorded
		}
		if err := s.door.Record(ctx, who.Name, "user from identity provider", map[string]any{"roles": who.Roles}); err != nil {
			return "", err
		}
		return who.Name, s.door.Users.Add(ctx, made, "")
	}
	if err != nil {
		return "", err
	}
	if u.Disabled {
		return "", users.ErrRefused
	}
	if slices.Equal(u.Roles, who.Roles) && slices.Equal(u.Mailboxes, who.Mailboxes) {
		return u.Name, nil
	}
	take := func(u *users.User) error {
		u.Roles, u.Mailboxes = slices.Clone(who.Roles), who.Mailboxes
		return nil
	}
	if err := s.door.Users.Rehearsal().Update(u.Name, take); errors.Is(err, users.ErrLastAdmin) {
		s.opts.Logger.Warn("the identity provider takes the role admin from the last administrator, who keeps it: make another one", "user", u.Name)
		who.Roles = append(slices.Clone(who.Roles), access.Admin)
		if slices.Equal(u.Roles, who.Roles) && slices.Equal(u.Mailboxes, who.Mailboxes) {
			return u.Name, nil
		}
	} else if err != nil {
		return "", err
	}
	if err := s.door.Record(ctx, u.Name, "roles from identity provider", map[string]any{"roles": who.Roles, "mailboxes": who.Mailboxes}); err != nil {
		return "", err
	}
	return u.Name, s.door.Users.Update(u.Name, take)
}
