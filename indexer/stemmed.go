package indexer

import (
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
				s := stemIn{language, stemmer.Stem(language, token.Term, spelling)}
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
	alternatives := []bq.Query{&phrase{field: q.field, parts: []part{{text: q.term}}, boost: q.boost}}
	has, err := presence(r, q.field)
	if err != nil {
		return nil, err
	}
	for _, s := range q.stems {
		marked := stemTerm(nil, s.language, s.stem)
		ok, err := has(marked)
		if err != nil {
			return nil, err
		}
		if ok {
			alternatives = append(alternatives, &phrase{field: q.field, parts: []part{{text: string(marked)}}, boost: stemBoost * q.boost})
		}
		// A word that is its own stem is not marked.
		if s.stem == q.term {
			continue
		}
		if ok, err = has([]byte(s.stem)); err != nil {
			return nil, err
		}
		if ok {
			alternatives = append(alternatives, bq.NewConjunctionQuery([]bq.Query{
				&phrase{field: q.field, parts: []part{{text: s.stem}}, boost: stemBoost * q.boost},
				&phrase{field: fieldLanguage, parts: []part{{text: s.language}}},
			}))
		}
	}
	if len(alternatives) == 1 {
		return alternatives[0].Searcher(ctx, r, m, options)
	}
	return bq.NewDisjunctionQuery(alternatives).Searcher(ctx, r, m, options)
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
		if in.language == language && in.stem[0] == term[0] && s.Stem(language, term, original) == in.stem {
			return true
		}
	}
	return false
}
