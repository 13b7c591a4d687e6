package segment

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/blevesearch/bleve/v2/document"
	index "github.com/blevesearch/bleve_index_api"
	api "github.com/blevesearch/scorch_segment_api/v2"
	zap "github.com/blevesearch/zapx/v17"
	"pgregory.net/rapid"
)

const (
	textOptions = index.IndexField | index.IncludeTermVectors
	setOptions  = index.IndexField | index.SkipFreqNorm
)

func testSchema() *Schema {
	return NewSchema(
		Field{"text", textOptions}, Field{"set", setOptions}, Field{"key", setOptions | index.DocValues},
		Field{"place", index.StoreField}, Field{"never", setOptions | index.DocValues})
}

// doc is a document as both ways of making a segment get it.
type doc struct {
	id     string
	fields map[string][]word
	stored string
}

// word is an occurrence of a term; one without a position is a mark.
type word struct {
	term string
	at   int
}

func (d doc) ours(c *Collector, order int) index.Document {
	c.Begin()
	for _, name := range slices.Sorted(maps.Keys(d.fields)) {
		c.Field(name)
		for _, w := range d.fields[name] {
			if w.at < 0 {
				c.Mark([]byte(w.term))
			} else {
				c.Add([]byte(w.term), w.at)
			}
		}
	}
	made := document.NewDocument(d.id)
	made.AddField(c.Terms().With(order, []byte(d.stored)))
	made.AddIDField()
	analyze(made)
	return made
}

// counted is a field as zapx takes it.
type counted struct {
	*Terms  // for what does not matter
	name    string
	options index.FieldIndexingOptions
	length  int
	terms   index.TokenFrequencies
	value   string
}

func (f *counted) Name() string                                     { return f.name }
func (f *counted) Options() index.FieldIndexingOptions              { return f.options }
func (f *counted) Value() []byte                                    { return []byte(f.value) }
func (f *counted) AnalyzedLength() int                              { return f.length }
func (f *counted) AnalyzedTokenFrequencies() index.TokenFrequencies { return f.terms }

func (d doc) zapx(s *Schema) index.Document {
	made := document.NewDocument(d.id)
	for _, f := range s.fields[1:] {
		field := &counted{name: f.Name, options: f.Options, terms: index.TokenFrequencies{}}
		if f.Options.IsStored() {
			field.value = d.stored
		}
		positions := map[string][]uint32{}
		for _, w := range d.fields[f.Name] {
			t := field.terms[w.term]
			if t == nil {
				t = &index.TokenFreq{Term: []byte(w.term)}
				field.terms[w.term] = t
			}
			if !f.Options.SkipFreqNorm() {
				t.SetFrequency(t.Frequency() + 1)
			}
			if w.at >= 0 {
				field.length++
				positions[w.term] = append(positions[w.term], uint32(w.at))
			}
		}
		for term, at := range positions {
			if f.Options.IncludeTermVectors() {
				field.terms[term].Locations = []*index.TokenLocation{packed(at)}
			}
		}
		made.AddField(field)
	}
	made.AddIDField()
	analyze(made)
	return made
}

// packed is what appendPlaces writes.
func packed(at []uint32) *index.TokenLocation {
	var distances [3]uint64
	l, before := &index.TokenLocation{}, uint64(0)
	for i, p := range at {
		if i < len(distances) {
			distances[i] = uint64(p) - before
		} else {
			l.ArrayPositions = append(l.ArrayPositions, uint64(p)-before)
		}
		before = uint64(p)
	}
	l.Position, l.Start, l.End = int(distances[0]), int(distances[1]), int(distances[2])
	return l
}

func analyze(d *document.Document) {
	d.VisitFields(func(f index.Field) { f.Analyze() })
}

// both makes the two segments of documents.
func both(t testing.TB, docs []doc) (ours, zapx api.Segment) {
	t.Helper()
	s := testSchema()
	c := NewCollector(s)
	var mine, theirs []index.Document
	for i, d := range docs {
		mine, theirs = append(mine, d.ours(c, i)), append(theirs, d.zapx(s))
	}
	slices.Reverse(mine) // Bleve shuffles them
	ours, size, err := new(Plugin).New(mine)
	if err != nil || size == 0 {
		t.Fatalf("%d bytes: %v", size, err)
	}
	zapx, _, err = new(zap.ZapPlugin).New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	return ours, zapx
}

