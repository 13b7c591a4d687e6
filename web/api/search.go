package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/web/access"
)

// SearchRequest asks for messages. The names of the parameters of GET
// /api/v1/search are q, sort, limit, offset, after, facets, facet_limit and threads.
type SearchRequest struct {
	Query string
	// Sort is a name that indexer.Sorts lists; "" is the newest date first.
	Sort string
	// Limit is the number of hits, 0 to 1,000; 0 asks for total and facets alone.
	Limit int
	// Offset leaves out hits; After is the Next of an earlier result.
	Offset int
	After  string
	// Facets are names that indexer.Facets lists; FacetLimit is the number of
	// values of each, 0 for the default.
	Facets     []string
	FacetLimit int
	// Threads asks for one hit a thread.
	Threads bool
}

func (r *SearchRequest) values() url.Values {
	v := url.Values{"q": {r.Query}, "limit": {strconv.Itoa(r.Limit)}}
	set := func(name, value string) {
		if value != "" && value != "0" {
			v.Set(name, value)
		}
	}
	set("sort", r.Sort)
	set("offset", strconv.Itoa(r.Offset))
	set("after", r.After)
	set("facets", strings.Join(r.Facets, ","))
	set("facet_limit", strconv.Itoa(r.FacetLimit))
	if r.Threads {
		v.Set("threads", "true")
	}
	return v
}

// Search runs a query.
func (c *Client) Search(ctx context.Context, r SearchRequest) (SearchResult, error) {
	return get[SearchResult](ctx, c, "/api/v1/search", r.values())
}

// searchOf reads the parameters of a search, within the scope of the principal.
func searchOf(r *http.Request) (req indexer.Request, err error) {
	req = indexer.Request{
		Query: queryOf(r), Sort: indexer.Sort(r.FormValue("sort")), After: r.FormValue("after"), Scope: scopeOf(r.Context()),
	}
	if req.Limit, err = number(r, "limit", defaultHits, indexer.MaxLimit); err != nil {
		return req, err
	}
	if req.Offset, err = number(r, "offset", 0, indexer.MaxOffset); err != nil {
		return req, err
	}
	if req.FacetLimit, err = number(r, "facet_limit", 0, indexer.MaxLimit); err != nil {
		return req, err
	}
	for _, f := range strings.FieldsFunc(r.FormValue("facets"), func(r rune) bool { return r == ',' }) {
		req.Facets = append(req.Facets, indexer.Facet(f))
	}
	if t := r.FormValue("threads"); t != "" {
		if req.Threads, err = strconv.ParseBool(t); err != nil {
			return req, &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: fmt.Sprintf("threads is %q, want true or false", t)}
		}
	}
	return req, nil
}

// search answers a query. It is in the ledger before anybody sees the answer.
func (s *Server) search(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := searchOf(r)
	if err != nil {
		return err
	}
	limit := req.Limit
	req.Limit = max(limit, 1) // the index takes 0 for its default
	found, err := s.opts.Index.Search(ctx, req)
	if err != nil {
		return err
	}
	result := SearchResult{Total: found.Total, Hits: []Message{}, Facets: map[string][]indexer.FacetCount{}}
	if limit > 0 {
		result.Next = found.Next
	}
	for f, values := range found.Facets {
		result.Facets[string(f)] = values
	}
	// A running instance indexes what has just come; without one nobody does.
	if found.Partial || s.opts.Store.Unreadable() != nil || !s.opts.Running {
		if result.Partial, err = s.lacking(ctx); err != nil {
			return err
		}
	}
	scope := access.Of(ctx).Scope
	for _, hit := range found.Hits[:min(limit, len(found.Hits))] {
		m, err := s.opts.Store.Message(ctx, hit.ID)
		if errors.Is(err, archive.ErrNotFound) {
			continue // disposed of just now
		}
		if err != nil {
			return err
		}
		narrow(&m, &scope)
		shown := messageOf(&m)
		shown.Snippet, shown.Marks = hit.Snippet.Text, hit.Snippet.Marks
		result.Hits = append(result.Hits, shown)
	}
	if id, ok := strings.CutPrefix(req.Query, "thread:"); ok && s.belongs(r, id, WithConversation) {
		return writeJSON(w, result)
	}
	if _, err := s.opts.Store.Record(ctx, archive.Action{
		Type: archive.ActionSearch, Actor: Actor(ctx),
		Details: map[string]any{"query": req.Query, "total": found.Total, "shown": len(result.Hits)},
	}); err != nil {
		return fmt.Errorf("the search could not be recorded, its result is not shown: %w", err)
	}
	return writeJSON(w, result)
}

// scopeOf is what the principal may find, nil for everything.
func scopeOf(ctx context.Context) *indexer.Scope {
	s := access.Of(ctx).Scope
	if s.All {
		return nil
	}
	return &indexer.Scope{Mailboxes: s.Mailboxes, From: s.From, To: s.To}
}

// narrow leaves of a message the deposits that the scope sees.
func narrow(m *archive.Message, scope *access.Scope) {
	if scope.All {
		return
	}
	m.Deposits = slices.DeleteFunc(m.Deposits, func(d archive.Deposit) bool { return !scope.Sees(d.Mailbox, d.Received) })
	for i, d := range m.Deposits {
		if i == 0 || d.Received.Before(m.Received) {
			m.Received = d.Received
		}
	}
}
