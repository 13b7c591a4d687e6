package mailgen

import (
	"embed"
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed lexicon/*.txt
var lexiconFiles embed.FS

// A lexicon is what business mail of one language is made of. Its file has
// "key: value" lines; name, greeting and the like may be repeated.
type lexicon struct {
	domain    string // of the senders
	zone      *time.Location
	date      string // layout
	amount    string // with {i} and {c} for whole units and hundredths
	separator string // between words
	stop      string // at the end of a sentence
	people    []person
	greetings []string
	closings  []string
	subjects  []string
	products  []string
	sentences []string
	words     []string // the more frequent first
}

type person struct{ name, local string }

func readLexicons() (map[string]*lexicon, error) {
	entries, err := lexiconFiles.ReadDir("lexicon")
	if err != nil {
		return nil, err
	}
	lexicons := make(map[string]*lexicon)
	for _, entry := range entries {
		data, err := lexiconFiles.ReadFile(path.Join("lexicon", entry.Name()))
		if err != nil {
			return nil, err
		}
		l, err := parseLexicon(string(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		lexicons[strings.TrimSuffix(entry.Name(), ".txt")] = l
	}
	return lexicons, nil
}

func parseLexicon(text string) (*lexicon, error) {
	l := &lexicon{separator: " ", stop: "."}
	lists := map[string]*[]string{
		"greeting": &l.greetings, "closing": &l.closings, "subject": &l.subjects,
		"product": &l.products, "sentence": &l.sentences,
	}
	values := map[string]*string{"domain": &l.domain, "date": &l.date, "amount": &l.amount}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if list, ok := lists[key]; ok {
			*list = append(*list, value)
			continue
		}
		if v, ok := values[key]; ok {
			*v = value
			continue
		}
		switch key {
		case "zone":
			hours, err := strconv.Atoi(value)
			if err != nil {
				return nil, err
			}
			l.zone = time.FixedZone("", hours*3600)
		case "join":
			l.separator, l.stop = "", "。"
		case "name":
			name, local, _ := strings.Cut(strings.TrimSuffix(value, ">"), " <")
			l.people = append(l.people, person{name, local})
		case "words":
			l.words = strings.Fields(value)
		default:
			return nil, fmt.Errorf("unknown key %q", key)
		}
	}
	return l, nil
}

// expand fills the slots of a template.
func (l *lexicon) expand(rng *rand.Rand, template string) string {
	slots := []struct {
		slot  string
		value func() string
	}{
		{"{n}", func() string { return fmt.Sprintf("2026-%05d", 1+rng.IntN(40000)) }},
		{"{date}", func() string {
			return time.Date(2026, 1, 1+rng.IntN(365), 0, 0, 0, 0, time.UTC).Format(l.date)
		}},
		{"{amount}", func() string {
			r := strings.NewReplacer("{i}", strconv.Itoa(20+rng.IntN(9000)), "{c}", fmt.Sprintf("%02d", rng.IntN(100)))
			return r.Replace(l.amount)
		}},
		{"{name}", func() string { return pick(rng, l.people).name }},
		{"{product}", func() string { return pick(rng, l.products) }},
	}
	for _, s := range slots {
		if strings.Contains(template, s.slot) {
			template = strings.ReplaceAll(template, s.slot, s.value())
		}
	}
	return template
}

// word draws one of the words, the first ones much more often than the last,
// as in real text. Products of floating-point numbers are the same on every platform.
func (l *lexicon) word(rng *rand.Rand) string {
	u := rng.Float64()
	return l.words[int(float64(len(l.words))*(u*u*u))]
}

// filler is a sentence without sense that widens the vocabulary.
func (l *lexicon) filler(rng *rand.Rand) string {
	words := make([]string, 5+rng.IntN(10))
	for i := range words {
		words[i] = l.word(rng)
	}
	return strings.Join(words, l.separator) + l.stop
}

// A prose is the text of a letter, line ends LF.
type prose struct {
	greeting   string
	paragraphs []string
	closing    string
}

const lineWidth = 72 // RFC 5322 section 2.1.1 recommends less than 78

// letter writes a letter, signed by name.
func (l *lexicon) letter(rng *rand.Rand, name string) prose {
	p := prose{
		greeting: l.expand(rng, pick(rng, l.greetings)),
		closing:  pick(rng, l.closings) + "\n" + name,
	}
	paragraphs := 1 + rng.IntN(3)
	if rng.IntN(12) == 0 { // a long one now and then
		paragraphs += 8 + rng.IntN(30)
	}
	order, next := rng.Perm(len(l.sentences)), 0 // no sentence twice in a short letter
	for range paragraphs {
		var sentences []string
		for range 1 + rng.IntN(4) {
			sentences = append(sentences, l.expand(rng, l.sentences[order[next%len(order)]]))
			next++
		}
		if len(l.words) > 0 && rng.IntN(3) == 0 {
			sentences = append(sentences, l.filler(rng))
		}
		p.paragraphs = append(p.paragraphs, strings.Join(sentences, l.separator))
	}
	return p
}

// text lays the letter out for a plain text part.
func (p prose) text() string {
	var b strings.Builder
	b.WriteString(p.greeting + "\n\n")
	for _, paragraph := range p.paragraphs {
		b.WriteString(strings.Join(wrap(paragraph, lineWidth), "\n") + "\n\n")
	}
	b.WriteString(p.closing + "\n")
	return b.String()
}

// wrap breaks text into lines of at most width columns, at spaces or next to wide characters,
// which count as two.
func wrap(text string, width int) []string {
	var lines []string
	var line, word strings.Builder
	columns, wordColumns := 0, 0
	endWord := func() {
		if columns > 0 && columns+wordColumns > width {
			lines = append(lines, strings.TrimRight(line.String(), " "))
			line.Reset()
			columns = 0
		}
		line.WriteString(word.String())
		columns += wordColumns
		word.Reset()
		wordColumns = 0
	}
	for _, r := range text {
		word.WriteRune(r)
		wordColumns++
		if r >= 0x2e80 { // CJK may be broken anywhere
			wordColumns++
		}
		if r == ' ' || r >= 0x2e80 {
			endWord()
		}
	}
	endWord()
	return append(lines, strings.TrimRight(line.String(), " "))
}
