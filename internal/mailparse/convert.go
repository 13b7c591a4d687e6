package mailparse

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
)

// DecodeText makes UTF-8 of text in the named charset, "" if it is not known.
// It is as forgiving as Parse: whatever the octets are, there is a text.
func DecodeText(octets []byte, charset string) string {
	text, _, _ := decodeCharset(octets, charset)
	return plainText(text)
}

// HTMLText returns the readable text of an HTML document and the addresses that it
// links to, at most about limit bytes of it. charset is "" where only the document may say what it is in.
func HTMLText(octets []byte, charset string, limit int) string {
	if charset == "" {
		charset = htmlCharset(octets)
	}
	text, _, _ := decodeCharset(octets, charset)
	content := readHTML(text, limit)
	return strings.Join(append([]string{content.text}, content.links...), "\n")
}

// DirectoryText returns what people look for in a calendar (RFC 5545) or a
// business card (RFC 6350). Octets that are none of both are decoded, and that is all.
func DirectoryText(octets []byte, charset string) string {
	return directoryText(DecodeText(octets, charset))
}

// DecompressRTF undoes the compression in which Outlook keeps RTF
// ([MS-OXRTFCP]), up to limit octets. It is nil if b is nothing of the kind.
func DecompressRTF(b []byte, limit int) []byte { return decompressRTF(b, limit) }

// CodePageCharset returns the charset of a Windows code page, for DecodeText.
func CodePageCharset(number uint32) string { return codePageName(number) }

// htmlCharset returns the charset that HTML says it is in, "" if it does not matter
// or is not said.
func htmlCharset(octets []byte) string {
	if utf8.Valid(octets) && bytes.IndexByte(octets, 0x1b) < 0 {
		return ""
	}
	// windows-1252 is the answer where nothing is said; ours is better.
	_, name, _ := charset.DetermineEncoding(octets[:min(len(octets), metaBytes)], "")
	if name == "windows-1252" {
		return ""
	}
	return name
}
