package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/bounds"
	"github.com/postkeep/postkeep/web/users"
)

// Person is a user without secrets.
type Person struct {
	Name      string              `json:"name"`
	Roles     []access.Role       `json:"roles"`
	Mailboxes []string            `json:"mailboxes"`
	From      time.Time           `json:"from,omitzero"`
	To        time.Time           `json:"to,omitzero"` // the first moment after
	Disabled  bool                `json:"disabled,omitempty"`
	Created   time.Time           `json:"created"`
	Password  bool                `json:"password"` // logs in with one
	Codes     bool                `json:"codes"`    // and with one-time codes
	External  bool                `json:"external"` // or through the identity provider
	Tokens    []TokenInfo         `json:"tokens"`
	Searches  []users.SavedSearch `json:"searches"`
	// Set says who has set credentials, and so could have acted as the person.
	Set []users.Setting `json:"set"`
	// Ended is the number of tokens that a change has ended, with all sessions but the one that made it.
	Ended int `json:"ended_tokens,omitempty"`
	// Pending is the id of the change that another administrator has to approve before the grant that was asked for is given.
	Pending string `json:"pending,omitempty"`
}

// TokenInfo is a token without its secret.
type TokenInfo struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
}

// NewToken answers the making of a token. The secret is never shown again.
type NewToken struct {
	TokenInfo
	Token string `json:"token"`
}

// PersonChange says what to change; nil leaves as it is.
type PersonChange struct {
	Roles     []access.Role `json:"roles,omitempty"`
	Mailboxes *[]string     `json:"mailboxes,omitempty"`
	From      *time.Time    `json:"from,omitempty"` // zero removes the bound
	To        *time.Time    `json:"to,omitempty"`
	Disabled  *bool         `json:"disabled,omitempty"`
	Password  string        `json:"password,omitempty"`
	// Codes false turns one-time codes off, for who has lost the device.
	Codes *bool `json:"codes,omitempty"`
}

