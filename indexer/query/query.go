// Package query is the query language of the archive: lexer, parser, syntax
// tree and printer. It knows nothing of an index.
//
//	invoice -draft                      words are ANDed, - or NOT excludes
//	"annual report" OR from:alice       phrases, OR, fields
//	from:(alice OR bob) date:2024-03    a field for a group
//	has:attachment size:>1M after:30d
//
// docs/query.md is the description for users.
//
// For every tree q that Parse returns, Parse(q.String()) returns an equal tree.
package query

import (
	"fmt"
	"strings"
)

// A Node is a query or a part of one. The nodes are *And, *Or, *Not, *Text,
// *Near, *Regexp, *Header, *ID, *Flag, *Size, *Date and *All; a tree that was
// parsed is not changed.
type Node interface {
	// String writes the node in the language, in its shortest usual form.
	String() string
	print(b *strings.Builder)
}

// And holds at least two nodes, none of them an *And.
type And struct{ Nodes []Node }

// Or holds at least two nodes, none of them an *Or.
type Or struct{ Nodes []Node }

// Not excludes what Node finds.
type Not struct{ Node Node }

// All finds every message. It is written as a * of its own.
type All struct{}

// Text looks for words.
type Text struct {
	// Field is where to look, Any for the usual places.
	Field Field
	// Value is what to look for, with at least one letter or digit. Not quoted,
	// it is free of white space, quotes and parentheses, and * and ? are wildcards.
	Value string
	// Quoted means exactly these words in this order.
	Quoted bool
}

// Near looks for words that stand close to each other, in any order.
type Near struct {
	// Field is where all of them have to be; with Any, all in one of the usual places.
	Field Field
	// Value holds at least two words, separated by white space.
	Value string
	// Distance is how many other words may stand among them, at most MaxDistance.
	Distance int
}

// Regexp looks for words that a regular expression fits as a whole.
type Regexp struct {
	Field   Field
	Pattern string // in the syntax of RE2, as written; see Folded
}

// Header looks for header fields.
type Header struct {
	Name string
	// Value is words to look for in the field, in any order, like that of a Text;
	// with "" the field only has to be there.
	Value  string
	Quoted bool
}

// ID looks for the message whose id begins with Prefix, or with Thread for all
// messages of the thread that this message is in.
type ID struct {
	Prefix string // hexadecimal, in lower case, 8 to 64 digits
	Thread bool
}

// Flag looks for a mark that parsing has left on the message, or for Held.
// Attachment is written has:attachment, every other one is:NAME.
type Flag struct{ Name string }

const (
	// Attachment is the name of the flag of messages that have attachments.
	Attachment = "attachment"
	// Held is the name of the flag of messages that a hold keeps from disposal.
	Held = "held"
)

// Size compares the octets of the message.
type Size struct {
	Op    string // one of < <= > >=
	Bytes int64
}

// Limits on a query. They are far above what people write and keep a hostile
// query from costing more than a search does.
const (
	// MaxLength is in characters: a list of several hundred addresses fits.
	MaxLength = 16 << 10
	// MaxTerms is the number of words, phrases and other conditions.
	MaxTerms = 1000
	// MaxDepth is the number of parentheses and negations inside each other;
	// parsing, printing and searching recurse.
	MaxDepth = 40
	// MaxDistance is the largest distance of words near each other. Texts that
	// have nothing to do with each other are further apart in the index.
	MaxDistance = 99
	// MinID is how many digits of an id have to be given.
	MinID = 8
)

// An Error says what is wrong with a query and where.
type Error struct {
	Column   int    // in characters, from 1
	Expected string // what would have been right there
	Got      string // what was there
	Hint     string // what was likely meant, may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("query, column %d: expected %s, got %s", e.Column, e.Expected, e.Got)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// newAnd and newOr keep trees flat, so that equal queries have equal trees.
func newAnd(nodes []Node) Node {
	var flat []Node
	for _, n := range nodes {
		if a, ok := n.(*And); ok {
			flat = append(flat, a.Nodes...)
		} else {
			flat = append(flat, n)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &And{flat}
}

func newOr(nodes []Node) Node {
	var flat []Node
	for _, n := range nodes {
		if o, ok := n.(*Or); ok {
			flat = append(flat, o.Nodes...)
		} else {
			flat = append(flat, n)
		}
	}
	if len(flat) == 1 {
		return flat[0]
	}
	return &Or{flat}
}
