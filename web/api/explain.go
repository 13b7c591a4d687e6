package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/web/access"
)

// explain says how a query is understood. It counts in the whole archive, so that
// only who may see all of it may ask; and it is in the ledger like a search.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if !access.Of(ctx).Scope.All {
		return &Problem{Status: http.StatusForbidden, Title: "Not allowed",
			Detail: "an explanation counts the words of the whole archive, of which you see a part"}
	}
	q := queryOf(r)
	e, err := s.opts.Index.Explain(ctx, q)
	if err != nil {
		return err
	}
	if _, err := s.opts.Store.Record(ctx, archive.Action{
		Type: archive.ActionSearch, Actor: Actor(ctx), Details: map[string]any{"query": q, "explained": true},
	}); err != nil {
		return fmt.Errorf("the question could not be recorded, its answer is not shown: %w", err)
	}
	return writeJSON(w, e)
}

// Explain says how a query is understood.
func (c *Client) Explain(ctx context.Context, query string) (indexer.Explanation, error) {
	return get[indexer.Explanation](ctx, c, "/api/v1/search/explain", url.Values{"q": {query}})
}
