package mailparse

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// checkText fails for text that would break a reader: invalid UTF-8 or line ends
// within a value.
func checkValue(t *testing.T, what, s string) {
	if !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00") {
		t.Errorf("%s: %q", what, s)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "x", "From a\nSubject: =?utf-8?q?x\nTo: <a@b\n\nbody\n",
		"Content-Type: multipart/mixed; boundary=b\n\npre\n--b\nContent-Type: text/html\n\n<p>x&lt;\n--b\nContent-Transfer-Encoding: base64\n\naGVs\nbG8\n--b--\n",
		"Content-Type: multipart/mixed\n\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nSubject: x=20\n\ny\n--b\n\n",
		"a\nb: c\n d\n\t\n-- x\n", "X-MS-Journal-Report:\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nTo: a@b, Expanded: c@d\n--b\nContent-Type: message/rfc822\n\nSubject: o\n--b--",
		"Subject: x\r\rbody\r", "Content-Type: text/plain; charset=utf-7\n\n+AOk-+", "Content-Transfer-Encoding: uuencode\n\nbegin\n#0V%T\n",
		"Content-Type: multipart/alternative; boundary=\"\"\n\n--\n\nx\n----\n",
		"\n\nbegin 644 x\n#0V%T\n`\nend\n=ybegin size=1 name=a\n\x6b=\x7d\n=yend\n", "Content-Type: text/plain; format=flowed; delsp=yes\n\n> a \n> b \n-- \n",
		"Content-Type: text/html\n\n<ol><li>a<blockquote hidden>b<a href=http://c>d</a><p style='display:none'>e",
		"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b\nStatus: 5.0.0\n", "Content-Type: text/calendar\n\nSUMMARY;X=\"a:b\":c\\n\n d\n",
		"Received: x for <a@b>;\nDelivered-To: c@d\nThread-Index: AAAA\nContent-Type: message/partial; number=1; id=x\n\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := parse(t, string(b))
		if m.Size != int64(len(b)) || len(m.Parts) == 0 || len(m.Problems) > maxProblems {
			t.Fatalf("size %d of %d, %d parts, %d problems", m.Size, len(b), len(m.Parts), len(m.Problems))
		}
		if len(m.Problems) == 0 && (m.HasFlag(FlagMalformed) || m.HasFlag(FlagPartial)) {
			t.Errorf("flags %v, problems %q", m.Flags, m.Problems)
		}
		for name, value := range m.Header.All() {
			checkValue(t, name, value)
		}
		checkValue(t, "subject", m.Subject)
		text := m.Text()
		if !utf8.ValidString(text) || len(text) > 20*len(b)+100 {
			t.Errorf("text of %d bytes from %d", len(text), len(b))
		}
		for i, p := range m.Parts {
			if p.parent >= i || p.MediaType == "" || p.Size < 0 || p.Size > m.Size || !utf8.ValidString(p.Text) {
				t.Errorf("part %d: %+v", i, p)
			}
			checkValue(t, "type", p.MediaType)
			checkValue(t, "file name", p.FileName)
		}
	})
}

func FuzzFields(f *testing.F) {
	for _, seed := range []string{
		"=?utf-8?q?=c3?= =?utf-8?q?=a9?=", "=?iso-2022-jp?b?GyRC?=", `"a" <b@c>, (d) e@f; g: h@i`, "<@a,@b:c@d>", "1 Jan 04 3:4 PM +1", "2004-01-02T03:04:05Z",
		`a/b (c); d="e\"f"; g*0*=utf-8''%C3; g*1=h`, "<a@b> <c", "0A:", "\xe9\x80\x1b$B",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.NewReplacer("\n", "", "\r", "").Replace(s)
		checkValue(t, "words", decodeWords(s, ""))
		for _, a := range parseAddresses(s, "") {
			checkValue(t, "name", a.Name)
			checkValue(t, "address", a.Addr)
			if a == (Address{}) {
				t.Error("an empty address")
			}
		}
		word, params := Header{}.parseParams(s)
		checkValue(t, "word", word)
		for name, value := range params {
			checkValue(t, name, value)
		}
		if d := parseDate(s); d.Year() > 10000 {
			t.Error(d)
		}
		for _, id := range messageIDs(s) {
			if id == "" {
				t.Error("an empty id")
			}
		}
	})
}

// FuzzContent is for what is unpacked: it gets there without a transfer encoding.
func FuzzContent(f *testing.F) {
	f.Add(byte(0), tnefStream(tnefAttribute(1, tnefBody, "x"), tnefAttribute(2, tnefRendData, ""), tnefAttribute(2, tnefFileData, "ab"),
		tnefAttribute(2, tnefFileProps, mapiList(mapiProperty(mapiUnicode, propAttachLongName, utf16String("n")), mapiProperty(mapiBinary, propRTF, "LZFu")))))
	f.Add(byte(1), enclosing(oidSignedData, berIndef(berOctets|berConstructed, ber(berOctets, "Subject: x\n\ny"))))
	f.Add(byte(1), enclosing(oidCompressedData, ber(berOctets, "x\x9c")))
	f.Add(byte(2), "{\\rtf1\\fromhtml1\\'e9\\u8217 ?{\\*\\htmltag <p>}\\bin3 abc}")
	f.Add(byte(3), "\x1b$B0l\x1b(I1\x0e\x1b$)C")
	f.Add(byte(4), "\xd0\xd2\xc9\xd7\xc5\xd4 \xff")
	f.Fuzz(func(t *testing.T, kind byte, s string) {
		switch kind % 5 {
		case 0, 1:
			header := tnefHeader
			if kind%5 == 1 {
				header = "Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: binary\n\n"
			}
			m := parse(t, header+s)
			for _, p := range m.Parts {
				if !utf8.ValidString(p.Text) || p.Depth > DefaultMaxDepth+1 {
					t.Errorf("part %+v", p)
				}
				checkValue(t, "file name", p.FileName)
				checkValue(t, "type", p.MediaType)
			}
		case 2:
			text, _ := rtfText(decompressRTF([]byte(s), 1<<16), 1<<16)
			more, _ := rtfText([]byte(s), 1<<16)
			if !utf8.Valid(text) || !utf8.Valid(more) {
				t.Errorf("%q, %q", text, more)
			}
		case 3:
			if !utf8.ValidString(decodeISO2022([]byte(s))) {
				t.Error("not UTF-8")
			}
		case 4:
			if text, charset, _ := decodeCharset([]byte(s), ""); !utf8.ValidString(text) || charset == "" {
				t.Errorf("%q as %q", text, charset)
			}
		}
	})
}
