package indexer

import (
	"context"
	"fmt"

	"github.com/blevesearch/bleve/v2"
)

const (
	// maxThreadKeys bounds the messages of a thread that are followed. The longest
	// discussions of large lists have some hundreds.
	maxThreadKeys = 5_000
	// maxThreadRounds bounds how often a thread is widened by the messages that
	// were found last: most are whole after two.
	maxThreadRounds = 20
)

// threadOf returns the keys of the messages of the thread in which the messages
// are whose ids begin with prefix: whatever is connected by Message-ID, References,
// In-Reply-To or Thread-Index, also by messages that the archive does not have.
func (x *Index) threadOf(ctx context.Context, prefix string) ([]string, error) {
	c := compiler{budget: &budget{}}
	q := c.phrase(fieldID, part{prefix + "*", wildcardPart})
	keys := []string{}
	for range maxThreadRounds {
		req := bleve.NewSearchRequestOptions(q, 0, 0, false)
		req.Score = bleve.ScoreNone
		req.AddFacet(fieldThread, bleve.NewFacetRequest(fieldThread, maxThreadKeys))
		var found []string
		err := x.use(func(g *generation) error {
			res, err := g.search(ctx, req)
			if err != nil {
				return err
			}
			for _, t := range res.Facets[fieldThread].Terms.Terms() {
				found = append(found, t.Term)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look up thread %s: %w", prefix, err)
		}
		if len(found) <= len(keys) {
			break
		}
		keys = found
		q = c.exactly(fieldThread, keys...)
	}
	return keys, nil
}
