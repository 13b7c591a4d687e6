package mailparse

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDecodeWords(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"none", "plain text", "plain text"},
		{"Q", "=?iso-8859-1?Q?caf=E9_noir?=", "café noir"},
		{"B", "=?UTF-8?B?Y2Fmw6k=?=", "café"},
		{"lower case", "=?utf-8?q?caf=c3=a9?=", "café"},
		{"language", "=?utf-8*fr?q?caf=c3=a9?=", "café"},
		{"adjacent", "=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
		{"adjacent, other charset", "=?utf-8?q?=c3=a9?=\t=?iso-8859-1?q?=e9?=", "éé"},
		{"next to text", "a =?utf-8?q?b?= c", "a b c"},
		{"glued to text", "a=?utf-8?q?b?=c", "abc"},
		{"character split between words", "=?utf-8?B?Y2Fmww==?= =?utf-8?B?qQ==?=", "café"},
		{"spaces within Q", "=?utf-8?q?caf=c3=a9 au lait?=", "café au lait"},
		{"spaces within B", "=?utf-8?B?Y2Fm w6k=?=", "café"},
		{"no padding", "=?utf-8?B?Y2Fmw6k?=", "café"},
		{"no end", "=?utf-8?q?caf=c3=a9 noir", "café noir"},
		{"no end before the next", "=?utf-8?q?a =?utf-8?q?b?=", "ab"},
		{"half an end", "=?utf-8?q?abc?", "abc"},
		{"text ends in =", "=?utf-8?q?abc=?=", "abc="},
		{"in quotes", `"=?utf-8?q?caf=c3=a9?="`, `"café"`},
		{"unknown encoding", "=?utf-8?x?abc?=", "=?utf-8?x?abc?="},
		{"unknown charset", "=?x-none?q?caf=c3=a9?=", "café"},
		{"no charset", "=??q?caf=e9?=", "café"},
		{"quoted charset", `=?"utf-8"?q?=c3=a9?=`, "é"},
		{"raw UTF-8", "café", "café"},
		{"raw windows-1252", "caf\xe9 \x80", "café €"},
		{"raw ISO-2022-JP", "\x1b$BF|K\\\x1b(B", "日本"},
		{"line end smuggled in", "=?utf-8?q?a=0d=0aBcc:_x?=", "a  Bcc: x"},
		{"not a word", "a =? b ?= c", "a =? b ?= c"},
		{"iso-2022-jp", "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := decodeWords(c.in, ""); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestRawHeaderTakesTheCharsetOfTheText(t *testing.T) {
	m := parse(t, "Subject: \xd0\xd2\xc9\xd7\xc5\xd4\nFrom: \xc9 <i@example.com>\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=koi8-r\n\n\xd0\n--b--\n")
	if m.Subject != "привет" || m.From[0].Name != "и" {
		t.Errorf("subject %q, from %v", m.Subject, m.From)
	}
}

func TestParams(t *testing.T) {
	for _, c := range []struct{ in, word, params string }{
		{"text/plain", "text/plain", "map[]"},
		{"TEXT/Plain; Charset=UTF-8", "text/plain", "map[charset:UTF-8]"},
		{`text/plain; charset="utf-8"; format=flowed;`, "text/plain", "map[charset:utf-8 format:flowed]"},
		{"text/plain charset=utf-8", "text/plain", "map[charset:utf-8]"},
		{"text/plain; charset=utf-8 format=flowed", "text/plain", "map[charset:utf-8 format:flowed]"},
		{"image/ jpeg", "image/jpeg", "map[]"},
		{"text/plain (a comment; x=y); charset = us-ascii (b)", "text/plain", "map[charset:us-ascii]"},
		{`a/b; name="a;b=\"c\".txt"`, "a/b", `map[name:a;b="c".txt]`},
		{`a/b; name="C:\dir\file.txt"`, "a/b", `map[name:C:\dir\file.txt]`},
		{"a/b; name=my file.pdf; x=y", "a/b", "map[name:my file.pdf x:y]"},
		{`a/b; name="open.pdf; x=y`, "a/b", "map[name:open.pdf x:y]"},
		{`a/b; name="=?utf-8?q?caf=c3=a9.pdf?="`, "a/b", "map[name:café.pdf]"},
		{"a/b; name=caf\xe9.pdf", "a/b", "map[name:café.pdf]"},
		{"a/b; name*=iso-8859-1'en'caf%E9.pdf", "a/b", "map[name:café.pdf]"},
		{"a/b; name*=caf%C3%A9.pdf", "a/b", "map[name:café.pdf]"},
		{"a/b; name*0=one; name*1=two", "a/b", "map[name:onetwo]"},
		{"a/b; name*1*=%A9.pdf; name*0*=utf-8''caf%C3", "a/b", "map[name:café.pdf]"},
		{"a/b; name*10=k; name*9=j; name*0=a", "a/b", "map[name:ajk]"},
		{"a/b; name=plain; name*=utf-8''better", "a/b", "map[name:better]"},
		{"a/b; x=1; x=2", "a/b", "map[x:1]"},
		{";;=;a;b=", "", "map[b:]"},
	} {
		word, params := Header{}.parseParams(c.in)
		if word != c.word || fmt.Sprint(params) != c.params {
			t.Errorf("%s: %q %v, want %q %s", c.in, word, params, c.word, c.params)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a@example.com", "|a@example.com"},
		{"Ann B <a@example.com>, b@example.com", "Ann B|a@example.com |b@example.com"},
		{`"B, Ann" <a@example.com>`, "B, Ann|a@example.com"},
		{"a@example.com (Ann)", "Ann|a@example.com"},
		{"Team: a@example.com, b@example.com; c@example.com", "|a@example.com |b@example.com |c@example.com"},
		{"undisclosed-recipients:;", ""},
		{"<Undisclosed  Recipients@example.com>", "|Undisclosed Recipients@example.com"},
		{"< ann . b @ example. com >", "|ann.b@example.com"},
		{"=?utf-8?q?J=C3=B6rg?= <j@example.com>", "Jörg|j@example.com"},
		{`"=?utf-8?q?J=C3=B6rg?=" <j@example.com>`, "Jörg|j@example.com"},
		{"=?utf-8?q?Doe,_J=C3=B6rg?= <j@example.com>", "Doe, Jörg|j@example.com"},
		{"=?utf-8?q?Doe, J=C3=B6rg?= <j@example.com>", "Doe, Jörg|j@example.com"},
		{"J\xf6rg <j@example.com>", "Jörg|j@example.com"},
		{"Jörg <jörg@exämple.com>", "Jörg|jörg@exämple.com"},
		{"a@example.com; b@example.com", "|a@example.com |b@example.com"},
		{"a@example.com,, b@example.com,", "|a@example.com |b@example.com"},
		{"Ann <a@example.com", "Ann|a@example.com"},
		{"Ann <a@example.com, Bob <b@example.com>", "Ann|a@example.com Bob|b@example.com"},
		{"Ann <<a@example.com>>", "Ann|a@example.com"},
		{`"Ann <a@example.com>`, "Ann|a@example.com"},
		{"Ann a@example.com", "Ann|a@example.com"},
		{"'Ann' <'a@example.com'>", "Ann|a@example.com"},
		{"Ann [x] <a@example.com>", "Ann [x]|a@example.com"},
		{"<@relay,@other:a@example.com>", "|a@example.com"},
		{"<mailto:a@example.com>", "|a@example.com"},
		{"Ann <a @ example . com>", "Ann|a@example.com"},
		{`"ann b"@example.com`, "|ann b@example.com"},
		{`"a@example.com"`, "|a@example.com"},
		{`"a@example.com" <a@example.com>`, "a@example.com|a@example.com"},
		{"root", "|root"},
		{"Mail System <>", "Mail System|"},
		{"(only a comment)", "only a comment|"},
		{"a.@example.com, .b@example.com", "|a.@example.com |.b@example.com"},
		{"", ""},
		{" , ", ""},
	} {
		var got []string
		for _, a := range parseAddresses(c.in, "") {
			got = append(got, a.Name+"|"+a.Addr)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestWhatStandsBesideAddressesIsKept(t *testing.T) {
	m := parse(t, "From: ann@example.com (Ann Other)\nTo: The Team: (all of us) a@example.com, Bob (Robert =?utf-8?q?M=C3=BCller?=) <b@example.com>;, c@example.com (Carol)\n"+
		"Cc: undisclosed-recipients:;\nBcc: mail <a:b@example.com>\nSubject: first\nSubject: =?utf-8?q?zw=C3=B6lf?=\n\n")
	want := map[string][]string{"to": {"The Team", "Robert Müller"}, "cc": {"undisclosed-recipients"}}
	if !reflect.DeepEqual(m.Notes, want) {
		t.Errorf("%q, want %q", m.Notes, want)
	}
	if m.Subject != "first" || !slices.Equal(m.OtherSubjects, []string{"zwölf"}) {
		t.Errorf("subjects %q, %q", m.Subject, m.OtherSubjects)
	}
}

func TestAddressParsersAgree(t *testing.T) {
	// What go-message reads, the tolerant parser reads the same way.
	for _, in := range []string{
		"a@example.com", "Ann B <a@example.com>, b@example.com", `"B, Ann" <a@example.com>`, "a@example.com (Ann)",
		"Team: a@example.com, b@example.com;", `"quo\"ted" <a@example.com>`, `"ann b"@example.com`, "A. B. C <a@example.com>",
	} {
		p := addressParser{s: in}
		if got, want := p.parse(), parseAddresses(in, ""); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestDates(t *testing.T) {
	const want = "2004-02-01T15:04:05Z"
	for _, in := range []string{
		"Sun, 1 Feb 2004 15:04:05 +0000", "1 Feb 2004 15:04:05 GMT", "Sun,1 Feb 2004 17:04:05 +0200 (CEST)", "Sun, 01 Feb 04 10:04:05 EST",
		"Sun, 1 Feb 104 15:04:05 UT", "Sun, 1 Feb 19104 15:04:05 UT", "Sun Feb  1 15:04:05 2004", "Sun Feb  1 07:04:05 PST 2004", "Feb 1, 2004 3:04:05 PM", "1-Feb-2004 15:04:05",
		"2004-02-01 15:04:05", "2004-02-01T15:04:05Z", "2004-02-01T17:04:05+02:00", "20040201 15:04:05", "02/25/2004 15:04:05 x", "01.02.2004 15:04:05",
		"So, 1 Feb 2004 15:04:05 +0000", "Sun, 1 (the first) Feb 2004 15:04:05 +0000", "Sun, 1 Feb 2004 15:04:05 GMT+0000", "dim., 1 févr. 2004 15:04:05 +0000",
		"Sun, 1 Feb 2004 15:04:05", "Sun, 1 Feb 2004 15:04:05 +00:00", "Sunday, February 1st, 2004 15:04:05", "Sun, 1 Feb 2004 15:04:05.000 +0000",
	} {
		got := parseDate(in).Format(time.RFC3339)
		if strings.HasPrefix(in, "02/25") {
			got = strings.Replace(got, "-25T", "-01T", 1)
		}
		if got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	for in, want := range map[string]string{
		"Thu, 13 Feb 2020 10:11 +0100": "2020-02-13T09:11:00Z", "1 Jan 70 00:00:00 GMT": "1970-01-01T00:00:00Z", "31 Dec 2016 23:59:60 GMT": "2017-01-01T00:00:00Z",
		"1 Mai 2004 10:00:00 MESZ": "2004-05-01T08:00:00Z", "1 Feb 2004": "2004-02-01T00:00:00Z",
	} {
		if got := parseDate(in).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"", "yesterday", "32 Jan 2004 00:00:00", "1 Foo 2004", "15:04:05", "1 Jan 99999", "+", "-1 Jan 2004 :", "::::", "1-2", "2004-13-45"} {
		if got := parseDate(in); !got.IsZero() {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"<a@b>", "a@b"},
		{"<a@b> <c@d>", "a@b c@d"},
		{"<a@b><c@d>", "a@b c@d"},
		{"<a@\tb>", "a@b"},
		{"<a@b <c@d>", "a@b c@d"},
		{"a@b", "a@b"},
		{"Your message of Monday <a@b>", "a@b"},
		{"Your message of Monday", ""},
		{"<>", ""},
	} {
		if got := strings.Join(messageIDs(c.in), " "); got != strings.ReplaceAll(c.want, "\t", "") {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestEnvelope(t *testing.T) {
	m := parse(t, "From: Ann <ann@example.com>\nSender: b@example.com\nReply-To: c@example.com\nTo: d@example.com\nTo: e@example.com\nCC: f@example.com\nBcc: g@example.com\n"+
		"Resent-From: h@example.com\nResent-To: i@example.com\nResent-Cc: j@example.com\nResent-Bcc: k@example.com\nResent-Sender: l@example.com\nResent-To: m@example.com\n"+
		"Subject:  folded\r\n\tsubject \nMessage-Id: <1@example.com>\nIn-Reply-To: <0@example.com>\nReferences: <00@example.com>\r\n <0@example.com>\nList-ID: The list <list.example.com>\nDate: 1 Feb 2004 15:04:05 +0100\nThread-Index: AcTqpbp+yBqaq0QzQ5yXRkuoTfWRFwAAAAAB\n\n")
	got := fmt.Sprint(m.Envelope)
	const want = "{2004-02-01 14:04:05 +0000 UTC [{Ann ann@example.com}] [{ b@example.com}] [{ c@example.com}] [{ d@example.com} { e@example.com}] [{ f@example.com}] [{ g@example.com}] " +
		"[{ h@example.com} { l@example.com}] [{ i@example.com} { j@example.com} { k@example.com} { m@example.com}] " +
		"map[] folded subject [] 1@example.com [0@example.com] [00@example.com 0@example.com] list.example.com 01c4eaa5ba7ec81a9aab4433439c97464ba84df59117}"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if values := m.Header.Values("to"); len(values) != 2 || m.Header.Raw("TO") != "d@example.com" || m.Header.Get("none") != "" || len(m.Header.Fields()) != 20 {
		t.Errorf("header %v", m.Header.Fields())
	}
}
