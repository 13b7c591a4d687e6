package document

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// plain reads text, CSV too, in any charset.
func (r *reader) plain(data []byte, charset string) {
	// One octet is at most three in UTF-8: more need not be decoded.
	if limit := 4 * r.limits.TextBytes; len(data) > limit {
		data = data[:limit]
		defer func() { r.full = true }()
	}
	r.text(mailparse.DecodeText(data, charset))
}

func (r *reader) html(data []byte, charset string) {
	text := mailparse.HTMLText(data, charset, r.limits.TextBytes+1)
	r.text(text)
}

// plainXML reads the character data of XML of any kind: invoices, feeds, drawings.
func (r *reader) plainXML(data []byte) error {
	return r.xml(data, xmlHandler{
		end:  func(string) { r.separate('\n') },
		text: func(s string) { r.text(strings.TrimSpace(s)) },
	})
}

// xmlHandler is told of the tokens of an XML file, names without prefix. Any of
// the functions may be nil.
type xmlHandler struct {
	start func(name string, attrs []xml.Attr)
	end   func(name string)
	text  func(s string)
}

// xml reads tokens one by one: elements are not matched, so that neither
// nesting nor an unclosed element matters, and entities of the file's own are
// never replaced.
func (r *reader) xml(data []byte, h xmlHandler) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.Strict = false
	d.CharsetReader = func(charset string, in io.Reader) (io.Reader, error) {
		rest, err := io.ReadAll(in) // of what is in memory already
		return strings.NewReader(mailparse.DecodeText(rest, charset)), err
	}
	for !r.full {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errDamaged
		}
		switch t := token.(type) {
		case xml.StartElement:
			if h.start != nil {
				h.start(t.Name.Local, t.Attr)
			}
		case xml.EndElement:
			if h.end != nil {
				h.end(t.Name.Local)
			}
		case xml.CharData:
			if h.text != nil {
				h.text(string(t))
			}
		}
	}
	return nil
}

// attribute returns the value of an attribute, "" if it is not there.
func attribute(attrs []xml.Attr, name string) string {
	value := ""
	for _, a := range attrs {
		if a.Name.Local == name {
			if a.Name.Space != "" {
				return a.Value // r:id goes before id
			}
			value = a.Value
		}
	}
	return value
}
