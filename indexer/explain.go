package indexer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blevesearch/bleve/v2/search"
	bq "github.com/blevesearch/bleve/v2/search/query"
	"github.com/postkeep/postkeep/indexer/query"
)

// Explanation says how a query is understood.
type Explanation struct {
	// Query is the query as it was read, in the language.
	Query      string      `json:"query"`
	Conditions []Condition `json:"conditions"`
	// Generations are the parts of the index that are searched, the newest first.
	Generations []string `json:"generations"`
}

// Condition is one word, phrase or other condition of a query.
type Condition struct {
	Text    string   `json:"text"`  // in the language
	Found   uint64   `json:"found"` // messages that it alone finds
	Lookups []Lookup `json:"lookups"`
}

// Lookup is what a condition looks for in a field of the index.
type Lookup struct {
	Field string `json:"field"`
	// How is word, stem, pattern, phrase, near, range or id.
	How string `json:"how"`
	// Text is the word, the pattern, the words of a phrase; for a stem the
	// language and the stem.
	Text string `json:"text"`
	// Words is the number of words of the index that it stands for, which are in
	// Terms, the most frequent ones first, at most MaxExplainedTerms.
	Words int         `json:"words"`
	Terms []TermCount `json:"terms,omitempty"`
}

// TermCount is a word of the index and the number of messages that have it in
// the field.
type TermCount struct {
	Term  string `json:"term"`
	Count uint64 `json:"count"`
}

// MaxExplainedTerms is how many of the words that a pattern stands for an
// Explanation names.
const MaxExplainedTerms = 20

// Explain says how a query is understood, and what its words become. The
// errors are those of Search.
func (x *Index) Explain(ctx context.Context, q string) (*Explanation, error) {
	node, err := query.Parse(q)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Query: node.String()}
	ex := explainer{ctx: ctx}
	p := plan{budget: &budget{}} // for all conditions together
	for _, leaf := range leaves(node, nil) {
		compiled, err := x.compile(ctx, leaf, nil, &p)
		if err != nil {
			return nil, err
		}
		ex.conditions = append(ex.conditions, &explainedLeaf{query: compiled, Condition: Condition{Text: leaf.String()}, looked: map[lookedUp]bool{}})
	}
	err = x.use(func(slots []*slot) error {
		for _, s := range slices.Backward(slots) {
			if s.gen.usable() != nil {
				continue
			}
			if err := ex.in(s.gen); err != nil {
				return err
			}
			e.Generations = append(e.Generations, filepath.Base(s.gen.dir))
		}
		return nil
	})
	for _, c := range ex.conditions {
		e.Conditions = append(e.Conditions, c.result())
	}
	return e, err
}

func leaves(n query.Node, all []query.Node) []query.Node {
	switch n := n.(type) {
	case *query.And:
		for _, c := range n.Nodes {
			all = leaves(c, all)
		}
	case *query.Or:
		for _, c := range n.Nodes {
			all = leaves(c, all)
		}
	case *query.Not:
		all = leaves(n.Node, all)
	default:
		all = append(all, n)
	}
	return all
}

// explainer gathers what conditions look up, over all generations.
type explainer struct {
	ctx            context.Context //nolint:containedctx // of one Explain
	view           *view           // of the generation at hand
	*explainedLeaf                 // at hand
	conditions     []*explainedLeaf
}

// explainedLeaf is a condition and what it became.
type explainedLeaf struct {
	Condition
	query  bq.Query
	counts []map[string]uint64 // by term, for each of Lookups
	// looked has what was counted in the generation at hand: a word may be looked for in two ways
	// that are one, as the name and as the whole of an address.
	looked map[lookedUp]bool
}

type lookedUp struct {
	field, how, text string
	part             part
}

func (e *explainer) in(g *generation) (err error) {
	v, err := g.view()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.reader.Close()) }()
	defer g.recovered("explain", &err)
	e.view = v
	for _, e.explainedLeaf = range e.conditions {
		clear(e.looked)
		n, err := e.found(e.query)
		if err != nil {
			return err
		}
		e.Found += n
		if err := e.walk(e.query); err != nil {
			return err
		}
	}
	return nil
}

// found counts what a query finds.
func (e *explainer) found(q bq.Query) (n uint64, err error) {
	err = e.view.each(e.ctx, q, false, func(*search.DocumentMatch) error {
		n++
		return nil
	})
	return n, err
}

