package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/postkeep/postkeep/archive"
)

// Rebuilt answers a rebuild.
type Rebuilt struct {
	Messages uint64 `json:"messages"` // in the new index
}

// rebuildIndex makes the index anew while the old one answers, and returns when
// it has everything that the archive had at the start.
func (s *Server) rebuildIndex(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.opts.Index.Rebuild(ctx); err != nil {
		return err
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	if _, err := s.opts.Store.Record(ctx, archive.Action{
		Type: archive.ActionRebuild, Actor: Actor(ctx), Details: map[string]string{"what": "index"},
	}); err != nil {
		return err
	}
	return writeJSON(w, Rebuilt{Messages: s.opts.Index.Count()})
}

// RebuildIndex makes the search index anew and waits for it. Searches go on
// meanwhile.
func (c *Client) RebuildIndex(ctx context.Context) (out Rebuilt, err error) {
	resp, err := c.do(ctx, http.MethodPost, "/api/v1/index/rebuild", nil, nil)
	if err != nil {
		return out, err
	}
	err = joinClose(json.NewDecoder(resp.Body).Decode(&out), resp.Body)
	return out, err
}
