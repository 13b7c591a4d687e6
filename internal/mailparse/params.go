package mailparse

import (
	"sort"
	"strconv"
	"strings"
)

const (
	// maxParams is the number of parameters taken of one field.
	maxParams = 100
	// maxSegments is the number of RFC 2231 segments of one parameter.
	maxSegments = 1000
)

// parseParams splits a Content-Type or Content-Disposition value (RFC 2045
// section 5.1, RFC 2183) into its first word, in lower case, and the parameters.
// The forms of RFC 2231 are joined and decoded; so are encoded words, which
// have no business there but are what most mailers write.
func (h Header) parseParams(value string) (word string, params map[string]string) {
	value = stripComments(value)
	end := strings.IndexByte(value, ';')
	if end < 0 {
		end = len(value)
	}
	word = strings.TrimSpace(value[:end])
	rest := value[end:]
	if i := strings.IndexAny(word, " \t"); i >= 0 {
		// "image/ jpeg", or a semicolon is missing: "text/html charset=utf-8".
		if eq := strings.IndexByte(word, '='); eq >= 0 {
			rest, word = ";"+value[i:], word[:i]
		} else {
			word = strings.NewReplacer(" ", "", "\t", "").Replace(word)
		}
	}
	var segments []segment
	for n := 0; rest != "" && n < maxParams+maxSegments; n++ {
		var name, v string
		name, v, rest = nextParam(rest)
		if name == "" || name[0] == '*' {
			continue
		}
		if strings.IndexByte(name, '*') >= 0 {
			segments = append(segments, newSegment(name, v))
			continue
		}
		if params == nil {
			params = make(map[string]string)
		}
		if _, ok := params[name]; !ok && len(params) < maxParams {
			params[name] = strings.TrimSpace(h.decode(v))
		}
	}
	if len(segments) > 0 {
		params = joinSegments(segments, params)
	}
	return strings.ToLower(h.decode(strings.Trim(word, `"'`))), params
}

// stripComments removes comments (RFC 5322 section 3.2.2) outside quotes.
func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var out strings.Builder
	depth, quoted, last := 0, false, strings.LastIndexByte(s, ')')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && depth == 0:
			out.WriteByte(c)
			i++
			c = s[i]
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted && i < last:
			depth++
		case c == ')' && depth > 0:
			depth--
			continue
		}
		if depth == 0 {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// nextParam takes a parameter off s, which begins with a semicolon. The name is in
// lower case, "" if there was none; the value is unquoted.
func nextParam(s string) (name, value, rest string) {
	s = strings.TrimLeft(s, "; \t")
	eq := strings.IndexByte(s, '=')
	semi := strings.IndexByte(s, ';')
	if eq < 0 || semi >= 0 && semi < eq {
		if semi < 0 {
			return "", "", ""
		}
		return "", "", s[semi:]
	}
	name = strings.ToLower(strings.TrimSpace(s[:eq]))
	s = strings.TrimLeft(s[eq+1:], " \t")
	if strings.HasPrefix(s, `"`) {
		if value, rest, ok := cutQuoted(s); ok {
			if strings.TrimLeft(rest, "; \t") == "" {
				rest = ""
			}
			return name, value, rest
		}
		s = s[1:]
	}
	value, rest, _ = strings.Cut(s, ";")
	value = strings.TrimSpace(value)
	if name != "name" && name != "filename" {
		// A semicolon is missing: charset=utf-8 name=x
		if i := strings.IndexAny(value, " \t"); i >= 0 {
			value, rest = value[:i], value[i:]+";"+rest
		}
	}
	return name, value, rest
}

// cutQuoted takes the quoted string (RFC 5322 section 3.2.4) off s, which
// begins with a quote. ok is false if it does not end.
func cutQuoted(s string) (value, rest string, ok bool) {
	end := closingQuote(s)
	if end < 0 {
		return "", s, false
	}
	return unquote(s[1:end]), s[end+1:], true
}

// closingQuote returns the place of the quote that ends the quoted string at
// the start of s, or -1.
func closingQuote(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// unquote undoes quoted pairs.
// QUIRK: a backslash before a letter or digit stays, for Windows mailers send whole paths.
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && !isWordByte(s[i+1]) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func isWordByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// segment is a parameter in the form of RFC 2231: name*number*=value.
type segment struct {
	name     string
	number   int
	extended bool // charset and percent encoding
	value    string
}

func newSegment(name, value string) segment {
	s := segment{value: value}
	var suffix string
	s.name, suffix, _ = strings.Cut(name, "*")
	suffix, s.extended = strings.CutSuffix(suffix, "*")
	if suffix == "" {
		s.extended = true // name*=value
	} else if n, err := strconv.Atoi(suffix); err == nil {
		s.number = n
	}
	return s
}

// joinSegments adds the parameters made of segments to params; they win over
// plain ones of the same name (RFC 6266 section 4.3 says so for HTTP).
func joinSegments(segments []segment, params map[string]string) map[string]string {
	if params == nil {
		params = make(map[string]string)
	}
	sort.SliceStable(segments, func(i, j int) bool {
		a, b := segments[i], segments[j]
		if a.name != b.name {
			return a.name < b.name
		}
		return a.number < b.number
	})
	for len(segments) > 0 {
		n := 1
		for n < len(segments) && segments[n].name == segments[0].name {
			n++
		}
		if len(params) < maxParams {
			params[segments[0].name] = joinSegment(segments[:n])
		}
		segments = segments[n:]
	}
	return params
}

func joinSegment(segments []segment) string {
	var octets []byte
	charset := ""
	for i, s := range segments {
		if !s.extended {
			octets = append(octets, s.value...)
			continue
		}
		v := s.value
		if i == 0 {
			// charset'language'text; some leave the quotes out
			if label, rest, ok := strings.Cut(v, "'"); ok {
				if _, text, ok := strings.Cut(rest, "'"); ok {
					charset, v = label, text
				}
			}
		}
		for j := 0; j < len(v); j++ {
			c := v[j]
			if c == '%' && j+2 < len(v) {
				if hi, lo := unhex(v[j+1]), unhex(v[j+2]); hi >= 0 && lo >= 0 {
					c = byte(hi<<4 | lo)
					j += 2
				}
			}
			octets = append(octets, c)
		}
	}
	if charset == "" {
		return decodeWords(string(octets), "")
	}
	text, _, _ := decodeCharset(octets, charset)
	return cleanValue(text)
}
