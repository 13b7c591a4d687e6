package mailgen

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

const (
	base64Line = 76 // RFC 2045 section 6.8
	wordLimit  = 75 // of an encoded-word, RFC 2047 section 2
)

// charsetOf returns the encoding of a charset name, nil for us-ascii and utf-8.
func charsetOf(name string) encoding.Encoding {
	switch name {
	case "iso-8859-1":
		return charmap.ISO8859_1
	case "iso-8859-15":
		return charmap.ISO8859_15
	case "windows-1251":
		return charmap.Windows1251
	case "windows-1252":
		return charmap.Windows1252
	case "koi8-r":
		return charmap.KOI8R
	case "iso-2022-jp":
		return japanese.ISO2022JP
	case "shift_jis":
		return japanese.ShiftJIS
	case "gb18030":
		return simplifiedchinese.GB18030
	case "big5":
		return traditionalchinese.Big5
	}
	return nil
}

// encode converts text to a charset; what the charset lacks becomes its
// replacement character.
func encode(charset, text string) string {
	enc := charsetOf(charset)
	if enc == nil {
		return text
	}
	out, err := encoding.ReplaceUnsupported(enc.NewEncoder()).String(text)
	if err != nil { // only for invalid UTF-8, which no source of ours has
		return text
	}
	return out
}

// encodeHeader writes text as encoded-words (RFC 2047), kind 'B' or 'Q', folded.
func encodeHeader(charset string, kind byte, text string) string {
	if isASCII(text) {
		return text
	}
	var words []string
	for text != "" {
		n := 0
		for n < len(text) {
			_, size := utf8.DecodeRuneInString(text[n:])
			if n > 0 && len(encodedWord(charset, kind, text[:n+size])) > wordLimit {
				break
			}
			n += size
		}
		words = append(words, encodedWord(charset, kind, text[:n]))
		text = text[n:]
	}
	return strings.Join(words, "\r\n ")
}

func encodedWord(charset string, kind byte, text string) string {
	raw := encode(charset, text)
	var b strings.Builder
	fmt.Fprintf(&b, "=?%s?%c?", charset, kind)
	if kind == 'B' {
		b.WriteString(base64.StdEncoding.EncodeToString([]byte(raw)))
		return b.String() + "?="
	}
	for _, c := range []byte(raw) {
		switch {
		case c == ' ':
			b.WriteByte('_')
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-', c == '/':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String() + "?="
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// An entity is a header section and a body, both as they are sent.
type entity struct {
	fields [][2]string
	body   string
}

func (e *entity) add(name, value string) { e.fields = append(e.fields, [2]string{name, value}) }

// set replaces the value of the first field of that name.
func (e *entity) set(name, value string) {
	for i := range e.fields {
		if e.fields[i][0] == name {
			e.fields[i][1] = value
			return
		}
	}
}

func (e entity) String() string {
	var b strings.Builder
	for _, f := range e.fields {
		b.WriteString(f[0] + ": " + f[1] + "\r\n")
	}
	b.WriteString("\r\n" + e.body)
	return b.String()
}

// textPart makes a part of text, whose line ends are LF, with a
// Content-Type such as "text/plain".
func textPart(mediaType, charset, transfer, text string) entity {
	var e entity
	e.add("Content-Type", mediaType+"; charset="+charset)
	e.add("Content-Transfer-Encoding", transfer)
	e.body = transferEncode(transfer, encode(charset, strings.ReplaceAll(text, "\n", "\r\n")))
	return e
}

func transferEncode(transfer, body string) string {
	switch transfer {
	case "base64":
		return wrapBase64([]byte(body))
	case "quoted-printable":
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write([]byte(body)) // a bytes.Buffer takes everything
		_ = w.Close()
		return b.String()
	}
	return body
}

func wrapBase64(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(text) > base64Line {
		b.WriteString(text[:base64Line] + "\r\n")
		text = text[base64Line:]
	}
	b.WriteString(text + "\r\n")
	return b.String()
}

// filePart makes a part with a file; disposition is attachment or inline.
func filePart(mediaType, disposition, name string, data []byte) entity {
	var e entity
	e.add("Content-Type", mediaType)
	e.add("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": name}))
	e.add("Content-Transfer-Encoding", "base64")
	e.body = wrapBase64(data)
	return e
}

// joinParts makes a multipart. params, if any, begins with a semicolon.
func joinParts(subtype, params, boundary string, parts ...entity) entity {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--" + boundary + "\r\n" + p.String() + "\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	var e entity
	e.add("Content-Type", "multipart/"+subtype+params+";\r\n\tboundary=\""+boundary+"\"")
	e.body = b.String()
	return e
}
