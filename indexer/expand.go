package indexer

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
	bq "github.com/blevesearch/bleve/v2/search/query"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index "github.com/blevesearch/bleve_index_api"
)

const (
	// maxExpansions is how many words of the index one pattern may stand for in
	// one field: every one is a list to be read.
	maxExpansions = 10_000
	// maxPhraseExpansions is the same inside of a phrase, where positions are
	// compared too.
	maxPhraseExpansions = 1_000
	// maxQueryExpansions is the same for all of a query, in one generation: enough for one wildcard
	// at its limit in every field that a bare word is looked for in.
	maxQueryExpansions = 40_000
	// maxQueryLookups is how many words of the index all patterns of a query may be compared
	// with, in one generation: a second of work. List mail has some 130,000 different words in 10,000
	// messages, in the fields that a bare word is looked for in.
	maxQueryLookups = 3_000_000
	// minLookups is what a pattern costs at least, in words: it is compiled first.
	minLookups = 2_000
)

// budget counts what the patterns of a query cost, in each generation by itself. It is safe for
// concurrent use.
type budget struct {
	mu    sync.Mutex
	spent map[index.IndexReader]spending
}

// spending is in words: those that patterns stand for, and those that they are compared with.
type spending struct{ expansions, lookups int }

// spend adds to what was spent and returns how much it is now.
func (b *budget) spend(r index.IndexReader, more spending) spending {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spent == nil {
		b.spent = map[index.IndexReader]spending{}
	}
	s := b.spent[r]
	s.expansions += more.expansions
	s.lookups += more.lookups
	b.spent[r] = s
	return s
}

// expand returns the terms of a field that a pattern stands for, within what is left.
func (b *budget) expand(ctx context.Context, r index.IndexReader, field string, p part, limit int) ([]string, error) {
	words, err := lookups(r, field, p)
	if err != nil {
		return nil, err
	}
	if used := b.spend(r, spending{lookups: words}).lookups; used > maxQueryLookups {
		return nil, &TooManyExpansionsError{p.String(), used, maxQueryLookups, true}
	}
	terms, err := expand(ctx, r, field, p, limit)
	if err != nil {
		return nil, err
	}
	if used := b.spend(r, spending{expansions: len(terms)}).expansions; used > maxQueryExpansions {
		return nil, &TooManyExpansionsError{"all patterns up to " + p.String() + " together", used, maxQueryExpansions, false}
	}
	return terms, nil
}

// lookups is the number of words that a pattern is compared with, at most: those of the field
// unless it says how they begin.
func lookups(r index.IndexReader, field string, p part) (int, error) {
	if p.kind == wildcardPart && !strings.ContainsAny(p.text[:1], "*?") {
		return minLookups, nil
	}
	dict, err := r.FieldDict(field)
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", p, err)
	}
	return max(minLookups, dict.Cardinality()), dict.Close()
}

// TooManyExpansionsError means that a pattern stands for more words than a
// search can look for, or that the patterns of a query are compared with too many.
type TooManyExpansionsError struct {
	Pattern string
	Words   int // that the pattern stands for; or those looked at
	Limit   int
	// LookedAt means that it is the words that all patterns up to this one are compared with.
	LookedAt bool
}

func (e *TooManyExpansionsError) Error() string {
	if e.LookedAt {
		return fmt.Sprintf("query: the patterns up to %s are compared with %d words of the index, more than the limit of %d; take fewer, and none that begins with * or ?", e.Pattern, e.Words, e.Limit)
	}
	return fmt.Sprintf("query: %s stands for %d words, more than the limit of %d; write more of the word", e.Pattern, e.Words, e.Limit)
}

// expand returns the terms of a field that a pattern stands for.
func expand(ctx context.Context, r index.IndexReader, field string, p part, limit int) (terms []string, err error) {
	dict, err := openDict(r, field, p)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", p, err)
	}
	defer func() {
		if e := dict.Close(); err == nil {
			err = e
		}
	}()
	n := 0
	for e, err := dict.Next(); e != nil || err != nil; e, err = dict.Next() {
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", p, err)
		}
		if e.Term != "" && e.Term[0] == stemMark {
			continue // no pattern stands for a stem
		}
		if n++; n <= limit {
			terms = append(terms, e.Term)
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if n > limit {
		return nil, &TooManyExpansionsError{p.String(), n, limit, false}
	}
	return terms, nil
}

