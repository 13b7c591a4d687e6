// Package safehtml makes the HTML of a hostile message harmless: no script, no
// form, nothing that is loaded from elsewhere, no style that reaches out of its
// place, and links that show where they lead.
//
// It is the first of three walls. The second is Policy, the third the sandbox of
// the frame in which the page is shown.
package safehtml

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"
	"golang.org/x/net/idna"
)

// Policy is the Content-Security-Policy for what Clean returns: even if
// something came through, the browser neither runs nor loads it.
const Policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox allow-popups allow-popups-to-escape-sandbox; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'self'"

// Options are for one message.
type Options struct {
	// Charset is what the message says of its text; "" lets the text tell.
	Charset string
	// Picture returns the data URI of an enclosed picture by its Content-ID
	// without angle brackets, "" if there is none. nil means there are none.
	Picture func(contentID string) string
	// Blocked stands in place of a picture that is not loaded and has no
	// description.
	Blocked string
}

// Harmless reports whether a browser may show a picture of the media type: a
// raster image, which cannot hold a script.
func Harmless(mediaType string) bool {
	return slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, mediaType)
}

// DataURI returns a picture as an address that carries it. The media type must
// be Harmless.
func DataURI(mediaType string, content []byte) string {
	return "data:" + mediaType + ";base64," + base64.StdEncoding.EncodeToString(content)
}

// Clean reads HTML to its end and returns a complete, harmless page. HTML that
// cannot be read as a tree, such as one that is nested without end, is shown as
// its text. The caller bounds r.
func Clean(r io.Reader, opts Options) ([]byte, error) {
	label := opts.Charset
	if label == "" {
		label = "utf-8"
	}
	decoded, err := charset.NewReaderLabel(label, r)
	if err != nil { // an unknown charset is still mostly ASCII
		decoded = r
	}
	raw, err := io.ReadAll(decoded)
	if err != nil {
		return nil, fmt.Errorf("read HTML: %w", err)
	}
	var page bytes.Buffer
	page.WriteString(head)
	doc, err := html.Parse(bytes.NewReader(raw))
	if err == nil {
		c := &cleaner{opts: opts, pictures: map[string]string{}}
		c.walk(doc)
		var b bytes.Buffer
		if err = html.Render(&b, doc); err == nil {
			err = policy().SanitizeReaderToWriter(&b, &page)
		}
	}
	if err != nil {
		page.Reset()
		page.WriteString(head + "<pre>" + html.EscapeString(strings.ToValidUTF8(string(raw), "\uFFFD")) + "</pre>")
	}
	page.WriteString("</body></html>")
	return page.Bytes(), nil
}

// head gives mail without any style of its own a quiet look, and keeps wide
// pictures and tables inside.
const head = `<!doctype html><html><head><meta charset="utf-8"><meta name="referrer" content="no-referrer"><style>` +
	`html{background:#fff;color:#191c22;font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}body{margin:16px}` +
	`img{max-width:100%;height:auto}pre{white-space:pre-wrap}blockquote{margin-inline:0;padding-inline-start:12px;border-inline-start:3px solid #d5d9e0;color:#59616e}` +
	`.postkeep-blocked{display:inline-block;padding:1px 6px;border:1px dashed #a3abb8;border-radius:4px;color:#59616e;font:12px system-ui,sans-serif}` +
	`.postkeep-target{margin-inline-start:4px;padding:0 6px;border-radius:4px;background:#fdeceb;color:#b3261e;font:12px system-ui,sans-serif}` +
	`</style></head><body>`

// cleaner prepares the tree for the policy, which knows what is allowed but not
// what a link pretends.
type cleaner struct {
	opts     Options
	pictures map[string]string // by Content-ID
	carried  int               // octets of pictures in the page
}

// maxCarried bounds the pictures of one page, each counted as often as it is shown.
const maxCarried = 16 << 20

func (c *cleaner) walk(n *html.Node) {
	for child := n.FirstChild; child != nil; {
		next := child.NextSibling
		switch {
		case child.Type == html.CommentNode:
			n.RemoveChild(child)
		case child.Type != html.ElementNode:
		case child.DataAtom == atom.Img:
			c.picture(n, child)
		default:
			child.Attr = slices.DeleteFunc(child.Attr, func(a html.Attribute) bool { return a.Key == "class" }) // ours alone
			c.walk(child)
			if child.DataAtom == atom.A {
				link(child)
			}
		}
		child = next
	}
}

// picture puts the enclosed picture in place, or a word that it is not loaded.
func (c *cleaner) picture(parent, img *html.Node) {
	src, alt := attribute(img, "src"), attribute(img, "alt")
	if id, ok := cutScheme(src, "cid:"); ok && c.opts.Picture != nil {
		if unescaped, err := url.PathUnescape(id); err == nil {
			id = unescaped
		}
		uri, known := c.pictures[id]
		if !known {
			uri = c.opts.Picture(id)
			c.pictures[id] = uri
		}
		if c.carried += len(uri); uri != "" && c.carried <= maxCarried {
			img.Attr = slices.DeleteFunc(img.Attr, func(a html.Attribute) bool { return a.Key == "src" || a.Key == "srcset" })
			img.Attr = append(img.Attr, html.Attribute{Key: "src", Val: uri})
			return
		}
	}
	if width, height := attribute(img, "width"), attribute(img, "height"); width == "1" || height == "1" || width == "0" {
		parent.RemoveChild(img) // a beacon is nothing to see
		return
	}
	if alt == "" {
		alt = c.opts.Blocked
	}
	span := &html.Node{Type: html.ElementNode, Data: "span", DataAtom: atom.Span, Attr: []html.Attribute{{Key: "class", Val: "postkeep-blocked"}}}
	span.AppendChild(&html.Node{Type: html.TextNode, Data: alt})
	parent.InsertBefore(span, img)
	parent.RemoveChild(img)
}

