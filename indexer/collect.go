package indexer

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/blevesearch/bleve/v2/search"
	bq "github.com/blevesearch/bleve/v2/search/query"
	index "github.com/blevesearch/bleve_index_api"
)

// plan is what a search has to collect.
type plan struct {
	order  order
	size   int   // hits to keep
	after  *rank // only those behind it; nil for all
	gate   *gate // nil for everything
	within span
	// threads asks for one hit a thread, the first one in the order.
	threads bool
	apart   bool // journal reports of the same message are not one hit
	whole   bool // an error where the index lacks something
	facets  []*counts
	zone    *time.Location // of facets
	budget  *budget        // of patterns; nil for one of its own
}

// view is a generation as it was when the search began.
type view struct {
	gen    *generation
	state  *state
	reader index.IndexReader
}

// kept is a hit that may be returned.
type kept struct {
	rank rank
	date string // key
	from *view
	doc  uint64
}

func (k *kept) id() (id string, err error) {
	defer k.from.gen.recovered("read a hit", &err)
	return k.from.reader.ExternalID(index.NewIndexInternalID(nil, k.doc))
}

// collector goes through the hits of all generations, newest first. Bleve's own
// would sort and count one generation after the other in full.
type collector struct {
	plan
	views []*view
	best  worstFirst

	total    uint64
	eligible uint64 // of them, those behind after

	// groups are the first hits of those of which there is to be one only.
	groups map[string]*kept
}

// collect runs a query. The caller closes the collector, when no more is read from
// its hits.
func collect(ctx context.Context, slots []*slot, q bq.Query, p plan) (c *collector, err error) {
	c = &collector{plan: p, best: worstFirst{order: p.order}, groups: map[string]*kept{}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	for _, s := range slices.Backward(slots) {
		if p.within.misses(s.gen.state.Load()) {
			continue
		}
		// Of the open slot the caller knows from Position whether it is complete.
		// What an earlier version made may not find all that this one does.
		if err := s.gen.usable(); err != nil || p.whole && (s.gen.mapping != mappingVersion || s.last != open && s.lacking()) {
			if p.whole {
				return c, errors.Join(err, ErrLacking)
			}
			continue // the result says that it is partial
		}
		if err := c.add(ctx, s.gen, q); err != nil {
			return c, err
		}
	}
	return c, c.finish()
}

func (c *collector) close() {
	for _, v := range c.views {
		if err := v.reader.Close(); err != nil {
			v.gen.log.Warn("closing a view of the search index", "index", v.gen.dir, "error", err)
		}
	}
}

// page returns the hits after the first offset ones, in order.
func (c *collector) page(offset int) []*kept {
	slices.SortFunc(c.best.hits, func(a, b *kept) int { return c.order.compare(&a.rank, &b.rank) })
	return c.best.hits[min(offset, len(c.best.hits)):]
}

// checkEvery is how many hits are taken between looks at the context.
const checkEvery = 1024

// add goes through the hits of one generation.
func (c *collector) add(ctx context.Context, g *generation, q bq.Query) error {
	v, err := g.view()
	if err != nil {
		return err
	}
	c.views = append(c.views, v)
	take, err := c.taker(v)
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	return v.each(ctx, q, c.order.scored, take)
}

// view returns the generation as it is now. The caller closes its reader.
func (g *generation) view() (v *view, err error) {
	defer g.recovered("search", &err)
	v = &view{gen: g, state: g.state.Load()}
	if v.reader, err = g.reader(); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	return v, nil
}

// each hands every hit of a query to take, which must not keep it. A panic of
// Bleve is an error.
func (v *view) each(ctx context.Context, q bq.Query, scored bool, take func(*search.DocumentMatch) error) (err error) {
	defer v.gen.recovered("search", &err)
	options := search.SearcherOptions{Score: "none"} // much faster, where nobody looks at it
	if scored {
		options.Score = ""
	}
	s, err := q.Searcher(ctx, v.reader, v.gen.bleve.Mapping(), options)
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	sc := &search.SearchContext{DocumentMatchPool: search.NewDocumentMatchPool(s.DocumentMatchPoolSize()+1, 0), IndexReader: v.reader}
	for n := 0; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		m, err := s.Next(sc)
		if err != nil {
			return fmt.Errorf("search: %w", err)
		}
		if m == nil {
			return nil
		}
		if err := take(m); err != nil {
			return fmt.Errorf("search: %w", err)
		}
		sc.DocumentMatchPool.Put(m)
	}
}

