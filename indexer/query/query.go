// Package query is the query language of the archive: lexer, parser, syntax
// tree and printer. It knows nothing of an index.
//
//	invoice -draft                      words are ANDed, - or NOT excludes
//	"annual report" OR from:alice       phrases, OR, fields
//	from:(alice OR bob) date:2024-03    a field for a group
//	has:attachment size:>1M after:30d
//
// What the language has room for but does not do yet (regular expressions,
// proximity, some fields) is an error, never ignored. docs/query.md is the
// description for users.
//
// For every tree q that Parse returns, Parse(q.String()) returns an equal tree.
package query

import (
	"fmt"
	"strings"
)

// A Node is a query or a part of one. The nodes are *And, *Or, *Not, *Text,
// *Flag, *Size, *Date and *All; a tree that was parsed is not changed.
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

// Flag looks for a mark that parsing has left on the message. Attachment is
// written has:attachment, every other one is:NAME.
type Flag struct{ Name string }

// Attachment is the name of the flag of messages that have attachments.
const Attachment = "attachment"

// Size compares the octets of the message.
type Size struct {
	Op    string // one of < <= > >=
	Bytes int64
}

// Field names a part of the message to look in.
type Field string

// The fields that hold text. Any are the subject, the body, the addresses and
// the names of attached files.
const (
	Any            Field = ""
	From           Field = "from"
	To             Field = "to"
	Cc             Field = "cc"
	Bcc            Field = "bcc"
	Participant    Field = "participant" // any of the addresses
	Subject        Field = "subject"
	Body           Field = "body"
	AttachmentText Field = "attachment" // text and file names of attachments
	FileName       Field = "filename"
	Mailbox        Field = "mailbox"
	MessageID      Field = "msgid"
)

// What a field name introduces.
type kind int

const (
	textKind kind = iota
	flagKind
	hasKind
	sizeKind
	dateKind
	unsupported
)

// fieldKind says what the name of a field introduces, and whether it is one.
func fieldKind(name string) (kind, bool) {
	switch name {
	case "from", "to", "cc", "bcc", "participant", "subject", "body", "attachment", "filename", "mailbox", "msgid":
		return textKind, true
	case "is":
		return flagKind, true
	case "has":
		return hasKind, true
	case "size":
		return sizeKind, true
	case "date", "after", "before", "during", "received":
		return dateKind, true
	case "rcpt", "filetype", "list", "header", "lang", "thread", "id":
		return unsupported, true
	}
	return 0, false
}

const (
	fieldNames = "from, to, cc, bcc, participant, subject, body, attachment, filename, mailbox, msgid, has, is, size, date, after, before, during or received"
	flagNames  = "encrypted, signed, malformed, journal, bounce or partial"
)

func isFlag(name string) bool {
	switch name {
	case "encrypted", "signed", "malformed", "journal", "bounce", "partial":
		return true
	}
	return false
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
)

// An Error says what is wrong with a query and where.
type Error struct {
	Column   int    // in characters, from 1
	Expected string // what would have been right there
	Got      string // what was there
}

func (e *Error) Error() string {
	return fmt.Sprintf("query, column %d: expected %s, got %s", e.Column, e.Expected, e.Got)
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
