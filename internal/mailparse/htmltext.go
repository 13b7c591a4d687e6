package mailparse

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// htmlText returns the readable text of HTML, at most about limit bytes: no
// scripts, styles or comments, entities decoded, a line per block. It looks at tags
// one by one and builds no tree, so that nesting costs nothing.
func htmlText(s string, limit int) string {
	z := html.NewTokenizer(strings.NewReader(s))
	var out textBuilder
	out.Grow(min(len(s)/4, limit)) // as much is text in what mailers write
	var skip atom.Atom             // the element whose content is left out
	for out.Len() <= limit {
		switch z.Next() {
		case html.ErrorToken:
			return out.String()
		case html.TextToken:
			if skip == 0 {
				out.text(z.Text())
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, hasAttr := z.TagName()
			tag := atom.Lookup(name)
			if tag == atom.Script || tag == atom.Style {
				skip = tag // the tokenizer ends their content itself
			} else if tag == atom.Img && hasAttr {
				out.text(altText(z))
			}
			out.element(tag, true)
		case html.EndTagToken:
			name, _ := z.TagName()
			tag := atom.Lookup(name)
			if tag == skip {
				skip = 0
			}
			out.element(tag, false)
		}
	}
	return out.String()
}

// altText returns the text that stands for a picture.
func altText(z *html.Tokenizer) []byte {
	for more := true; more; {
		var key, value []byte
		key, value, more = z.TagAttr()
		if string(key) == "alt" {
			return value
		}
	}
	return nil
}

// textBuilder joins text as a browser shows it: runs of white space are one
// space, lines are trimmed.
type textBuilder struct {
	strings.Builder
	space   bool // white space was seen and not written
	lines   int  // line ends to be written before the next text
	written bool
	pre     int // depth of pre elements
}

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
	if b.lines > 0 && b.written {
		for range min(b.lines, 2) {
			b.WriteByte('\n')
		}
	} else if b.space && b.written {
		b.WriteByte(' ')
	}
	b.lines, b.space, b.written = 0, false, true
}

func (b *textBuilder) lineEnd() { b.lines++ }

// element notes the start or the end of an element.
func (b *textBuilder) element(tag atom.Atom, start bool) {
	switch tag {
	case atom.Br:
		b.lineEnd()
	case atom.Td, atom.Th:
		b.space = true
	case atom.Pre:
		if start {
			b.pre++
		} else {
			b.pre = max(0, b.pre-1)
		}
		b.lines = max(b.lines, 1)
	case atom.P, atom.Blockquote, atom.Table, atom.Ul, atom.Ol, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6,
		atom.Div, atom.Tr, atom.Li, atom.Dl, atom.Dt, atom.Dd, atom.Hr, atom.Title, atom.Body, atom.Head, atom.Html,
		atom.Article, atom.Section, atom.Header, atom.Footer, atom.Center, atom.Form, atom.Option, atom.Address, atom.Caption,
		atom.Fieldset, atom.Figure, atom.Figcaption, atom.Main, atom.Nav, atom.Aside, atom.Tbody, atom.Thead, atom.Tfoot:
		b.lines = max(b.lines, 1)
	}
}