func openDict(r index.IndexReader, field string, p part) (index.FieldDict, error) {
	if prefix, ok := strings.CutSuffix(p.text, "*"); ok && p.kind == wildcardPart && !strings.ContainsAny(prefix, "*?") {
		return r.FieldDictPrefix(field, []byte(prefix))
	}
	rr, ok := r.(index.IndexReaderRegexp)
	if !ok {
		return nil, fmt.Errorf("the index (%T) cannot look up patterns", r)
	}
	return rr.FieldDictRegexp(field, p.expression())
}

// part is one place in a phrase: a term, or a pattern for any of the terms
// that fit.
type part struct {
	text string
	kind partKind
}

type partKind int

const (
	exactPart    partKind = iota
	wildcardPart          // with * and ?
	regexpPart            // a regular expression that fits a term as a whole
)

// anyWord is the part that any word fits.
var anyWord = part{"*", wildcardPart}

func (p part) String() string {
	if p.kind == regexpPart {
		return "/" + p.text + "/"
	}
	return p.text
}

// expression returns the regular expression that a pattern is.
func (p part) expression() string {
	if p.kind == regexpPart {
		return p.text
	}
	return strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(p.text))
}

// phrase is a Bleve query for parts at consecutive positions of a field. A
// single part may be anywhere.
type phrase struct {
	field  string
	parts  []part
	boost  float64
	budget *budget // may be nil if no part is a pattern
}

var _ bq.Query = (*phrase)(nil)

func (q *phrase) Searcher(ctx context.Context, r index.IndexReader, _ mapping.IndexMapping, options search.SearcherOptions) (search.Searcher, error) {
	if !hasFrequencies(q.field) {
		options.Score = bleve.ScoreNone // without frequencies it would not be a number
	}
	if len(q.parts) == 1 && q.parts[0].kind == exactPart {
		return searcher.NewTermSearcher(ctx, r, q.parts[0].text, q.field, q.boost, options)
	}
	if len(q.parts) != 1 {
		// Bleve tries every way to put the places of the words together, which in a text that
		// repeats itself has no end; ours looks each place up.
		return (&near{field: q.field, units: [][]part{q.parts}, boost: q.boost, budget: q.budget}).Searcher(ctx, r, nil, options)
	}
	terms, err := q.budget.expand(ctx, r, q.field, q.parts[0], maxExpansions)
	if err != nil {
		return nil, err
	}
	if len(terms) == 0 {
		return searcher.NewMatchNoneSearcher(r)
	}
	return searcher.NewMultiTermSearcher(ctx, r, terms, q.field, q.boost, options, false)
}

// exclude is a Bleve query for what must finds and mustNot does not. Bleve's own finds everything
// but mustNot when must finds nothing.
type exclude struct {
	must, mustNot bq.Query
}

var _ bq.Query = (*exclude)(nil)

func (q *exclude) Searcher(ctx context.Context, r index.IndexReader, m mapping.IndexMapping, options search.SearcherOptions) (search.Searcher, error) {
	must, err := q.must.Searcher(ctx, r, m, options)
	if err != nil {
		return nil, err
	}
	if _, none := must.(*searcher.MatchNoneSearcher); none {
		return must, nil
	}
	mustNot, err := q.mustNot.Searcher(ctx, r, m, options)
	if err != nil {
		_ = must.Close() // the first error is the one to report
		return nil, err
	}
	if _, none := mustNot.(*searcher.MatchNoneSearcher); none {
		return must, nil
	}
	return searcher.NewBooleanSearcher(ctx, r, must, nil, mustNot, options)
}

// ranges is a Bleve query for numbers of a field, by the terms of rangeTerms.
type ranges struct {
	field string
	terms [][]byte
	text  string // for people
}

var _ bq.Query = (*ranges)(nil)

func (q *ranges) Searcher(ctx context.Context, r index.IndexReader, _ mapping.IndexMapping, options search.SearcherOptions) (search.Searcher, error) {
	options.Score = bleve.ScoreNone // as for a phrase
	contains, err := presence(r, q.field)
	if err != nil {
		return nil, err
	}
	var terms [][]byte
	for _, t := range q.terms {
		has, err := contains(t)
		if err != nil {
			return nil, err
		}
		if has {
			terms = append(terms, t)
		}
	}
	if len(terms) == 0 {
		return searcher.NewMatchNoneSearcher(r)
	}
	return searcher.NewMultiTermSearcherBytes(ctx, r, terms, q.field, 1, options, false)
}
