package indexer

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
	bq "github.com/blevesearch/bleve/v2/search/query"
	index "github.com/blevesearch/bleve_index_api"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/indexer/words"
)

// stemmedWord is what a bare word looks for in a field with stems: the word, or in
// texts of a language any word with the same stem. Which language the word is
// of nobody says, so that it has a stem in each.
type stemmedWord struct {
	term  string
	stems []stemIn
}

// stemIn is the stem that a word would have in a language.
type stemIn struct{ language, stem string }

// hasStems reports whether the words of a field of the index are marked by stems.
func hasStems(field string) bool {
	return field == fieldSubject || field == fieldBody || field == fieldAttachment
}

// newStemmedWord returns nil if value is not a single bare word that has
// stems.
func newStemmedWord(t *query.Text) *stemmedWord {
	if parts := wordParts(t.Value, t.Quoted); t.Quoted || len(parts) != 1 || parts[0].kind != exactPart {
		return nil
	}
	for token := range words.All(t.Value) {
		if words.IsPaired([]rune(string(token.Term))[0]) {
			return nil
		}
		w := &stemmedWord{term: string(token.Term)}
		stemmer := words.NewStemmer()
		for _, language := range words.Languages() {
			// People leave out diacritics, without which the rules come to other results.
			for _, spelling := range []string{t.Value[token.Start:token.End], w.term} {
				s := stemIn{language, cmp.Or(stemmer.Stem(language, token.Term, spelling), w.term)}
				if !slices.Contains(w.stems, s) {
					w.stems = append(w.stems, s)
				}
			}
		}
		return w
	}
	return nil
}

// stemmed is a Bleve query for a stemmedWord in a field.
type stemmed struct {
	*stemmedWord
	field string
	boost float64
}

var _ bq.Query = (*stemmed)(nil)

// stemBoost is what a word with the same stem counts for against the word
// itself, when results are sorted by relevance.
const stemBoost = 0.5

func (q *stemmed) Searcher(ctx context.Context, r index.IndexReader, m mapping.IndexMapping, options search.SearcherOptions) (search.Searcher, error) {
	found, err := q.inIndex(r)
	if err != nil {
		return nil, err
	}
	alternatives := []bq.Query{q.termQuery(q.term, 1)}
	for _, f := range found {
		for _, term := range f.terms {
			alternatives = append(alternatives, q.alternative(f.language, term))
		}
	}
	if len(alternatives) == 1 {
		return alternatives[0].Searcher(ctx, r, m, options)
	}
	return bq.NewDisjunctionQuery(alternatives).Searcher(ctx, r, m, options)
}

// alternative looks for a term of a stemInIndex.
func (q *stemmed) alternative(language, term string) bq.Query {
	one := q.termQuery(term, stemBoost)
	if term[0] == stemMark {
		return one
	}
	return bq.NewConjunctionQuery([]bq.Query{one, &phrase{field: fieldLanguage, parts: []part{{text: language}}}})
}

func (q *stemmed) termQuery(term string, boost float64) bq.Query {
	return &phrase{field: q.field, parts: []part{{text: term}}, boost: boost * q.boost}
}

// stemInIndex is a stem with the terms of the index that stand for it: the marked stem,
// and the word that is its own stem and thus not marked, which counts in texts of
// the language only.
type stemInIndex struct {
	stemIn
	terms []string
}

// inIndex returns the stems that the field has.
func (q *stemmed) inIndex(r index.IndexReader) ([]stemInIndex, error) {
	has, err := presence(r, q.field)
	if err != nil {
		return nil, err
	}
	var found []stemInIndex
	for _, s := range q.stems {
		in := stemInIndex{stemIn: s}
		for _, term := range []string{string(stemTerm(nil, s.language, s.stem)), s.stem} {
			if term == q.term {
				continue // looked for anyway
			}
			ok, err := has([]byte(term))
			if err != nil {
				return nil, err
			}
			if ok {
				in.terms = append(in.terms, term)
			}
		}
		if in.terms != nil {
			found = append(found, in)
		}
	}
	return found, nil
}

// presence returns a function that says whether a field has a term.
func presence(r index.IndexReader, field string) (func(term []byte) (bool, error), error) {
	c, ok := r.(index.IndexReaderContains)
	if !ok {
		return func([]byte) (bool, error) { return true, nil }, nil
	}
	dict, err := c.FieldDictContains(field)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", field, err)
	}
	return func(term []byte) (bool, error) {
		has, err := dict.Contains(term)
		if err != nil {
			return false, fmt.Errorf("look up %s: %w", field, err)
		}
		return has, nil
	}, nil
}

// fits reports whether a word of a text in a language is one that w looks for.
// Most are not, and their first letter shows it.
func (w *stemmedWord) fits(s *words.Stemmer, language string, term []byte, original string) bool {
	if string(term) == w.term {
		return true
	}
	for _, in := range w.stems {
		if in.language == language && in.stem[0] == term[0] && in.stem == cmp.Or(s.Stem(language, term, original), string(term)) {
			return true
		}
	}
	return false
}
