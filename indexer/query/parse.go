package query

import (
	"fmt"
	"math"
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
		return nil, &Error{utf8.RuneCountInString(s[:valid]) + 1, "text in UTF-8", "other bytes"}
	}
	p := parser{lex: lexer{in: []rune(s)}}
	if len(p.lex.in) > MaxLength {
		return nil, &Error{MaxLength + 1, fmt.Sprintf("a query of at most %d characters", MaxLength), fmt.Sprintf("%d characters", len(p.lex.in))}
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
	return &Error{p.tok.column, expected, p.tok.describe()}
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
		return nil, &Error{p.tok.column, `what to exclude right after "-"`, "a space"}
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
		return &Error{p.tok.column, fmt.Sprintf("at most %d parentheses and negations inside each other", MaxDepth), "one more"}
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
		if k, _ := fieldKind(t.text); k == unsupported {
			return nil, &Error{t.column, "a field, one of " + fieldNames, t.text + ":, which is not supported"}
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
	case tokenWord, tokenPhrase:
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
		return nil, &Error{p.tok.column, fmt.Sprintf("at most %d words and conditions", MaxTerms), "one more"}
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
	if k != textKind && t.kind == tokenPhrase {
		return nil, &Error{t.column, "a value without quotes after " + field.text + ":", t.describe()}
	}
	value := strings.ToLower(t.text)
	switch k {
	case flagKind:
		if !isFlag(value) {
			return nil, &Error{t.column, flagNames, t.text}
		}
		return &Flag{value}, nil
	case hasKind:
		if value != Attachment {
			return nil, &Error{t.column, Attachment, t.text}
		}
		return &Flag{Attachment}, nil
	case sizeKind:
		return parseSize(t)
	case dateKind:
		return parseDate(field.text, t)
	}
	return textNode(Field(field.text), t)
}

func textNode(f Field, t token) (Node, error) {
	if !strings.ContainsFunc(t.text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) {
		return nil, &Error{t.column, "a word with a letter or digit", t.describe()}
	}
	if t.kind == tokenWord && f != Mailbox && f != MessageID && strings.ContainsAny(t.text, "*?") && strings.ContainsFunc(t.text, words.IsPaired) {
		return nil, &Error{t.column, "a word without * or ? (text of this script is found inside of longer words anyway)", t.text}
	}
	return &Text{Field: f, Value: t.text, Quoted: t.kind == tokenPhrase}, nil
}

const sizeExample = "<, <=, > or >= and a number with K, M or G, like >1M"

func parseSize(t token) (Node, error) {
	bad := &Error{t.column, sizeExample, t.text}
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
