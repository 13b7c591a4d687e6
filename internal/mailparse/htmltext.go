package mailparse

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const (
	// maxLinks is the number of links kept of one part; a page of more is an index.
	maxLinks = 1000
	// maxLinkBytes is what is kept of one link, and maxLinksBytes of all of a part.
	maxLinkBytes, maxLinksBytes = 2 << 10, 64 << 10
	// maxListDepth is the number of lists within each other that are told apart.
	maxListDepth = 20
)

// htmlContent is what people read of HTML.
type htmlContent struct {
	text   string
	hidden string   // text that is not shown
	links  []string // targets that the text does not show, each once
}

// readHTML returns the readable text of HTML, at most about limit bytes: no
// scripts, styles or comments, entities decoded, a line per block, lists and quotations
// marked as in plain text. It looks at tags one by one and builds no tree, so that
// nesting costs nothing.
func readHTML(s string, limit int) htmlContent {
	r := htmlReader{z: html.NewTokenizer(strings.NewReader(s))}
	r.shown.Grow(min(len(s)/4, limit)) // as much is text in what mailers write
	for r.shown.Len()+r.hidden.Len() <= limit {
		switch r.z.Next() {
		case html.ErrorToken:
			return r.content()
		case html.TextToken:
			if r.skip == 0 {
				r.out().text(r.z.Text())
			}
		case html.CommentToken:
			r.comment()
		case html.StartTagToken, html.SelfClosingTagToken:
			r.start()
		case html.EndTagToken:
			name, _ := r.z.TagName()
			r.end(atom.Lookup(name))
		}
	}
	return r.content()
}

// mayHide reports whether a tag may hide its content: if not, its attributes need
// not be read, which costs more than all else.
func mayHide(tag []byte) bool {
	return len(tag) >= len("<p hidden>") && (bytes.Contains(tag, []byte("one")) || bytes.Contains(tag, []byte("ONE")) ||
		bytes.Contains(tag, []byte("hid")) || bytes.Contains(tag, []byte("HID")) || bytes.Contains(tag, []byte("size:0")) || bytes.Contains(tag, []byte("size: 0")))
}

type htmlReader struct {
	z             *html.Tokenizer
	shown, hidden textBuilder
	skip          atom.Atom // the element whose content is left out
	hide          atom.Atom // the element whose content is hidden
	hideDepth     int       // elements of that kind in it

	links      []string
	seen       map[string]bool
	linksBytes int
	target     string // of the link that is open
	linkStart  int    // where its text begins
}

func (r *htmlReader) out() *textBuilder {
	if r.hide != 0 {
		return &r.hidden
	}
	return &r.shown
}

func (r *htmlReader) content() htmlContent {
	r.endLink()
	return htmlContent{text: r.shown.String(), hidden: r.hidden.String(), links: r.links}
}

// comment goes on behind the tag-like beginning of a comment that never ends: programs
// that write such mail mean no more than that, and all that follows would be lost to
// searches. No later comment ends either then, so that once is enough.
func (r *htmlReader) comment() {
	const begin, end = "<!--", "-->"
	raw := r.z.Raw()
	if !bytes.HasPrefix(raw, []byte(begin)) || len(raw) < len(begin+end) || bytes.HasSuffix(raw, []byte(end)) || bytes.HasSuffix(raw, []byte("--!>")) {
		return
	}
	if _, rest, ok := bytes.Cut(raw, []byte(">")); ok {
		r.z = html.NewTokenizer(strings.NewReader(strings.ReplaceAll(string(rest), begin, "<!")))
	}
}

func (r *htmlReader) start() {
	hides := mayHide(r.z.Raw())
	name, hasAttr := r.z.TagName()
	tag := atom.Lookup(name)
	var a htmlAttributes
	if hasAttr && (hides || tag == atom.Img || tag == atom.A || tag == atom.Area || tag == atom.Input || tag == 0) {
		a = readAttributes(r.z)
	}
	switch tag {
	case 0: // drawings of Office (VML): v:shape
		r.instead(a)
	case atom.Script, atom.Style:
		r.skip = tag // the tokenizer ends their content itself
	case atom.Noscript, atom.Noframes, atom.Noembed, atom.Iframe:
		r.z.NextIsNotRawText() // mail programs run no scripts: it is shown
	case atom.Img, atom.Input:
		r.instead(a)
		return
	case atom.A, atom.Area:
		r.out().text(a.alt)
		r.endLink()
		r.target, r.linkStart = a.target, r.shown.Len()
	}
	switch {
	case tag == r.hide && tag == atom.P: // it ends where the next one begins
		r.hide = 0
	case tag == r.hide && tag != 0:
		r.hideDepth++
	}
	if r.hide == 0 && a.hidden && tag != 0 && !isVoid(tag) {
		r.hidden.lineEnd()
		r.hide, r.hideDepth = tag, 0
	}
	r.out().element(tag, true)
}

