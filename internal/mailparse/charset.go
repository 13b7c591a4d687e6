package mailparse

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// What was wrong with a charset.
const (
	issueCharset = "unknown charset"
	issueOctets  = "octets that are not in the declared charset"
)

// decodeCharset makes UTF-8 of b. It returns the charset that it was read
// as, in lower case, and what was wrong ("" if nothing). Where none is declared, or an unknown one,
// and for octets that are not UTF-8 where that is declared, the octets are taken as UTF-8
// where they are and as what they look like where they are not.
func decodeCharset(b []byte, label string) (text, charset, issue string) {
	if label == "" || isUnicodeLabel(label) {
		return decodeUndeclared(b, label)
	}
	label = normalizeCharset(label)
	switch label {
	case "", "utf-8", "us-ascii":
		return decodeUndeclared(b, label)
	case "utf-7":
		return decodeUTF7(b), label, ""
	case "viscii":
		return decodeVISCII(b), label, ""
	}
	if isASCII(b) && extendsASCII(label) && lookupCharset(label) != nil {
		return string(b), label, ""
	}
	if isReallyUTF8(b, label) {
		return string(b), "utf-8", issueOctets
	}
	if strings.HasPrefix(label, "iso-2022-") {
		if isASCII(b) || bytes.IndexByte(b, 0x1b) >= 0 {
			return decodeISO2022(b), label, ""
		}
		text, charset, _ = decodeUndeclared(b, "")
		return text, charset, issueOctets
	}
	return decodeDeclared(b, label)
}

// decodeDeclared decodes a charset of which nothing special is to be said.
func decodeDeclared(b []byte, label string) (text, charset, issue string) {
	enc := lookupCharset(label)
	if enc == nil {
		text, charset, _ = decodeUndeclared(b, "")
		if isASCII(b) {
			return text, charset, "" // nothing was lost
		}
		return text, charset, issueCharset
	}
	out, err := enc.NewDecoder().Bytes(b)
	if err != nil {
		text, charset, _ = decodeUndeclared(b, "")
		return text, charset, issueOctets
	}
	if wrong := bytes.Count(out, []byte("\uFFFD")); wrong > 0 {
		issue = issueOctets
		if wrong*8 > utf8.RuneCount(out)-countASCII(out) { // it is another charset
			other, name := detectCharset(b)
			if better, err := other.NewDecoder().Bytes(b); err == nil && bytes.Count(better, []byte("\uFFFD")) < wrong {
				out, label = better, name
			}
		}
	}
	return strings.ToValidUTF8(string(out), "\uFFFD"), label, issue
}

// isUnicodeLabel is the short way for the two most frequent spellings.
func isUnicodeLabel(label string) bool {
	return label == "utf-8" || label == "UTF-8"
}

// decodeUndeclared reads octets whose charset is not known for sure.
func decodeUndeclared(b []byte, label string) (text, charset, issue string) {
	label = strings.ToLower(label)
	if bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
		b = b[3:]
	}
	if isASCII(b) {
		if i := bytes.IndexByte(b, 0x1b); i >= 0 && i+1 < len(b) && b[i+1] == '$' {
			switch _, later, length := iso2022Escape(b[i+1:]); {
			case later:
				return decodeISO2022(b), "iso-2022-kr", ""
			case length > 0:
				return decodeISO2022(b), "iso-2022-jp", ""
			}
		}
		if label == "" {
			label = "us-ascii"
		}
		return string(b), label, ""
	}
	if enc := byteOrderMark(b); enc != nil {
		if out, err := enc.NewDecoder().Bytes(b); err == nil {
			return string(out), "utf-16", ""
		}
	}
	if label == "us-ascii" {
		issue = issueOctets
	}
	if utf8.Valid(b) {
		return string(b), "utf-8", issue
	}
	if label == "utf-8" {
		issue = issueOctets
	}
	if !isMostlyUTF8(b, label == "utf-8") {
		enc, charset := detectCharset(b)
		if out, err := enc.NewDecoder().Bytes(b); err == nil {
			return strings.ToValidUTF8(string(out), "\uFFFD"), charset, issue
		}
	}
	var out strings.Builder
	out.Grow(len(b) + len(b)/8)
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			r = charmap.Windows1252.DecodeByte(b[0])
		}
		out.WriteRune(r)
		b = b[size:]
	}
	return out.String(), "utf-8", issue
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func byteOrderMark(b []byte) encoding.Encoding {
	if bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")) {
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	}
	return nil
}

// extendsASCII reports whether ASCII octets mean themselves in the charset.
func extendsASCII(label string) bool {
	for _, prefix := range []string{"utf-16", "utf-32", "ucs-", "iso-10646", "iso-2022", "hz", "ebcdic", "ibm0", "ibm1"} {
		if strings.HasPrefix(label, prefix) {
			return false
		}
	}
	return true
}

