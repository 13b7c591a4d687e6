package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
)

// ConfirmRequest names messages that a rule finds in another way since messages are read in another way.
type ConfirmRequest struct {
	IDs []string `json:"ids"`
}

const ruleDifferencesPath = rulesPath + "/{name}/differences"

func (s *Server) ruleDifferenceRoutes() []route {
	return []route{
		{"GET " + ruleDifferencesPath, access.Comply, s.ruleDifferences},
		{"POST " + ruleDifferencesPath + "/confirm", access.Comply, s.confirmRuleDifferences},
	}
}

func ruleDifferenceOperations() map[string]operation {
	return map[string]operation{
		"GET " + ruleDifferencesPath: {summary: "What a retention rule finds in another way since an upgrade, and nobody has confirmed", out: archive.RuleDifference{}},
		"POST " + ruleDifferencesPath + "/confirm": {summary: "Confirm messages, by their ids, that a retention rule finds in another way",
			in: ConfirmRequest{}, out: archive.RuleDifference{}},
	}
}

func (s *Server) ruleDifferences(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.complete(ctx); err != nil {
		return err
	}
	change, err := s.opts.Compliance.RuleDifferences(ctx, r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, change)
}

func (s *Server) confirmRuleDifferences(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := decode[ConfirmRequest](r)
	if err != nil {
		return err
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	left, err := s.opts.Compliance.ConfirmDifference(ctx, r.PathValue("name"), req.IDs, Actor(ctx))
	if err != nil {
		return err
	}
	return writeJSON(w, left)
}

// RuleDifferences lists what a retention rule finds in another way, and nobody has confirmed.
func (c *Client) RuleDifferences(ctx context.Context, name string) (archive.RuleDifference, error) {
	return get[archive.RuleDifference](ctx, c, rulesPath+"/"+url.PathEscape(name)+"/differences", nil)
}

// ConfirmRuleDifferences confirms some of them. It returns what is left.
func (c *Client) ConfirmRuleDifferences(ctx context.Context, name string, ids []string) (archive.RuleDifference, error) {
	return ask[archive.RuleDifference](ctx, c, http.MethodPost, rulesPath+"/"+url.PathEscape(name)+"/differences/confirm", ConfirmRequest{ids})
}
