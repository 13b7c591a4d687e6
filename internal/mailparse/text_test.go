package mailparse

import (
	"slices"
	"strings"
	"testing"
)

func TestCharsets(t *testing.T) {
	for _, c := range []struct{ charset, octets, want, used, issue string }{
		{"", "abc", "abc", "us-ascii", ""},
		{"", "caf\xc3\xa9", "café", "utf-8", ""},
		{"", "caf\xe9 \x93x\x94", "café “x”", "windows-1252", ""},
		{"utf-8", "caf\xe9", "café", "windows-1252", issueOctets},
		{"utf-8", "\xc3\xa9 \xe9", "é é", "utf-8", issueOctets},
		{"us-ascii", "caf\xc3\xa9", "café", "utf-8", issueOctets},
		{"utf-8", "\xef\xbb\xbfabc", "abc", "utf-8", ""},
		{"iso-8859-1", "caf\xe9\x80", "café€", "iso-8859-1", ""},
		{"ISO-8859-15", "\xa4", "€", "iso-8859-15", ""},
		{"8859_1", "\xe9", "é", "iso-8859-1", ""},
		{"iso8859_2", "\xb1", "ą", "iso-8859-2", ""},
		{"'windows-1251'", "\xef", "п", "windows-1251", ""},
		{"cp1251", "\xef", "п", "cp1251", ""},
		{"win1251", "\xef", "п", "win1251", ""},
		{"cp850", "\x82", "é", "cp850", ""},
		{"ansi", "\xe9", "é", "windows-1252", ""},
		{"default", "\xe9", "é", "windows-1252", ""},
		{"unknown-8bit", "\xe9", "é", "windows-1252", ""},
		{"x-unknown", "\xc3\xa9", "é", "utf-8", ""},
		{"binary", "\xc3\xa9", "é", "utf-8", ""},
		{"euc-tw", "\xc3\xa9", "é", "utf-8", issueCharset},
		{"euc-tw", "abc", "abc", "us-ascii", ""},
		{"x-nonsense", "\xe9", "é", "windows-1252", issueCharset},
		{"utf-7", "Hi Mom -+Jjo--+AOk-!+- 1+-1", "Hi Mom -☺-é!+ 1+1", "utf-7", ""},
		{"viscii", "\xaa\x02", "ếẲ", "viscii", ""},
		{"cp932", "\x93\xfa\x96{\x87@", "日本①", "cp932", ""},
		{"cp949", "\xc7\xd1", "한", "cp949", ""},
		{"ks_c_5601-1987", "\xc7\xd1", "한", "ks_c_5601-1987", ""},
		{"gb2312", "\xd6\xd0", "中", "gb2312", ""},
		{"gb18030", "\x81\x30\x81\x30", "\u0080", "gb18030", ""},
		{"hz-gb-2312", "~{VP~}", "中", "hz-gb-2312", ""},
		{"big5", "\xa4\xa4", "中", "big5", ""},
		{"iso-2022-jp", "\x1b$BF|K\\\x1b(B", "日本", "iso-2022-jp", ""},
		{"", "\x1b$BF|K\\\x1b(B", "日本", "iso-2022-jp", ""},
		{"euc-jp", "\xc6\xfc", "日", "euc-jp", ""},
		{"koi8-r", "\xd0", "п", "koi8-r", ""},
		{"utf-16", "\xfe\xff\x00a", "a", "utf-16", ""},
		{"utf-16le", "a\x00", "a", "utf-16le", ""},
		{"", "\xff\xfea\x00", "a", "utf-16", ""},
		{"iso-2022-kr", "\xc3\xa9", "é", "utf-8", issueOctets},
		{"iso-2022-kr", "\x1b$)C\x0eGQ1[\x0f ok", "한글 ok", "iso-2022-kr", ""},
		{"iso-2022-cn", "\x1b$)A\x0eVP\x0f!", "中!", "iso-2022-cn", ""},
		{"iso-2022-jp", "\x1b$BF|K\\\nplain\x1b(Xtext\x1b", "日本\nplain(Xtext", "iso-2022-jp", ""},
		{"iso-2022-jp", "\x1b(I1\x1b(B \x93\xfa", "ｱ 日", "iso-2022-jp", ""},
		{"iso-2022-jp-2", "\x1b$AVP\x1b$(CGQ\x1b(B", "中한", "iso-2022-jp-2", ""},
		{"gb2312", "\x81\x30\x81\x30\xd6\xd0", "\u0080中", "gb2312", ""},
		{"big5-hkscs", "\x87\x40", "䏰", "big5-hkscs", ""},
		{"iso-8859-1", "caf\xc3\xa9", "café", "utf-8", issueOctets},
		{"gb2312", "中文邮件", "中文邮件", "utf-8", issueOctets},
		{"shift_jis", "\xb2\xf1\xb5\xc4\xa4\xce\xa4\xaa\xc3\xce\xa4\xe9\xa4\xbb\xa4\xf2\xc1\xf7\xa4\xea\xa4\xde\xa4\xb9\xa1\xa3\xfd\xfe\xff", "", "euc-jp", issueOctets},
		{"", "\xcf\xf0\xe8\xe2\xe5\xf2, \xea\xe0\xea \xe4\xe5\xeb\xe0", "Привет, как дела", "windows-1251", ""},
		{"", "\xf0\xd2\xc9\xd7\xc5\xd4, \xcb\xc1\xcb \xc4\xc5\xcc\xc1", "Привет, как дела", "koi8-r", ""},
		{"", "Re: \xbb\xe1\xd2\xe9\xcd\xa8\xd6\xaa", "Re: 会议通知", "gb18030", ""},
		{"", "\xc8\xb8\xc0\xc7 \xbe\xc8\xb3\xbb \xb5\xe5\xb8\xb3\xb4\xcf\xb4\xd9", "회의 안내 드립니다", "euc-kr", ""},
		{"", "Prosz\xea o potwierdzenie, \xb1e dokumenty s\xb1 w za\xb3\xb1czeniu. Z powa\xbfaniem", "Proszę o potwierdzenie, ąe dokumenty są w załączeniu. Z poważaniem", "iso-8859-2", ""},
	} {
		text, used, issue := decodeCharset([]byte(c.octets), c.charset)
		if text != c.want && c.want != "" || used != c.used || issue != c.issue {
			t.Errorf("%s %q: %q %q %q, want %q %q %q", c.charset, c.octets, text, used, issue, c.want, c.used, c.issue)
		}
	}
}

