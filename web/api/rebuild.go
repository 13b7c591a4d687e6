package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/postkeep/postkeep/archive"
)

// Rebuilt answers a rebuild.
type Rebuilt struct {
	Messages uint64 `json:"messages"` // in what was made anew
}

// rebuildIndex makes the index anew while the old one answers, and returns when
// it has everything that the archive had at the start.
func (s *Server) rebuildIndex(w http.ResponseWriter, r *http.Request) error {
	if err := s.opts.Store.Medium(); err != nil {
		return err // nobody would do it
	}
	ctx, cancel := s.opts.Watch(r.Context())
	defer cancel()
	if err := s.opts.Index.Rebuild(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
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

// rebuildCatalog makes the catalog anew while the old one answers.
func (s *Server) rebuildCatalog(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := s.opts.Watch(r.Context())
	defer cancel()
	if err := s.opts.RebuildCatalog(ctx); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return err
	}
	if _, err := s.opts.Store.Record(ctx, archive.Action{
		Type: archive.ActionRebuild, Actor: Actor(ctx), Details: map[string]string{"what": "catalog"},
	}); err != nil {
		return err
	}
	st, err := s.opts.Store.Status(ctx)
	if err != nil {
		return err
	}
	return writeJSON(w, Rebuilt{Messages: uint64(st.Messages)})
}

// RebuildCatalog makes the catalog anew and waits for it.
func (c *Client) RebuildCatalog(ctx context.Context) (Rebuilt, error) {
	return c.rebuild(ctx, "/api/v1/catalog/rebuild")
}

// RebuildIndex makes the search index anew and waits for it. Searches go on
// meanwhile.
func (c *Client) RebuildIndex(ctx context.Context) (Rebuilt, error) {
	return c.rebuild(ctx, "/api/v1/index/rebuild")
}

func (c *Client) rebuild(ctx context.Context, path string) (out Rebuilt, err error) {
	resp, err := c.do(ctx, http.MethodPost, path, nil, nil)
	if err != nil {
		return out, err
	}
	err = joinClose(json.NewDecoder(resp.Body).Decode(&out), resp.Body)
	return out, err
}