// normalizeCharset makes one spelling of the many that mail has for a
// charset. "" stands for none.
func normalizeCharset(label string) string {
	label = strings.ToLower(strings.Trim(label, " \t\"'`;,=<>\x00"))
	label = strings.TrimPrefix(label, "charset=")
	label = strings.Trim(label, "\"'")
	switch label {
	case "default", "ansi", "unknown", "unknown-8bit", "x-unknown", "x-user-defined", "binary", "8bit", "7bit", "none", "x-binaryenc", "iso-8859-8bit", "_autodetect_all", "_autodetect", "unspecified":
		return ""
	case "utf8", "utf_8", "x-utf_8j", "unicode-1-1-utf-8", "utf-8-mac", "utf8mb4", "cp65001", "utf":
		return "utf-8"
	case "ascii", "us_ascii", "usascii", "ansi_x3.4-1968", "iso646-us", "iso-ir-6":
		return "us-ascii"
	case "utf7", "utf-7-imap", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7":
		return "utf-7"
	case "cp50220", "cp50221", "cp50222", "jis", "iso2022jp", "iso2022-jp", "iso_2022-jp", "csiso2022jp":
		return "iso-2022-jp"
	case "iso2022kr", "csiso2022kr":
		return "iso-2022-kr"
	case "viscii1.1-1", "csviscii", "x-viscii":
		return "viscii"
	}
	// "8859_1", "iso8859-1", "iso_8859_1", "iso-8859_15"
	if i := strings.Index(label, "8859"); i >= 0 && strings.Trim(label[:i], "-_ isox") == "" {
		if part := strings.TrimLeft(label[i+4:], "-_ "); part != "" {
			return "iso-8859-" + part
		}
	}
	return label
}

// lookupCharset returns the encoding for a normalized label, or nil.
func lookupCharset(label string) encoding.Encoding {
	switch label {
	case "cp932", "ms932", "windows-31j", "shift-jis", "sjis", "x-sjis", "ms_kanji":
		return japanese.ShiftJIS // the table is that of Microsoft
	case "cp949", "ms949", "uhc", "ks_c_5601", "ksc5601", "x-windows-949", "euc_kr", "euckr":
		return korean.EUCKR
	case "cp936", "ms936", "euc-cn", "gb2312", "gb2312-80", "gbk", "x-gbk", "gb_2312", "gb_2312-80", "chinese", "iso-ir-58", "csgb2312",
		"gb18030", "gb18030-2000", "gb18030-2005", "gb18030-2022", "gb-18030":
		return simplifiedchinese.GB18030
	case "hz", "hz-gb-2312", "hz-gb2312":
		return simplifiedchinese.HZGB2312
	case "cp950", "ms950", "big-5", "big5hkscs", "big5-hkscs", "big5-hkscs:2004", "cp951", "cn-big5", "big5-eten", "x-big5":
		return traditionalchinese.Big5
	case "eucjp", "eucjp-ms", "x-euc-jp", "x-eucjp":
		return japanese.EUCJP
	case "utf-16", "utf16", "unicode", "ucs-2", "iso-10646-ucs-2":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-16le", "utf16le", "ucs-2le", "unicodelittle":
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case "utf-16be", "utf16be", "ucs-2be":
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-32", "utf32", "ucs-4":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM)
	case "utf-32le":
		return utf32.UTF32(utf32.LittleEndian, utf32.UseBOM)
	case "koi8r", "koi8", "cskoi8r", "koi8_r", "koi-8":
		return charmap.KOI8R
	case "mac", "x-mac-roman", "macroman":
		return charmap.Macintosh
	}
	enc, err := htmlindex.Get(label)
	if err == nil && enc != encoding.Replacement {
		return enc
	}
	if number, ok := codePage(label); ok {
		if enc, err = htmlindex.Get("windows-" + number); err == nil {
			return enc
		}
		label = "IBM" + number
	}
	if enc, err = ianaindex.IANA.Encoding(label); err == nil && enc != nil {
		return enc
	}
	return nil
}

// codePage finds the number in "cp1252", "windows1251", "win-1251", "ibm-850".
func codePage(label string) (string, bool) {
	for _, prefix := range []string{"windows", "cp", "win", "ibm", "x-cp", "ms", "ansi", "dos", "microsoft-cp"} {
		if rest, ok := strings.CutPrefix(label, prefix); ok {
			rest = strings.TrimLeft(rest, "-_ ")
			if rest != "" && strings.Trim(rest, "0123456789") == "" {
				return rest, true
			}
		}
	}
	return "", false
}
