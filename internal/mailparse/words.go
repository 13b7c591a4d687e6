package mailparse

import "strings"

const (
	// maxWordCharset is the longest charset name looked for in an encoded word.
	maxWordCharset = 60
	// maxWordBytes is how far the end of a word is looked for. RFC 2047 allows 75
	// octets, mailers write some thousands; without a limit the search would
	// be quadratic.
	maxWordBytes = 8 << 10
)

// encodedWord is one "=?charset?encoding?text?=" (RFC 2047 section 2).
type encodedWord struct {
	charset string
	base64  bool
	text    string
	end     int // behind the word
}

// decodeWords decodes a header value: encoded words wherever they stand, also
// within quotes or glued to other text, and raw octets by charset.
// It takes what the usual broken mailers write: spaces within a word, a
// missing "?=", characters split between adjacent words.
func decodeWords(s, charset string) string {
	next := strings.Index(s, "=?")
	if next < 0 {
		return decodeRaw(s, charset)
	}
	var out strings.Builder
	out.Grow(len(s))
	var run []byte // decoded octets of adjacent words of one charset
	var runCharset string
	flush := func() {
		if len(run) > 0 {
			text, _, _ := decodeCharset(run, runCharset)
			out.WriteString(cleanValue(text))
			run = run[:0]
		}
	}
	for next >= 0 {
		w, ok := parseWord(s[next:])
		if !ok {
			flush()
			out.WriteString(decodeRaw(s[:next+2], charset))
			s = s[next+2:]
			next = strings.Index(s, "=?")
			continue
		}
		// White space between two words is not text (section 6.2).
		if between := s[:next]; len(run) == 0 || strings.TrimLeft(between, " \t") != "" {
			flush()
			out.WriteString(decodeRaw(between, charset))
		}
		if !strings.EqualFold(w.charset, runCharset) {
			flush()
		}
		runCharset = w.charset
		run = w.decode(run)
		s = s[next+w.end:]
		next = strings.Index(s, "=?")
	}
	flush()
	out.WriteString(decodeRaw(s, charset))
	return out.String()
}

// parseWord parses the encoded word at the start of s, which begins with "=?".
func parseWord(s string) (encodedWord, bool) {
	var w encodedWord
	q := strings.IndexByte(s[2:min(len(s), 2+maxWordCharset)], '?')
	if q < 0 {
		return w, false
	}
	w.charset, _, _ = strings.Cut(s[2:2+q], "*") // "*" begins a language (RFC 2231 section 5)
	w.charset = strings.Trim(w.charset, ` "'`)
	at := 2 + q + 1
	if len(s) < at+2 || s[at+1] != '?' || strings.ContainsAny(w.charset, " =<>@,") {
		return w, false
	}
	switch s[at] {
	case 'B', 'b':
		w.base64 = true
	case 'Q', 'q':
	default:
		return w, false
	}
	at += 2
	window := s[at:min(len(s), at+maxWordBytes)]
	stop := strings.Index(window, "?=")
	again := strings.Index(window, "=?")
	if stop >= 0 && (again < 0 || again >= stop-1) { // stop-1: the text ends in "="
		w.text, w.end = s[at:at+stop], at+stop+2
		return w, true
	}
	// No end: up to the next white space, or to the next word.
	end := at + len(window)
	if i := strings.IndexAny(window, " \t"); i >= 0 {
		end = at + i
	}
	if again >= 0 {
		end = min(end, at+again)
	}
	w.text, w.end = strings.TrimSuffix(s[at:end], "?"), end
	return w, true
}

// decode appends the octets of the word to dst.
func (w encodedWord) decode(dst []byte) []byte {
	if w.base64 {
		d := base64Decoder{issue: func(string) {}}
		return d.flush(d.decode(dst, []byte(w.text)))
	}
	for i := 0; i < len(w.text); i++ {
		c := w.text[i]
		if c == '_' {
			c = ' '
		} else if c == '=' && i+2 < len(w.text) {
			if hi, lo := unhex(w.text[i+1]), unhex(w.text[i+2]); hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// decodeRaw makes UTF-8 of a value without encoded words. Mail software sends
// raw octets (RFC 6532 allows UTF-8 only) and ISO-2022-JP escapes.
func decodeRaw(s, charset string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	text, _, _ := decodeCharset([]byte(s), charset)
	return cleanValue(text)
}

// cleanValue makes one line of decoded text: control characters that an
// encoded word smuggles in become spaces, so that nobody's output breaks.
func cleanValue(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0:
			return -1
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, s)
}
