package pages

import (
	"bytes"
	"encoding/base64"
	"errors"
	"html/template"
	"image/png"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

// profilePage is what somebody may change of their own.
type profilePage struct {
	api.Person
	Local bool // of the operating system, without a profile
	Done  string
	Wrong string
	// Secret and Picture are for turning one-time codes on.
	Secret  string
	Picture template.URL
	Token   string // just made, shown once
	Zone    string
}

func (s *Server) profile(w http.ResponseWriter, r *http.Request, v *View) error {
	return s.showProfile(w, r, v, http.StatusOK, &profilePage{Done: r.FormValue("done")})
}

func (s *Server) showProfile(w http.ResponseWriter, r *http.Request, v *View, code int, p *profilePage) error {
	var err error
	if p.Person, err = s.opts.API.Me(r.Context()); err != nil {
		return err
	}
	p.Local = slices.Contains(p.Roles, access.Local)
	p.Zone = v.Location.String()
	if r.FormValue("codes") == "on" && !p.Codes && p.Secret == "" {
		if err := p.enrol(); err != nil {
			return err
		}
	}
	if p.Secret != "" && p.Picture == "" {
		if err := p.draw(); err != nil {
			return err
		}
	}
	v.Title = v.T("Profile")
	return s.render(w, code, "profile", v, p)
}

// issuer is what an authenticator shows beside the code.
const issuer = "Postkeep"

func (p *profilePage) enrol() error {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: p.Name})
	if err != nil {
		return err
	}
	p.Secret = key.Secret()
	return nil
}

// pictureSize is the side of the code to scan, in pixels.
const pictureSize = 200

func (p *profilePage) draw() error {
	uri := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + p.Name,
		RawQuery: url.Values{"secret": {p.Secret}, "issuer": {issuer}}.Encode()}
	key, err := otp.NewKeyFromURL(uri.String())
	if err != nil {
		return err
	}
	img, err := key.Image(pictureSize, pictureSize)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return err
	}
	p.Picture = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())) //nolint:gosec // a picture that was just drawn
	return nil
}

