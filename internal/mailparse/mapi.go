package mailparse

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// MAPI properties ([MS-OXPROPS]) that have text or files.
const (
	propBody           = 0x1000
	propRTF            = 0x1009
	propHTML           = 0x1013
	propAttachData     = 0x3701
	propAttachName     = 0x3704
	propAttachLongName = 0x3707
	propAttachMIMEType = 0x370e
	propAttachID       = 0x3712
	propDisplayName    = 0x3001
	propAttachHidden   = 0x7ffe
	propCodePage       = 0x3fde // PidTagInternetCodepage, of the HTML
)

// Types of MAPI values ([MS-OXCDATA] section 2.11.1).
const (
	mapiShort   = 0x0002
	mapiLong    = 0x0003
	mapiFloat   = 0x0004
	mapiError   = 0x000a
	mapiBool    = 0x000b
	mapiObject  = 0x000d
	mapiString8 = 0x001e
	mapiUnicode = 0x001f
	mapiGUID    = 0x0048
	mapiBinary  = 0x0102
	mapiMany    = 0x1000 // flag: several values
)

// maxMAPIValues is the number of properties, and of values of one, that are read.
const maxMAPIValues = 10_000

// mapiValue is a value of variable size. It must be read, or is skipped.
type mapiValue struct {
	io.Reader // of the value, or of the list
	id, kind  uint16
}

// properties reads a list of MAPI properties, and gives those of variable
// size, numbers and booleans to take.
func (t *tnefReader) properties(r io.Reader, take func(mapiValue)) {
	count, ok := readUint32(r)
	for n := uint32(0); ok && n < min(count, maxMAPIValues); n++ {
		var head uint32
		if head, ok = readUint32(r); !ok {
			return
		}
		v := mapiValue{Reader: r, kind: uint16(head), id: uint16(head >> 16)}
		if v.id >= 0x8000 {
			skipPropertyName(r)
		}
		values := uint32(1)
		size := v.size()
		if size < 0 || v.kind&mapiMany != 0 {
			values, ok = readUint32(r)
		}
		v.kind &^= mapiMany
		for m := uint32(0); ok && m < min(values, maxMAPIValues); m++ {
			ok = v.read(size, take)
		}
	}
}

// size is the number of octets that a value takes; -1 if it says so itself.
func (v mapiValue) size() int64 {
	switch v.kind &^ mapiMany {
	case mapiShort, mapiLong, mapiFloat, mapiError, mapiBool:
		return 4
	case mapiGUID:
		return 16
	case mapiObject, mapiString8, mapiUnicode, mapiBinary:
		return -1
	}
	return 8
}

// read reads one value. It returns false at the end.
func (v mapiValue) read(size int64, take func(mapiValue)) bool {
	r := v.Reader
	if size > 0 {
		value := &io.LimitedReader{R: r, N: size}
		v.Reader = value
		if v.kind == mapiBool || v.kind == mapiLong {
			take(v)
		}
		_, err := io.CopyN(io.Discard, r, value.N)
		return err == nil
	}
	length, ok := readUint32(r)
	if !ok {
		return false
	}
	value := &io.LimitedReader{R: r, N: int64(length)}
	v.Reader = value
	take(v)
	_, err := io.CopyN(io.Discard, r, value.N+padding(length))
	return err == nil
}

// padding is what makes a length a multiple of four.
func padding(length uint32) int64 { return int64(-length & 3) }

// skipPropertyName skips the name that a named property has instead of an id.
func skipPropertyName(r io.Reader) {
	readValue(r, 16) // of the set
	kind, _ := readUint32(r)
	length, _ := readUint32(r) // or a number that is the name
	if kind != 0 {
		_, _ = io.CopyN(io.Discard, r, int64(length)+padding(length))
	}
}

func (t *tnefReader) messageProperty(v mapiValue) {
	switch v.id {
	case propBody:
		if text := t.text(v); len(text) > 0 {
			t.body.plain = []byte(text)
		}
	case propHTML:
		t.body.html = readValue(v, maxTNEFValue)
		if v.kind == mapiUnicode {
			t.body.html, t.body.charset = []byte(utf16Text(t.body.html)), "utf-8"
		}
	case propCodePage:
		number, _ := readUint32(v)
		t.body.charset = codePageName(number)
	case propRTF:
		t.body.rtf = decompressRTF(readValue(v, maxTNEFValue), maxTNEFValue)
	}
}

func (t *tnefReader) fileProperty(v mapiValue) {
	f := &t.file
	switch v.id {
	case propAttachData:
		if v.kind == mapiObject {
			iid := readValue(v, 16)
			// IID_IMessage, {00020307-0000-0000-C000-000000000046}
			f.message = bytes.HasPrefix(iid, []byte{0x07, 0x03, 0x02, 0})
		}
		t.fileData(v)
	case propAttachLongName:
		f.longName = cleanValue(t.text(v))
	case propAttachName, propDisplayName:
		if name := cleanValue(t.text(v)); f.longName == "" && name != "" {
			f.longName = name
		}
	case propAttachMIMEType:
		if f.mediaType = strings.ToLower(cleanValue(t.text(v))); strings.IndexByte(f.mediaType, '/') <= 0 || isEnclosed(f.mediaType) {
			f.mediaType = ""
		}
	case propAttachID:
		f.id = strings.Trim(cleanValue(t.text(v)), "<>")
	case propAttachHidden:
		set, _ := readUint32(v)
		f.hidden = set&0xffff != 0
	}
}

// text reads a string of either kind.
func (t *tnefReader) text(v mapiValue) string {
	octets := readValue(v, maxTNEFValue)
	if v.kind == mapiUnicode {
		return utf16Text(octets)
	}
	text, _, _ := decodeCharset(octets, t.charset)
	return strings.TrimRight(text, "\x00")
}

func utf16Text(b []byte) string {
	text, _, _ := decodeCharset(b, "utf-16le")
	return strings.TrimRight(text, "\x00")
}

// codePageName returns the charset of a Windows code page.
func codePageName(number uint32) string {
	switch number {
	case 0:
		return ""
	case 20127:
		return "us-ascii"
	case 20866:
		return "koi8-r"
	case 21866:
		return "koi8-u"
	case 50220, 50221, 50222:
		return "iso-2022-jp"
	case 51932:
		return "euc-jp"
	case 51949:
		return "euc-kr"
	case 54936:
		return "gb18030"
	case 65000:
		return "utf-7"
	case 65001:
		return "utf-8"
	}
	if 28591 <= number && number <= 28605 {
		return "iso-8859-" + strconv.Itoa(int(number-28590))
	}
	return "cp" + strconv.Itoa(int(number))
}
