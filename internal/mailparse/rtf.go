package mailparse

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
)

// maxRTFGroups is more than any program nests; the rest is not text.
const maxRTFGroups = 1000

// RTF is what people read of Rich Text Format.
type RTF struct {
	// Text is UTF-8. Of HTML that Outlook wrapped into RTF ([MS-OXRTFEX]) it is
	// that HTML again, and IsHTML holds.
	Text   string
	IsHTML bool
	// IsCut means that there is more text than the limit, IsTorn that the end is
	// missing, HasObjects that there are embedded files, which are not read.
	IsCut, IsTorn, HasObjects bool
}

// ReadRTF reads Rich Text Format (version 1.9.1), at most about limit octets of
// text.
func ReadRTF(b []byte, limit int) RTF {
	r := &rtfReader{data: b, groups: []rtfGroup{{fallback: 1}}, charset: "windows-1252", fonts: make(map[int]string)}
	r.isHTML = bytes.Contains(b[:min(len(b), metaBytes)], []byte(`\fromhtml1`))
	for more := true; more && len(r.data) > 0 && r.out.Len() < limit; {
		more = r.step()
	}
	open := len(r.groups) > 1
	r.flush()
	cut := len(r.data) > 0
	return RTF{Text: r.out.String(), IsHTML: r.isHTML, IsCut: cut, IsTorn: open && !cut, HasObjects: r.objects}
}

// rtfText is ReadRTF for those who only want the text.
func rtfText(b []byte, limit int) (text []byte, isHTML bool) {
	rtf := ReadRTF(b, limit)
	return []byte(rtf.Text), rtf.IsHTML
}

// rtfGroup is the state that a group inherits, and that ends with it.
type rtfGroup struct {
	skip     bool // a destination whose text is not the document's
	fonts    bool // the font table
	noHTML   bool // \htmlrtf: RTF that the HTML does not have
	charset  string
	fallback int // \uc: octets that follow \u for old readers
}

type rtfReader struct {
	data    []byte
	out     strings.Builder
	groups  []rtfGroup // the last is the current one
	isHTML  bool
	charset string // of the document
	fonts   map[int]string
	font    int // being defined in the font table
	octets  []byte
	units   []uint16
	drop    int  // octets to leave out behind \u
	star    bool // \* was just read: a destination that one need not know
	objects bool
}

// rtfSkipped are the destinations whose text is not part of the document.
var rtfSkipped = map[string]bool{
	"colortbl": true, "stylesheet": true, "pict": true, "objdata": true, "fldinst": true, "filetbl": true,
	"listtable": true, "listoverridetable": true, "revtbl": true, "rsidtbl": true, "xmlnstbl": true, "generator": true,
	"themedata": true, "datastore": true, "latentstyles": true, "colorschememapping": true, "bkmkstart": true,
	"bkmkend": true, "datafield": true, "mmathPr": true, "pntxta": true, "pntxtb": true, "operator": true,
}

// rtfSymbols are the control words that stand for a character.
var rtfSymbols = map[string]string{
	"par": "\n", "line": "\n", "row": "\n", "sect": "\n", "page": "\n", "tab": "\t", "cell": "\t", "nestcell": "\t", "nestrow": "\n",
	"emdash": "—", "endash": "–", "bullet": "•", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
	"emspace": " ", "enspace": " ", "qmspace": " ",
}

// step takes the next octet, or what stands for one. It returns false where
// groups nest too deep.
func (r *rtfReader) step() bool {
	c := r.data[0]
	r.data = r.data[1:]
	switch c {
	case '{':
		r.flush()
		if len(r.groups) > maxRTFGroups {
			return false
		}
		r.groups = append(r.groups, *r.group())
		r.star = false
	case '}':
		r.flush()
		if len(r.groups) > 1 {
			r.groups = r.groups[:len(r.groups)-1]
		}
		r.drop = 0
	case '\\':
		r.control()
	case '\r', '\n', 0:
	default:
		r.octet(c)
	}
	return true
}

func (r *rtfReader) group() *rtfGroup { return &r.groups[len(r.groups)-1] }

func (r *rtfReader) visible() bool {
	g := r.group()
	return !g.skip && !g.noHTML && !g.fonts
}

// octet takes one octet of text.
func (r *rtfReader) octet(c byte) {
	switch {
	case r.drop > 0:
		r.drop--
	case !r.visible():
	default:
		if len(r.units) > 0 {
			r.flush()
		}
		r.octets = append(r.octets, c)
	}
}

