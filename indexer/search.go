package indexer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	bq "github.com/blevesearch/bleve/v2/search/query"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/postkeep/postkeep/indexer/query"
)

// Request is a search.
type Request struct {
	// Query is in the query language.
	Query string
	// Limit is the number of hits to return; 0 means DefaultLimit, at most MaxLimit.
	Limit int
	// Offset is the number of hits to leave out before the first one, at most
	// MaxOffset. After has no such limit.
	Offset int
	// After is the Next of an earlier result of the same query and order: the
	// hits that follow are returned. What was indexed in between may be among
	// them, and is never shown twice. Sorted by relevance, what was
	// indexed in between also changes the scores of others.
	After string
	// Sort is one of the Sort constants; "" means SortNewest.
	Sort Sort
	// Scope is what the search may see; nil is everything.
	Scope *Scope
	// Facets are the properties to count by, and FacetLimit the number of values of each
	// that are returned, but for years and months; 0 means DefaultFacetLimit.
	Facets     []Facet
	FacetLimit int
	// Threads asks for one hit a thread, its first one in the order, where a thread is what
	// names the same first message; Total and Facets count threads then.
	Threads bool
	// Apart makes every journal report a hit of its own. Else those of the same message
	// are one: the first one in the order.
	Apart bool
}

const (
	// DefaultLimit fills a screen.
	DefaultLimit = 50
	// MaxLimit bounds the snippets of one search. Each is for more.
	MaxLimit = 1_000
	// MaxOffset bounds what a search keeps in memory: all hits up to the last
	// one that it returns. After and Each are for more.
	MaxOffset = 100_000
)

