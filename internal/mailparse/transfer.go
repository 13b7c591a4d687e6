package mailparse

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
)

// transferDecoder undoes a Content-Transfer-Encoding (RFC 2045 section 6) line
// by line. It appends what it decodes to dst and returns it.
type transferDecoder interface {
	// line takes a line, or a piece of a long one: content without line end,
	// and the line end, which is empty if more pieces follow.
	line(dst, content, eol []byte) []byte
	// close appends what is left. atEnd is false if a boundary follows: the
	// line end before it is not content (RFC 2046 section 5.1.1).
	close(dst []byte, atEnd bool) []byte
}

// newTransferDecoder returns the decoder for the value of the field, as lower
// case. It is generous: what is not known is taken as it is.
func newTransferDecoder(encoding string, issue func(string)) transferDecoder {
	switch {
	case isBase64(encoding):
		return &base64Decoder{issue: issue}
	case isQuotedPrintable(encoding):
		return &qpDecoder{issue: issue}
	case strings.Contains(encoding, "uue"):
		return &uuDecoder{issue: issue}
	case encoding == "" || strings.HasSuffix(encoding, "bit") || strings.HasSuffix(encoding, "bits") || encoding == "binary":
	default:
		issue("unknown transfer encoding")
	}
	return &identityDecoder{}
}

// Mailers write "base-64", "base 64", "x-base64", "quoted printable", …
func isBase64(encoding string) bool {
	return encoding == "b" || strings.HasPrefix(encoding, "base") || strings.HasSuffix(encoding, "base64")
}

func isQuotedPrintable(encoding string) bool {
	return encoding == "q" || strings.Contains(encoding, "quoted") || strings.Contains(encoding, "printable")
}

// identityDecoder copies; the line end of the last line is held back.
type identityDecoder struct{ eol []byte }

func (d *identityDecoder) line(dst, content, eol []byte) []byte {
	dst = append(dst, d.eol...)
	d.eol = append(d.eol[:0], eol...)
	return append(dst, content...)
}

func (d *identityDecoder) close(dst []byte, atEnd bool) []byte {
	if atEnd {
		dst = append(dst, d.eol...)
	}
	return dst
}

// qpDecoder decodes quoted-printable (RFC 2045 section 6.7). What is no valid
// escape stays as it is.
type qpDecoder struct {
	issue func(string)
	eol   []byte // held back
	tail  []byte // of a piece of a long line: an escape, or white space, that may go on
}

func (d *qpDecoder) line(dst, content, eol []byte) []byte {
	dst = append(dst, d.eol...)
	d.eol = d.eol[:0]
	if len(d.tail) > 0 {
		content = append(d.tail, content...)
		d.tail = nil
	}
	if len(eol) == 0 {
		if i := bytes.LastIndexByte(content, '='); i >= 0 && len(content)-i < 3 {
			d.tail = bytes.Clone(content[i:])
			content = content[:i]
		}
		return d.decode(dst, content)
	}
	content = bytes.TrimRight(content, " \t") // section 6.7, rule 3
	if n := len(content); n > 0 && content[n-1] == '=' {
		return d.decode(dst, content[:n-1])
	}
	d.eol = append(d.eol, eol...)
	return d.decode(dst, content)
}

func (d *qpDecoder) decode(dst, p []byte) []byte {
	for {
		i := bytes.IndexByte(p, '=')
		if i < 0 {
			return append(dst, p...)
		}
		dst = append(dst, p[:i]...)
		p = p[i:]
		if len(p) >= 3 {
			if hi, lo := unhex(p[1]), unhex(p[2]); hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				p = p[3:]
				continue
			}
		}
		d.issue("bad quoted-printable")
		dst = append(dst, '=')
		p = p[1:]
	}
}