func TestHTMLText(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"paragraphs", "<p>one</p><p>two<br>three</p>", "one\ntwo\nthree"},
		{"white space", " a \n\t b&nbsp;c ", "a b c"},
		{"inline", "in<b>di</b>vi<i>si</i>ble", "indivisible"},
		{"entities", "caf&eacute; &lt;b&gt; &#8364; &amp;amp; &unknown;", "café <b> € &amp; &unknown;"},
		{"comments without an end", "a<!--#rotate> b <p>c<!-- d> e <!-- f", "a b\nc e"},
		{"a comment that ends", "a<!-- <p>b --!>c<!--> d<!---> e", "ac d e"},
		{"alternatives to pictures", `<map><area alt="Daisy Dollars" href="/x"></map> <input type=image alt="Place it">`, "Daisy Dollars Place it"},
		{"left out", "<head><title>t</title><style>x{}</style></head><script>alert('<p>')</script><!-- no -->body", "t\nbody"},
		{"table", "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a\tb\nc"},
		{"list", "<ul><li>a<li>b</ul>c", "- a\n- b\nc"},
		{"numbered list", "<ol><li>a<ul><li>b</ul><li><p>c</p></ol>d", "1. a\n- b\n2. c\nd"},
		{"quotation", "yes<blockquote>no?<br>so?<blockquote>a</blockquote></blockquote>ok", "yes\n> no?\n> so?\n> > a\nok"},
		{"without scripts", "<noscript><p>a</p></noscript>b", "a\nb"},
		{"hidden", "a<div style='display: none'>b<div>c</div>d</div>e<p hidden>f<p>g<span style='font-size:0.9em'>h</span>", "ae\ngh"},

		{"pre", "<pre>a\nb</pre>", "a\nb"},
		{"picture", "<img src=x alt='a cat'>", "a cat"},
		{"soft hyphen", "Donau&shy;dampf\u200bschiff", "Donaudampfschiff"},
		{"broken", "<p <b>x</ i>y <", "x"},
		{"not closed", "<div><div>a", "a"},
		{"less than", "a < b", "a < b"},
	} {
		got := readHTML(c.in, 1000).text
		if c.name == "broken" {
			got = strings.TrimSpace(got)[:1] // all that matters is that the text is there
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestHiddenTextAndLinksAreFound(t *testing.T) {
	m := parse(t, "Content-Type: text/html\n\n<div style='mso-hide:all'>preview</div><a href='https://example.com/path?who=me'>click</a> <a href=http://a.example>a.example</a>"+
		"<a href='#top'>top</a><a href=' mailto:a@example.com?subject=Abuse\n Report '></a><a href='https://example.com/path?who=me'>again</a>")
	p := m.Parts[0]
	if p.Text != "click a.exampletopagain" || p.Hidden != "preview" || !slices.Equal(p.Links, []string{"https://example.com/path?who=me", "mailto:a@example.com?subject=Abuse Report"}) {
		t.Errorf("text %q, hidden %q, links %q", p.Text, p.Hidden, p.Links)
	}
	if got := m.Text(); got != "click a.exampletopagain\npreview\nhttps://example.com/path?who=me\nmailto:a@example.com?subject=Abuse Report\n" {
		t.Errorf("%q", got)
	}
}

func TestControlsAndDrawingsStandApartFromTheirNeighbours(t *testing.T) {
	m := parse(t, "Content-Type: text/html\n\nbefore<button>press</button>after<select><option>one<option>two</select>between<textarea>typed</textarea>behind"+
		"<table><tr><td>left</td><td>right</td></tr></table>x<v:shape id=1 alt='a drawing'></v:shape>y<o:p title=no>z</o:p>")
	if got := strings.Fields(m.Parts[0].Text); !slices.Equal(got, strings.Fields("before press after one two between typed behind left right x a drawing yz")) {
		t.Errorf("%q", got)
	}
}

func TestTextOutsideOfThePartsIsFound(t *testing.T) {
	const message = "Content-Type: multipart/mixed; boundary=b\n\nThis is a multi-part message in MIME format.\n--b\nContent-Type: multipart/alternative; boundary=i\n\nwritten in front\n" +
		"--i\n\nthe text\n--i--\n\nbehind the inner one\n\n--b--\nlist footer \xe4\n"
	m := parse(t, message)
	if got := m.Text(); got != "the text\nlist footer ä\nwritten in front\nbehind the inner one\n" || len(m.Parts) != 3 {
		t.Errorf("%d parts, %q", len(m.Parts), got)
	}
	long := parse(t, "Content-Type: multipart/mixed; boundary=b\n\n"+strings.Repeat("about MIME\n", 100)+"--b\n\ntext\n--b--\n"+strings.Repeat("x", DefaultMaxTextBytes+1))
	if got := long.Text(); !strings.HasPrefix(got, "text\nabout MIME") || !long.HasFlag(FlagPartial) || len(got) > DefaultMaxTextBytes+100 {
		t.Errorf("%d bytes, flags %v: %.30q", len(got), long.Flags, got)
	}
	if got := parse(t, strings.ReplaceAll(message, "--b\n", "--other\n")).Text(); strings.Contains(got, "--other") {
		t.Errorf("a boundary that was guessed is text: %q", got)
	}
}

func TestHTMLSaysItsCharset(t *testing.T) {
	const page = "<html><meta http-equiv=Content-Type content='text/html; charset=koi8-r'>\xd0"
	if got := parse(t, "Content-Type: text/html\n\n"+page).Text(); got != "п\n" {
		t.Errorf("text %q", got)
	}
}

func TestNULInTextIsFlaggedAndDropped(t *testing.T) {
	m := parse(t, "Subject: a\r\n\r\nbefore\x00after\r\n")
	if !m.HasFlag(FlagMalformed) || !strings.Contains(m.Text(), "beforeafter") {
		t.Errorf("flags %v, text %q", m.Flags, m.Text())
	}
}
