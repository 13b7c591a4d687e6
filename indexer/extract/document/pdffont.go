package document

import (
	"strings"
	"unicode/utf16"

	"github.com/ledongthuc/pdf"
	"golang.org/x/text/encoding/charmap"
)

const (
	// maxMapped is the number of codes that one character map may have: all of two octets.
	maxMapped = 1 << 16
	// maxFonts is the number of fonts kept; a document of a thousand pages has ten.
	maxFonts = 4096
	// defaultWidth is that of most letters, in parts of the font size: for the
	// standard fonts, which need not say theirs.
	defaultWidth = 0.5
)

// pdfFont says what the codes of a font mean and how wide they are.
type pdfFont struct {
	codeBytes int
	text      map[int]string
	widths    map[int]float64
	width     float64 // of a code that widths lacks
	unmapped  bool    // the codes are glyph numbers, and nothing says of what
}

// decode returns the text and the width of a string of codes.
func (f *pdfFont) decode(codes string) (string, float64) {
	var b strings.Builder
	width := 0.0
	for ; len(codes) >= f.codeBytes; codes = codes[f.codeBytes:] {
		code := int(codes[0])
		if f.codeBytes == 2 {
			code = code<<8 | int(codes[1])
		}
		b.WriteString(f.text[code])
		if w, ok := f.widths[code]; ok {
			width += w
		} else {
			width += f.width
		}
	}
	return b.String(), width
}

// font returns the font of a dictionary, nil if it is none.
func (p *pdfReader) font(v pdf.Value) *pdfFont {
	if v.Kind() != pdf.Dict {
		return nil
	}
	key := v.String()
	if f, ok := p.fonts[key]; ok {
		return f
	}
	f := &pdfFont{codeBytes: 1, text: make(map[int]string), widths: make(map[int]float64), width: defaultWidth}
	if v.Key("Subtype").Name() == "Type0" {
		p.compositeFont(f, v)
	} else {
		simpleFont(f, v)
	}
	if m := v.Key("ToUnicode"); m.Kind() == pdf.Stream {
		data, err := p.content(m)
		p.note("", err)
		readCharacterMap(f, data)
	}
	f.unmapped = f.codeBytes == 2 && len(f.text) == 0
	if len(p.fonts) < maxFonts {
		p.fonts[key] = f
	}
	return f
}

// simpleFont sets up codes of one octet (ISO 32000-1 section 9.6).
func simpleFont(f *pdfFont, v pdf.Value) {
	encoding := v.Key("Encoding")
	base := encoding.Name()
	if encoding.Kind() == pdf.Dict {
		base = encoding.Key("BaseEncoding").Name()
	}
	table := charmap.Windows1252
	if base == "MacRomanEncoding" {
		table = charmap.Macintosh
	}
	font := pdf.Font{V: v}
	var differences pdf.TextEncoding
	if encoding.Kind() == pdf.Dict {
		differences = font.Encoder() // knows the names of glyphs
	}
	for code := range 256 {
		r := table.DecodeByte(byte(code))
		if differences != nil {
			if named := []rune(differences.Decode(string([]byte{byte(code)}))); len(named) == 1 && named[0] != rune(code) {
				r = named[0]
			}
		}
		if r >= ' ' {
			f.text[code] = string(r)
		}
	}
	first, widths := int(v.Key("FirstChar").Int64()), v.Key("Widths")
	for i := range min(widths.Len(), 256) {
		f.widths[first+i] = widths.Index(i).Float64() / 1000
	}
	if v.Key("Subtype").Name() == "Type3" { // in a space of its own
		scale := v.Key("FontMatrix").Index(0).Float64() * 1000
		for code := range f.widths {
			f.widths[code] *= scale
		}
	}
}

// compositeFont sets up codes of two octets (section 9.7). Other than by
// ToUnicode they can be read where they are Unicode.
func (p *pdfReader) compositeFont(f *pdfFont, v pdf.Value) {
	f.codeBytes = 2
	if name := v.Key("Encoding").Name(); strings.Contains(name, "UCS2") || strings.Contains(name, "UTF16") {
		for code := range maxMapped {
			f.text[code] = string(rune(code))
		}
	}
	descendant := v.Key("DescendantFonts").Index(0)
	f.width = 1
	if dw := descendant.Key("DW"); !dw.IsNull() {
		f.width = dw.Float64() / 1000
	}
	w := descendant.Key("W")
	for i := 0; i+1 < w.Len() && len(f.widths) < maxMapped; {
		first := int(w.Index(i).Int64())
		if list := w.Index(i + 1); list.Kind() == pdf.Array { // c [w1 w2 …]
			for j := range min(list.Len(), maxMapped) {
				f.widths[first+j] = list.Index(j).Float64() / 1000
			}
			i += 2
			continue
		}
		last, width := int(w.Index(i+1).Int64()), w.Index(i+2).Float64()/1000 // first last w
		for code := first; code <= min(last, first+maxMapped); code++ {
			f.widths[code] = width
		}
		i += 3
	}
}

// readCharacterMap reads a ToUnicode map (section 9.10.3).
func readCharacterMap(f *pdfFont, data []byte) {
	lex := pdfLexer{data: data}
	var args []pdfToken
	for {
		t, ok := lex.next()
		if !ok {
			return
		}
		if t.kind != pdfOperator {
			if len(args) < 3*maxMapped {
				args = append(args, t)
			}
			continue
		}
		switch t.text {
		case "endbfchar":
			for ; len(args) >= 2; args = args[2:] {
				f.mapTo(codeOf(args[0].text), args[1].text, 0)
			}
		case "endbfrange":
			for ; len(args) >= 3; args = args[3:] {
				first, last := codeOf(args[0].text), codeOf(args[1].text)
				for i := 0; first+i <= last && i < maxMapped; i++ {
					if args[2].kind != pdfArray {
						f.mapTo(first+i, args[2].text, i)
					} else if i < len(args[2].items) {
						f.mapTo(first+i, args[2].items[i].text, 0)
					}
				}
			}
		}
		args = args[:0]
	}
}

// mapTo sets the text of a code: UTF-16, the last unit raised by add.
func (f *pdfFont) mapTo(code int, text string, add int) {
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = uint16(text[2*i])<<8 | uint16(text[2*i+1])
	}
	if len(units) == 0 || len(f.text) >= maxMapped {
		return
	}
	units[len(units)-1] += uint16(add) //nolint:gosec // at most maxMapped
	f.text[code] = strings.ReplaceAll(string(utf16.Decode(units)), "\x00", "")
}

func codeOf(s string) int {
	code := 0
	for i := range min(len(s), 4) {
		code = code<<8 | int(s[i])
	}
	return code
}
