package indexer

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postkeep/postkeep/indexer/query"
	"pgregory.net/rapid"
)

// marked shows a snippet with its marks in brackets.
func marked(s Snippet) string {
	var b strings.Builder
	last := 0
	for _, m := range s.Marks {
		b.WriteString(s.Text[last:m[0]] + "[" + s.Text[m[0]:m[1]] + "]")
		last = m[1]
	}
	return b.String() + s.Text[last:]
}

func TestSnippetShowsThePassageOfTheFirstHit(t *testing.T) {
	filler := strings.Repeat("lorem ipsum ", 30)
	for _, c := range []struct{ query, text, want string }{
		{"fox", "the quick Fox jumps", "the quick [Fox] jumps"},
		{"from:fox", "the quick Fox jumps", "the quick Fox jumps"},
		{"quick -fox", "the quick Fox jumps", "the [quick] Fox jumps"},
		{`body:"quick fox"`, "a fox, a quick: fox", "a fox, a [quick: fox]"},
		{"fox OR ju*", "the fox jumps", "the [fox] [jumps]"},
		{"v2.6*", "is v2.63 out", "is [v2.63] out"},
		{"grosse", "die Größe zählt", "die [Größe] zählt"},
		{"東京都", "これは東京都です", "これは[東京都]です"},
		{"東京 都で", "これは東京都です", "これは[東京][都で]す"},
		{"nothing", "the quick fox", "the quick fox"},
		{"run", "he was running and it runs for us", "he was [running] and it [runs] for us"},
		{`"run"`, "he was running and it runs for us", "he was running and it runs for us"},
		{"running", "he will run after you and me", "he will [run] after you and me"},
		{"run", "running runs", "running runs"}, // no language
		{"Haus", "wir haben die alten Häuser nicht gesehen", "wir haben die alten [Häuser] nicht gesehen"},
		{`"fox quick"~3`, "the quick brown fox", "the [quick] brown [fox]"},
		{"/f.x|bro+wn/", "the quick brown fox", "the quick [brown] [fox]"},
		{"*", "", ""},
		{"needle", filler + "needle " + filler,
			"lorem ipsum lorem ipsum lorem ipsum [needle] " + strings.Repeat("lorem ipsum ", 9) + "lorem"},
		{"nothing", filler, strings.TrimSpace(strings.Repeat("lorem ipsum ", 13))},
	} {
		n, err := query.Parse(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := marked(newMarker(n).snippet(c.text)); got != c.want {
			t.Errorf("%s in %.40q:\ngot  %q\nwant %q", c.query, c.text, got, c.want)
		}
	}
}

func TestSnippetIsWholeCharactersAndMarksLieInside(t *testing.T) {
	n, err := query.Parse("abc OR é OR 東京")
	if err != nil {
		t.Fatal(err)
	}
	m := newMarker(n)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("abcé東京 ,"))).Draw(t, "text")
		s := m.snippet(strings.Repeat(text, 20))
		if !utf8.ValidString(s.Text) || len(s.Text) > snippetBytes+snippetLead {
			t.Fatalf("%q", s.Text)
		}
		last := 0
		for _, k := range s.Marks {
			if k[0] < last || k[1] <= k[0] || k[1] > len(s.Text) || !utf8.ValidString(s.Text[k[0]:k[1]]) {
				t.Fatalf("mark %v in %q", k, s.Text)
			}
			last = k[1]
		}
	})
}

func TestSnippetsSurviveReopening(t *testing.T) {
	file := filepath.Join(t.TempDir(), snippetsName)
	var texts []string
	var places []place
	for round := range 3 {
		s, err := openSnippets(file, false)
		if err != nil {
			t.Fatal(err)
		}
		var batch []string
		for i := range 50 {
			batch = append(batch, collapse(strings.Repeat(fmt.Sprint(round, i, " "), rand.IntN(4000)), maxSnippetText))
		}
		p, err := s.append(batch)
		if err != nil {
			t.Fatal(err)
		}
		texts, places = append(texts, batch...), append(places, p...)
		for i, p := range places {
			again, err := decodePlace(p.encode())
			if err != nil || again != p {
				t.Fatalf("%+v is decoded as %+v, %v", p, again, err)
			}
			if got, err := s.read(p); err != nil || got != texts[i] {
				t.Fatalf("text %d is %.20q, %v", i, got, err)
			}
		}
		if _, err := s.read(place{offset: places[0].offset + 1, length: places[0].length, size: 1}); err == nil {
			t.Error("a place between blocks is read")
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzDecodePlace(f *testing.F) {
	f.Add(place{1, 2, 3, 4}.encode())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePlace(b)
		if err == nil && (p.offset < 0 || p.length < 0 || p.start < 0 || p.size < 0 || p.start+p.size > maxSnippetBlock) {
			t.Fatalf("%+v", p)
		}
	})
}

func TestRangeTermsFitExactlyTheNumbersOfTheRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Small numbers and the ends of what can be told apart, where the edges are.
		number := rapid.OneOf(rapid.Int64Range(-5, 3000), rapid.Int64Range(0, maxNumber), rapid.Int64Range(maxNumber-3000, maxNumber+5))
		lo, hi := number.Draw(t, "lo"), number.Draw(t, "hi")
		n := min(max(rapid.OneOf(number, rapid.Int64Range(lo-2, lo+2), rapid.Int64Range(hi-2, hi+2)).Draw(t, "n"), 0), maxNumber)
		terms := rangeTerms(lo, hi)
		if len(terms) > 2*31*levels {
			t.Fatalf("%d terms", len(terms))
		}
		fits := 0
		for _, term := range terms {
			for _, of := range numberTerms(n) {
				if string(of[:]) == string(term) {
					fits++
				}
			}
		}
		want := 0
		if n >= lo && n < hi {
			want = 1
		}
		if fits != want {
			t.Fatalf("%d from %d to %d: fits %d terms", n, lo, hi, fits)
		}
	})
}
