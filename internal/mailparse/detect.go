package mailparse

import (
	"bytes"
	"strings"
	"unicode/utf8"

	ngrams "github.com/gogs/chardet"
	"github.com/wlynxg/chardet"
	"golang.org/x/text/encoding"
)

const (
	// maxDetectBytes is how much is looked at; more makes no guess better.
	maxDetectBytes = 4 << 10
	// Below these confidences a guess is none. The scales are those of the libraries.
	minConfidence, minNgramConfidence = 0.6, 30
)

// detectCharset guesses the charset of octets that are neither UTF-8 nor
// declared to be anything. Of two libraries each sees what the other does not:
// the first knows the scripts of East Asia and the Cyrillic, Greek, Hebrew and Thai ones,
// also from a few words; the other the languages of Latin and Arabic letters. What
// nobody recognises is windows-1252, as it is on the web.
func detectCharset(b []byte) (encoding.Encoding, string) {
	words := wordsBeyondASCII(b)
	guess := chardet.Detect(words)
	if name := detectedName(guess.Encoding); guess.Confidence >= minConfidence && !isLatin(name) {
		if enc := lookupCharset(name); enc != nil {
			return enc, name
		}
	}
	if best, err := ngrams.NewTextDetector().DetectBest(words); err == nil && best.Confidence >= minNgramConfidence {
		if name := detectedName(best.Charset); name != "iso-8859-1" && name != "utf-8" {
			if enc := lookupCharset(name); enc != nil && !readsAsFallback(words, enc) {
				return enc, name
			}
		}
	}
	return lookupCharset(fallbackCharset), fallbackCharset
}

const fallbackCharset = "windows-1252"

// readsAsFallback reports whether words say the same in the fallback: a guess from a
// few accented letters then says nothing.
func readsAsFallback(words []byte, enc encoding.Encoding) bool {
	guessed, err := enc.NewDecoder().Bytes(words)
	if err != nil {
		return true
	}
	usual, err := lookupCharset(fallbackCharset).NewDecoder().Bytes(words)
	return err == nil && bytes.Equal(guessed, usual)
}

// detectedName makes our name of that of a library, and takes the usual charset
// for one that only looks like it.
func detectedName(name string) string {
	switch name = normalizeCharset(name); name {
	case "maccyrillic":
		return "windows-1251" // nobody sends the other
	case "gb2312":
		return "gb18030" // its superset
	case "iso-8859-8-i", "iso-8859-8":
		return "windows-1255"
	}
	return name
}

// isLatin reports whether a guess is one of those that the first library takes
// for each other.
func isLatin(name string) bool {
	switch name {
	case "iso-8859-1", "iso-8859-9", "iso-8859-15", "windows-1252", "windows-1254", "macroman", "us-ascii", "utf-8", "":
		return true
	}
	return strings.HasPrefix(name, "utf-")
}

// wordsBeyondASCII returns the words that have octets above 127: all others are
// English to a guesser.
func wordsBeyondASCII(b []byte) []byte {
	b = b[:min(len(b), 16*maxDetectBytes)]
	out := make([]byte, 0, min(len(b), maxDetectBytes))
	for word := range bytes.FieldsFuncSeq(b, func(r rune) bool { return r <= ' ' }) {
		if len(out) >= maxDetectBytes {
			break
		}
		if !isASCII(word) {
			out = append(append(out, word...), ' ')
		}
	}
	return out[:min(len(out), maxDetectBytes)]
}

// isMostlyUTF8 reports whether there is more UTF-8 in b than there are octets that are none;
// where UTF-8 is declared, a quarter of it will do: text of other charsets has next to nothing.
func isMostlyUTF8(b []byte, declared bool) bool {
	good, bad := 0, 0
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			bad++
		case size > 1:
			good++
		}
		b = b[size:]
	}
	if declared {
		good *= 4
	}
	return good > 0 && good >= bad
}

// isReallyUTF8 reports whether b, declared as the charset label, is UTF-8: mailers convert
// text and forget the label. Text of 8-bit charsets is valid UTF-8 by a chance
// that is as good as none; pairs of octets of East Asian ones may be a few times.
func isReallyUTF8(b []byte, label string) bool {
	for _, prefix := range [...]string{"iso-8859", "windows-", "cp12", "koi8"} {
		if strings.HasPrefix(label, prefix) {
			return utf8.Valid(b)
		}
	}
	switch label {
	case "gb2312", "gbk", "gb18030", "big5", "euc-kr", "ks_c_5601-1987", "euc-jp", "shift_jis", "iso-2022-jp":
		return utf8.Valid(b) && (utf8.RuneCount(b)-countASCII(b) >= 4)
	}
	return false
}

func countASCII(b []byte) (n int) {
	for _, c := range b {
		if c < utf8.RuneSelf {
			n++
		}
	}
	return n
}
