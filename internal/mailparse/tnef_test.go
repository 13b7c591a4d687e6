package mailparse

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
)

func tnefAttribute(level byte, id uint16, value string) string {
	b := append([]byte{level}, binary.LittleEndian.AppendUint16(nil, id)...)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	return string(b) + value + "\x00\x00" // the checksum is not looked at
}

func mapiList(properties ...string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(properties)))) + strings.Join(properties, "")
}

func mapiProperty(kind, id uint16, value string) string {
	b := binary.LittleEndian.AppendUint16(nil, kind)
	b = binary.LittleEndian.AppendUint16(b, id)
	b = append(b, 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	return string(b) + value + strings.Repeat("\x00", int(padding(uint32(len(value)))))
}

func utf16String(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s + "\x00")) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

func tnefStream(attributes ...string) string {
	return "\x78\x9f\x3e\x22\x01\x00" + strings.Join(attributes, "")
}

const tnefHeader = "Subject: s\nContent-Type: application/ms-tnef; name=winmail.dat\nContent-Transfer-Encoding: binary\n\n"

func TestWinmailDatIsUnpacked(t *testing.T) {
	codePage := string(binary.LittleEndian.AppendUint32(nil, 1251)) + "\x00\x00\x00\x00"
	large := strings.Repeat("x", maxTNEFValue+10)
	inner := tnefStream(tnefAttribute(1, tnefBody, "the inner text\x00"))
	message := tnefHeader + tnefStream(
		tnefAttribute(1, tnefCodePage, codePage), tnefAttribute(1, tnefBody, "\xcf\xf0\xe8\xe2\xe5\xf2\r\n\x00"),
		tnefAttribute(2, tnefRendData, ""), tnefAttribute(2, tnefFileTitle, "SHORT~1.TXT\x00"), tnefAttribute(2, tnefFileData, "ab"),
		tnefAttribute(2, tnefFileProps, mapiList(mapiProperty(mapiUnicode, propAttachLongName, utf16String("длинное.bin")), mapiProperty(mapiString8, propAttachMIMEType, "Image/PNG\x00"))),
		tnefAttribute(2, tnefRendData, ""), tnefAttribute(2, tnefFileTitle, "LARGE.BIN\x00"), tnefAttribute(2, tnefFileData, large),
		tnefAttribute(2, tnefRendData, ""), tnefAttribute(2, tnefFileProps, mapiList(mapiProperty(mapiObject, propAttachData, "\x07\x03\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"+inner))),
	)
	contents := map[string]*strings.Builder{}
	m, err := Parse(t.Context(), strings.NewReader(message), Options{Part: func(p *Part) io.Writer {
		contents[p.FileName] = &strings.Builder{}
		return contents[p.FileName]
	}})
	if err != nil || len(m.Problems) > 0 {
		t.Fatal(err, m.Problems)
	}
	if got := m.Text(); !strings.Contains(got, "Привет\n") || !strings.Contains(got, "the inner text\n") {
		t.Errorf("text %q", got)
	}
	if len(m.Attachments) != 2 || m.Attachments[0] != (Attachment{"1.1", "длинное.bin", "image/png", 2}) || m.Attachments[1].FileName != "LARGE.BIN" {
		t.Errorf("attachments %v", m.Attachments)
	}
	if contents["длинное.bin"].String() != "ab" || contents["LARGE.BIN"].String() != large {
		t.Error("contents are not those of the files")
	}
}

func TestWinmailDatThatIsCutKeepsWhatThereIs(t *testing.T) {
	message := tnefHeader + tnefStream(tnefAttribute(1, tnefBody, "the text\x00"), tnefAttribute(2, tnefRendData, ""), tnefAttribute(2, tnefFileTitle, "a.bin\x00"), tnefAttribute(2, tnefFileData, "content"))
	m := parse(t, message[:len(message)-5])
	if !m.HasFlag(FlagMalformed) || len(m.Attachments) != 1 || m.Attachments[0].Size != 4 || !strings.Contains(m.Text(), "the text") {
		t.Errorf("flags %v, attachments %v, text %q", m.Flags, m.Attachments, m.Text())
	}
	if m := parse(t, tnefHeader+"no TNEF"); !m.HasFlag(FlagMalformed) || len(m.Attachments) != 1 {
		t.Errorf("flags %v, attachments %v: winmail.dat itself is attached if it cannot be read", m.Flags, m.Attachments)
	}
}

func TestRTFText(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		isHTML   bool
	}{
		"plain":     {`{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\colortbl;}\f0 caf\'e9 \{x\}\par two\tab three\u8217 ?s}`, "café {x}\ntwo\tthree’s", false},
		"code page": {`{\rtf1\ansi\ansicpg1251 \'ef\'f0\'e8}`, "при", false},
		"HTML":      {`{\rtf1\ansi\fromhtml1{\*\htmltag64 <p>}\htmlrtf\par\htmlrtf0 text{\*\htmltag72 </p>}{\*\unknown x}}`, "<p>text</p>", true},
		"surrogate": {`{\rtf1\u-10179?\u-8704?}`, "\U0001F600", false},
		"picture":   {`{\rtf1{\pict 0102}\bin3 abc text}`, " text", false},
	} {
		t.Run(name, func(t *testing.T) {
			text, isHTML := rtfText([]byte(c.in), 1000)
			if string(text) != c.want || isHTML != c.isHTML {
				t.Errorf("%q %v, want %q", text, isHTML, c.want)
			}
		})
	}
}

// The example of [MS-OXRTFCP] section 3.
func TestCompressedRTF(t *testing.T) {
	example := "\x2d\x00\x00\x00\x2b\x00\x00\x00\x4c\x5a\x46\x75\xf1\xc5\xc7\xa7\x03\x00\x0a\x00\x72\x63\x70\x67\x31\x32\x35\x42\x32\x0a\xf3\x20\x68\x65\x6c\x09\x00\x20\x62\x77\x05\xb0\x6c\x64\x7d\x0a\x80\x0f\xa0"
	if got := string(decompressRTF([]byte(example), 1000)); got != "{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n" {
		t.Errorf("%q", got)
	}
}