func (e *explainedLeaf) result() Condition {
	for i := range e.Lookups {
		l := &e.Lookups[i]
		for term, n := range e.counts[i] {
			l.Terms = append(l.Terms, TermCount{term, n})
		}
		slices.SortFunc(l.Terms, func(a, b TermCount) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Term, b.Term))
		})
		l.Words = len(l.Terms)
		l.Terms = l.Terms[:min(l.Words, MaxExplainedTerms)]
	}
	return e.Condition
}

// walk goes through the queries that a condition became.
func (e *explainer) walk(q bq.Query) error {
	switch q := q.(type) {
	case *bq.ConjunctionQuery:
		return e.walkAll(q.Conjuncts)
	case *bq.DisjunctionQuery:
		return e.walkAll(q.Disjuncts)
	case *exclude:
		return e.walkAll([]bq.Query{q.must, q.mustNot})
	case *phrase:
		return e.phrase(q)
	case *stemmed:
		return e.stemmed(q)
	case *near:
		for _, u := range q.units {
			for _, p := range u {
				if err := e.lookUp(q.field, "near", p.text, p); err != nil {
					return err
				}
			}
		}
	case *ranges:
		e.lookup(q.field, "range", q.text)
	case *bq.DocIDQuery:
		e.lookup(fieldID, "id", fmt.Sprintf("%d messages", len(q.IDs)))
	}
	return nil
}

func (e *explainer) walkAll(all []bq.Query) error {
	for _, q := range all {
		if err := e.walk(q); err != nil {
			return err
		}
	}
	return nil
}

func (e *explainer) phrase(q *phrase) error {
	if len(q.parts) == 1 {
		how := "word"
		if q.parts[0].kind != exactPart {
			how = "pattern"
		}
		return e.lookUp(q.field, how, q.parts[0].String(), q.parts[0])
	}
	var texts []string
	for _, p := range q.parts {
		texts = append(texts, p.String())
	}
	for _, p := range q.parts {
		if p == anyWord {
			continue
		}
		if err := e.lookUp(q.field, "phrase", strings.Join(texts, " "), p); err != nil {
			return err
		}
	}
	return nil
}

func (e *explainer) stemmed(q *stemmed) error {
	if err := e.lookUp(q.field, "word", q.term, part{text: q.term}); err != nil {
		return err
	}
	found, err := q.inIndex(e.view.reader)
	if err != nil {
		return err
	}
	for _, f := range found {
		for _, term := range f.terms {
			n, err := e.found(q.alternative(f.language, term))
			if err != nil {
				return err
			}
			if n > 0 {
				shown := strings.TrimPrefix(term, string(rune(stemMark))+f.language)
				if shown != term {
					shown += "-"
				}
				e.lookup(q.field, "stem", f.language+" "+f.stem)[shown] += n
			}
		}
	}
	return nil
}

// lookup returns the counts of a lookup, which is made when it is new.
func (e *explainedLeaf) lookup(field, how, text string) map[string]uint64 {
	for i, l := range e.Lookups {
		if l.Field == field && l.How == how && l.Text == text {
			return e.counts[i]
		}
	}
	e.Lookups = append(e.Lookups, Lookup{Field: field, How: how, Text: text})
	e.counts = append(e.counts, map[string]uint64{})
	return e.counts[len(e.counts)-1]
}

// lookUp counts the terms that a part stands for.
func (e *explainer) lookUp(field, how, text string, p part) error {
	if e.looked[lookedUp{field, how, text, p}] {
		return nil
	}
	e.looked[lookedUp{field, how, text, p}] = true
	terms := []string{p.text}
	if p.kind != exactPart {
		var err error
		if terms, err = expand(e.ctx, e.view.reader, field, p, maxExpansions); err != nil {
			return err
		}
	}
	counts := e.lookup(field, how, text)
	for _, t := range terms {
		f, err := e.view.reader.TermFieldReader(e.ctx, []byte(t), field, false, false, false)
		if err != nil {
			return fmt.Errorf("look up %s: %w", t, err)
		}
		if n := f.Count(); n > 0 {
			counts[t] += n
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("look up %s: %w", t, err)
		}
	}
	return nil
}
