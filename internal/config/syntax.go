package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth bounds nesting, on which the parser's time depends quadratically;
// the deepest key of ours is at four.
const maxDepth = 32

// parseYAML returns the mapping that is the document, nil after a problem.
func (d *decoder) parseYAML() *ast.MappingNode {
	d.text = bytes.TrimPrefix(d.text, []byte("\ufeff"))
	if !d.checkText() {
		return nil
	}
	tokens := lexer.Tokenize(string(d.text))
	if !d.checkDepth(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // we report all of them
	if err != nil {
		d.failSyntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if body != nil {
			d.fail(start(doc.Body), "a second document begins here; the configuration is one YAML document")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		d.fail(position{1, 1}, "the configuration is empty (postkeep init writes one)")
		return nil
	}
	mapping, ok := body.(*ast.MappingNode)
	if !ok {
		d.fail(start(body), "the configuration must be a mapping (key: value), is %s", kindOf(body))
		return nil
	}
	return mapping
}

// checkText refuses what is not text; the parser would carry on with it.
func (d *decoder) checkText() bool {
	at := position{1, 1}
	for rest := d.text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			d.fail(at, "byte 0x%02x is not UTF-8", rest[0])
			return false
		case r == '\n':
			at = position{at.line + 1, 0}
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			d.fail(at, "control character 0x%02x is not allowed", r)
			return false
		}
		rest = rest[size:]
		at.column++
	}
	return true
}

func (d *decoder) checkDepth(tokens token.Tokens) bool {
	flow, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		}
		if flow > maxDepth || entries > maxDepth {
			d.fail(position{line, t.Position.Column}, "nested too deeply")
			return false
		}
	}
	return true
}

func (d *decoder) failSyntax(err error) {
	var syntax yaml.Error
	if !errors.As(err, &syntax) || syntax.GetToken() == nil {
		d.fail(position{1, 1}, "not YAML")
		return
	}
	message := syntax.GetMessage()
	switch {
	case strings.Contains(message, "'\t'"), strings.Contains(message, "tab character"):
		message = "a tab; YAML is indented with spaces only"
	case message == "non-map value is specified", message == "unexpected key name":
		message = `expected "key: value"`
	case strings.HasSuffix(message, "is not allowed in this context"):
		message += " (wrong indentation, or a value that needs quotes)"
	case strings.HasPrefix(message, "invalid header option"): // it would quote the value
		message = "invalid block scalar"
	}
	at := syntax.GetToken().Position
	d.fail(position{at.Line, at.Column}, "%s", message)
}

// start is where node begins. The token of a block mapping is its first colon.
func start(node ast.Node) position {
	if m, ok := node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		node = m.Values[0].Key
	}
	at := node.GetToken().Position
	return position{at.Line, at.Column}
}

// kindOf names what node is, for errors.
func kindOf(node ast.Node) string {
	switch node.Type() {
	case ast.MappingType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.NullType:
		return "empty"
	case ast.StringType, ast.LiteralType:
		return "text"
	case ast.BoolType:
		return "true or false"
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return "a number"
	case ast.AnchorType, ast.AliasType, ast.TagType:
		return "an anchor, an alias or a tag"
	default:
		return "something else"
	}
}
