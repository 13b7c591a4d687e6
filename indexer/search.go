package indexer

import (
	"context"
	"fmt"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/search"
	"github.com/postkeep/postkeep/indexer/query"
)

// Request is a search.
type Request struct {
	// Query is in the language of package query.
	Query string
	// Limit is the number of hits to return; 0 means DefaultLimit, at most MaxLimit.
	Limit int
	// Offset is the number of hits to leave out before the first one, at most MaxOffset.
	Offset int
	// Sort is one of the Sort constants; "" means SortNewest.
	Sort Sort
}

// Sort is the order of hits.
type Sort string

// The orders of hits. Those that are equal in them come newest received first.
const (
	SortNewest    Sort = "-date" // by Date, the latest first
	SortOldest    Sort = "date"
	SortRelevance Sort = "relevance"
)

const (
	// DefaultLimit fills a screen.
	DefaultLimit = 50
	// MaxLimit bounds the snippets of one search. Each is for more.
	MaxLimit = 1_000
	// MaxOffset bounds what a search keeps in memory: all hits up to the last
	// one that it returns. Each is for more.
	MaxOffset = 100_000
)

// Result is what a search found.
type Result struct {
	Total uint64 // messages that the query fits
	Hits  []Hit
	// Partial means that the index is being built, and there may be more;
	// PartialReason says so in words.
	Partial       bool
	PartialReason string
	Took          time.Duration
}

// Hit is a message that was found.
type Hit struct {
	ID    string
	Score float64 // 0 unless sorted by relevance
	// Date is from the Date header, else Received. Received is the time of the
	// first deposit. Both are UTC, in whole seconds.
	Date, Received time.Time
	Snippet        Snippet
}

// Search finds messages. An error in the query is a *query.Error or a
// *TooManyExpansionsError.
func (x *Index) Search(ctx context.Context, r Request) (*Result, error) {
	started := time.Now()
	node, err := query.Parse(r.Query)
	if err != nil {
		return nil, err
	}
	req, err := newSearchRequest(r)
	if err != nil {
		return nil, err
	}
	if req.Query, err = x.compile(ctx, node); err != nil {
		return nil, err
	}
	res := &Result{}
	err = x.use(func(g *generation) error {
		found, err := g.search(ctx, req)
		if err != nil {
			return err
		}
		res.Total = found.Total
		marker := newMarker(node)
		for _, m := range found.Hits {
			res.Hits = append(res.Hits, g.hit(m, r.Sort == SortRelevance, marker))
		}
		if s := g.state.Load(); !s.Complete {
			res.Partial = true
			res.PartialReason = fmt.Sprintf("the search index is being built and is complete up to ledger index %d", s.Position)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	res.Took = time.Since(started)
	return res, nil
}

func newSearchRequest(r Request) (*bleve.SearchRequest, error) {
	if r.Limit == 0 {
		r.Limit = DefaultLimit
	}
	if r.Limit < 0 || r.Limit > MaxLimit {
		return nil, fmt.Errorf("search: limit %d is not from 1 to %d", r.Limit, MaxLimit)
	}
	if r.Offset < 0 || r.Offset > MaxOffset {
		return nil, fmt.Errorf("search: offset %d is not from 0 to %d", r.Offset, MaxOffset)
	}
	req := bleve.NewSearchRequestOptions(nil, r.Limit, r.Offset, false)
	req.Fields = []string{fieldPlace}
	req.Score = bleve.ScoreNone // much faster, where nobody looks at it
	switch r.Sort {
	case SortNewest, "":
		req.Sort = search.SortOrder{byField(fieldDateKey, true), byField(fieldOrder, true)}
	case SortOldest:
		req.Sort = search.SortOrder{byField(fieldDateKey, false), byField(fieldOrder, true)}
	case SortRelevance:
		req.Score = bleve.ScoreDefault
		req.Sort = search.SortOrder{&search.SortScore{Desc: true}, byField(fieldDateKey, true), byField(fieldOrder, true)}
	default:
		return nil, fmt.Errorf("search: unknown order %q, want %s, %s or %s", r.Sort, SortNewest, SortOldest, SortRelevance)
	}
	return req, nil
}

func byField(name string, desc bool) *search.SortField {
	return &search.SortField{Field: name, Desc: desc, Type: search.SortFieldAsString}
}

// search runs a request. A panic of Bleve, which damaged files cause, is an error.
func (g *generation) search(ctx context.Context, req *bleve.SearchRequest) (res *bleve.SearchResult, err error) {
	if err := g.usable(); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			g.log.Error("search panicked", "index", g.dir, "panic", r)
			res, err = nil, fmt.Errorf("search: the index %s may be damaged, rebuild it: panic: %v", g.dir, r)
		}
	}()
	res, err = g.bleve.SearchInContext(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return res, nil
}

// hit reads the dates from the last two sort keys, and the snippet.
func (g *generation) hit(m *search.DocumentMatch, scored bool, marker *marker) Hit {
	h := Hit{ID: m.ID}
	if n := len(m.Sort); n >= 2 {
		h.Date, h.Received = keyTime(m.Sort[n-2]), keyTime(m.Sort[n-1])
	}
	if scored {
		h.Score = m.Score
	}
	encoded, _ := m.Fields[fieldPlace].(string)
	p, err := decodePlace([]byte(encoded))
	var text string
	if err == nil {
		text, err = g.snippets.read(p)
	}
	if err != nil { // a hit without its snippet is better than none
		g.log.Warn("no snippet", "index", g.dir, "id", m.ID, "error", err)
		return h
	}
	h.Snippet = marker.snippet(text)
	return h
}

// eachPage is the number of hits that Each holds in memory, a few megabytes.
// Every page searches again.
const eachPage = 10_000

// Each calls fn with the id of every message that the query fits, in the order in
// which they were received, until fn returns an error, which it returns. A
// message that is indexed meanwhile may or may not be among them; fn may use the
// Index.
func (x *Index) Each(ctx context.Context, q string, fn func(id string) error) error {
	node, err := query.Parse(q)
	if err != nil {
		return err
	}
	var after []string
	for {
		compiled, err := x.compile(ctx, node)
		if err != nil {
			return err
		}
		req := bleve.NewSearchRequestOptions(compiled, x.eachPage, 0, false)
		req.Score = bleve.ScoreNone
		req.Sort = search.SortOrder{byField(fieldOrder, false)}
		req.SearchAfter = after
		var found *bleve.SearchResult
		err = x.use(func(g *generation) (err error) {
			found, err = g.search(ctx, req)
			return err
		})
		if err != nil {
			return err
		}
		for _, m := range found.Hits {
			if err := fn(m.ID); err != nil {
				return err
			}
			after = m.Sort
		}
		if len(found.Hits) < x.eachPage {
			return nil
		}
	}
}