// content writes down all that can be read from a segment.
func content(t testing.TB, s api.Segment) string {
	t.Helper()
	var b strings.Builder
	for _, field := range slices.Sorted(slices.Values(s.Fields())) {
		dict, err := s.Dictionary(field)
		if err != nil {
			t.Fatal(err)
		}
		for entries := dict.AutomatonIterator(nil, nil, nil); ; {
			e, err := entries.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e == nil {
				break
			}
			fmt.Fprintf(&b, "%s %q:", field, e.Term)
			list, err := dict.PostingsList([]byte(e.Term), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			for postings := list.Iterator(true, true, true, nil); ; {
				p, err := postings.Next()
				if err != nil {
					t.Fatal(err)
				}
				if p == nil {
					break
				}
				fmt.Fprintf(&b, " %d %d %g", p.Number(), p.Frequency(), p.Norm())
				for _, l := range p.Locations() {
					fmt.Fprintf(&b, " %s %d %d %d %v", l.Field(), l.Pos(), l.Start(), l.End(), l.ArrayPositions())
				}
			}
			b.WriteByte('\n')
		}
	}
	values, _ := s.(api.DocValueVisitable)
	var state api.DocVisitState
	for n := range s.Count() {
		fmt.Fprintf(&b, "%d:", n)
		var err error
		if state, err = values.VisitDocValues(n, s.Fields(), func(field string, term []byte) { fmt.Fprintf(&b, " %s=%q", field, term) }, state); err != nil {
			t.Fatal(err)
		}
		if err := s.VisitStoredFields(n, func(field string, typ byte, value []byte, _ []uint64) bool {
			fmt.Fprintf(&b, " %s %c %q", field, typ, value)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func equal(t testing.TB, what string, ours, zapx api.Segment) {
	t.Helper()
	if got, want := content(t, ours), content(t, zapx); got != want {
		t.Fatalf("%s: ours has\n%.2000s\nzapx has\n%.2000s", what, got, want)
	}
}

// merged is the segment of two, with a document of the first one dropped.
func merged(t testing.TB, dir, name string, a, b api.Segment) api.Segment {
	t.Helper()
	path := filepath.Join(dir, name)
	if _, _, err := new(Plugin).Merge([]api.Segment{a, b}, []*roaring.Bitmap{roaring.BitmapOf(0), nil}, path, nil, nil); err != nil {
		t.Fatal(err)
	}
	s, err := new(Plugin).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func drawDocs(t *rapid.T, prefix string) []doc {
	term := rapid.OneOf(rapid.SampledFrom([]string{"a", "b", "longerthaneight", "longerthanten", "\x01enstem", ""}), rapid.StringN(0, 12, 30))
	words := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) word {
		return word{term.Draw(t, "term"), rapid.IntRange(0, 300).Draw(t, "at")}
	}), 0, 150)
	docs := make([]doc, rapid.IntRange(1, 6).Draw(t, "documents"))
	for i := range docs {
		docs[i] = doc{id: fmt.Sprint(prefix, (i*7)%10), fields: map[string][]word{}, stored: rapid.String().Draw(t, "stored")}
		for _, f := range []string{"text", "set", "key"} {
			if ws := words.Draw(t, f); len(ws) > 0 {
				docs[i].fields[f] = ws
			}
		}
		if ws := docs[i].fields["text"]; len(ws) > 0 {
			docs[i].fields["text"] = append(ws, word{"\x01mark", -1}, word{"a", -1})
		}
		docs[i].fields["key"] = append(docs[i].fields["key"], word{"k", 1})
	}
	return docs
}

// TestSegmentsAreThoseOfZapx holds what is read from a segment, and from two that Bleve has merged, against what zapx makes
// of the same documents: who takes another version of zapx hears here what has changed.
func TestSegmentsAreThoseOfZapx(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		ours, zapx := both(t, drawDocs(r, "x"))
		equal(t, "segment", ours, zapx)
		otherOurs, otherZapx := both(t, drawDocs(r, "y"))
		if ours.Count() == 1 {
			return // nothing would be left of it
		}
		runs++
		equal(t, "merged", merged(t, dir, fmt.Sprint("o", runs), ours, otherOurs), merged(t, dir, fmt.Sprint("z", runs), zapx, otherZapx))
		equal(t, "both kinds merged", merged(t, dir, fmt.Sprint("m", runs), ours, otherZapx), merged(t, dir, fmt.Sprint("n", runs), zapx, otherZapx))
	})
}

// A term of many documents has chunks, and one of more than 4,096 another kind of bitmap.
func TestSegmentsOfManyDocumentsAreThoseOfZapx(t *testing.T) {
	docs := make([]doc, 5000)
	for i := range docs {
		docs[i] = doc{id: fmt.Sprintf("%08d", (i*7919)%len(docs)), fields: map[string][]word{"text": {{"all", i % 9}}}}
		if i%3 == 0 {
			docs[i].fields["text"] = append(docs[i].fields["text"], word{"third", 1}, word{"third", 200}, word{"\x01mark", -1})
		}
		if i > 2100 && i%13 == 0 { // whole chunks of values are empty
			docs[i].fields["key"] = []word{{fmt.Sprint("v", i%5), 1}, {"a", 1}}
		}
	}
	for _, n := range []int{1025, 5000} {
		ours, zapx := both(t, docs[:n])
		equal(t, fmt.Sprint(n, " documents"), ours, zapx)
	}
}

func TestNumbersOfDocumentsAreARoaringBitmap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Uint32Range(0, 1<<17).Draw(t, "from")
		count := rapid.OneOf(rapid.Uint32Range(1, 20), rapid.Uint32Range(4090, 4100)).Draw(t, "count")
		step := rapid.Uint32Range(1, 20).Draw(t, "step")
		want := roaring.New()
		var postings []posting
		for i := range count {
			postings = append(postings, posting{doc: from + i*step})
			want.Add(from + i*step)
		}
		b := &builder{}
		b.writeDocuments(postings)
		size, n := binary.Uvarint(b.out)
		got := roaring.New()
		if read, err := got.FromBuffer(b.out[n:]); err != nil || uint64(read) != size || len(b.out) != n+int(size) || !got.Equals(want) {
			t.Fatalf("%d of %d bytes, %d documents of %d: %v", read, size, got.GetCardinality(), count, err)
		}
	})
}

func TestDocumentsOfSeveralKindsAreRefused(t *testing.T) {
	d := doc{id: "x", fields: map[string][]word{"text": {{"a", 1}}}}
	ours := d.ours(NewCollector(testSchema()), 0)
	for name, other := range map[string]index.Document{"zapx": d.zapx(testSchema()), "schema": d.ours(NewCollector(testSchema()), 0)} {
		if _, _, err := new(Plugin).New([]index.Document{ours, other}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if s, _, err := new(Plugin).New([]index.Document{d.zapx(testSchema())}); err != nil || s.Count() != 1 {
		t.Errorf("documents without Terms: %v", err)
	}
}
