package indexer

import (
	"slices"
	"testing"

	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/search"
	index "github.com/blevesearch/bleve_index_api"
	api "github.com/blevesearch/scorch_segment_api/v2"
	"github.com/postkeep/postkeep/indexer/segment"
	"pgregory.net/rapid"
)

// isNear is what near means, by trying every choice of places for the units.
func isNear(text []string, units [][]string, distance int) bool {
	var taken [][2]int // of the units placed so far: unit, start
	var place func(i int) bool
	place = func(i int) bool {
		if i == len(units) {
			first, last, words := len(text), 0, 0
			for _, p := range taken {
				first, last, words = min(first, p[1]), max(last, p[1]+len(units[p[0]])), words+len(units[p[0]])
			}
			return last-first-words <= distance
		}
	starts:
		for start := 0; start+len(units[i]) <= len(text); start++ {
			for k, w := range units[i] {
				if text[start+k] != w {
					continue starts
				}
			}
			for _, p := range taken { // the same unit twice needs two places
				if p[1] == start && slices.Equal(units[p[0]], units[i]) {
					continue starts
				}
			}
			taken = append(taken, [2]int{i, start})
			if place(i + 1) {
				return true
			}
			taken = taken[:len(taken)-1]
		}
		return false
	}
	return place(0)
}

func TestPlacesOfATermArePackedAndComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Uint64Range(0, 1<<20), 1, 20).Draw(t, "positions")
		c := segment.NewCollector(segment.NewSchema(segment.Field{Name: "f", Options: textOptions}))
		c.Begin()
		c.Field("f")
		for _, p := range want {
			c.Add([]byte("term"), int(p))
		}
		c.Add([]byte("other"), 7)
		at := locationsOf(t, c.Terms(), "f", "term")
		if len(at) != 1 {
			t.Fatalf("%d locations", len(at))
		}
		l := search.Location{Pos: at[0].Pos(), Start: at[0].Start(), End: at[0].End(), ArrayPositions: at[0].ArrayPositions()}
		got := slices.Collect(eachPosition(&l))
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(slices.Compact(got), slices.Compact(want)) {
			t.Fatalf("%v became %v", want, got)
		}
	})
}

// locationsOf reads the locations of a term from the segment of a document.
func locationsOf(t *rapid.T, terms *segment.Terms, field, term string) []api.Location {
	doc := document.NewDocument("id")
	doc.AddField(terms)
	made, _, err := new(segment.Plugin).New([]index.Document{doc})
	if err != nil {
		t.Fatal(err)
	}
	dict, err := made.Dictionary(field)
	if err != nil {
		t.Fatal(err)
	}
	list, err := dict.PostingsList([]byte(term), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := list.Iterator(true, true, true, nil).Next()
	if err != nil || p == nil {
		t.Fatal(p, err)
	}
	return p.Locations()
}

func TestNearIsTheSameAsTryingEveryPlace(t *testing.T) {
	letter := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(letter, 0, 12).Draw(t, "text")
		units := rapid.SliceOfN(rapid.SliceOfN(letter, 1, 2), 2, 3).Draw(t, "units")
		distance := rapid.IntRange(0, 6).Draw(t, "distance")
		s := &nearSearcher{field: "f", distance: distance, partsOf: map[string][]int{}}
		for _, words := range units {
			u := unit{need: 1, length: len(words)}
			for at, w := range words {
				if s.partsOf[w] == nil {
					s.partsOf[w] = []int{len(s.partsOf)}
				}
				u.parts, u.at = append(u.parts, s.partsOf[w][0]), append(u.at, uint64(at))
			}
			s.addUnit(u)
		}
		s.positions = make([][]uint64, len(s.partsOf))
		m := &search.DocumentMatch{}
		for i, w := range text {
			m.FieldTermLocations = append(m.FieldTermLocations, search.FieldTermLocation{Field: "f", Term: w, Location: search.Location{Pos: uint64(i + 1)}})
		}
		if got, want := s.fits(m), isNear(text, units, distance); got != want {
			t.Fatalf("%v near %d in %v: %v, want %v", units, distance, text, got, want)
		}
	})
}
