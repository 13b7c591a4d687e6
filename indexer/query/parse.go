package query

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postkeep/postkeep/indexer/words"
)

// Parse reads a query. The error is an *Error.
func Parse(s string) (Node, error) {
	if !utf8.ValidString(s) {
		valid := strings.IndexRune(strings.ToValidUTF8(s, "\x00"), 0)
		return nil, &Error{Column: utf8.RuneCountInString(s[:valid]) + 1, Expected: "text in UTF-8", Got: "other bytes"}
	}
	p := parser{lex: lexer{in: []rune(s)}}
	if len(p.lex.in) > MaxLength {
		return nil, &Error{Column: MaxLength + 1, Expected: fmt.Sprintf("a query of at most %d characters", MaxLength), Got: fmt.Sprintf("%d characters", len(p.lex.in))}
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.or(nil)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenEnd {
		return nil, p.unexpected("a word, a field or the end of the query")
	}
	return n, nil
}

// parser is a recursive descent over
//
//	or    = and { "OR" and }
//	and   = not { [ "AND" ] not }
//	not   = ( "-" | "NOT" ) not | term
//	term  = "(" or ")" | field value | field "(" or ")" | word | phrase
//
// where field is the field of an enclosing group, nil outside of one.
type parser struct {
	lex   lexer
	tok   token
	terms int
	depth int
}

func (p *parser) advance() (err error) {
	p.tok, err = p.lex.next()
	return err
}

func (p *parser) unexpected(expected string) error {
	return &Error{Column: p.tok.column, Expected: expected, Got: p.tok.describe()}
}

func (p *parser) or(field *token) (Node, error) {
	var nodes []Node
	for {
		n, err := p.and(field)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		if p.tok.kind != tokenOr {
			return newOr(nodes), nil
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

func (p *parser) and(field *token) (Node, error) {
	var nodes []Node
	for {
		n, err := p.not(field)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		switch p.tok.kind {
		case tokenEnd, tokenClose, tokenOr:
			return newAnd(nodes), nil
		case tokenAnd:
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
	}
}

func (p *parser) not(field *token) (Node, error) {
	if p.tok.kind != tokenMinus && p.tok.kind != tokenNot {
		return p.term(field)
	}
	if p.tok.kind == tokenMinus && p.lex.pos < len(p.lex.in) && unicode.IsSpace(p.lex.in[p.lex.pos]) {
		return nil, &Error{Column: p.tok.column, Expected: `what to exclude right after "-"`, Got: "a space"}
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.not(field)
	if err != nil {
		return nil, err
	}
	return &Not{n}, nil
}

func (p *parser) enter() error {
	if p.depth++; p.depth > MaxDepth {
		return &Error{Column: p.tok.column, Expected: fmt.Sprintf("at most %d parentheses and negations inside each other", MaxDepth), Got: "one more"}
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) term(field *token) (Node, error) {
	t := p.tok
	switch t.kind {
	case tokenOpen:
		return p.group(field)
	case tokenField:
		if field != nil {
			return nil, p.unexpected("a value of " + field.text + ":")
		}
		value, err := p.lex.value(t)
		if err != nil {
			return nil, err
		}
		p.tok = value
		if value.kind == tokenOpen {
			return p.group(&t)
		}
		return p.leaf(&t)
	case tokenWord, tokenPhrase, tokenNear, tokenRegexp:
		return p.leaf(field)
	}
	return nil, p.unexpected("a word, a phrase or a field")
}

func (p *parser) group(field *token) (Node, error) {
	open := p.tok
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.or(field)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenClose {
		return nil, p.unexpected(fmt.Sprintf("a ) for the ( in column %d", open.column))
	}
	return n, p.advance()
}

// leaf makes a node of the current token, a word or a phrase.
func (p *parser) leaf(field *token) (Node, error) {
	if p.terms++; p.terms > MaxTerms {
		return nil, &Error{Column: p.tok.column, Expected: fmt.Sprintf("at most %d words and conditions", MaxTerms), Got: "one more"}
	}
	n, err := p.condition(field)
	if err != nil {
		return nil, err
	}
	return n, p.advance()
}

func (p *parser) condition(field *token) (Node, error) {
	t := p.tok
	if field == nil {
		if t.kind == tokenWord && t.text == "*" {
			return &All{}, nil
		}
		return textNode(Any, t)
	}
	k, _ := fieldKind(field.text)
	if k == headerKind {
		return p.header()
	}
	if k != textKind && t.kind != tokenWord {
		return nil, &Error{Column: t.column, Expected: "a value without quotes after " + field.text + ":", Got: t.describe()}
	}
	value := strings.ToLower(t.text)
	switch k {
	case languageKind:
		return &Text{Field: Language, Value: value}, isOneOf(t, words.Languages())
	case idKind:
		if strings.Trim(value, "0123456789abcdef") != "" || len(value) < MinID || len(value) > 64 {
			return nil, &Error{Column: t.column, Expected: fmt.Sprintf("a message id or the first digits of one, %d to 64 of 0 to 9 and a to f", MinID), Got: t.text}
		}
		return &ID{Prefix: value, Thread: field.text == "thread"}, nil
	case flagKind:
		return &Flag{value}, isOneOf(t, flagNames)
	case hasKind:
		return &Flag{Attachment}, isOneOf(t, []string{Attachment})
	case sizeKind:
		return parseSize(t)
	case dateKind:
		return parseDate(field.text, t)
	}
	return textNode(Field(field.text), t)
}

// isOneOf returns an error if the token is none of the names, in any case.
func isOneOf(t token, names []string) error {
	value := strings.ToLower(t.text)
	if slices.Contains(names, value) {
		return nil
	}
	e := &Error{Column: t.column, Expected: strings.Join(names, ", "), Got: t.text}
	if len(names) > 1 {
		e.Expected = oneOf(names)
	}
	if like := nearest(value, names); like != "" {
		e.Hint = "did you mean " + like + "?"
	}
	return e
}

func textNode(f Field, t token) (Node, error) {
	if !strings.ContainsFunc(t.text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) && t.kind != tokenRegexp {
		e := &Error{Column: t.column, Expected: "a word with a letter or digit", Got: t.describe()}
		if t.text == "*" {
			e.Hint = anyValue(f)
		}
		return nil, e
	}
	switch t.kind {
	case tokenRegexp:
		if _, err := foldedPattern(t.text); err != nil {
			return nil, &Error{Column: t.column, Expected: "a regular expression", Got: t.describe(), Hint: err.Error()}
		}
		return &Regexp{Field: f, Pattern: t.text}, nil
	case tokenNear:
		if f.whole() {
			return nil, &Error{Column: t.column, Expected: "a value of " + string(f) + ":", Got: "words near each other", Hint: "this field has whole values"}
		}
		if n := countWords(t.text); n < 2 {
			return nil, &Error{Column: t.column, Expected: "at least two words near each other", Got: t.describe()}
		}
		return &Near{Field: f, Value: t.text, Distance: t.distance}, nil
	}
	if t.kind == tokenWord && f != Mailbox && f != MessageID && strings.ContainsAny(t.text, "*?") && pairedText(t.text) {
		return nil, &Error{Column: t.column, Expected: "a word without * or ?", Got: t.text, Hint: "text of this script is found inside of longer words anyway"}
	}
	return &Text{Field: f, Value: t.text, Quoted: t.kind == tokenPhrase}, nil
}

// anyValue says what to write where somebody wants messages that have something in the field.
func anyValue(f Field) string {
	switch f {
	case From, To, Cc, Bcc, Subject:
		return "header:" + string(f) + " finds messages with this header field"
	case List:
		return "header:list-id finds messages of mailing lists"
	case MessageID:
		return "header:message-id finds messages that have one"
	case FileName, FileType, AttachmentText:
		return "has:attachment finds messages with attached files"
	}
	return "a * alone, without a field, finds everything"
}

func countWords(text string) int {
	n := 0
	for w := range strings.FieldsSeq(text) {
		for range words.All(w) {
			n++
			break
		}
	}
	return n
}

// header reads Name, Name=word or Name="phrase".
func (p *parser) header() (Node, error) {
	t := p.tok
	name, value, hasValue := strings.Cut(t.text, "=")
	if t.kind != tokenWord || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '*' || r == '?' }) {
		return nil, &Error{Column: t.column, Expected: "the name of a header field, as in header:X-Mailer or header:X-Mailer=word", Got: t.describe()}
	}
	n := &Header{Name: name, Value: value}
	if !hasValue {
		return n, nil
	}
	v := token{kind: tokenWord, text: value, column: t.column + len(name) + 1}
	if value == "" && p.lex.pos < len(p.lex.in) && p.lex.in[p.lex.pos] == '"' {
		var err error
		if v, err = p.lex.phrase(); err != nil {
			return nil, err
		}
		if v.kind == tokenNear {
			return nil, &Error{Column: v.column, Expected: "a phrase", Got: "words near each other"}
		}
		n.Value, n.Quoted = v.text, true
	}
	if _, ok := HeaderValues(name); !ok {
		return nil, &Error{Column: v.column, Expected: "header:" + name + " alone", Got: "a value", Hint: "the values of this field are not in the index"}
	}
	_, err := textNode(Any, v)
	return n, err
}

const sizeExample = "<, <=, > or >= and a number with K, M or G, like >1M"

func parseSize(t token) (Node, error) {
	bad := &Error{Column: t.column, Expected: sizeExample, Got: t.text}
	number := strings.TrimLeft(t.text, "<>=")
	s := &Size{Op: strings.TrimSuffix(t.text, number)}
	switch s.Op {
	case "<", "<=", ">", ">=":
	default:
		return nil, bad
	}
	shift := 0
	if number != "" {
		shift = 10 * (1 + strings.IndexByte("kmg", number[len(number)-1]|0x20))
		if shift > 0 {
			number = number[:len(number)-1]
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return nil, bad
	}
	s.Bytes = n << shift
	return s, nil
}