// changeProfile makes one change, then shows the page again.
func (s *Server) changeProfile(w http.ResponseWriter, r *http.Request, v *View) error {
	ctx, p := r.Context(), &profilePage{}
	var err error
	what := r.PathValue("what")
	switch what {
	case "password":
		_, err = s.opts.API.SetMyPassword(ctx, api.PasswordChange{Old: r.PostFormValue("old"), New: r.PostFormValue("new")})
		if err == nil { // it ended all sessions, this one too
			s.know(w, v.Principal.Name)
			err = s.door.Sessions.Start(ctx, v.Principal.Name, byPassword)
		}
	case "codes":
		p.Secret = r.PostFormValue("secret")
		_, err = s.opts.API.SetMyCodes(ctx, api.CodesChange{Secret: p.Secret, Code: r.PostFormValue("code"), Password: r.PostFormValue("password")})
	case "token":
		return s.newToken(w, r, v)
	case "revoke":
		_, err = s.opts.API.RevokeMyToken(ctx, r.PostFormValue("id"))
	case "search":
		err = s.saveSearch(r)
	case "forget":
		err = s.forgetSearch(r)
	case "look":
		s.setLook(w, r)
	default:
		return s.nowhere(w, r, v)
	}
	if problem := badRequest(err); problem != nil {
		p.Wrong = problem.Detail
		return s.showProfile(w, r, v, problem.Status, p)
	}
	if err != nil {
		return err
	}
	to := "/profile?done=" + url.QueryEscape(what)
	if next := r.PostFormValue("next"); next != "" {
		to = local(next)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (s *Server) newToken(w http.ResponseWriter, r *http.Request, v *View) error {
	req := api.TokenRequest{Name: strings.TrimSpace(r.PostFormValue("name"))}
	const day = 24 * time.Hour
	switch r.PostFormValue("valid") {
	case "30":
		req.Expires = s.opts.Now().Add(30 * day).UTC()
	case "365":
		req.Expires = s.opts.Now().Add(365 * day).UTC()
	}
	t, err := s.opts.API.AddMyToken(r.Context(), req)
	p := &profilePage{Token: t.Token}
	if problem := badRequest(err); problem != nil {
		p.Wrong = problem.Detail
		return s.showProfile(w, r, v, http.StatusBadRequest, p)
	}
	if err != nil {
		return err
	}
	return s.showProfile(w, r, v, http.StatusOK, p)
}

func (s *Server) saveSearch(r *http.Request) error {
	me, err := s.opts.API.Me(r.Context())
	if err != nil {
		return err
	}
	q := users.SavedSearch{Name: strings.TrimSpace(r.PostFormValue("name")), Query: strings.TrimSpace(r.PostFormValue("query"))}
	if q.Name == "" {
		q.Name = q.Query
	}
	searches := slices.DeleteFunc(me.Searches, func(o users.SavedSearch) bool { return o.Name == q.Name })
	_, err = s.opts.API.SetMySearches(r.Context(), append(searches, q))
	return err
}

func (s *Server) forgetSearch(r *http.Request) error {
	me, err := s.opts.API.Me(r.Context())
	if err != nil {
		return err
	}
	name := r.PostFormValue("name")
	_, err = s.opts.API.SetMySearches(r.Context(), slices.DeleteFunc(me.Searches, func(o users.SavedSearch) bool { return o.Name == name }))
	return err
}

// setLook keeps language and theme in the browser, where they matter.
func (s *Server) setLook(w http.ResponseWriter, r *http.Request) {
	const year = 365 * 24 * 60 * 60
	for cookie, field := range map[string]string{langCookie: "lang", themeCookie: "theme"} {
		c := &http.Cookie{Name: cookie, Value: r.PostFormValue(field), Path: "/", MaxAge: year, HttpOnly: true, SameSite: http.SameSiteLaxMode}
		if !slices.Contains([]string{"en", "de", "light", "dark"}, c.Value) {
			c.Value, c.MaxAge = "", -1
		}
		http.SetCookie(w, c)
	}
}

// usersPage lists the people.
type usersPage struct {
	People    []api.Person
	Roles     []access.Role
	Mailboxes []string
	Edit      *api.Person
	Changes   []archive.Change // that wait for a second administrator
	New       api.NewPerson
	Adding    bool
	Wrong     string
	Done      string
}

func (s *Server) users(w http.ResponseWriter, r *http.Request, v *View) error {
	return s.showUsers(w, r, v, http.StatusOK, &usersPage{Done: r.FormValue("done"), Adding: r.FormValue("new") != ""})
}

func (s *Server) showUsers(w http.ResponseWriter, r *http.Request, v *View, code int, p *usersPage) error {
	var err error
	if p.People, err = s.opts.API.Users(r.Context()); err != nil {
		return err
	}
	boxes, err := s.opts.API.Mailboxes(r.Context())
	if err != nil {
		return err
	}
	for _, b := range boxes {
		p.Mailboxes = append(p.Mailboxes, b.Name)
	}
	if p.Changes, err = s.opts.API.Grants(r.Context()); err != nil {
		return err
	}
	p.Changes = slices.DeleteFunc(p.Changes, func(c archive.Change) bool { return c.State != archive.ChangeOpen })
	p.Roles = access.Roles()
	if name := r.PathValue("name"); name != "" {
		i := slices.IndexFunc(p.People, func(o api.Person) bool { return o.Name == name })
		if i < 0 {
			return s.nowhere(w, r, v)
		}
		p.Edit = &p.People[i]
	}
	v.Title = v.T("Users")
	return s.render(w, code, "users", v, p)
}

// Has reports whether a person has a role, for the boxes of the form.
func (*usersPage) Has(roles []access.Role, role access.Role) bool {
	return slices.Contains(roles, role)
}

// Granted reports whether a mailbox is granted.
func (*usersPage) Granted(mailboxes []string, name string) bool {
	return slices.Contains(mailboxes, name)
}

// LastDay is the day before an end.
func (*usersPage) LastDay(to time.Time) string {
	if to.IsZero() {
		return ""
	}
	return to.AddDate(0, 0, -1).UTC().Format(time.DateOnly)
}

// grantOf reads roles, mailboxes and days of a form.
func grantOf(r *http.Request) (roles []access.Role, mailboxes []string, from, to time.Time, err error) {
	if err := r.ParseForm(); err != nil {
		return nil, nil, from, to, err
	}
	for _, role := range r.PostForm["role"] {
		roles = append(roles, access.Role(role))
	}
	mailboxes = append([]string{}, r.PostForm["mailbox"]...)
	if d := r.PostFormValue("from"); d != "" {
		from, err = time.Parse(time.DateOnly, d)
	}
	if d := r.PostFormValue("to"); d != "" && err == nil {
		to, err = time.Parse(time.DateOnly, d)
		to = to.AddDate(0, 0, 1)
	}
	return roles, mailboxes, from, to, err
}

func (s *Server) addUser(w http.ResponseWriter, r *http.Request, v *View) error {
	roles, mailboxes, from, to, err := grantOf(r)
	p := &usersPage{Adding: true, New: api.NewPerson{Name: strings.ToLower(strings.TrimSpace(r.PostFormValue("name"))), Roles: roles,
		Mailboxes: mailboxes, From: from, To: to}}
	if err == nil {
		n := p.New
		n.Password = r.PostFormValue("password")
		done, err2 := s.opts.API.AddUser(r.Context(), n)
		return s.afterUser(w, r, v, p, done, err2)
	}
	return s.afterUser(w, r, v, p, api.Person{}, err)
}

// decideGrant approves or rejects what somebody else has asked for.
func (s *Server) decideGrant(w http.ResponseWriter, r *http.Request, v *View) (err error) {
	var done api.Person
	switch r.PathValue("what") {
	case "approve":
		done, err = s.opts.API.ApproveGrant(r.Context(), r.PathValue("id"))
	case "reject":
		_, err = s.opts.API.RejectGrant(r.Context(), r.PathValue("id"))
	default:
		return s.nowhere(w, r, v)
	}
	return s.afterUser(w, r, v, &usersPage{}, done, err)
}

func (s *Server) changeUser(w http.ResponseWriter, r *http.Request, v *View) error {
	var change api.PersonChange
	var err error
	off, on := false, true
	switch r.PostFormValue("what") {
	case "grant":
		var mailboxes []string
		var from, to time.Time
		change.Roles, mailboxes, from, to, err = grantOf(r)
		change.Mailboxes, change.From, change.To = &mailboxes, &from, &to
		if err == nil && len(change.Roles) == 0 {
			err = &api.Problem{Status: http.StatusBadRequest, Detail: v.T("A user needs at least one role.")}
		}
	case "password":
		change.Password = r.PostFormValue("password")
	case "codes":
		change.Codes = &off
	case "disable":
		change.Disabled = &on
	case "enable":
		change.Disabled = &off
	}
	var done api.Person
	if err == nil {
		done, err = s.opts.API.ChangeUser(r.Context(), r.PathValue("name"), change)
	}
	return s.afterUser(w, r, v, &usersPage{}, done, err)
}

func (s *Server) afterUser(w http.ResponseWriter, r *http.Request, v *View, p *usersPage, done api.Person, err error) error {
	var problem *api.Problem
	switch {
	case errors.As(err, &problem) && problem.Status < http.StatusInternalServerError && problem.Status != http.StatusForbidden:
		p.Wrong = problem.Detail
		return s.showUsers(w, r, v, problem.Status, p)
	case err != nil:
		return err
	}
	what := "saved"
	switch {
	case done.Pending != "":
		what = "pending"
	case done.Ended > 0:
		what = "ended"
	}
	http.Redirect(w, r, "/users?done="+what, http.StatusSeeOther)
	return nil
}
