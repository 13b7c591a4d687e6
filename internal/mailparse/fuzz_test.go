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