// Result is what a search found.
type Result struct {
	Total uint64 // messages that the query fits, exactly
	Hits  []Hit
	// Next is the After of the next page, "" if this is the last one.
	Next string
	// Facets are the counts that were asked for, exact over all hits: the most frequent values,
	// or all years and months in their order.
	Facets map[Facet][]FacetCount
	// Partial means that a part of the index is being built, and there may be
	// more; PartialReason says so in words.
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
// *TooManyExpansionsError, one in the rest of the request a *RequestError.
func (x *Index) Search(ctx context.Context, r Request) (*Result, error) {
	started := time.Now()
	node, err := query.Parse(r.Query)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(r)
	if err != nil {
		return nil, err
	}
	p.zone = x.opts.Location
	compiled, err := x.compile(ctx, node, r.Scope, &p)
	if err != nil {
		return nil, err
	}
	res := &Result{}
	err = x.use(func(slots []*slot) error {
		c, err := collect(ctx, slots, compiled, p)
		if err != nil {
			return err
		}
		defer c.close()
		marker := newMarker(node)
		hits := c.page(r.Offset)
		for _, k := range hits {
			h, err := k.hit(p.order, marker)
			if err != nil {
				return err
			}
			res.Hits = append(res.Hits, h)
		}
		res.Total = c.total
		if len(hits) > 0 && c.eligible > uint64(p.size) {
			res.Next = encodeCursor(p.order, hits[len(hits)-1].rank)
		}
		res.Facets = c.counted(r.FacetLimit)
		res.PartialReason = lackingReason(slots)
		res.Partial = res.PartialReason != ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	res.Took = time.Since(started)
	return res, nil
}

// A RequestError is about a field of a Request other than its query.
type RequestError struct{ Problem string }

func (e *RequestError) Error() string { return "search: " + e.Problem }

func newPlan(r Request) (plan, error) {
	if r.Limit == 0 {
		r.Limit = DefaultLimit
	}
	if r.Limit < 0 || r.Limit > MaxLimit {
		return plan{}, &RequestError{fmt.Sprintf("limit %d is not from 1 to %d", r.Limit, MaxLimit)}
	}
	if r.Offset < 0 || r.Offset > MaxOffset {
		return plan{}, &RequestError{fmt.Sprintf("offset %d is not from 0 to %d", r.Offset, MaxOffset)}
	}
	o, err := orderOf(r.Sort)
	if err != nil {
		return plan{}, err
	}
	p := plan{order: o, size: r.Limit + r.Offset, threads: r.Threads, apart: r.Apart}
	for _, f := range r.Facets {
		one, err := newCounts(f)
		if err != nil {
			return plan{}, err
		}
		p.facets = append(p.facets, one)
	}
	if r.FacetLimit < 0 || r.FacetLimit > MaxLimit {
		return plan{}, &RequestError{fmt.Sprintf("facet limit %d is not from 1 to %d", r.FacetLimit, MaxLimit)}
	}
	if r.After != "" {
		after, err := decodeCursor(o, r.After)
		if err != nil {
			return plan{}, err
		}
		p.after = &after
	}
	return p, nil
}

func (c *collector) counted(limit int) map[Facet][]FacetCount {
	if limit == 0 {
		limit = DefaultFacetLimit
	}
	out := map[Facet][]FacetCount{}
	for _, f := range c.facets {
		out[f.facet] = f.top(limit)
	}
	return out
}

// Thread returns the messages of the thread in which the message with this id is,
// oldest first and at most MaxLimit: whatever is connected by Message-ID, References,
// In-Reply-To and Thread-Index within the scope, also by way of messages that the archive does not
// have. A message outside of the scope has no thread.
func (x *Index) Thread(ctx context.Context, id string, scope *Scope) (*Result, error) {
	return x.Search(ctx, Request{Query: "thread:" + id, Sort: SortOldest, Limit: MaxLimit, Scope: scope})
}

// Lacking says which parts of the index may lack messages, "" if none does.
func (x *Index) Lacking() (reason string) {
	err := x.use(func(slots []*slot) error {
		reason = lackingReason(slots)
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return reason
}

// lackingReason says which parts of the index may lack messages, "" if none does.
func lackingReason(slots []*slot) string {
	var reasons []string
	for _, s := range slots {
		st := s.gen.state.Load()
		switch {
		case s.gen.usable() != nil:
			reasons = append(reasons, fmt.Sprintf("a part of the search index, from ledger index %d on, has failed and will be rebuilt", s.first))
		case !s.lacking():
		case s.last == open && st.Position < s.first:
			reasons = append(reasons, "the search index is being built and has nothing yet")
		case s.last == open:
			reasons = append(reasons, fmt.Sprintf("the search index is being built and is complete up to ledger index %d", st.Position))
		default:
			reasons = append(reasons, fmt.Sprintf("the part of the search index for ledger indexes %d to %d is being rebuilt and is complete up to %d",
				s.first, s.last, st.Position))
		}
	}
	return strings.Join(reasons, "; ")
}

// hit reads what a list shows of a hit from the index.
func (k *kept) hit(o order, marker *marker) (h Hit, err error) {
	g := k.from.gen
	defer g.recovered("read a hit", &err)
	if h.ID, err = k.from.reader.ExternalID(index.NewIndexInternalID(nil, k.doc)); err != nil {
		return h, fmt.Errorf("search: %w", err)
	}
	h.Date, h.Received = keyTime(k.date), keyTime(k.rank.order)
	if o.scored {
		h.Score = k.rank.score
	}
	text, err := g.text(k.from.reader, h.ID)
	if err != nil { // a hit without its snippet is better than none
		g.log.Warn("no snippet", "index", g.dir, "id", h.ID, "error", err)
		return h, nil
	}
	h.Snippet = marker.snippet(text)
	return h, nil
}

// text returns the text of a message that snippets are taken from.
func (g *generation) text(r index.IndexReader, id string) (string, error) {
	encoded, err := stored(r, id)
	if err != nil {
		return "", err
	}
	if encoded == nil {
		return "", errors.New("no such document")
	}
	p, err := decodePlace(encoded)
	if err != nil {
		return "", err
	}
	return g.snippets.read(p)
}

// eachPage is the number of hits that Each holds in memory, a few megabytes.
// Every page searches again.
const eachPage = 10_000

// Each calls fn with the id of every message that the query fits within the scope,
// nil for everything, in the order in which they were received, until fn returns
// an error, which it returns. Journal reports of the same message are all among them. A message that is
// indexed meanwhile may or may not be; fn may use the Index. Where a part of the index has
// failed or is not complete the error is ErrLacking: who disposes or exports must
// not take less for all.
func (x *Index) Each(ctx context.Context, q string, scope *Scope, fn func(id string) error) error {
	return x.each(ctx, q, scope, true, fn)
}

// EachIndexed is Each without ErrLacking: what is not in the index is left out.
func (x *Index) EachIndexed(ctx context.Context, q string, fn func(id string) error) error {
	return x.each(ctx, q, nil, false, fn)
}

func (x *Index) each(ctx context.Context, q string, scope *Scope, whole bool, fn func(id string) error) error {
	node, err := query.Parse(q)
	if err != nil {
		return err
	}
	o, err := orderOf(SortReceived)
	if err != nil {
		return err
	}
	p := plan{order: o, size: x.eachPage, apart: true, whole: whole}
	for {
		compiled, err := x.compile(ctx, node, scope, &p)
		if err != nil {
			return err
		}
		ids, err := x.eachIDs(ctx, compiled, &p)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := fn(id); err != nil {
				return err
			}
		}
		if len(ids) < x.eachPage {
			return nil
		}
	}
}

// eachIDs returns the next page and moves on behind it.
func (x *Index) eachIDs(ctx context.Context, q bq.Query, p *plan) (ids []string, err error) {
	err = x.use(func(slots []*slot) error {
		c, err := collect(ctx, slots, q, *p)
		if err != nil {
			return err
		}
		defer c.close()
		for _, k := range c.page(0) {
			id, err := k.id()
			if err != nil {
				return err
			}
			ids = append(ids, id)
			p.after = &k.rank
		}
		return nil
	})
	return ids, err
}
