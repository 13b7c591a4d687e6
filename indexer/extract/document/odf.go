package document

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
)

// maxSpaces is how many spaces one element may stand for.
const maxSpaces = 64

// openDocument reads a text, a spreadsheet or a presentation (OASIS OpenDocument).
func (b *bundle) openDocument() error {
	if bytes.Contains(b.part("META-INF/manifest.xml"), []byte("encryption-data")) {
		return errEncrypted // part 2 section 4.4
	}
	b.properties("meta.xml")
	if err := b.paragraphs("content.xml"); err != nil {
		return err
	}
	for _, f := range b.order { // charts and formulas inside, headers and footers
		name := bundleName(f.Name)
		if strings.HasSuffix(name, "/content.xml") || name == "styles.xml" {
			if err := b.paragraphs(f.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// paragraphs reads what stands in paragraphs and headings; elsewhere there is
// only white space, and the code of macros. Cells have paragraphs with the text
// as it is shown.
func (b *bundle) paragraphs(part string) error {
	if err := b.stopped(); err != nil {
		return err
	}
	depth, cells, link := 0, 0, ""
	err := b.xml(b.part(part), xmlHandler{
		start: func(name string, attrs []xml.Attr) {
			switch name {
			case "p", "h":
				depth++
			case "table":
				b.field(attribute(attrs, "name"))
			case "table-cell":
				cells++
			case "tab":
				b.separate('\t')
			case "line-break":
				b.separate('\n')
			case "s":
				n, _ := strconv.Atoi(attribute(attrs, "c")) // 0 is one, too
				b.text(strings.Repeat(" ", min(max(n, 1), maxSpaces)))
			case "a":
				link = attribute(attrs, "href")
			}
		},
		end: func(name string) {
			switch {
			case name == "a" && link != "":
				b.text(" " + link + " ")
				link = ""
			case name == "p" || name == "h":
				depth--
				if cells == 0 {
					b.newline()
				} else {
					b.separate(' ')
				}
			case name == "table-cell":
				cells--
				b.separate('\t')
			case name == "table-row":
				b.newline()
			}
		},
		text: func(s string) {
			if depth > 0 {
				b.text(s)
			}
		},
	})
	b.newline()
	return err
}
