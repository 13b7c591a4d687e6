package words

import (
	"strings"
	"unicode/utf8"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/danish"
	"github.com/blevesearch/snowballstem/dutch"
	"github.com/blevesearch/snowballstem/english"
	"github.com/blevesearch/snowballstem/french"
	"github.com/blevesearch/snowballstem/german"
	"github.com/blevesearch/snowballstem/italian"
	"github.com/blevesearch/snowballstem/portuguese"
	"github.com/blevesearch/snowballstem/russian"
	"github.com/blevesearch/snowballstem/spanish"
	"github.com/blevesearch/snowballstem/swedish"
	"golang.org/x/text/unicode/norm"
)

const (
	// maxStemBytes is the length of words that have a stem. Words of a language
	// are shorter, and the rules take time for each letter.
	maxStemBytes = 48
	// maxStems is how many stems of a language a Stemmer remembers. A word of
	// mail is among the last so many nearly always.
	maxStems = 1 << 16
)

// Stemmer finds what words have in common that differ in their endings only, by
// the rules of Snowball (snowballstem.org). It remembers what it has found, and is
// not safe for concurrent use.
type Stemmer struct {
	env      *snowballstem.Env
	known    map[string]map[string]string // by language and lower-case word
	language string                       // the last one
	last     map[string]string            // what is known of it
}

// NewStemmer returns a Stemmer that knows nothing yet.
func NewStemmer() *Stemmer {
	return &Stemmer{env: snowballstem.NewEnv(""), known: map[string]map[string]string{}}
}

// Stem returns the folded stem of a word in a language of Languages, "" if the word
// is its own: term is the folded word, original how it stands in the text. The
// rules need the diacritics that folding takes away. Words with digits and very
// long ones are their own stems. For words that it remembers Stem allocates nothing
// if they are in ASCII.
func (s *Stemmer) Stem(language string, term []byte, original string) string {
	ascii, stemmable := kindOf(original)
	if !stemmable {
		return ""
	}
	known := s.of(language)
	if ascii {
		if stem, ok := known[string(term)]; ok { // makes no string of term
			return stem
		}
	}
	lower := string(term)
	if !ascii {
		lower = norm.NFC.String(strings.ToLower(original))
		if stem, ok := known[lower]; ok {
			return stem
		}
	}
	s.env.SetCurrent(lower)
	stemIn(language, s.env)
	stem := foldTerm(s.env.Current())
	if stem == string(term) {
		stem = ""
	}
	if len(known) >= maxStems {
		clear(known)
	}
	known[lower] = stem
	return stem
}

// of returns the stems that are known of a language. Nearly always it is that of the word before.
func (s *Stemmer) of(language string) map[string]string {
	if s.last == nil || s.language != language {
		s.language, s.last = language, s.known[language]
		if s.last == nil {
			s.last = make(map[string]string, 1024)
			s.known[language] = s.last
		}
	}
	return s.last
}

// kindOf reports whether a word is in ASCII, and whether the rules are for such a word.
func kindOf(word string) (ascii, stemmable bool) {
	ascii = true
	for i := range len(word) {
		switch c := word[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case c >= '0' && c <= '9':
			return ascii, false
		}
	}
	return ascii, len(word) <= maxStemBytes
}

// foldTerm folds a word, as All does.
func foldTerm(word string) string {
	var s scanner
	s.word(word, 0)
	return string(s.term)
}

// stemIn applies the rules of a language to the word in env.
func stemIn(language string, env *snowballstem.Env) {
	switch language {
	case "da":
		danish.Stem(env)
	case "de":
		german.Stem(env)
	case "en":
		english.Stem(env)
	case "es":
		spanish.Stem(env)
	case "fr":
		french.Stem(env)
	case "it":
		italian.Stem(env)
	case "nl":
		dutch.Stem(env)
	case "pt":
		portuguese.Stem(env)
	case "ru":
		russian.Stem(env)
	case "sv":
		swedish.Stem(env)
	}
}
