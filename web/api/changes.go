package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
)

const changesPath = "/api/v1/retention/changes"

func (s *Server) changeRoutes() []route {
	return []route{
		{"GET " + changesPath, access.Comply, s.changes},
		{"POST " + changesPath + "/{id}/approve", access.Comply, s.decideChange(s.opts.Compliance.ApproveChange)},
		{"POST " + changesPath + "/{id}/reject", access.Comply, s.decideChange(s.opts.Compliance.RejectChange)},
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
	all, err := s.opts.Store.Changes(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, all)
}

func (s *Server) decideChange(do func(ctx context.Context, id, actor string) (archive.Change, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := loggedIn(r.Context())
		c, err := do(ctx, r.PathValue("id"), Actor(ctx))
		if err != nil {
			return err
		}
		return writeJSON(w, c)
	}
}

// loggedIn tells the archive how whoever asks was recognised.
func loggedIn(ctx context.Context) context.Context {
	p := access.Of(ctx)
	if p == nil {
		return ctx
	}
	return archive.WithLogin(ctx, archive.Login{How: p.Login.How, Account: p.Login.Account, Created: p.Login.Created, Interactive: p.Login.Interactive})
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