// instead writes the text that stands in place of a picture: it is no part of the words beside it.
func (r *htmlReader) instead(a htmlAttributes) {
	if !a.hidden && len(a.alt) > 0 {
		r.out().text([]byte(" "))
		r.out().text(a.alt)
		r.out().text([]byte(" "))
	}
}

func (r *htmlReader) end(tag atom.Atom) {
	if tag == r.skip {
		r.skip = 0
	}
	if tag == atom.A {
		r.endLink()
	}
	r.out().element(tag, false)
	if tag == r.hide && tag != 0 {
		if r.hideDepth--; r.hideDepth < 0 {
			r.hide = 0
		}
	}
}

// endLink keeps the target of a link unless its text shows it.
func (r *htmlReader) endLink() {
	target := r.target
	r.target = ""
	if target == "" || r.seen[target] || len(r.links) >= maxLinks || r.linksBytes+len(target) > maxLinksBytes {
		return
	}
	_, bare, _ := strings.Cut(target, ":")
	if strings.Contains(r.shown.String()[min(r.linkStart, r.shown.Len()):], strings.Trim(bare, "/")) {
		return
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[target] = true
	r.links = append(r.links, target)
	r.linksBytes += len(target)
}

// htmlAttributes are those that matter for reading.
type htmlAttributes struct {
	alt    []byte
	target string
	hidden bool
}

func readAttributes(z *html.Tokenizer) (a htmlAttributes) {
	for more := true; more; {
		var key, value []byte
		key, value, more = z.TagAttr()
		switch string(key) {
		case "alt":
			a.alt = value
		case "href":
			a.target = linkTarget(value)
		case "hidden":
			a.hidden = true
		case "style":
			a.hidden = a.hidden || hidesText(value)
		}
	}
	return a
}

// linkTarget returns what leads out of the message, as one line. Line ends and tabs in it mean nothing
// (WHATWG URL section 4.4); spaces stand between words, in the subject of a mailto: for example.
func linkTarget(value []byte) string {
	value = bytes.TrimSpace(value)
	for _, scheme := range [...]string{"http:", "https:", "ftp:", "mailto:", "tel:"} {
		if len(value) > len(scheme) && bytes.EqualFold(value[:len(scheme)], []byte(scheme)) {
			text := strings.ToValidUTF8(string(value[:min(len(value), maxLinkBytes)]), "")
			return strings.Join(strings.Fields(cleanValue(withoutBreaks.Replace(text))), " ")
		}
	}
	return ""
}

// hidesText looks into a style for what newsletters and forgers hide text with.
func hidesText(style []byte) bool {
	s := strings.ToLower(strings.ReplaceAll(string(style), " ", ""))
	if strings.Contains(s, "display:none") || strings.Contains(s, "visibility:hidden") || strings.Contains(s, "mso-hide:all") {
		return true
	}
	_, size, ok := strings.Cut(s, "font-size:0")
	return ok && (size == "" || size[0] != '.')
}

var withoutBreaks = strings.NewReplacer("\r", "", "\n", "", "\t", "")

func isVoid(tag atom.Atom) bool {
	switch tag {
	case atom.Br, atom.Hr, atom.Input, atom.Meta, atom.Link, atom.Col, atom.Area, atom.Base, atom.Embed, atom.Source, atom.Wbr:
		return true
	}
	return false
}

// list is one that is open: items of ul have number -1.
type list struct{ number int }

// mark returns what stands before the next item.
func (l *list) mark() string {
	if l.number < 0 {
		return "- "
	}
	l.number++
	return strconv.Itoa(l.number) + ". "
}
