package query

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

type tokenKind int

const (
	tokenEnd    tokenKind = iota
	tokenWord             // text as written
	tokenPhrase           // text without the quotes and escapes
	tokenNear             // a phrase with a distance
	tokenRegexp           // text is the pattern
	tokenField            // text is the name in lower case, without the colon
	tokenOpen
	tokenClose
	tokenMinus
	tokenOr
	tokenAnd
	tokenNot
)

type token struct {
	kind   tokenKind
	text   string
	column int
	// distance is that of a tokenNear.
	distance int
}

// describe is how an error speaks of the token.
func (t token) describe() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the query"
	case tokenPhrase, tokenNear:
		return `"` + t.text + `"`
	case tokenRegexp:
		return "/" + t.text + "/"
	case tokenField:
		return t.text + ":"
	}
	return t.text
}

type lexer struct {
	in  []rune
	pos int
}

// next reads a token. After a field the caller asks for its value with value.
func (l *lexer) next() (token, error) {
	for l.pos < len(l.in) && unicode.IsSpace(l.in[l.pos]) {
		l.pos++
	}
	t := token{column: l.pos + 1}
	if l.pos == len(l.in) {
		return t, nil
	}
	switch r := l.in[l.pos]; r {
	case '(':
		return l.single(tokenOpen), nil
	case ')':
		return l.single(tokenClose), nil
	case '-':
		return l.single(tokenMinus), nil
	case '"':
		return l.phrase()
	case '/':
		return l.regexp()
	}
	if name := l.fieldName(); name != "" {
		l.pos += len(name) + 1 // ASCII letters and the colon
		t.kind, t.text = tokenField, strings.ToLower(name)
		if _, ok := fieldKind(t.text); !ok {
			return t, unknownField(t, name)
		}
		return t, nil
	}
	return l.word()
}

func (l *lexer) single(kind tokenKind) token {
	l.pos++
	return token{kind: kind, text: string(l.in[l.pos-1]), column: l.pos}
}

// fieldName returns the letters before a colon if that is what comes next. The
// scheme of a URL is none.
func (l *lexer) fieldName() string {
	for i := l.pos; i < len(l.in); i++ {
		switch r := l.in[i]; {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
		case r == ':' && i > l.pos && !strings.HasPrefix(string(l.in[i+1:min(len(l.in), i+3)]), "//"):
			return string(l.in[l.pos:i])
		default:
			return ""
		}
	}
	return ""
}

// value reads what follows the colon of a field: a word as it stands, a
// phrase or an opening parenthesis.
func (l *lexer) value(field token) (token, error) {
	column := l.pos + 1
	missing := &Error{Column: column, Expected: "a value right after " + field.text + ":", Got: "nothing"}
	if l.pos == len(l.in) {
		return token{}, missing
	}
	switch r := l.in[l.pos]; {
	case r == '(':
		return l.single(tokenOpen), nil
	case r == '"':
		return l.phrase()
	case unicode.IsSpace(r) || r == ')':
		return token{}, missing
	case r == '-':
		return token{}, &Error{Column: column, Expected: "a value", Got: `"-"`, Hint: "to exclude, write -" + field.text + ":"}
	case r == '/':
		return l.regexp()
	}
	t, err := l.word()
	t.kind = tokenWord // from:OR is no operator
	return t, err
}

func (l *lexer) word() (token, error) {
	start := l.pos
	for l.pos < len(l.in) && !unicode.IsSpace(l.in[l.pos]) && !strings.ContainsRune(`()"`, l.in[l.pos]) {
		l.pos++
	}
	t := token{kind: tokenWord, text: string(l.in[start:l.pos]), column: start + 1}
	switch t.text {
	case "OR":
		t.kind = tokenOr
	case "AND":
		t.kind = tokenAnd
	case "NOT":
		t.kind = tokenNot
	}
	if i := strings.LastIndexByte(t.text, '~'); i >= 0 && strings.Trim(t.text[i+1:], "0123456789") == "" {
		return t, &Error{Column: t.column, Expected: "a word", Got: t.text, Hint: "similar spellings are not supported; words near each other are written \"a b\"~5"}
	}
	return t, nil
}

func (l *lexer) phrase() (token, error) {
	t := token{kind: tokenPhrase, column: l.pos + 1}
	var b strings.Builder
	for l.pos++; l.pos < len(l.in); l.pos++ {
		switch r := l.in[l.pos]; r {
		case '\\':
			if l.pos+1 < len(l.in) && (l.in[l.pos+1] == '"' || l.in[l.pos+1] == '\\') {
				l.pos++
			}
			b.WriteRune(l.in[l.pos])
		case '"':
			l.pos++
			t.text = b.String()
			if l.pos < len(l.in) && l.in[l.pos] == '~' {
				return l.near(t)
			}
			return t, nil
		default:
			b.WriteRune(r)
		}
	}
	return t, &Error{Column: t.column, Expected: `a closing " for this phrase`, Got: "the end of the query"}
}

// near reads the distance after a phrase.
func (l *lexer) near(t token) (token, error) {
	start := l.pos + 1
	for l.pos++; l.pos < len(l.in) && l.in[l.pos] >= '0' && l.in[l.pos] <= '9'; {
		l.pos++
	}
	var err error
	if t.distance, err = strconv.Atoi(string(l.in[start:l.pos])); err != nil || t.distance > MaxDistance {
		got := string(l.in[start:l.pos])
		if got == "" {
			got = "nothing"
		}
		return t, &Error{Column: start + 1, Expected: fmt.Sprintf("how many other words may be among these, 0 to %d", MaxDistance), Got: got}
	}
	t.kind = tokenNear
	return t, nil
}

// regexp reads what stands between slashes. \/ is a slash in it.
func (l *lexer) regexp() (token, error) {
	t := token{kind: tokenRegexp, column: l.pos + 1}
	var b strings.Builder
	for l.pos++; l.pos < len(l.in); l.pos++ {
		switch r := l.in[l.pos]; {
		case r == '\\' && l.pos+1 < len(l.in):
			l.pos++
			if l.in[l.pos] != '/' {
				b.WriteRune(r)
			}
			b.WriteRune(l.in[l.pos])
		case r == '/':
			l.pos++
			t.text = b.String()
			if l.pos < len(l.in) && !unicode.IsSpace(l.in[l.pos]) && l.in[l.pos] != ')' {
				return t, &Error{Column: l.pos + 1, Expected: "a space after the regular expression " + t.describe(), Got: string(l.in[l.pos]),
					Hint: "text with slashes goes in quotes"}
			}
			return t, nil
		default:
			b.WriteRune(r)
		}
	}
	return t, &Error{Column: t.column, Expected: "a closing / for this regular expression", Got: "the end of the query", Hint: "text with a leading slash goes in quotes"}
}

func unknownField(t token, name string) error {
	e := &Error{Column: t.column, Expected: "a field", Got: name + ":"}
	if like := nearest(t.text, fieldNames); like != "" {
		e.Hint = "did you mean " + like + ":? A text with a colon goes in quotes"
	} else {
		e.Expected = "a field, one of " + oneOf(fieldNames)
		e.Hint = "a text with a colon goes in quotes"
	}
	return e
}