// flush gives out what was collected in one charset.
func (r *rtfReader) flush() {
	if len(r.octets) > 0 {
		charset := r.group().charset
		if charset == "" {
			charset = r.charset
		}
		text, _, _ := decodeCharset(r.octets, charset)
		r.out.WriteString(text)
		r.octets = r.octets[:0]
	}
	if len(r.units) > 0 {
		r.out.WriteString(string(utf16.Decode(r.units)))
		r.units = r.units[:0]
	}
}

// control reads what follows a backslash.
func (r *rtfReader) control() {
	if len(r.data) == 0 {
		return
	}
	c := r.data[0]
	if !isLetter(c) {
		r.data = r.data[1:]
		r.symbol(c)
		return
	}
	n := 0
	for n < len(r.data) && n < 32 && isLetter(r.data[n]) {
		n++
	}
	word := string(r.data[:n])
	r.data = r.data[n:]
	n = 0
	if n < len(r.data) && r.data[n] == '-' {
		n++
	}
	for n < len(r.data) && n < 11 && r.data[n] >= '0' && r.data[n] <= '9' {
		n++
	}
	param, err := strconv.Atoi(string(r.data[:n]))
	given := err == nil
	r.data = r.data[n:]
	if len(r.data) > 0 && r.data[0] == ' ' {
		r.data = r.data[1:]
	}
	star := r.star
	r.star = false
	r.word(word, param, given, star)
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// symbol handles a control symbol.
func (r *rtfReader) symbol(c byte) {
	switch c {
	case '\'':
		if len(r.data) < 2 {
			return
		}
		hi, lo := unhex(r.data[0]), unhex(r.data[1])
		r.data = r.data[2:]
		if hi >= 0 && lo >= 0 {
			r.octet(byte(hi<<4 | lo))
		}
	case '*':
		r.star = true
	case '\\', '{', '}':
		r.octet(c)
	case '~':
		r.octet(' ')
	case '_':
		r.octet('-')
	case '\r', '\n':
		r.word("par", 0, false, false)
	}
}

// word handles a control word.
func (r *rtfReader) word(word string, param int, given, star bool) {
	g := r.group()
	if s, ok := rtfSymbols[word]; ok {
		if r.flush(); r.visible() {
			r.out.WriteString(s)
		}
		return
	}
	switch word {
	case "u":
		if r.visible() {
			if len(r.octets) > 0 {
				r.flush()
			}
			r.units = append(r.units, uint16(param)) //nolint:gosec // negative above 32767 by definition
		}
		r.drop = g.fallback
	case "uc":
		g.fallback = min(max(param, 0), 16)
	case "bin":
		r.data = r.data[min(max(param, 0), len(r.data)):]
	case "ansicpg":
		r.charset = codePageName(uint32(max(param, 0))) //nolint:gosec // not negative
	case "mac":
		r.charset = "macintosh"
	case "pc":
		r.charset = "cp437"
	case "pca":
		r.charset = "cp850"
	case "fonttbl":
		g.fonts = true
	case "f", "fcharset", "cpg":
		r.fontWord(word, param)
	case "plain":
		r.flush()
		g.charset = ""
	case "htmlrtf":
		r.flush()
		g.noHTML = r.isHTML && (!given || param != 0)
	case "objdata":
		r.objects = true
		g.skip = true
	default:
		if r.isHTML && word == "htmltag" {
			break
		}
		if star && word != "shpinst" && word != "shptxt" && word != "background" && word != "annotation" || rtfSkipped[word] {
			g.skip = true
		}
	}
}

// fontWord notes the charset of a font, or takes over that of one.
func (r *rtfReader) fontWord(word string, param int) {
	g := r.group()
	switch {
	case word == "f" && g.fonts:
		r.font = param
	case word == "f":
		r.flush()
		g.charset = r.fonts[param]
	case g.fonts && len(r.fonts) < maxRTFGroups:
		if word == "cpg" {
			r.fonts[r.font] = "cp" + strconv.Itoa(param)
		} else {
			r.fonts[r.font] = rtfCharset(param)
		}
	}
}

// rtfCharset returns the charset for a number of \fcharset, "" for the
// document's.
func rtfCharset(n int) string {
	return map[int]string{
		77: "macintosh", 128: "cp932", 129: "cp949", 130: "cp1361", 134: "cp936", 136: "cp950", 161: "cp1253", 162: "cp1254",
		163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437",
		0: "windows-1252",
	}[n]
}