// link shows the true target behind the text of a link that names another one.
func link(a *html.Node) {
	u, err := url.Parse(strings.TrimSpace(attribute(a, "href")))
	if err != nil || u.Host == "" {
		return
	}
	host := hostOf(u.Hostname())
	a.Attr = slices.DeleteFunc(a.Attr, func(attr html.Attribute) bool { return attr.Key == "title" })
	a.Attr = append(a.Attr, html.Attribute{Key: "title", Val: u.Redacted()})
	claimed := named.FindStringSubmatch(strings.ToLower(textOf(a)))
	if claimed == nil || sameSite(hostOf(claimed[1]), host) {
		return
	}
	span := &html.Node{Type: html.ElementNode, Data: "span", DataAtom: atom.Span, Attr: []html.Attribute{{Key: "class", Val: "postkeep-target"}}}
	span.AppendChild(&html.Node{Type: html.TextNode, Data: "→ " + host})
	a.AppendChild(span)
}

// named finds the host that the text of a link names.
var named = regexp.MustCompile(`^\s*(?:[a-z][a-z0-9+.-]*://)?(?:[^/@\s]*@)?((?:[\p{L}\p{N}_-]+\.)+[\p{L}][\p{L}\p{N}-]+)(?:[:/?#]\S*)?\s*$`)

// hostOf returns a host in ASCII, as the resolver gets it: a letter of another
// alphabet that looks Latin then no longer does.
func hostOf(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		return ascii
	}
	return host
}

// sameSite reports whether one host is the other or a part of it.
func sameSite(a, b string) bool {
	a, b = strings.TrimPrefix(a, "www."), strings.TrimPrefix(b, "www.")
	return a == b || strings.HasSuffix(b, "."+a) || strings.HasSuffix(a, "."+b)
}

// maxLinkText is more than any address that a link pretends to have.
const maxLinkText = 4 << 10

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && b.Len() < maxLinkText {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// cutScheme is strings.CutPrefix for a scheme in any case, with space before.
func cutScheme(s, scheme string) (string, bool) {
	s = strings.TrimSpace(s)
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return s, false
	}
	return s[len(scheme):], true
}

// policy is what may stay. It is made anew for each page: a policy in use must
// not be shared.
func policy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "div", "span", "center", "font", "b", "strong", "i", "em", "u", "s", "strike", "del", "ins",
		"small", "big", "sub", "sup", "tt", "code", "kbd", "samp", "var", "pre", "blockquote", "q", "cite", "abbr", "address",
		"h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "dl", "dt", "dd", "figure", "figcaption",
		"table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "td", "th", "wbr")
	p.AllowAttrs("href", "title").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto", "tel")
	p.RequireParseableURLs(true)
	p.RequireNoReferrerOnLinks(true)
	p.AddTargetBlankToFullyQualifiedLinks(true)
	p.AllowAttrs("src", "alt").OnElements("img")
	p.AllowDataURIImages()
	size := regexp.MustCompile(`^\d{1,4}%?$`)
	p.AllowAttrs("width", "height").Matching(size).OnElements("img", "table", "td", "th", "col", "tr")
	p.AllowAttrs("colspan", "rowspan", "span", "border", "cellpadding", "cellspacing").Matching(regexp.MustCompile(`^\d{1,3}$`)).
		OnElements("table", "td", "th", "col", "colgroup")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(?i:left|right|center|justify)$`)).Globally()
	p.AllowAttrs("valign").Matching(regexp.MustCompile(`^(?i:top|middle|bottom|baseline)$`)).OnElements("td", "th", "tr")
	p.AllowAttrs("dir").Matching(bluemonday.Direction).Globally()
	color := regexp.MustCompile(`^(?i:#[0-9a-f]{3,8}|[a-z]{3,24})$`)
	p.AllowAttrs("bgcolor", "color").Matching(color).Globally()
	p.AllowAttrs("class").Matching(regexp.MustCompile(`^postkeep-(blocked|target)$`)).OnElements("span")
	p.AllowStyles("color", "background-color").MatchingHandler(isColor).Globally()
	p.AllowStyles("font-weight", "font-style", "text-decoration", "text-align", "vertical-align", "white-space",
		"direction", "list-style-type", "border-collapse", "border-style").Matching(regexp.MustCompile(`^[a-z0-9 -]{1,40}$`)).Globally()
	p.AllowStyles("font-size", "line-height", "width", "max-width", "height", "padding", "padding-left", "padding-right", "padding-top", "padding-bottom",
		"margin", "margin-left", "margin-right", "margin-top", "margin-bottom", "border-width", "border-radius", "border-spacing").
		Matching(regexp.MustCompile(`^((\d{1,4}(\.\d{1,4})?(px|pt|em|rem|%)?|auto|normal) ?){1,4}$`)).Globally()
	p.AllowStyles("border", "border-top", "border-bottom", "border-left", "border-right").
		Matching(regexp.MustCompile(`^[a-z0-9 #.%-]{1,60}$`)).Globally()
	p.AllowStyles("font-family").Matching(regexp.MustCompile(`^[A-Za-z0-9 ,'"_-]{1,200}$`)).Globally()
	return p
}

func isColor(v string) bool {
	return colorValue.MatchString(v)
}

var colorValue = regexp.MustCompile(`^(?i:#[0-9a-f]{3,8}|[a-z]{3,24}|rgba?\([\d ,.%/]{5,40}\)|hsla?\([\d ,.%/deg]{5,40}\))$`)
