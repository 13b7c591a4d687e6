package indexer

import (
	"context"

	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
	bq "github.com/blevesearch/bleve/v2/search/query"
	index "github.com/blevesearch/bleve_index_api"
)

// arrived is a Bleve query for what was received in a time by a deposit of a scope. ranges finds
// what was received in it by any deposit, which would tell when a message was received
// elsewhere.
type arrived struct {
	ranges *ranges
	lo, hi int64 // quarters, the first one and the first one after
	gate   *gate
}

var _ bq.Query = (*arrived)(nil)

func (q *arrived) Searcher(ctx context.Context, r index.IndexReader, m mapping.IndexMapping, options search.SearcherOptions) (search.Searcher, error) {
	values, err := r.DocValueReader([]string{fieldDeposit})
	if err != nil {
		return nil, err
	}
	found, err := q.ranges.Searcher(ctx, r, m, options)
	if err != nil {
		return nil, err
	}
	return &arrivedSearcher{Searcher: found, query: q, values: values}, nil
}

// arrivedSearcher filters what the embedded searcher finds.
type arrivedSearcher struct {
	search.Searcher
	query  *arrived
	values index.DocValueReader
}

// Next returns the next document that fits.
func (s *arrivedSearcher) Next(ctx *search.SearchContext) (*search.DocumentMatch, error) {
	m, err := s.Searcher.Next(ctx)
	return s.firstFrom(ctx, m, err)
}

// Advance returns the first document that fits from id on.
func (s *arrivedSearcher) Advance(ctx *search.SearchContext, id index.IndexInternalID) (*search.DocumentMatch, error) {
	m, err := s.Searcher.Advance(ctx, id)
	return s.firstFrom(ctx, m, err)
}

func (s *arrivedSearcher) firstFrom(ctx *search.SearchContext, m *search.DocumentMatch, err error) (*search.DocumentMatch, error) {
	for err == nil && m != nil {
		fits := false
		err = s.values.VisitDocValues(m.IndexInternalID, func(_ string, term []byte) {
			if _, granted := s.query.gate.granted(term); granted {
				at := quarterOf(keyTime(string(term)))
				fits = fits || s.query.lo <= at && at < s.query.hi
			}
		})
		if err != nil || fits {
			return m, err
		}
		ctx.DocumentMatchPool.Put(m)
		m, err = s.Searcher.Next(ctx)
	}
	return m, err
}
