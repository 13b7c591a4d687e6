package indexer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/blevesearch/bleve/v2/search"
	bq "github.com/blevesearch/bleve/v2/search/query"
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
// In-Reply-To or Thread-Index, also by messages that the archive does not have,
// but by none outside of the scope.
func (x *Index) threadOf(ctx context.Context, prefix string, scope *Scope) ([]string, error) {
	c, within := compiler{budget: &budget{}, scope: scope}, newGate(scope)
	q := c.phrase(fieldID, part{prefix + "*", wildcardPart})
	keys := []string{}
	for range maxThreadRounds {
		found := map[string]bool{}
		err := x.use(func(slots []*slot) error {
			for _, s := range slots {
				if err := s.gen.threadKeys(ctx, c.narrowed(q), within, found); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("look up thread %s: %w", prefix, err)
		}
		if len(found) <= len(keys) {
			break
		}
		keys = slices.Collect(maps.Keys(found))
		q = c.exactly(fieldThread, keys...)
	}
	return keys, nil
}

// threadKeys adds the keys of the messages that q finds, up to maxThreadKeys.
func (g *generation) threadKeys(ctx context.Context, q bq.Query, within *gate, found map[string]bool) (err error) {
	if g.usable() != nil {
		return nil // searches say that they are partial
	}
	v, err := g.view()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.reader.Close()) }()
	values, err := v.reader.DocValueReader([]string{fieldThread, fieldDeposit})
	if err != nil {
		return err
	}
	return v.each(ctx, q, false, func(m *search.DocumentMatch) error {
		var keys []string
		inside := false
		err := values.VisitDocValues(m.IndexInternalID, func(field string, term []byte) {
			if field == fieldThread {
				keys = append(keys, string(term))
			} else if _, ok := within.granted(term); ok {
				inside = true
			}
		})
		for _, k := range keys {
			if inside && len(found) < maxThreadKeys {
				found[k] = true
			}
		}
		return err
	})
}
