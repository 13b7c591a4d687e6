package document

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// maxGroups is the depth of groups; word processors write some ten.
const maxGroups = 1000

// rtfGroup is the state that a group inherits and restores (RTF 1.9.1).
type rtfGroup struct {
	skip    bool // a destination whose text is not the document's
	fonts   bool // the font table
	html    bool // \htmlrtf: RTF that stands for HTML given elsewhere
	charset string
	unicode int // octets that follow \u for old readers
}

// rtfReader reads Rich Text Format.
type rtfReader struct {
	*reader
	data    []byte
	groups  []rtfGroup // the last is the current one
	charset string     // of the document
	fonts   map[int]string
	font    int // being defined in the font table
	octets  []byte
	units   []uint16
	drop    int  // octets to leave out behind \u
	star    bool // \* was just read: a destination that one need not know
	object  bool // there are embedded objects
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

// rtf reads a document from its first group to the end of the file: what is
// missing in a truncated one is only missing.
func (r *reader) rtf(data []byte) error {
	d := &rtfReader{reader: r, data: data, groups: []rtfGroup{{unicode: 1}}, fonts: make(map[int]string)}
	for len(d.data) > 0 && !r.full {
		c := d.data[0]
		d.data = d.data[1:]
		switch c {
		case '{':
			d.flush()
			if len(d.groups) > maxGroups {
				return errDeep
			}
			d.groups = append(d.groups, *d.group())
			d.star = false
		case '}':
			d.flush()
			if len(d.groups) > 1 {
				d.groups = d.groups[:len(d.groups)-1]
			}
			d.drop = 0
		case '\\':
			d.control()
		case '\r', '\n', 0:
		default:
			d.octet(c)
		}
	}
	open := len(d.groups) > 1
	d.flush()
	r.newline()
	switch {
	case d.object:
		return errors.New("embedded objects, not read")
	case open && !r.full:
		return errDamaged
	}
	return nil
}

func (d *rtfReader) group() *rtfGroup { return &d.groups[len(d.groups)-1] }

// octet takes one octet of text.
func (d *rtfReader) octet(c byte) {
	g := d.group()
	switch {
	case d.drop > 0:
		d.drop--
	case g.skip || g.html || g.fonts:
	default:
		if len(d.units) > 0 {
			d.flush()
		}
		d.octets = append(d.octets, c)
	}
}

// flush gives out what was collected in one charset.
func (d *rtfReader) flush() {
	if len(d.octets) > 0 {
		charset := d.group().charset
		if charset == "" {
			charset = d.charset
		}
		if charset == "" {
			charset = "windows-1252"
		}
		d.text(mailparse.DecodeText(d.octets, charset))
		d.octets = d.octets[:0]
	}
	if len(d.units) > 0 {
		d.text(string(utf16.Decode(d.units)))
		d.units = d.units[:0]
	}
}

// control reads what follows a backslash.
func (d *rtfReader) control() {
	if len(d.data) == 0 {
		return
	}
	c := d.data[0]
	if c|0x20 < 'a' || c|0x20 > 'z' {
		d.data = d.data[1:]
		d.symbol(c)
		return
	}
	n := 0
	for n < len(d.data) && n < 32 && d.data[n]|0x20 >= 'a' && d.data[n]|0x20 <= 'z' {
		n++
	}
	word := string(d.data[:n])
	d.data = d.data[n:]
	n = 0
	if n < len(d.data) && d.data[n] == '-' {
		n++
	}
	for n < len(d.data) && n < 11 && d.data[n] >= '0' && d.data[n] <= '9' {
		n++
	}
	param, err := strconv.Atoi(string(d.data[:n]))
	given := err == nil
	d.data = d.data[n:]
	if len(d.data) > 0 && d.data[0] == ' ' {
		d.data = d.data[1:]
	}
	star := d.star
	d.star = false
	d.word(word, param, given, star)
}

// symbol handles a control symbol.
func (d *rtfReader) symbol(c byte) {
	switch c {
	case '\'':
		if len(d.data) < 2 {
			return
		}
		v, err := strconv.ParseUint(string(d.data[:2]), 16, 8)
		d.data = d.data[2:]
		if err == nil {
			d.octet(byte(v))
		}
	case '*':
		d.star = true
	case '\\', '{', '}':
		d.octet(c)
	case '~':
		d.octet(' ')
	case '_':
		d.octet('-')
	case '\r', '\n':
		d.word("par", 0, false, false)
	}
}

// word handles a control word.
func (d *rtfReader) word(word string, param int, given, star bool) {
	g := d.group()
	if s, ok := rtfSymbols[word]; ok {
		if d.flush(); !g.skip && !g.html && !g.fonts {
			d.text(s)
		}
		return
	}
	switch word {
	case "u":
		if !g.skip && !g.html && !g.fonts {
			if len(d.octets) > 0 {
				d.flush()
			}
			d.units = append(d.units, uint16(param)) //nolint:gosec // negative above 32767 by definition
		}
		d.drop = g.unicode
	case "uc":
		g.unicode = min(max(param, 0), 16)
	case "bin":
		d.data = d.data[min(max(param, 0), len(d.data)):]
	case "ansicpg":
		d.charset = "cp" + strconv.Itoa(param)
	case "mac":
		d.charset = "macintosh"
	case "pc":
		d.charset = "cp437"
	case "pca":
		d.charset = "cp850"
	case "fonttbl":
		g.fonts = true
	case "f", "fcharset", "cpg":
		d.fontWord(word, param)
	case "plain":
		d.flush()
		g.charset = ""
	case "htmlrtf":
		d.flush()
		g.html = !given || param != 0
	case "objdata":
		d.object = true
		g.skip = true
	default:
		if star && word != "shpinst" && word != "shptxt" && word != "background" && word != "annotation" || rtfSkipped[word] {
			g.skip = true
		}
	}
}

// fontWord notes the charset of a font, or takes over that of one.
func (d *rtfReader) fontWord(word string, param int) {
	g := d.group()
	switch {
	case word == "f" && g.fonts:
		d.font = param
	case word == "f":
		d.flush()
		g.charset = d.fonts[param]
	case g.fonts && len(d.fonts) < maxGroups:
		if word == "cpg" {
			d.fonts[d.font] = "cp" + strconv.Itoa(param)
		} else {
			d.fonts[d.font] = rtfCharset(param)
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

// unpackRTF undoes the compression of [MS-OXRTFCP]: LZ77 with a window of 4,096
// octets that begins with common RTF.
func unpackRTF(data []byte, limit int64) []byte {
	const (
		header = 16
		lzfu   = "LZFu"
		mela   = "MELA" // not compressed
	)
	if len(data) < header {
		return nil
	}
	body := data[header:]
	switch string(data[8:12]) {
	case mela:
		return body
	case lzfu:
	default:
		return nil
	}
	var window [4096]byte
	at := copy(window[:], rtfDictionary)
	var out bytes.Buffer
	put := func(c byte) {
		out.WriteByte(c)
		window[at] = c
		at = (at + 1) % len(window)
	}
	for len(body) > 0 && int64(out.Len()) < limit {
		control := body[0]
		body = body[1:]
		for bit := 0; bit < 8 && len(body) > 0; bit++ {
			if control>>bit&1 == 0 {
				put(body[0])
				body = body[1:]
				continue
			}
			if len(body) < 2 {
				return out.Bytes()
			}
			from, n := int(body[0])<<4|int(body[1])>>4, int(body[1]&15)+2
			body = body[2:]
			if from == at { // the end
				return out.Bytes()
			}
			for i := range n {
				put(window[(from+i)%len(window)])
			}
		}
	}
	return out.Bytes()
}

// rtfDictionary is what the window begins with ([MS-OXRTFCP] section 2.1.2.1).
const rtfDictionary = `{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArialTimes New RomanCourier` +
	"{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