func (d *qpDecoder) close(dst []byte, atEnd bool) []byte {
	if len(d.tail) > 1 { // a lone "=" is a soft line break
		dst = d.decode(dst, d.tail)
	}
	if atEnd {
		dst = append(dst, d.eol...)
	}
	return dst
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// uuDecoder decodes uuencode (POSIX uuencode), which came before base64: lines
// of a length and groups of four characters, between "begin" and "end".
type uuDecoder struct {
	issue func(string)
	begun bool
}

func (d *uuDecoder) line(dst, content, _ []byte) []byte {
	switch {
	case bytes.HasPrefix(content, []byte("begin")):
		d.begun = true
		return dst
	case !d.begun || len(content) == 0 || bytes.Equal(content, []byte("end")):
		return dst
	}
	n := int(content[0]-' ') & 63
	if (n+2)/3*4 < len(content)-4 || content[0] < ' ' || content[0] > '`' {
		d.issue("bad line in uuencode")
		return dst
	}
	if n > len(content) { // more than a few lost spaces: nothing decodes to more than it is
		d.issue("bad line in uuencode")
		n = len(content)
	}
	at := len(dst)
	for group := content[1:]; len(dst)-at < n; group = group[min(4, len(group)):] {
		var v [4]byte // white space at the end of lines may be lost: it stands for 0
		for i := range min(4, len(group)) {
			v[i] = (group[i] - ' ') & 63
		}
		dst = append(dst, v[0]<<2|v[1]>>4, v[1]<<4|v[2]>>2, v[2]<<6|v[3])
	}
	return dst[:at+n]
}

func (d *uuDecoder) close(dst []byte, _ bool) []byte {
	if !d.begun {
		d.issue("uuencode without a begin line")
	}
	return dst
}

// base64Decoder decodes base64 (RFC 2045 section 6.8) and goes on where the
// standard decoder gives up: other characters are skipped, missing padding is
// added, blocks may follow each other. Lines that are plain text, as list
// servers append them, are left out; if already the first one is, nothing is encoded.
type base64Decoder struct {
	issue    func(string)
	acc      uint32 // bits not yet given out
	n        int    // number of characters in acc
	begun    bool   // the first line was seen
	padded   bool   // padding was seen
	identity *identityDecoder
}

func (d *base64Decoder) line(dst, content, eol []byte) []byte {
	if d.identity != nil {
		return d.identity.line(dst, content, eol)
	}
	content = bytes.TrimSpace(content)
	if len(content) == 0 {
		return dst
	}
	if d.n == 0 && len(content)%4 == 0 {
		// The usual line goes the fast way.
		at := len(dst)
		dst = slices.Grow(dst, len(content)/4*3)
		n, err := base64.StdEncoding.Decode(dst[at:cap(dst)], content)
		dst = dst[:at+n]
		if err == nil {
			d.begun, d.padded = true, d.padded || content[len(content)-1] == '='
			return dst
		}
		dst = dst[:at]
	}
	if isPlainText(content, d.padded) {
		if !d.begun {
			d.issue("declared base64 but is plain text")
			d.identity = &identityDecoder{}
			return d.identity.line(dst, content, eol)
		}
		d.issue("text among base64")
		return dst
	}
	d.begun = true
	return d.decode(dst, content)
}

// isPlainText reports whether a line is no base64 with a few errors in it.
func isPlainText(line []byte, padded bool) bool {
	bad, dashes := 0, 0
	for _, c := range line {
		switch {
		case c == '_' || c == '-':
			dashes++ // of the URL alphabet, or a line drawn with them
		case base64Value(c) < 0 && c != '=':
			bad++
		}
	}
	if padded || dashes == len(line) {
		bad += dashes
	}
	return bad*10 > len(line) || padded && bad > 0
}

func (d *base64Decoder) decode(dst, p []byte) []byte {
	ended := false // by padding in this line
	for _, c := range p {
		v := base64Value(c)
		if v < 0 {
			if c == '=' {
				d.padded, ended = true, true
				dst = d.flush(dst)
			} else if ended && c == ' ' {
				d.issue("text among base64")
				return dst
			} else if c != ' ' && c != '\t' {
				d.issue("bad characters in base64")
			}
			continue
		}
		d.acc = d.acc<<6 | uint32(v)
		if d.n++; d.n == 4 {
			dst = append(dst, byte(d.acc>>16), byte(d.acc>>8), byte(d.acc))
			d.acc, d.n = 0, 0
		}
	}
	return dst
}

// flush gives out the octets of an incomplete group.
func (d *base64Decoder) flush(dst []byte) []byte {
	switch d.n {
	case 2:
		dst = append(dst, byte(d.acc>>4))
	case 3:
		dst = append(dst, byte(d.acc>>10), byte(d.acc>>2))
	}
	d.acc, d.n = 0, 0
	return dst
}

func (d *base64Decoder) close(dst []byte, atEnd bool) []byte {
	if d.identity != nil {
		return d.identity.close(dst, atEnd)
	}
	if d.n > 0 {
		d.issue("base64 ends early")
	}
	return d.flush(dst)
}

// base64Value returns the six bits of a character of the standard or the URL
// alphabet, or -1.
func base64Value(c byte) int {
	switch {
	case 'A' <= c && c <= 'Z':
		return int(c - 'A')
	case 'a' <= c && c <= 'z':
		return int(c-'a') + 26
	case '0' <= c && c <= '9':
		return int(c-'0') + 52
	case c == '+' || c == '-':
		return 62
	case c == '/' || c == '_':
		return 63
	}
	return -1
}
