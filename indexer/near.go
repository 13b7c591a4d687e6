package indexer

import (
	"context"
	"slices"

	"github.com/blevesearch/bleve/v2/mapping"
	"github.com/blevesearch/bleve/v2/search"
	bq "github.com/blevesearch/bleve/v2/search/query"
	"github.com/blevesearch/bleve/v2/search/searcher"
	index "github.com/blevesearch/bleve_index_api"
)

// near is a Bleve query for words, or phrases, of one field that stand close to
// each other in any order. Bleve's phrases have no slop, so that the documents
// that have all of the terms are filtered by position here, inside of the
// search: totals, facets and pages are those of the matches.
type near struct {
	field    string
	units    [][]part
	distance int // the most other words among them
	boost    float64
	budget   *budget // may be nil if no part is a pattern
}

var _ bq.Query = (*near)(nil)

func (q *near) Searcher(ctx context.Context, r index.IndexReader, _ mapping.IndexMapping, options search.SearcherOptions) (search.Searcher, error) {
	options.IncludeTermVectors = true
	s := &nearSearcher{distance: q.distance, field: q.field, partsOf: map[string][]int{}}
	var parts []part
	var all []search.Searcher
	for _, unitParts := range q.units {
		u := unit{need: 1, length: len(unitParts)}
		for at, p := range unitParts {
			if p == anyWord {
				continue
			}
			i := slices.Index(parts, p)
			if i < 0 {
				i = len(parts)
				parts = append(parts, p)
				one, err := q.searcher(ctx, r, p, options, func(term string) { s.partsOf[term] = append(s.partsOf[term], i) })
				if err != nil {
					closeAll(all)
					return nil, err
				}
				all = append(all, one)
			}
			u.parts, u.at = append(u.parts, i), append(u.at, uint64(at))
		}
		s.addUnit(u)
	}
	if len(all) == 0 {
		return searcher.NewMatchNoneSearcher(r)
	}
	must, err := searcher.NewConjunctionSearcher(ctx, r, all, options)
	if err != nil {
		closeAll(all)
		return nil, err
	}
	s.Searcher, s.positions = must, make([][]uint64, len(parts))
	return s, nil
}

// searcher looks for the terms that a part stands for, and tells of each.
func (q *near) searcher(ctx context.Context, r index.IndexReader, p part, options search.SearcherOptions, each func(term string)) (search.Searcher, error) {
	if p.kind == exactPart {
		each(p.text)
		return searcher.NewTermSearcher(ctx, r, p.text, q.field, q.boost, options)
	}
	terms, err := q.budget.expand(ctx, r, q.field, p, maxPhraseExpansions)
	if err != nil {
		return nil, err
	}
	for _, t := range terms {
		each(t)
	}
	return searcher.NewMultiTermSearcher(ctx, r, terms, q.field, q.boost, options, false)
}

func closeAll(all []search.Searcher) {
	for _, s := range all {
		_ = s.Close() // there is an earlier error to report
	}
}

// unit is a word or phrase of a near.
type unit struct {
	need   int      // how often it was asked for
	parts  []int    // in nearSearcher.positions
	at     []uint64 // the place of each part in the unit
	length int      // in words
}

// occurrence is a place in a text where a unit stands.
type occurrence struct {
	start uint64
	unit  int
}

// nearSearcher filters what the embedded conjunction finds. Weight, norm, count and the
// like are those of the conjunction.
type nearSearcher struct {
	search.Searcher
	field    string
	distance int
	partsOf  map[string][]int // that a term fits
	units    []unit

	// Used again for every document.
	positions   [][]uint64 // of each part
	occurrences []occurrence
	missing     []int // how many more of each unit a window needs
}

func (s *nearSearcher) addUnit(u unit) {
	for i, other := range s.units {
		if slices.Equal(other.parts, u.parts) && slices.Equal(other.at, u.at) {
			s.units[i].need++
			return
		}
	}
	s.units = append(s.units, u)
}

// Next returns the next document that fits.
func (s *nearSearcher) Next(ctx *search.SearchContext) (*search.DocumentMatch, error) {
	m, err := s.Searcher.Next(ctx)
	return s.firstFrom(ctx, m, err)
}

// Advance returns the first document that fits from id on.
func (s *nearSearcher) Advance(ctx *search.SearchContext, id index.IndexInternalID) (*search.DocumentMatch, error) {
	m, err := s.Searcher.Advance(ctx, id)
	return s.firstFrom(ctx, m, err)
}

func (s *nearSearcher) firstFrom(ctx *search.SearchContext, m *search.DocumentMatch, err error) (*search.DocumentMatch, error) {
	for err == nil && m != nil && !s.fits(m) {
		ctx.DocumentMatchPool.Put(m)
		m, err = s.Searcher.Next(ctx)
	}
	return m, err
}

// fits reports whether the units stand close enough in the document: whether
// there is a window that has each as often as needed and few enough other words.
func (s *nearSearcher) fits(m *search.DocumentMatch) bool {
	s.locate(m)
	s.missing = s.missing[:0]
	lacking, length, longest := 0, 0, 0
	for _, u := range s.units {
		s.missing = append(s.missing, u.need)
		lacking += u.need
		length += u.need * u.length
		longest = max(longest, u.length)
	}
	left := 0
	for right, o := range s.occurrences {
		if s.missing[o.unit] > 0 {
			lacking--
		}
		s.missing[o.unit]--
		// The leftmost goes as long as the window has it more often than needed.
		for lacking == 0 && s.missing[s.occurrences[left].unit] < 0 {
			s.missing[s.occurrences[left].unit]++
			left++
		}
		if lacking == 0 && int(s.end(left, right, longest)-s.occurrences[left].start)-length <= s.distance {
			return true
		}
	}
	return false
}

// end is the position behind the last word of a window. The longest units reach beyond those
// that start after them.
func (s *nearSearcher) end(left, right, longest int) uint64 {
	var end uint64
	last := s.occurrences[right].start
	for i := right; i >= left && s.occurrences[i].start+uint64(longest) > last; i-- {
		end = max(end, s.occurrences[i].start+uint64(s.units[s.occurrences[i].unit].length))
	}
	return end
}

// locate finds where the units stand, in order.
func (s *nearSearcher) locate(m *search.DocumentMatch) {
	for i := range s.positions {
		s.positions[i] = s.positions[i][:0]
	}
	for i := range m.FieldTermLocations {
		l := &m.FieldTermLocations[i]
		if l.Field != s.field {
			continue
		}
		for _, p := range s.partsOf[l.Term] {
			s.positions[p] = slices.AppendSeq(s.positions[p], eachPosition(&l.Location))
		}
	}
	for i, p := range s.positions {
		slices.Sort(p)
		s.positions[i] = slices.Compact(p) // a term that two parts fit is found by both
	}
	s.occurrences = s.occurrences[:0]
	for i, u := range s.units {
		for _, p := range s.positions[u.parts[0]] {
			if p >= u.at[0] && s.stands(u, p-u.at[0]) {
				s.occurrences = append(s.occurrences, occurrence{p - u.at[0], i})
			}
		}
	}
	slices.SortFunc(s.occurrences, func(a, b occurrence) int { return int(int64(a.start) - int64(b.start)) })
}

// stands reports whether all parts of u are where they have to be for it to start at start.
func (s *nearSearcher) stands(u unit, start uint64) bool {
	for i, p := range u.parts[1:] {
		if _, ok := slices.BinarySearch(s.positions[p], start+u.at[i+1]); !ok {
			return false
		}
	}
	return true
}
