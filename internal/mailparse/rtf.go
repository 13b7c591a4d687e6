package mailparse

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// rtfDictionary is what the window of compressed RTF begins with ([MS-OXRTFCP]
// section 2.1.2.1).
const rtfDictionary = "{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"

// decompressRTF undoes the compression of PidTagRtfCompressed ([MS-OXRTFCP]) up
// to limit octets. It is nil if b is nothing of the kind.
func decompressRTF(b []byte, limit int) []byte {
	if len(b) < 16 {
		return nil
	}
	kind := string(b[8:12])
	size := min(int(binary.LittleEndian.Uint32(b[4:])), limit)
	b = b[16:]
	if kind == "MELA" { // not compressed
		return b[:min(len(b), size)]
	}
	if kind != "LZFu" {
		return nil
	}
	var window [4096]byte
	at := copy(window[:], rtfDictionary)
	var out []byte
	put := func(c byte) {
		out = append(out, c)
		window[at] = c
		at = (at + 1) % len(window)
	}
	for len(b) > 0 && len(out) < size {
		control := b[0]
		b = b[1:]
		for bit := 0; bit < 8 && len(out) < size; bit++ {
			if control>>bit&1 == 0 {
				if len(b) == 0 {
					return out
				}
				put(b[0])
				b = b[1:]
				continue
			}
			if len(b) < 2 {
				return out
			}
			reference := int(b[0])<<8 | int(b[1])
			b = b[2:]
			from := reference >> 4
			if from == at {
				return out
			}
			for range reference&15 + 2 {
				put(window[from])
				from = (from + 1) % len(window)
			}
		}
	}
	return out
}

// rtfReader makes text of RTF. Of HTML that Outlook wrapped into RTF
// ([MS-OXRTFEX]) it makes that HTML again.
type rtfReader struct {
	b       []byte
	out     strings.Builder
	octets  []byte // of the code page, not decoded yet
	charset string
	isHTML  bool
	groups  []rtfGroup
	group   rtfGroup
	skip    int // characters that stand for the last \u
	high    rune
}

// rtfGroup is the state that ends with a group.
type rtfGroup struct {
	ignore   bool // fonts, colours, pictures, unknown destinations
	noHTML   bool // \htmlrtf: RTF that the HTML does not have
	fallback int  // \uc: characters after \u
}

// maxRTFGroups is more than any program nests; the rest is not text.
const maxRTFGroups = 1000

// rtfText returns the text of RTF, or the HTML within it, at most about limit octets.
func rtfText(b []byte, limit int) (text []byte, isHTML bool) {
	r := &rtfReader{b: b, charset: "windows-1252", group: rtfGroup{fallback: 1}}
	head := b[:min(len(b), metaBytes)]
	r.isHTML = bytes.Contains(head, []byte(`\fromhtml1`))
	for len(r.b) > 0 && r.out.Len() < limit {
		r.step()
	}
	r.flush()
	return []byte(r.out.String()), r.isHTML
}

func (r *rtfReader) step() {
	c := r.b[0]
	r.b = r.b[1:]
	switch {
	case c == '{':
		if len(r.groups) >= maxRTFGroups {
			r.b = nil
			return
		}
		r.groups = append(r.groups, r.group)
		r.skip = 0
	case c == '}':
		if n := len(r.groups); n > 0 {
			r.group = r.groups[n-1]
			r.groups = r.groups[:n-1]
		}
		r.skip = 0
	case c == '\\' && len(r.b) > 0:
		r.control()
	case c == '\r' || c == '\n' || c == 0:
	default:
		r.char(c)
	}
}

// char takes one octet of text in the code page.
func (r *rtfReader) char(c byte) {
	if r.skip > 0 {
		r.skip--
		return
	}
	if r.visible() {
		r.octets = append(r.octets, c)
	}
}

func (r *rtfReader) visible() bool {
	return !r.group.ignore && !r.group.noHTML
}

func (r *rtfReader) flush() {
	if len(r.octets) > 0 {
		text, _, _ := decodeCharset(r.octets, r.charset)
		r.out.WriteString(text)
		r.octets = r.octets[:0]
	}
}

// control reads a control symbol or word.
func (r *rtfReader) control() {
	c := r.b[0]
	if !isLetter(c) {
		r.b = r.b[1:]
		r.symbol(c)
		return
	}
	n := 0
	for n < len(r.b) && n < 32 && isLetter(r.b[n]) {
		n++
	}
	word := string(r.b[:n])
	end := n
	if end < len(r.b) && r.b[end] == '-' {
		end++
	}
	for end < len(r.b) && end-n < 12 && '0' <= r.b[end] && r.b[end] <= '9' {
		end++
	}
	number, err := strconv.Atoi(string(r.b[n:end]))
	hasNumber := err == nil
	if end < len(r.b) && r.b[end] == ' ' {
		end++
	}
	r.b = r.b[end:]
	r.word(word, number, hasNumber)
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func (r *rtfReader) symbol(c byte) {
	switch c {
	case '\'':
		if len(r.b) < 2 {
			return
		}
		hi, lo := unhex(r.b[0]), unhex(r.b[1])
		r.b = r.b[2:]
		if hi >= 0 && lo >= 0 {
			r.char(byte(hi<<4 | lo))
		}
	case '*':
		// A destination that may be ignored, unless it is one of ours.
		r.group.ignore = !bytes.HasPrefix(r.b, []byte(`\htmltag`))
	case '~':
		r.char(' ')
	case '_':
		r.char('-')
	case '\\', '{', '}':
		r.char(c)
	case '\n', '\r':
		r.line("\n")
	}
}

func (r *rtfReader) word(word string, number int, hasNumber bool) {
	switch word {
	case "par", "line", "sect", "page", "row":
		r.line("\n")
	case "tab", "cell":
		r.line("\t")
	case "fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "header", "footer", "listtable":
		r.group.ignore = true
	case "htmlrtf":
		r.group.noHTML = r.isHTML && (!hasNumber || number != 0)
	case "ansicpg":
		r.charset = codePageName(uint32(max(number, 0)))
	case "uc":
		r.group.fallback = min(max(number, 0), 16)
	case "u":
		r.unicode(rune(uint16(number)))
		r.skip = r.group.fallback
	case "bin":
		r.b = r.b[min(max(number, 0), len(r.b)):]
	case "emdash":
		r.unicode('—')
	case "endash":
		r.unicode('–')
	case "lquote":
		r.unicode('‘')
	case "rquote":
		r.unicode('’')
	case "ldblquote":
		r.unicode('“')
	case "rdblquote":
		r.unicode('”')
	case "bullet":
		r.unicode('•')
	}
}

// line writes white space of the text; within HTML it means nothing beside the
// line ends of tags.
func (r *rtfReader) line(s string) {
	if r.visible() {
		r.flush()
		r.out.WriteString(s)
	}
}

// unicode writes a character; two halves of one come after each other.
func (r *rtfReader) unicode(c rune) {
	if !r.visible() {
		return
	}
	r.flush()
	switch {
	case utf16.IsSurrogate(c) && r.high == 0:
		r.high = c
		return
	case r.high != 0:
		c = utf16.DecodeRune(r.high, c)
		r.high = 0
	}
	if !utf8.ValidRune(c) {
		c = utf8.RuneError
	}
	r.out.WriteRune(c)
}
