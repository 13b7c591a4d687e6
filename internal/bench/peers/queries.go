package main

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// query is the same question in three languages.
type query struct{ kind, postkeep, notmuch, mu string }

// same is a question that all of them write in the same way.
func same(kind, text string) query { return query{kind, text, text, text} }

// vocabulary is what queries are made of, taken from the mail. Words are of ASCII letters, which all
// programs take to be words.
type vocabulary struct {
	words    []string // in more than one message, rare to frequent
	subjects []string
	phrases  []string // two or three words
	senders  []string
	first    time.Time
	days     int // from first to the last date
}

// sampleStep is which of the messages are read for the vocabulary: every fourth.
const sampleStep = 4

func readVocabulary(ctx context.Context, m mail) (*vocabulary, error) {
	words, subjects, phrases, senders := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	var first, last time.Time
	n := 0
	err := m.each(ctx, func(msg []byte) error {
		if n++; n%sampleStep != 0 {
			return nil
		}
		p, err := mailparse.Parse(ctx, bytes.NewReader(msg), mailparse.Options{})
		if err != nil || p == nil {
			return err
		}
		seen := map[string]bool{}
		note := func(counts map[string]int, what string) {
			if !seen[what] {
				counts[what]++
				seen[what] = true
			}
		}
		for _, w := range strings.Fields(p.Subject) {
			if plain(w, 4) {
				subjects[strings.ToLower(w)]++
			}
		}
		for _, a := range p.From {
			for _, w := range strings.Fields(a.Name) {
				if plain(w, 4) {
					senders[strings.ToLower(w)]++
				}
			}
		}
		for line := range strings.Lines(p.Text()) {
			fields := strings.Fields(line)
			for i, w := range fields {
				if plain(w, 3) {
					note(words, strings.ToLower(w))
				}
				if i >= 2 && plain(w, 2) && plain(fields[i-1], 2) {
					note(phrases, strings.ToLower(fields[i-1]+" "+w))
					if plain(fields[i-2], 2) {
						note(phrases, strings.ToLower(fields[i-2]+" "+fields[i-1]+" "+w))
					}
				}
			}
		}
		if d := p.Date; d.Year() > 1990 && d.Before(time.Now()) {
			if first.IsZero() || d.Before(first) {
				first = d
			}
			if d.After(last) {
				last = d
			}
		}
		return nil
	})
	v := &vocabulary{byCount(words), byCount(subjects), byCount(phrases), byCount(senders), first, int(last.Sub(first).Hours() / 24)}
	if err == nil && (len(v.words) < 100 || len(v.subjects) < 10 || len(v.phrases) < 100 || len(v.senders) == 0 || v.days < 1) {
		err = errors.New("there is too little mail to make queries of")
	}
	return v, err
}

// plain reports whether w is at least least ASCII letters and nothing else.
func plain(w string, least int) bool {
	for _, c := range []byte(w) {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	switch strings.ToLower(w) {
	case "and", "or", "not", "xor", "near", "adj": // operators of one of them
		return false
	}
	return len(w) >= least && len(w) < 20
}

// byCount returns what occurs more than once, rare to frequent.
func byCount(counts map[string]int) []string {
	var list []string
	for w, n := range counts {
		if n > 1 {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		if d := counts[a] - counts[b]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return list
}

// queries makes n questions, the same at every run.
func (v *vocabulary) queries(n int) []query {
	rng := rand.New(rand.NewPCG(seed, 0))
	// Half of the picks are from the frequent end.
	pick := func(list []string) string {
		if rng.IntN(2) == 0 {
			return list[rng.IntN(len(list))]
		}
		return list[len(list)-1-rng.IntN(min(len(list), 400))]
	}
	kinds := v.kinds(rng, pick)
	list := make([]query, n)
	for i := range list {
		list[i] = kinds[i%len(kinds)]()
	}
	return list
}

// kinds are the makers of questions, in the mix of which queries takes them.
func (v *vocabulary) kinds(rng *rand.Rand, pick func([]string) string) []func() query {
	word := func() query { return same("word", pick(v.words)) }
	phrase := func() query { return same("phrase", `"`+pick(v.phrases)+`"`) }
	both := func() query { return same("words", pick(v.words)+" "+pick(v.words)) }
	from := func() query { return same("from:", "from:"+pick(v.senders)) }
	subject := func() query { return same("subject:", "subject:"+pick(v.subjects)) }
	prefix := func() query {
		w := pick(v.words)
		return same("prefix*", w[:max(3, len(w)*2/3)]+"*")
	}
	either := func() query {
		a, b := pick(v.words), pick(v.words)
		return query{"OR", a + " OR " + b, a + " or " + b, a + " or " + b}
	}
	without := func() query {
		a, b := pick(v.words), pick(v.words)
		return query{"NOT", a + " -" + b, a + " and not " + b, a + " and not " + b}
	}
	date := func() (string, string) {
		from := v.first.AddDate(0, 0, rng.IntN(v.days))
		to := from.AddDate(0, 0, 1+rng.IntN(120))
		return "date:" + from.Format(time.DateOnly) + ".." + to.Format(time.DateOnly), "date:" + from.Format("20060102") + ".." + to.Format("20060102")
	}
	dates := func() query {
		ours, mus := date()
		return query{"date:", ours, ours, mus}
	}
	mixed := func() query {
		ours, mus := date()
		w := "from:" + pick(v.senders) + " "
		return query{"from: date:", w + ours, w + ours, w + mus}
	}
	attached := func() query {
		w := pick(v.words)
		return query{"has:attachment", w + " has:attachment", w + " tag:attachment", w + " flag:attach"}
	}
	return []func() query{word, phrase, from, dates, word, subject, either, phrase, prefix, both, word, without, mixed, attached, phrase}
}
