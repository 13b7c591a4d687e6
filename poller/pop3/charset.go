package pop3

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	ngrams "github.com/gogs/chardet"
	"github.com/wlynxg/chardet"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// Below these confidences a guess is none. The scales are those of the
// libraries.
const (
	minConfidence      = 0.6
	minNgramConfidence = 30
)

// decodeText returns a status line as UTF-8. RFC 1939 wants ASCII and RFC 6856
// UTF-8; QUIRK: large providers answer in the charset of their country. What is
// not UTF-8 is guessed at, as for messages that name no charset: by a library
// that knows the scripts of East Asia and Cyrillic, then by one that knows
// languages in Latin letters, and is Windows-1252 where neither is sure.
func decodeText(raw string) string {
	if utf8.ValidString(raw) {
		return raw
	}
	raw = raw[:min(len(raw), maxLineBytes)]
	decoded, err := guessCharset([]byte(raw)).NewDecoder().String(raw)
	if err != nil {
		return raw
	}
	return decoded
}

func guessCharset(raw []byte) encoding.Encoding {
	var words []byte // all others are English to a guesser
	for word := range bytes.FieldsSeq(raw) {
		if bytes.ContainsFunc(word, func(r rune) bool { return r >= utf8.RuneSelf }) {
			words = append(append(words, word...), ' ')
		}
	}
	if guess := chardet.Detect(words); guess.Confidence >= minConfidence && !isLatinGuess(guess.Encoding) {
		if enc := charsetByName(guess.Encoding); enc != nil {
			return enc
		}
	}
	switch {
	case isChinesePairs(words):
		return simplifiedchinese.GB18030
	case !hasPolishL(words):
	case slices.ContainsFunc(words, func(b byte) bool { return b == 0x9c || b == 0x9f || b == 0xb9 }): // ś, ź, ą; controls and š in the other
		return charmap.Windows1250
	default:
		return charmap.ISO8859_2
	}
	if best, err := ngrams.NewTextDetector().DetectBest(words); err == nil && best.Confidence >= minNgramConfidence {
		if enc := charsetByName(best.Charset); enc != nil && !isLatinGuess(best.Charset) {
			return enc
		}
	}
	return charmap.Windows1252
}

// charsetByName returns nil for names that the WHATWG does not know, and for
// UTF-8, which the text is not.
func charsetByName(name string) encoding.Encoding {
	switch strings.ToLower(name) {
	case "maccyrillic":
		return charmap.Windows1251 // nobody sends the other
	case "gb2312", "gb18030", "gb-18030":
		return simplifiedchinese.GB18030
	case "utf-8":
		return nil
	}
	enc, err := htmlindex.Get(name)
	if err != nil {
		return nil
	}
	return enc
}

// isLatinGuess reports whether the library takes this charset for its
// neighbours: it says so of any text in Latin letters.
func isLatinGuess(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "iso-8859-1", "iso-8859-9", "iso-8859-15", "windows-1252", "windows-1254", "macroman", "ascii", "":
		return true
	}
	return strings.HasPrefix(name, "utf-")
}

// hasPolishL reports whether there is an octet between letters that is ł in the
// charsets of Central Europe, and ³ in that of the West.
func hasPolishL(words []byte) bool {
	isLetter := func(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }
	for i := 1; i+1 < len(words); i++ {
		if words[i] == 0xb3 && isLetter(words[i-1]) && isLetter(words[i+1]) {
			return true
		}
	}
	return false
}

// isChinesePairs reports whether all octets above 127 come in pairs of the
// Chinese characters of GB 2312, and some of them in a row. Both libraries need
// more than the few characters of "密码错误". Letters of other scripts stand
// alone or in words of any length.
func isChinesePairs(words []byte) bool {
	longest := 0
	for i := 0; i < len(words); {
		run := 0
		for i+1 < len(words) && words[i] >= 0xa1 && words[i] <= 0xf7 && words[i+1] >= 0xa1 {
			run, i = run+1, i+2
		}
		if longest = max(longest, run); i < len(words) && words[i] >= utf8.RuneSelf {
			return false
		}
		i++
	}
	return longest >= 2
}
