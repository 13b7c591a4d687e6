package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
)

const changesPath = "/api/v1/retention/changes"

func (s *Server) changeRoutes() []route {
	return []route{
		{"GET " + changesPath, access.Comply, s.changes},
		{"POST " + changesPath + "/{id}/approve", access.Comply, s.decideChange(s.opts.Compliance.ApproveChange, false)},
		{"POST " + changesPath + "/{id}/reject", access.Comply, s.decideChange(s.opts.Compliance.RejectChange, false)},
	}
}

func changeOperations() map[string]operation {
	return map[string]operation{
		"GET " + changesPath:                    {summary: "Releases of holds and removals of rules that one person asked for and another one approves, oldest first", out: []archive.Change{}},
		"POST " + changesPath + "/{id}/approve": {summary: "Approve a release or a removal that somebody else has asked for", out: archive.Change{}},
		"POST " + changesPath + "/{id}/reject":  {summary: "Reject a release or a removal that somebody has asked for", out: archive.Change{}},
	}
}

func (s *Server) changes(w http.ResponseWriter, r *http.Request) error {
	all, err := s.changesOf(r.Context(), false)
	if err != nil {
		return err
	}
	return writeJSON(w, all)
}

// changesOf lists the changes that are grants to users, for administrators, or the others, for officers.
func (s *Server) changesOf(ctx context.Context, grants bool) ([]archive.Change, error) {
	all, err := s.opts.Store.Changes(ctx)
	return slices.DeleteFunc(all, func(c archive.Change) bool { return (c.Kind == archive.ChangeGrant) != grants }), err
}

// changeOf returns one of changesOf.
func (s *Server) changeOf(ctx context.Context, grants bool, id string) (archive.Change, error) {
	all, err := s.changesOf(ctx, grants)
	i := slices.IndexFunc(all, func(c archive.Change) bool { return c.ID == id })
	if err == nil && i < 0 {
		err = fmt.Errorf("change %q: %w", id, archive.ErrNoOrder)
	}
	if err != nil {
		return archive.Change{}, err
	}
	return all[i], nil
}

func (s *Server) decideChange(do func(ctx context.Context, id, actor string) (archive.Change, error), grants bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := s.loggedIn(r.Context())
		if _, err := s.changeOf(ctx, grants, r.PathValue("id")); err != nil {
			return err
		}
		c, err := do(ctx, r.PathValue("id"), Actor(ctx))
		if err != nil {
			return err
		}
		return writeJSON(w, c)
	}
}

// Changes lists what was asked for and takes a second person.
func (c *Client) Changes(ctx context.Context) ([]archive.Change, error) {
	return get[[]archive.Change](ctx, c, changesPath, nil)
}

// ApproveChange approves what somebody else has asked for.
func (c *Client) ApproveChange(ctx context.Context, id string) (archive.Change, error) {
	return ask[archive.Change](ctx, c, http.MethodPost, changesPath+"/"+url.PathEscape(id)+"/approve", nil)
}

// RejectChange rejects what somebody has asked for.
func (c *Client) RejectChange(ctx context.Context, id string) (archive.Change, error) {
	return ask[archive.Change](ctx, c, http.MethodPost, changesPath+"/"+url.PathEscape(id)+"/reject", nil)
}