// groupField is the field by whose values a generation's hits are grouped, ""
// for none. Of journal reports of one message people want to see one.
func (c *collector) groupField(v *view) string {
	switch {
	case c.threads:
		return fieldThreadRoot
	case v.state.Reports && !c.apart:
		return fieldReported
	}
	return ""
}

// taker returns what is done with each hit of a generation: as little as possible.
func (c *collector) taker(v *view) (func(*search.DocumentMatch) error, error) {
	plain := c.gate == nil && len(c.facets) == 0 && c.groupField(v) == ""
	if plain && len(c.best.hits) == c.size && c.order.behind(v.state, &c.best.hits[0].rank) {
		return func(*search.DocumentMatch) error {
			c.total++
			c.eligible++
			return nil
		}, nil
	}
	r, err := c.newRow(v)
	if err != nil {
		return nil, err
	}
	return func(m *search.DocumentMatch) error {
		if err := r.read(m.IndexInternalID); err != nil {
			return err
		}
		if !r.inside {
			return nil
		}
		if len(r.group) == 0 {
			r.count()
			c.total++
			c.keep(r, m)
			return nil
		}
		first := c.groups[string(r.group)]
		if first == nil || r.compare(m.Score, &first.rank) < 0 {
			c.groups[string(r.group)] = r.kept(m)
		}
		return nil
	}, nil
}

// finish takes in the groups, each of which is one hit.
func (c *collector) finish() error {
	if len(c.groups) == 0 {
		return nil
	}
	firsts := slices.SortedFunc(maps.Values(c.groups), func(a, b *kept) int { return cmp.Compare(a.doc, b.doc) })
	for _, v := range c.views {
		r, err := c.newRow(v)
		if err != nil {
			return err
		}
		for _, k := range firsts {
			if k.from != v {
				continue
			}
			m := &search.DocumentMatch{IndexInternalID: index.NewIndexInternalID(nil, k.doc), Score: k.rank.score}
			if err := r.read(m.IndexInternalID); err != nil {
				return err
			}
			r.count()
			c.total++
			c.keep(r, m)
		}
	}
	return nil
}

// keep keeps the hit that r has read if it is one of the best.
func (c *collector) keep(r *row, m *search.DocumentMatch) {
	if c.after != nil && r.compare(m.Score, c.after) <= 0 {
		return
	}
	c.eligible++
	switch {
	case len(c.best.hits) < c.size:
		heap.Push(&c.best, r.kept(m))
	case r.compare(m.Score, &c.best.hits[0].rank) < 0:
		c.best.hits[0] = r.kept(m)
		heap.Fix(&c.best, 0)
	}
}

// worstFirst is a heap with the last of its hits on top.
type worstFirst struct {
	order order
	hits  []*kept
}

func (w *worstFirst) Len() int { return len(w.hits) }
func (w *worstFirst) Less(i, j int) bool {
	return w.order.compare(&w.hits[i].rank, &w.hits[j].rank) > 0
}
func (w *worstFirst) Swap(i, j int) { w.hits[i], w.hits[j] = w.hits[j], w.hits[i] }
func (w *worstFirst) Push(k any) {
	if one, ok := k.(*kept); ok {
		w.hits = append(w.hits, one)
	}
}

func (w *worstFirst) Pop() any {
	last := w.hits[len(w.hits)-1]
	w.hits = w.hits[:len(w.hits)-1]
	return last
}
