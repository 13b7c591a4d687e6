package mailparse

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html/atom"
)

// textBuilder joins text as a browser shows it: runs of white space are one
// space, lines are trimmed.
type textBuilder struct {
	strings.Builder
	space   bool // white space was seen and not written
	cell    bool // a cell of a table begins
	lines   int  // line ends to be written before the next text
	written bool
	pre     int    // depth of pre elements
	quote   int    // depth of quotations
	lists   []list // that are open
	mark    string // of a list item, to be written before its text
}

// maxQuoteDepth is the number of marks before a quoted line.
const maxQuoteDepth = 10

func (b *textBuilder) text(text []byte) {
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n] > ' ' && text[n] < 0x7f {
			n++
		}
		if n > 0 {
			b.before()
			b.Write(text[:n])
			text = text[n:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case r == '\n' && b.pre > 0:
			b.lineEnd()
		case r < utf8.RuneSelf && (r == ' ' || r == '\n' || r == '\t' || r == '\r' || r == '\f') || r == '\u00a0':
			b.space = true
		case r == 0 || r == '\u00ad' || r == '\u200b' || r == '\ufeff' || r == '\u200c' || r == '\u034f':
			// Soft hyphens and what newsletters fill their previews with
			// would split words.
		case r == utf8.RuneError && size == 1 || r != '\n' && unicode.IsControl(r):
			b.space = true
		default:
			b.before()
			b.WriteRune(r)
		}
	}
}

// before writes what is due before a character.
func (b *textBuilder) before() {
	if b.written && b.lines == 0 {
		switch {
		case b.cell:
			b.WriteByte('\t')
		case b.space:
			b.WriteByte(' ')
		}
	} else {
		if b.written {
			b.WriteString("\n\n"[:min(b.lines, 2)])
		}
		for range min(b.quote, maxQuoteDepth) {
			b.WriteString("> ")
		}
	}
	if b.mark != "" {
		b.WriteString(b.mark)
		b.mark = ""
	}
	b.lines, b.space, b.cell, b.written = 0, false, false, true
}

func (b *textBuilder) lineEnd() { b.lines++ }

// element notes the start or the end of an element.
func (b *textBuilder) element(tag atom.Atom, start bool) {
	switch tag {
	case atom.Br:
		b.lineEnd()
		return
	case atom.Td, atom.Th:
		b.cell = true
		return
	case atom.Pre:
		b.pre = nesting(b.pre, start)
	case atom.Blockquote:
		b.quote = nesting(b.quote, start)
	case atom.Ul, atom.Ol:
		b.list(tag, start)
	case atom.Li:
		b.mark = ""
		if start && len(b.lists) > 0 {
			b.mark = b.lists[len(b.lists)-1].mark()
		}
	case atom.P, atom.Table, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6,
		atom.Div, atom.Tr, atom.Dl, atom.Dt, atom.Dd, atom.Hr, atom.Title, atom.Body, atom.Head, atom.Html,
		atom.Article, atom.Section, atom.Header, atom.Footer, atom.Center, atom.Form, atom.Option, atom.Optgroup, atom.Select, atom.Button, atom.Textarea, atom.Legend, atom.Details, atom.Summary, atom.Dialog, atom.Address, atom.Caption,
		atom.Fieldset, atom.Figure, atom.Figcaption, atom.Main, atom.Nav, atom.Aside, atom.Tbody, atom.Thead, atom.Tfoot:
	default:
		return
	}
	b.lines = max(b.lines, 1)
}

// nesting counts the elements that are open.
func nesting(depth int, start bool) int {
	if start {
		return depth + 1
	}
	return max(0, depth-1)
}

func (b *textBuilder) list(tag atom.Atom, start bool) {
	switch {
	case start && len(b.lists) < maxListDepth && tag == atom.Ul:
		b.lists = append(b.lists, list{number: -1})
	case start && len(b.lists) < maxListDepth:
		b.lists = append(b.lists, list{})
	case !start && len(b.lists) > 0:
		b.lists = b.lists[:len(b.lists)-1]
	}
}
