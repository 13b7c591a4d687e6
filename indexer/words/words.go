// Package words splits text into the terms that the index holds and that a
// query looks for. Both use it, so that they agree.
//
// A word is a run of letters, digits and the marks on them; everything else
// separates: "v2.6.3" is three words and so is "foo@bar.com". Words are folded
// to lower case without diacritics. Text of scripts that do not separate words
// is cut into overlapping pairs of characters.
package words

import (
	"iter"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxTermBytes is the length to which longer terms are cut. No word of a
// language is longer; encoded data that poses as text is, and would make the
// dictionary of the index large.
const MaxTermBytes = 100

// A Token is a term and where it was found.
type Token struct {
	// Term is folded. It is valid until the next token.
	Term []byte
	// Position counts words from 1.
	Position int
	// Start and End are byte offsets in the text.
	Start, End int
	// Tail marks the last character of a run of pairs, as a term of its own. It
	// is in the index so that any single character can be found as the beginning
	// of a term; a query leaves it out where the run has pairs.
	Tail bool
	// Lone marks a run of a single such character.
	Lone bool
}

// All yields the tokens of text, in order. Invalid UTF-8 separates words.
func All(text string) iter.Seq[Token] {
	return func(yield func(Token) bool) {
		var s scanner
		for i := 0; i < len(text); {
			c := text[i]
			if c < utf8.RuneSelf {
				if ascii[c] == 0 {
					i++
					continue
				}
			} else if r, n := utf8.DecodeRuneInString(text[i:]); !isWord(r) {
				i += n
				continue
			} else if IsPaired(r) {
				if i = s.pairs(text, i, yield); i < 0 {
					return
				}
				continue
			}
			start := i
			i = s.word(text, i)
			if len(s.term) == 0 {
				continue
			}
			s.position++
			if !yield(Token{Term: s.term, Position: s.position, Start: start, End: i}) {
				return
			}
		}
	}
}

// Fold folds text as words are folded, and keeps what separates them.
func Fold(text string) string {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		if r >= utf8.RuneSelf && (isWord(r) || unicode.IsMark(r)) {
			b = appendFolded(b, r)
		} else {
			b = utf8.AppendRune(b, unicode.ToLower(r))
		}
	}
	return string(b)
}

type scanner struct {
	term     []byte
	position int
}

// word reads the word that begins at i and returns where it ends.
func (s *scanner) word(text string, i int) int {
	s.term = s.term[:0]
	for i < len(text) {
		c := text[i]
		if c < utf8.RuneSelf {
			l := ascii[c]
			if l == 0 {
				break
			}
			s.term = append(s.term, l)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		if IsPaired(r) || !isWord(r) && !isInside(r) {
			break
		}
		s.term = appendFolded(s.term, r)
		i += n
	}
	s.term = cut(s.term)
	return i
}

// pairs yields the pairs of the run that begins at i and returns where it
// ends, or -1 when the receiver wants no more.
func (s *scanner) pairs(text string, i int, yield func(Token) bool) int {
	for start := i; ; {
		_, n := utf8.DecodeRuneInString(text[start:])
		next := start + n
		r, m := utf8.DecodeRuneInString(text[next:])
		more := next < len(text) && IsPaired(r)
		s.term = appendFolded(s.term[:0], first(text[start:]))
		end := next
		if more {
			s.term = appendFolded(s.term, r)
			end += m
		}
		s.position++
		if len(s.term) > 0 && !yield(Token{Term: s.term, Position: s.position, Start: start, End: end, Tail: !more && start > i, Lone: !more && start == i}) {
			return -1
		}
		if !more {
			return next
		}
		start = next
	}
}

func first(text string) rune {
	r, _ := utf8.DecodeRuneInString(text)
	return r
}

func cut(term []byte) []byte {
	if len(term) <= MaxTermBytes {
		return term
	}
	n := MaxTermBytes
	for !utf8.RuneStart(term[n]) {
		n--
	}
	return term[:n]
}

// ascii maps letters to lower case, digits to themselves, all else to 0.
var ascii = func() (t [utf8.RuneSelf]byte) {
	for c := range t {
		if unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)) {
			t[c] = byte(unicode.ToLower(rune(c)))
		}
	}
	return t
}()

// IsWord says whether r is a character that words are made of.
func IsWord(r rune) bool { return isWord(r) || isInside(r) }

func isWord(r rune) bool { return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsNumber(r)) }

// isInside says whether r does not end a word: marks, and characters that
// show nothing but a place to hyphenate or to join.
func isInside(r rune) bool {
	switch r {
	case '\u00ad', '\u200c', '\u200d', '\u2060', '\ufeff':
		return true
	}
	return unicode.IsMark(r)
}

// IsPaired says whether r belongs to a script written without spaces, or to
// Korean, where particles are joined to the word.
func IsPaired(r rune) bool {
	if r < 0x0e00 || r >= 0x2000 && r < 0x2e80 { // punctuation and symbols
		return false
	}
	return r >= 0x4e00 && r <= 0x9fff || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
		unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) || r == 'ー'
}

// foldedBelow bounds the table of the alphabets that most mail is written in.
const foldedBelow = 0x530

var folded = func() (t [foldedBelow]string) {
	for r := range t {
		t[r] = string(fold(nil, rune(r)))
	}
	return t
}()

func appendFolded(b []byte, r rune) []byte {
	if r < foldedBelow {
		return append(b, folded[r]...)
	}
	if unicode.In(r, unicode.Han) && r >= 0x3400 && r < 0xf900 {
		return utf8.AppendRune(b, r) // by far the most frequent, and nothing to fold
	}
	return fold(b, r)
}

// fold appends what r is without case, diacritics and compatibility forms.
func fold(b []byte, r rune) []byte {
	switch r {
	case 'ß', 'ẞ':
		return append(b, "ss"...)
	case 'æ', 'Æ':
		return append(b, "ae"...)
	case 'œ', 'Œ':
		return append(b, "oe"...)
	case 'þ', 'Þ':
		return append(b, "th"...)
	case 'ø', 'Ø':
		return append(b, 'o')
	case 'đ', 'Đ', 'ð', 'Ð':
		return append(b, 'd')
	case 'ł', 'Ł':
		return append(b, 'l')
	case 'ħ', 'Ħ':
		return append(b, 'h')
	case 'ı':
		return append(b, 'i')
	case 'ς':
		return append(b, "σ"...)
	}
	form := norm.NFKD
	if unicode.In(r, unicode.Hangul, unicode.Katakana, unicode.Hiragana) {
		form = norm.NFKC // taking these apart would leave no characters to pair
	}
	for _, d := range form.String(string(unicode.ToLower(r))) {
		if isWord(d) || unicode.IsMark(d) && !isDiacritic(d) {
			b = utf8.AppendRune(b, unicode.ToLower(d))
		}
	}
	return b
}

// isDiacritic says whether a mark is left out: accents, and the vowel points
// that Hebrew and Arabic are written with or without. The marks of other
// scripts are letters in all but name.
func isDiacritic(r rune) bool {
	switch {
	case r >= 0x0300 && r <= 0x036f, r >= 0x0483 && r <= 0x0489, r >= 0x1ab0 && r <= 0x1aff,
		r >= 0x1dc0 && r <= 0x1dff, r >= 0x20d0 && r <= 0x20ff, r >= 0xfe20 && r <= 0xfe2f:
		return true
	case r >= 0x0591 && r <= 0x05c7, r >= 0x0610 && r <= 0x061a, r >= 0x064b && r <= 0x065f, r == 0x0670:
		return true
	}
	return false
}
