package indexer

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/indexer/words"
)

// Snippet is a passage of a message on one line: around the first word that
// the query looks for in the text, else the beginning.
type Snippet struct {
	Text string `json:"text"`
	// Marks are the byte offsets in Text, from and to, of what the query looks
	// for, in order and apart from each other.
	Marks [][2]int `json:"marks,omitempty"`
}

const (
	// snippetBytes is about what a result list shows of a message.
	snippetBytes = 160
	// snippetLead is how much of it comes before the first hit.
	snippetLead = 40
	// maxMarks bounds the phrases that are looked for; more marks help nobody.
	maxMarks = 100
)

// marker finds what a query looks for in texts. It is not changed after it was
// made.
type marker struct {
	sequences [][]matcher
	stemmed   bool // some of them look for stems
}

// matcher fits a term.
type matcher struct {
	text    string
	pattern *regexp.Regexp // instead of text
	stemmed *stemmedWord   // instead of text
}

func (m matcher) fits(w *window, i int) bool {
	term := w.terms[i]
	switch {
	case m.pattern != nil:
		return m.pattern.Match(term)
	case m.stemmed != nil:
		return m.stemmed.fits(w.stemmer, w.language, term, w.text[w.start[i]:w.end[i]])
	}
	return string(term) == m.text
}

// newMarker collects what n looks for in the body.
func newMarker(n query.Node) *marker {
	m := &marker{}
	m.collect(n)
	return m
}

func (m *marker) collect(n query.Node) {
	switch n := n.(type) {
	case *query.And:
		for _, c := range n.Nodes {
			m.collect(c)
		}
	case *query.Or:
		for _, c := range n.Nodes {
			m.collect(c)
		}
	case *query.Text:
		if w := newStemmedWord(n); w != nil {
			m.stemmed = true
			m.add(n.Field, []matcher{{stemmed: w}})
		} else {
			m.addParts(n.Field, wordParts(n.Value, n.Quoted))
		}
	case *query.Near: // every word of it: most often they are where they should be
		for _, u := range nearUnits(n.Value) {
			m.addParts(n.Field, u)
		}
	case *query.Regexp:
		m.addParts(n.Field, []part{{n.Folded(), regexpPart}})
	}
}

func (m *marker) addParts(f query.Field, parts []part) {
	sequence := make([]matcher, len(parts))
	for i, p := range parts {
		sequence[i].text = p.text
		if p.kind != exactPart {
			var err error
			if sequence[i].pattern, err = regexp.Compile("^(?s:" + p.expression() + ")$"); err != nil {
				return // too large; the search itself will say so
			}
		}
	}
	m.add(f, sequence)
}

func (m *marker) add(f query.Field, sequence []matcher) {
	if (f == query.Any || f == query.Body) && len(m.sequences) < maxMarks {
		m.sequences = append(m.sequences, sequence)
	}
}

// window is the words last read, as far back as the longest sequence needs.
type window struct {
	text       string
	terms      [][]byte
	start, end []int

	language string // of the text
	stemmer  *words.Stemmer
}

// snippet takes a passage from text.
func (m *marker) snippet(text string) Snippet {
	from, to := 0, min(len(text), snippetBytes)
	var marks [][2]int
	if len(m.sequences) > 0 {
		for t := range m.matches(text) {
			if marks == nil {
				from = startOf(text, t[0])
				to = min(len(text), max(from+snippetBytes, t[1]))
			}
			if t[1] > to {
				break
			}
			marks = append(marks, t)
		}
	}
	to = endOf(text, from, to)
	s := Snippet{Text: text[from:to]}
	for _, k := range marks {
		if k[1] <= to {
			s.Marks = append(s.Marks, [2]int{k[0] - from, k[1] - from})
		}
	}
	return s
}

// startOf returns the beginning of a word, or at least of a character, some way before at.
func startOf(text string, at int) int {
	if at <= snippetLead {
		return 0
	}
	from := at - snippetLead
	if i := strings.IndexByte(text[from:at], ' '); i >= 0 {
		return from + i + 1
	}
	for from < at && !utf8.RuneStart(text[from]) {
		from++
	}
	return from
}

// endOf returns the end of a word, or at least of a character, at or before to.
func endOf(text string, from, to int) int {
	if to == len(text) || text[to] == ' ' {
		return to
	}
	if i := strings.LastIndexByte(text[from:to], ' '); i > 0 {
		return from + i
	}
	for to > from && !utf8.RuneStart(text[to]) {
		to--
	}
	return to
}

// matches yields the byte offsets of the sequences in text, in order.
func (m *marker) matches(text string) func(yield func([2]int) bool) {
	longest := 0
	for _, s := range m.sequences {
		longest = max(longest, len(s))
	}
	return func(yield func([2]int) bool) {
		w := window{text: text}
		if m.stemmed {
			w.language, w.stemmer = words.Language(text), words.NewStemmer()
		}
		marked := 0
		for t := range words.All(text) {
			w.push(t, longest)
			for _, s := range m.sequences {
				at, ok := w.endsWith(s)
				if !ok || at < marked {
					continue
				}
				marked = t.End
				if !yield([2]int{at, t.End}) {
					return
				}
				break
			}
		}
	}
}

func (w *window) push(t words.Token, size int) {
	if len(w.terms) == size {
		oldest := w.terms[0]
		w.terms = append(w.terms[:0], w.terms[1:]...)
		w.start = append(w.start[:0], w.start[1:]...)
		w.end = append(w.end[:0], w.end[1:]...)
		w.terms = append(w.terms, append(oldest[:0], t.Term...))
	} else {
		w.terms = append(w.terms, append([]byte(nil), t.Term...))
	}
	w.start = append(w.start, t.Start)
	w.end = append(w.end, t.End)
}

// endsWith reports whether the words last read are the sequence, and where it
// starts.
func (w *window) endsWith(s []matcher) (start int, ok bool) {
	first := len(w.terms) - len(s)
	if first < 0 || len(s) == 0 {
		return 0, false
	}
	for i := len(s) - 1; i >= 0; i-- {
		if !s[i].fits(w, first+i) {
			return 0, false
		}
	}
	return w.start[first], true
}