// NewPerson asks for a user.
type NewPerson struct {
	Name      string        `json:"name"`
	Roles     []access.Role `json:"roles"`
	Mailboxes []string      `json:"mailboxes,omitempty"`
	From      time.Time     `json:"from,omitzero"`
	To        time.Time     `json:"to,omitzero"`
	Password  string        `json:"password,omitempty"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name    string    `json:"name"`
	Expires time.Time `json:"expires,omitzero"`
}

func personOf(u *users.User) Person {
	p := Person{
		Name: u.Name, Roles: u.Roles, Mailboxes: append([]string{}, u.Mailboxes...), From: u.From, To: u.To, Disabled: u.Disabled,
		Created: u.Created, Password: u.Password != "", Codes: u.TOTP != "", External: u.Subject != "",
		Tokens: []TokenInfo{}, Searches: append([]users.SavedSearch{}, u.Searches...),
		Set: append([]users.Setting{}, u.Set...),
	}
	for _, t := range u.Tokens {
		p.Tokens = append(p.Tokens, TokenInfo{t.ID, t.Name, t.Created, t.Expires})
	}
	return p
}

// maxSmallRequest bounds a request that is a form.
const maxSmallRequest = 256 << 10

// decode reads a JSON request; what it does not know is an error.
func decode[T any](r *http.Request) (v T, err error) {
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxSmallRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, badBody("request body", err)
	}
	return v, nil
}

// badBody is the problem of a body that cannot be read.
func badBody(what string, err error) error {
	p := &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: what + ": " + err.Error()}
	if status := bounds.Status(err); status != 0 {
		p.Status, p.Title = status, http.StatusText(status)
	}
	return p
}

// recordUser writes what is about to happen to a user into the ledger.
func (s *Server) recordUser(r *http.Request, name, what string, details map[string]any) error {
	if details == nil {
		details = map[string]any{}
	}
	details["user"], details["what"] = name, what
	if p := access.Of(r.Context()); p != nil && p.Login.How != "" {
		details["by"] = p.Login.How
	}
	if _, err := s.opts.Store.Record(r.Context(), archive.Action{Type: archive.ActionUser, Actor: Actor(r.Context()), Details: details}); err != nil {
		return fmt.Errorf("the change could not be recorded and is not made: %w", err)
	}
	return nil
}

// changePeople records what is about to happen to a user and does it, once it is known that it can be done as a whole, and by
// somebody who still may.
func (s *Server) changePeople(r *http.Request, name, what string, details map[string]any, do func(*users.Store) error) error {
	if p := access.Of(r.Context()); !p.MaySetCredentials() {
		return &Problem{Status: http.StatusForbidden, Title: "Not allowed",
			Detail: "people, passwords, one-time codes and tokens are changed by somebody who has logged in; this login is: " + p.Login.How}
	}
	s.people.Lock()
	defer s.people.Unlock()
	if err := access.Settle(r.Context()); err != nil {
		return err
	}
	if err := do(s.opts.Users.Rehearsal()); err != nil {
		return userProblem(err)
	}
	if err := s.recordUser(r, name, what, details); err != nil {
		return err
	}
	return userProblem(do(s.opts.Users))
}

func userProblem(err error) error {
	p := &Problem{Detail: errString(err)}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, users.ErrUnknown):
		p.Status, p.Title = http.StatusNotFound, "Not found"
	case errors.Is(err, users.ErrExists), errors.Is(err, users.ErrLastAdmin):
		p.Status, p.Title = http.StatusConflict, "Conflict"
	case errors.Is(err, users.ErrInvalid), errors.Is(err, users.ErrRefused):
		p.Status, p.Title = http.StatusBadRequest, "Bad request"
	default:
		return err
	}
	return p
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *Server) listUsers(w http.ResponseWriter, _ *http.Request) error {
	out := []Person{}
	for _, u := range s.opts.Users.List() {
		p := personOf(&u)
		p.Searches = []users.SavedSearch{} // what people look for is theirs
		out = append(out, p)
	}
	return writeJSON(w, out)
}

func (s *Server) addUser(w http.ResponseWriter, r *http.Request) error {
	n, err := decode[NewPerson](r)
	if err != nil {
		return err
	}
	u := users.User{Name: n.Name, Roles: n.Roles, Mailboxes: n.Mailboxes, From: n.From, To: n.To}
	later := s.takesTwo(r, &users.User{Name: n.Name}, &u)
	if later {
		if err := u.Check(); err != nil {
			return userProblem(err)
		}
		u = s.without(&u)
	}
	u.Note(users.SetAccount, setter(r), time.Now())
	if err := s.changePeople(r, n.Name, "add", map[string]any{"roles": u.Roles, "mailboxes": u.Mailboxes}, func(people *users.Store) error {
		return people.Add(r.Context(), u, n.Password)
	}); err != nil {
		return err
	}
	if later {
		return s.askGrant(w, r, n.Name, archive.Grant{Roles: names(n.Roles), Mailboxes: n.Mailboxes, From: n.From, To: n.To, Was: names(u.Roles)})
	}
	return s.showUser(w, n.Name, 0)
}

// setter is who makes a request, as one who sets a credential.
func setter(r *http.Request) users.Setter {
	by := users.Setter{By: archive.Person(Actor(r.Context()))}
	if p := access.Of(r.Context()); p != nil {
		by.How = p.Login.How
	}
	return by
}

// showUser answers with a user, and the number of tokens that a change has ended.
func (s *Server) showUser(w http.ResponseWriter, name string, ended int) error {
	u, err := s.opts.Users.Get(name)
	if err != nil {
		return userProblem(err)
	}
	p := personOf(&u)
	p.Ended = ended
	return writeJSON(w, p)
}

// tokens is the number of tokens of a user.
func (s *Server) tokens(name string) int {
	u, err := s.opts.Users.Get(name)
	if err != nil {
		return 0
	}
	return len(u.Tokens)
}

func (s *Server) changeUser(w http.ResponseWriter, r *http.Request) error {
	c, err := decode[PersonChange](r)
	if err != nil {
		return err
	}
	name, by := r.PathValue("name"), setter(r)
	if done, err := s.grantLater(w, r, name, &c); done || err != nil {
		return err
	}
	before := s.tokens(name)
	if err := s.changePeople(r, name, "change", map[string]any{"roles": c.Roles, "mailboxes": c.Mailboxes, "from": c.From, "to": c.To,
		"disabled": c.Disabled, "password": c.Password != "", "codes": c.Codes}, func(people *users.Store) error {
		return people.Change(r.Context(), name, c.Password, func(u *users.User) error {
			if c.Password != "" {
				u.Note(users.SetPassword, by, time.Now())
			}
			if c.Codes != nil && !*c.Codes && u.TOTP != "" {
				u.Note(users.SetCodes, by, time.Now())
			}
			return c.apply(u)
		})
	}); err != nil {
		return err
	}
	return s.showUser(w, name, before-s.tokens(name))
}

func (c *PersonChange) apply(u *users.User) error {
	if c.Roles != nil {
		u.Roles = slices.Clone(c.Roles)
	}
	if c.Mailboxes != nil {
		u.Mailboxes = *c.Mailboxes
	}
	if c.From != nil {
		u.From = *c.From
	}
	if c.To != nil {
		u.To = *c.To
	}
	if c.Disabled != nil {
		u.Disabled = *c.Disabled
	}
	if c.Codes != nil && !*c.Codes {
		u.TOTP, u.Step = "", 0
	}
	return nil
}

func (s *Server) addToken(w http.ResponseWriter, r *http.Request) error {
	return s.makeToken(w, r, r.PathValue("name"))
}

func (s *Server) makeToken(w http.ResponseWriter, r *http.Request, name string) error {
	req, err := decode[TokenRequest](r)
	if err != nil {
		return err
	}
	if req.Name == "" || len(req.Name) > maxActorBytes {
		return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: fmt.Sprintf("a token needs a name of at most %d bytes", maxActorBytes)}
	}
	var (
		secret string
		t      users.Token
	)
	if err := s.changePeople(r, name, "token", map[string]any{"token": req.Name, "expires": req.Expires}, func(people *users.Store) (err error) {
		secret, t, err = people.AddTokenBy(setter(r), name, req.Name, req.Expires)
		return err
	}); err != nil {
		return err
	}
	return writeJSON(w, NewToken{TokenInfo{t.ID, t.Name, t.Created, t.Expires}, secret})
}

func (s *Server) dropToken(w http.ResponseWriter, r *http.Request) error {
	return s.revokeToken(w, r, r.PathValue("name"))
}

func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request, name string) error {
	if err := s.changePeople(r, name, "revoke token", map[string]any{"token": r.PathValue("token")}, func(people *users.Store) error {
		return people.RevokeToken(name, r.PathValue("token"))
	}); err != nil {
		return err
	}
	return s.showUser(w, name, 0)
}

// A PasswordChange is one that a person makes.
type PasswordChange struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// A CodesChange turns one-time codes on, with a code that proves the secret,
// or off, with an empty secret and the password.
type CodesChange struct {
	Secret   string `json:"secret"`
	Code     string `json:"code"`
	Password string `json:"password"`
}

func (s *Server) me(w http.ResponseWriter, r *http.Request) error { return s.showMe(w, r, 0) }

func (s *Server) showMe(w http.ResponseWriter, r *http.Request, ended int) error {
	p := access.Of(r.Context())
	if slices.Contains(p.Roles, access.Local) {
		return writeJSON(w, Person{Name: p.Name, Roles: p.Roles, Mailboxes: []string{}, Tokens: []TokenInfo{}, Searches: []users.SavedSearch{}, Set: []users.Setting{}})
	}
	return s.showUser(w, p.Name, ended)
}

// proved is an error unless the person knows their password. It counts like a log-in.
func (s *Server) proved(r *http.Request, password string) error {
	if p := access.Of(r.Context()); !p.MaySetCredentials() {
		return nil // refused as it is, without a word about the password
	}
	err := access.Guess(r.Context(), func() error {
		_, err := s.opts.Users.LogIn(r.Context(), Actor(r.Context()), password)
		if errors.Is(err, users.ErrCode) {
			return nil
		}
		return err
	})
	if errors.Is(err, users.ErrRefused) {
		return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: "the present password is not right"}
	}
	return err
}

// myCredentials makes a change of the person's own credentials. Their other sessions and their tokens end.
func (s *Server) myCredentials(w http.ResponseWriter, r *http.Request, what string, details map[string]any, do func(people *users.Store, name string) error) error {
	name := Actor(r.Context())
	before := s.tokens(name)
	if err := s.changePeople(r, name, what, details, func(people *users.Store) error { return do(people, name) }); err != nil {
		return err
	}
	if err := access.Renew(r.Context()); err != nil {
		return err
	}
	return s.showMe(w, r, before-s.tokens(name))
}

func (s *Server) myPassword(w http.ResponseWriter, r *http.Request) error {
	c, err := decode[PasswordChange](r)
	if err == nil {
		err = s.proved(r, c.Old)
	}
	if err != nil {
		return err
	}
	by := setter(r)
	return s.myCredentials(w, r, "own password", nil, func(people *users.Store, name string) error {
		return people.SetPassword(r.Context(), name, c.New, func(u *users.User) {
			u.Prove(by.How, time.Now())
			u.Note(users.SetPassword, by, time.Now())
		})
	})
}

func (s *Server) myCodes(w http.ResponseWriter, r *http.Request) error {
	c, err := decode[CodesChange](r)
	if err == nil {
		err = s.proved(r, c.Password)
	}
	if err != nil {
		return err
	}
	return s.myCredentials(w, r, "own codes", map[string]any{"on": c.Secret != ""}, func(people *users.Store, name string) error {
		err := people.SetTOTP(name, c.Secret, c.Code)
		if errors.Is(err, users.ErrRefused) {
			return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: "the code does not fit; is the clock of the device right?"}
		}
		return err
	})
}

func (s *Server) myToken(w http.ResponseWriter, r *http.Request) error {
	return s.makeToken(w, r, Actor(r.Context()))
}

func (s *Server) dropMyToken(w http.ResponseWriter, r *http.Request) error {
	return s.revokeToken(w, r, Actor(r.Context()))
}

// Limits of saved searches.
const (
	maxSearches   = 200
	maxSearchName = 100
)

func (s *Server) mySearches(w http.ResponseWriter, r *http.Request) error {
	searches, err := decode[[]users.SavedSearch](r)
	if err != nil {
		return err
	}
	if len(searches) > maxSearches {
		return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: fmt.Sprintf("at most %d saved searches", maxSearches)}
	}
	for _, q := range searches {
		if q.Name == "" || len(q.Name) > maxSearchName || q.Query == "" {
			return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: fmt.Sprintf("a saved search needs a query and a name of at most %d bytes", maxSearchName)}
		}
	}
	if err := access.Check(r.Context()); err != nil {
		return err
	}
	if err := s.opts.Users.Update(Actor(r.Context()), func(u *users.User) error {
		u.Searches = searches
		return nil
	}); err != nil {
		return userProblem(err)
	}
	return s.me(w, r)
}
