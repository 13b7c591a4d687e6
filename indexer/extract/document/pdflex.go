package document

import (
	"bytes"
	"strconv"
	"strings"
)

type pdfTokenKind int

const (
	pdfOperator pdfTokenKind = iota + 1
	pdfNumber
	pdfString
	pdfName
	pdfArray
	pdfOther // a dictionary or its end
)

// pdfToken is an operator or an operand of a content stream.
type pdfToken struct {
	kind   pdfTokenKind
	text   string // of an operator, a string or a name
	number float64
	items  []pdfToken // strings and numbers of an array
}

// pdfLexer reads content streams and character maps (ISO 32000-1 section 7.8.2).
type pdfLexer struct{ data []byte }

const pdfSpace = "\x00\t\n\f\r "

// next returns the next token; false is the end.
func (l *pdfLexer) next() (pdfToken, bool) {
	for {
		l.data = bytes.TrimLeft(l.data, pdfSpace)
		if len(l.data) == 0 {
			return pdfToken{}, false
		}
		c := l.data[0]
		switch c {
		case '%':
			if i := bytes.IndexAny(l.data, "\r\n"); i >= 0 {
				l.data = l.data[i:]
				continue
			}
			return pdfToken{}, false
		case '(':
			return pdfToken{kind: pdfString, text: l.literal()}, true
		case '<':
			if len(l.data) > 1 && l.data[1] == '<' {
				l.data = l.data[2:]
				return pdfToken{kind: pdfOther}, true
			}
			return pdfToken{kind: pdfString, text: l.hex()}, true
		case '[':
			l.data = l.data[1:]
			return l.array(), true
		case '/':
			l.data = l.data[1:]
			return pdfToken{kind: pdfName, text: l.name()}, true
		case '>', ']', '{', '}', ')':
			l.data = l.data[1:]
			return pdfToken{kind: pdfOther}, true
		}
		return l.word(), true
	}
}

// regular returns the regular characters at the start (section 7.2.2).
func (l *pdfLexer) regular() string {
	n := bytes.IndexAny(l.data, pdfSpace+"()<>[]{}/%")
	if n < 0 {
		n = len(l.data)
	}
	word := string(l.data[:n])
	l.data = l.data[n:]
	return word
}

func (l *pdfLexer) word() pdfToken {
	word := l.regular()
	if n, err := strconv.ParseFloat(word, 64); err == nil && (word[0] <= '9') {
		return pdfToken{kind: pdfNumber, number: n}
	}
	return pdfToken{kind: pdfOperator, text: word}
}

// name reads a name, in which #xx stands for an octet.
func (l *pdfLexer) name() string {
	name := l.regular()
	if !strings.Contains(name, "#") {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '#' && i+2 < len(name) {
			if v, err := strconv.ParseUint(name[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// array reads up to the end of an array. Arrays inside are left out.
func (l *pdfLexer) array() pdfToken {
	t := pdfToken{kind: pdfArray}
	depth := 1
	for {
		l.data = bytes.TrimLeft(l.data, pdfSpace)
		if len(l.data) == 0 {
			return t
		}
		switch l.data[0] {
		case ']':
			l.data = l.data[1:]
			if depth--; depth == 0 {
				return t
			}
			continue
		case '[':
			l.data = l.data[1:]
			depth++
			continue
		}
		item, ok := l.next()
		if !ok {
			return t
		}
		if item.kind == pdfString || item.kind == pdfNumber {
			t.items = append(t.items, item)
		}
	}
}

// literal reads a string in parentheses (section 7.3.4.2).
func (l *pdfLexer) literal() string {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(l.data); i++ {
		c := l.data[i]
		switch c {
		case '(':
			if depth++; depth == 1 {
				continue
			}
		case ')':
			if depth--; depth == 0 {
				l.data = l.data[i+1:]
				return b.String()
			}
		case '\\':
			if i++; i < len(l.data) {
				i += l.escape(&b, l.data[i:])
			}
			continue
		}
		b.WriteByte(c)
	}
	l.data = nil
	return b.String()
}

// escape writes what stands behind a backslash and returns how many octets
// more than one it took.
func (l *pdfLexer) escape(b *strings.Builder, s []byte) int {
	if i := strings.IndexByte("nrtbf", s[0]); i >= 0 {
		b.WriteByte("\n\r\t\b\f"[i])
		return 0
	}
	switch {
	case s[0] == '\r' && len(s) > 1 && s[1] == '\n':
		return 1
	case s[0] == '\r' || s[0] == '\n':
		return 0
	case s[0] < '0' || s[0] > '7':
		b.WriteByte(s[0])
		return 0
	}
	v, n := 0, 0
	for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
		v = v<<3 | int(s[n]-'0')
		n++
	}
	b.WriteByte(byte(v)) //nolint:gosec // overflow is ignored by section 7.3.4.2
	return n - 1
}

// hex reads a string of hexadecimal digits.
func (l *pdfLexer) hex() string {
	end := bytes.IndexByte(l.data, '>')
	if end < 0 {
		end = len(l.data)
	}
	var b strings.Builder
	digits, v := 0, byte(0)
	for _, c := range l.data[1:end] {
		d, err := strconv.ParseUint(string(rune(c)), 16, 8)
		if err != nil {
			continue
		}
		v = v<<4 | byte(d)
		if digits++; digits%2 == 0 {
			b.WriteByte(v)
		}
	}
	if digits%2 == 1 {
		b.WriteByte(v << 4)
	}
	l.data = l.data[min(end+1, len(l.data)):]
	return b.String()
}

// skipImage goes behind an inline image, whose data follows the operator ID
// (section 8.9.7): EI stands between white space.
func (l *pdfLexer) skipImage() {
	for {
		i := bytes.Index(l.data, []byte("EI"))
		if i < 0 {
			l.data = nil
			return
		}
		before := i > 0 && strings.IndexByte(pdfSpace, l.data[i-1]) >= 0
		l.data = l.data[i+2:]
		if before && (len(l.data) == 0 || strings.IndexByte(pdfSpace, l.data[0]) >= 0) {
			return
		}
	}
}
