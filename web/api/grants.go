package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

const grantsPath = "/api/v1/users/changes"

func (s *Server) grantRoutes() []route {
	return []route{
		{"GET " + grantsPath, access.Manage, s.grants},
		{"POST " + grantsPath + "/{id}/approve", access.Manage, s.approveGrant},
		{"POST " + grantsPath + "/{id}/reject", access.Manage, s.decideChange(s.opts.Compliance.RejectChange, true)},
	}
}

func grantOperations() map[string]operation {
	return map[string]operation{
		"GET " + grantsPath:                    {summary: "Grants to users that one person asked for and another administrator approves, oldest first", out: []archive.Change{}},
		"POST " + grantsPath + "/{id}/approve": {summary: "Approve a grant that somebody else has asked for", out: Person{}},
		"POST " + grantsPath + "/{id}/reject":  {summary: "Reject a grant that somebody has asked for", out: archive.Change{}},
	}
}

func (s *Server) grants(w http.ResponseWriter, r *http.Request) error {
	all, err := s.changesOf(r.Context(), true)
	if err != nil {
		return err
	}
	return writeJSON(w, all)
}

// takesTwo reports whether a change of a user takes a second administrator: with dual control the role of an officer does, and
// anything that people give to themselves. Whoever owns the data directory makes the first administrator and the first officer.
func (s *Server) takesTwo(r *http.Request, before, after *users.User) bool {
	if !s.opts.Compliance.DualControl() {
		return false
	}
	gains := func(role access.Role) bool {
		return slices.Contains(after.Roles, role) && !slices.Contains(before.Roles, role)
	}
	was, is := before.Principal().Scope, after.Principal().Scope
	wider := slices.ContainsFunc(after.Roles, gains) || !was.Covers(&is)
	own := archive.Person(Actor(r.Context())) == after.Name
	if !gains(access.Officer) && (!wider || !own) {
		return false
	}
	if p := access.Of(r.Context()); p == nil || !slices.Contains(p.Roles, access.Local) {
		return true
	}
	var admin, officer bool
	for _, u := range s.opts.Users.List() {
		admin = admin || u.LogsIn() && slices.Contains(u.Roles, access.Admin)
		officer = officer || !u.Disabled && slices.Contains(u.Roles, access.Officer)
	}
	return admin && officer
}

// without is a new user before a second administrator has approved what was asked for: somebody without mail.
func (s *Server) without(u *users.User) users.User {
	roles := slices.DeleteFunc(slices.Clone(u.Roles), func(r access.Role) bool { return r == access.Officer })
	if len(roles) == 0 {
		return users.User{Name: u.Name, Roles: []access.Role{access.User}}
	}
	return users.User{Name: u.Name, Roles: roles, Mailboxes: u.Mailboxes, From: u.From, To: u.To}
}

func names(roles []access.Role) []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = string(r)
	}
	return out
}

// grantLater asks for a change of a user that takes a second administrator. done means that it was one, and is answered.
func (s *Server) grantLater(w http.ResponseWriter, r *http.Request, name string, c *PersonChange) (done bool, err error) {
	u, err := s.opts.Users.Get(name)
	if err != nil {
		return false, userProblem(err)
	}
	after := u
	if err := c.apply(&after); err != nil {
		return false, err
	}
	if !s.takesTwo(r, &u, &after) {
		return false, nil
	}
	if err := after.Check(); err != nil {
		return false, userProblem(err)
	}
	if c.Password != "" || c.Disabled != nil || c.Codes != nil {
		return false, &Problem{Status: http.StatusBadRequest, Title: "Bad request",
			Detail: "what this user would be granted takes a second administrator: ask for it without any other change"}
	}
	if p := access.Of(r.Context()); !p.MaySetCredentials() {
		return false, &Problem{Status: http.StatusForbidden, Title: "Not allowed", Detail: "people are changed by somebody who has logged in; this login is: " + p.Login.How}
	}
	return true, s.askGrant(w, r, name, archive.Grant{Roles: names(after.Roles), Mailboxes: after.Mailboxes, From: after.From, To: after.To, Was: names(u.Roles)})
}

func (s *Server) askGrant(w http.ResponseWriter, r *http.Request, name string, g archive.Grant) error {
	if err := access.Check(r.Context()); err != nil {
		return err
	}
	asked, err := s.opts.Compliance.RequestGrant(s.loggedIn(r.Context()), name, g, Actor(r.Context()))
	if err != nil {
		return err
	}
	u, err := s.opts.Users.Get(name)
	if err != nil {
		return userProblem(err)
	}
	p := personOf(&u)
	p.Pending = asked.ID
	return writeJSON(w, p)
}

// approveGrant carries out a grant that somebody else has asked for.
func (s *Server) approveGrant(w http.ResponseWriter, r *http.Request) error {
	ctx := s.loggedIn(r.Context())
	asked, err := s.changeOf(ctx, true, r.PathValue("id"))
	switch {
	case err != nil:
		return err
	case asked.Name == Actor(ctx):
		return fmt.Errorf("%w: nobody approves what they are granted themselves", archive.ErrApproval)
	case asked.Grant == nil:
		return fmt.Errorf("%w: change %s does not say what is granted", archive.ErrOrder, asked.ID)
	}
	g := asked.Grant
	apply := func(u *users.User) error {
		if !slices.Equal(names(u.Roles), g.Was) {
			return fmt.Errorf("%w: the roles of %s are others than when the grant was asked for: ask again", archive.ErrOrder, u.Name)
		}
		u.Roles = nil
		for _, role := range g.Roles {
			u.Roles = append(u.Roles, access.Role(role))
		}
		u.Mailboxes, u.From, u.To = g.Mailboxes, g.From, g.To
		return nil
	}
	s.people.Lock()
	defer s.people.Unlock()
	if err := s.opts.Users.Rehearsal().Change(ctx, asked.Name, "", apply); err != nil {
		return userProblem(err)
	}
	if err := access.Settle(ctx); err != nil {
		return err
	}
	if _, err := s.opts.Compliance.ApproveChange(ctx, asked.ID, Actor(ctx)); err != nil {
		return err
	}
	if err := s.opts.Users.Change(ctx, asked.Name, "", apply); err != nil {
		return userProblem(err)
	}
	return s.showUser(w, asked.Name, 0)
}

// Grants lists what was asked for and takes a second administrator.
func (c *Client) Grants(ctx context.Context) ([]archive.Change, error) {
	return get[[]archive.Change](ctx, c, grantsPath, nil)
}

// ApproveGrant approves what somebody else has asked for.
func (c *Client) ApproveGrant(ctx context.Context, id string) (Person, error) {
	return ask[Person](ctx, c, http.MethodPost, grantsPath+"/"+url.PathEscape(id)+"/approve", nil)
}

// RejectGrant rejects what somebody has asked for.
func (c *Client) RejectGrant(ctx context.Context, id string) (archive.Change, error) {
	return ask[archive.Change](ctx, c, http.MethodPost, grantsPath+"/"+url.PathEscape(id)+"/reject", nil)
}
