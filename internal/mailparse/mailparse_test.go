package mailparse

import (
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func parse(t testing.TB, message string) *Message {
	t.Helper()
	m, err := Parse(t.Context(), strings.NewReader(message), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// outline lists the leaves as "path type size text", the text cut at the first line end.
func outline(m *Message) []string {
	var list []string
	for _, p := range m.Parts {
		if strings.HasPrefix(p.MediaType, "multipart/") {
			continue
		}
		line, _, _ := strings.Cut(p.Text, "\n")
		list = append(list, strings.TrimSpace(p.Path+" "+p.MediaType+" "+line))
	}
	return list
}

func TestWhatLosesMailElsewhereIsRead(t *testing.T) {
	const two = "--b\nContent-Type: text/plain\n\none\n--b\nContent-Type: text/html\n\n<p>two\n--b--\n"
	for name, c := range map[string]struct {
		message string
		subject string
		parts   []string
		problem string // "" for none
	}{
		"plain":                       {"Subject: s\n\nbody\n", "s", []string{"1 text/plain body"}, ""},
		"empty":                       {"", "", []string{"1 text/plain"}, "empty message"},
		"only a body":                 {"hello world\nsecond line\n", "", []string{"1 text/plain hello world"}, "no header"},
		"only a body, with a colon":   {"Dear John: hello\n\nSubject: no\n", "", []string{"1 text/plain Dear John: hello"}, "no header"},
		"mbox From line":              {"From a@b Sat Jan  1 00:00:00 2000\nSubject: s\n\nbody", "s", []string{"1 text/plain body"}, issueFromLine},
		"quoted mbox From line":       {">From a@b Sat Jan  1 00:00:00 2000\nSubject: s\n\nbody", "s", []string{"1 text/plain body"}, issueFromLine},
		"line without colon":          {"To: a@b\nnot a field\nSubject: s\n\nbody", "s", []string{"1 text/plain body"}, "header line without a colon"},
		"first line without colon":    {"+OK 1234 octets\nSubject: s\n\nbody", "s", []string{"1 text/plain body"}, "header line without a colon"},
		"space in a name":             {"To: a@b\nX Spam Score: 1\nSubject: s\n\nbody", "s", []string{"1 text/plain body"}, "space in the name of a header field"},
		"space before the colon":      {"Subject : s\n\nbody", "s", []string{"1 text/plain body"}, ""},
		"leading space":               {" Subject: s\nTo: a@b\n\nbody", "s", []string{"1 text/plain body"}, "white space before the first header field"},
		"continuation first":          {"\tof what?\nSubject: s\n\nbody", "s", []string{"1 text/plain body"}, "header line without a colon"},
		"empty lines first":           {"\r\n\r\nSubject: s\r\n\r\nbody", "s", []string{"1 text/plain body"}, ""},
		"blank line in the header":    {"To: a@b\n \nSubject: s\n\nbody", "s", []string{"1 text/plain body"}, ""},
		"blank line for an empty one": {"Subject: s\n \nbody\n", "s", []string{"1 text/plain body"}, "header does not end in an empty line"},
		"no empty line":               {"Subject: s\nbody of it\n\nmore", "s", []string{"1 text/plain body of it"}, ""},
		"header only":                 {"Subject: s", "s", []string{"1 text/plain"}, ""},
		"bare CR":                     {"Subject: s\rTo: a@b\r\rbody\r", "s", []string{"1 text/plain body"}, "lines end in a bare CR"},
		"CRCRLF":                      {"Subject: s\r\r\n\r\r\nbody", "s", []string{"1 text/plain body"}, ""},
		"NUL in header and body":      {"Subject: s\x00\n\nbo\x00dy", "s", []string{"1 text/plain body"}, "NUL in text"},

		"multipart":                         {"Content-Type: multipart/mixed; boundary=b\n\n" + two, "", []string{"1.1 text/plain one", "1.2 text/html two"}, ""},
		"multipart without boundary":        {"Content-Type: multipart/mixed\n\n" + two, "", []string{"1.1 text/plain one", "1.2 text/html two"}, issueNoBoundary},
		"multipart with wrong boundary":     {"Content-Type: multipart/mixed; boundary=c\n\n" + two, "", []string{"1.1 text/plain one", "1.2 text/html two"}, issueWrongBoundary},
		"multipart that is text":            {"Content-Type: multipart/mixed; boundary=c\n\njust text\n", "", []string{"1.1 text/plain just text"}, issueNoParts},
		"multipart that is HTML":            {"Content-Type: multipart/mixed\n\n<html><b>just</b> text\n", "", []string{"1.1 text/html just text"}, issueNoParts},
		"multipart not closed":              {"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo", "", []string{"1.1 text/plain one", "1.2 text/plain two"}, issueNotClosed},
		"parts behind the end":              {"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n", "", []string{"1.1 text/plain one", "1.2 text/plain two"}, "parts after the last boundary"},
		"boundary behind the header":        {"Content-Type: multipart/mixed; boundary=b\n--b\n\none\n--b--\n", "", []string{"1.1 text/plain one"}, "header does not end in an empty line"},
		"boundary within a part's header":   {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\n\ntwo\n--b--\n", "", []string{"1.1 text/html", "1.2 text/plain two"}, ""},
		"boundary with trailing space":      {"Content-Type: multipart/mixed; boundary=\"b \"\n\n--b \t\n\none\n--b-- \n", "", []string{"1.1 text/plain one"}, ""},
		"junk in a part's header":           {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\njunk\nContent-ID: <x>\n\n<p>one\n--b\n\ntwo\n--b--\n", "", []string{"1.1 text/html one", "1.2 text/plain two"}, "header line without a colon"},
		"part without header":               {"Content-Type: multipart/mixed; boundary=b\n\n--b\none\n--b--\n", "", []string{"1.1 text/plain one"}, ""},
		"part with an empty header":         {"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nSubject: text\n--b--\n", "", []string{"1.1 text/plain Subject: text"}, ""},
		"inner multipart not closed":        {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\none\n--b\n\ntwo\n--b--\n", "", []string{"1.1.1 text/plain one", "1.2 text/plain two"}, issueNotClosed},
		"same boundary at two levels":       {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b\n\ntwo\n--b--\n", "", []string{"1.1.1 text/plain one", "1.2 text/plain two"}, ""},
		"same boundary, closed twice":       {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b--\n", "", []string{"1.1.1 text/plain one"}, ""},
		"boundary that begins as another":   {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n--bb--\n--b\n\ntwo\n--b--\n", "", []string{"1.1.1 text/plain one", "1.2 text/plain two"}, ""},
		"enclosed message":                  {"Subject: s\nContent-Type: message/rfc822\n\nSubject: inner\n\nbody", "s", []string{"1 message/rfc822", "1.1 text/plain body"}, ""},
		"enclosed message in base64":        {"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte("Subject: inner\n\nbody")), "", []string{"1 message/rfc822", "1.1 text/plain body"}, ""},
		"enclosed message not in base64":    {"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nSubject: inner\n\nbody", "", []string{"1 message/rfc822", "1.1 text/plain body"}, "declared base64 but is plain text"},
		"enclosed message with a From line": {"Content-Type: message/rfc822\n\nFrom a@b Sat Jan  1 00:00:00 2000\nSubject: inner\n\nbody", "", []string{"1 message/rfc822", "1.1 text/plain body"}, issueFromLine},
		"enclosed message without a body":   {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n--b--\n", "", []string{"1.1 message/rfc822", "1.1.1 text/plain"}, ""},
		"digest":                            {"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\nbody\n--b--\n", "", []string{"1.1 message/rfc822", "1.1.1 text/plain body"}, ""},
		"unreadable type":                   {"Content-Type: ;;;\n\nbody", "", []string{"1 text/plain body"}, "unreadable Content-Type"},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, c.message)
			if m.Subject != c.subject {
				t.Errorf("subject %q, want %q", m.Subject, c.subject)
			}
			if got := outline(m); !slices.Equal(got, c.parts) {
				t.Errorf("parts %q, want %q", got, c.parts)
			}
			if c.problem == "" && len(m.Problems) > 0 || c.problem != "" && !slices.Contains(m.Problems, c.problem) {
				t.Errorf("problems %q, want %q", m.Problems, c.problem)
			}
			harmless := slices.Equal(m.Problems, []string{issueFromLine})
			if m.HasFlag(FlagMalformed) != (len(m.Problems) > 0 && !harmless) {
				t.Errorf("flags %v with problems %q", m.Flags, m.Problems)
			}
			again, err := Parse(t.Context(), iotest.OneByteReader(strings.NewReader(c.message)), Options{})
			if err != nil || !slices.Equal(outline(again), outline(m)) || m.Size != int64(len(c.message)) {
				t.Errorf("read in single bytes: %q, %v", outline(again), err)
			}
		})
	}
}

func TestJunkInTheHeaderIsKept(t *testing.T) {
	m := parse(t, "To: a@b\njunk line\nSubject: s\n\nbody")
	var all []string
	for name, value := range m.Header.All() {
		all = append(all, name+"="+value)
	}
	if want := []string{"To=a@b", "=junk line", "Subject=s"}; !slices.Equal(all, want) {
		t.Errorf("fields %q, want %q", all, want)
	}
}

func TestTransferEncodings(t *testing.T) {
	for name, c := range map[string]struct{ encoding, body, want, issue string }{
		"7bit":                       {"7bit", "a\r\nb\r\n", "a\nb\n", ""},
		"none":                       {"", "a", "a", ""},
		"unknown":                    {"x-zip", "a", "a", "unknown transfer encoding"},
		"base64":                     {"base64", "aGVsbG8g\r\nd29ybGQ=\r\n", "hello world", ""},
		"base64 in capitals":         {" BASE64 ", "aGVsbG8=", "hello", ""},
		"base64 with a comment":      {"base64 (really)", "aGVsbG8=", "hello", ""},
		"base64 of odd lines":        {"base64", "aGVsb\nG8gd29\nybGQ=\n", "hello world", ""},
		"base64 without padding":     {"base64", "aGVsbG8gd29ybGQ", "hello world", "base64 ends early"},
		"base64 with bad characters": {"base64", "aGVsbG8g!d29ybGQ=", "hello world", "bad characters in base64"},
		"base64 with a footer":       {"base64", "aGVsbG8gd29ybGQ=\n\n_____________\nMailing list, see http://example.com/\n", "hello world", "text among base64"},
		"base64 in blocks":           {"base64", "aGVsbG8=\nIHdvcmxk\n", "hello world", ""},
		"base64 for URLs":            {"base64", "Pz8_Pj4-", "???>>>", ""},
		"base64 that is none":        {"base64", "This is plain text, really.\nAnd more.\n", "This is plain text, really.\nAnd more.\n", "declared base64 but is plain text"},
		"quoted-printable":           {"quoted-printable", "a=20b=\r\nc=3D \r\nd", "a bc=\nd", ""},
		"quoted-printable, lower":    {"quoted-printable", "=c3=a9", "é", ""},
		"quoted-printable, bad":      {"quoted-printable", "100=% a=zz =", "100=% a=zz ", "bad quoted-printable"},
		"quoted printable misnamed":  {"quoted printable", "=41", "A", ""},
		"uuencode":                   {"x-uuencode", "begin 644 a.txt\n#0V%T\n`\nend\n", "Cat", ""},
		"uuencode without begin":     {"x-uuencode", "nothing", "", "uuencode without a begin line"},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, "Content-Transfer-Encoding: "+c.encoding+"\n\n"+c.body)
			if p := m.Parts[0]; p.Text != c.want {
				t.Errorf("text %q, want %q", p.Text, c.want)
			}
			if c.issue == "" && len(m.Problems) > 0 || c.issue != "" && !slices.Equal(m.Parts[0].Issues, []string{c.issue}) {
				t.Errorf("issues %q, want %q", m.Problems, c.issue)
			}
		})
	}
}

func TestLinesLongerThanABuffer(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", chunkBytes/16*3)
	encoded := base64.StdEncoding.EncodeToString([]byte(long))
	escaped := strings.ReplaceAll(long, "a", "=61")
	for encoding, body := range map[string]string{"8bit": long, "base64": encoded, "quoted-printable": escaped} {
		m := parse(t, "Subject: "+long+"\r\nContent-Transfer-Encoding: "+encoding+"\r\n\r\n"+body+"\r\n--x\r\n")
		if !strings.HasPrefix(m.Parts[0].Text, long) || m.Subject != long {
			t.Errorf("%s: text of %d bytes, subject of %d, want %d", encoding, len(m.Parts[0].Text), len(m.Subject), len(long))
		}
	}
}

func TestAttachmentsAreListedAndGivenOut(t *testing.T) {
	const message = "Content-Type: multipart/mixed; boundary=m\n\n" +
		"--m\nContent-Type: multipart/related; boundary=r\n\n" +
		"--r\nContent-Type: text/html\n\n<img src=cid:1>body\n" +
		"--r\nContent-Type: image/png; name=logo.png\nContent-ID: <1>\n\nPNG\n--r--\n" +
		"--m\nContent-Type: text/plain; name=notes.txt\nContent-Disposition: attachment\n\nsecret notes\n" +
		"--m\nContent-Type: application/octet-stream\nContent-Disposition: attachment;\n filename*0*=UTF-8''r%C3%A9s;\n filename*1=ume.pdf\nContent-Transfer-Encoding: base64\n\nAAEC\n" +
		"--m\nContent-Type: message/rfc822\n\nSubject: forwarded\nFrom: Ann <ann@example.com>\n\nold text\n" +
		"--m\nContent-Type: application/pgp-signature; name=signature.asc\n\nx\n--m--\n"
	got := map[string]string{}
	opts := Options{Part: func(p *Part) io.Writer { return &keeper{got, p.Path} }}
	m, err := Parse(t.Context(), strings.NewReader(message), opts)
	if err != nil {
		t.Fatal(err)
	}
	want := []Attachment{
		{"1.2", "notes.txt", "text/plain", 12},
		{"1.3", "résume.pdf", "application/octet-stream", 3},
		{"1.4", "", "message/rfc822", int64(len("Subject: forwarded\nFrom: Ann <ann@example.com>\n\nold text"))},
	}
	if !slices.Equal(m.Attachments, want) {
		t.Errorf("attachments %+v, want %+v", m.Attachments, want)
	}
	if got["1.3"] != "\x00\x01\x02" || got["1.1.2"] != "PNG" || got["1.2"] != "secret notes" || got["1.4.1"] != "old text" {
		t.Errorf("written %q", got)
	}
	if text := m.Text(); text != "body\nAnn ann@example.com\nforwarded\nold text\n" {
		t.Errorf("text %q", text)
	}
	if !slices.Equal(m.Flags, []string{FlagSigned}) {
		t.Errorf("flags %v, problems %q", m.Flags, m.Problems)
	}
}

type keeper struct {
	got  map[string]string
	path string
}

func (k *keeper) Write(p []byte) (int, error) {
	k.got[k.path] += string(p)
	return len(p), nil
}

func TestErrorsAreThoseOfReaderAndWriterOnly(t *testing.T) {
	broken := errors.New("broken")
	m, err := Parse(t.Context(), io.MultiReader(strings.NewReader("Subject: s\n\nbody"), iotest.ErrReader(broken)), Options{})
	if !errors.Is(err, broken) || m.Subject != "s" || m.Text() != "body\n" {
		t.Errorf("reader: subject %q, error %v", m.Subject, err)
	}
	opts := Options{Part: func(*Part) io.Writer { return iotestWriter{broken} }}
	m, err = Parse(t.Context(), strings.NewReader("Subject: s\n\nbody"), opts)
	if !errors.Is(err, broken) || m.Text() != "body\n" {
		t.Errorf("writer: text %q, error %v", m.Text(), err)
	}
}

type iotestWriter struct{ err error }

func (w iotestWriter) Write([]byte) (int, error) { return 0, w.err }

func TestParserKeepsNothingOfTheMessageBefore(t *testing.T) {
	first := "Subject: first\nTo: a@example.com\n\n" + strings.Repeat("the first text\n", 5000)
	var p Parser
	one, err := p.Parse(t.Context(), strings.NewReader(first), Options{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := p.Parse(t.Context(), strings.NewReader("Subject: second\n\nshort"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if two.Subject != "second" || two.Text() != "short\n" || len(two.To) != 0 {
		t.Errorf("second: %q, %q, %v", two.Subject, two.Text(), two.To)
	}
	if one.Subject != "first" || one.Text() != strings.Repeat("the first text\n", 5000) {
		t.Error("the first message has changed")
	}
}

func TestSummaryWithoutText(t *testing.T) {
	const message = "Subject: s\n\n-----BEGIN PGP MESSAGE-----\n"
	m, err := Parse(t.Context(), strings.NewReader(message), Options{MaxTextBytes: -1})
	if err != nil || m.Text() != "" || !slices.Equal(m.Flags, []string{FlagEncrypted}) {
		t.Errorf("text %q, flags %v, error %v", m.Text(), m.Flags, err)
	}
}

func TestAlternativesAreNotRepeated(t *testing.T) {
	m := parse(t, "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nHello World\nsecond line\n"+
		"--b\nContent-Type: text/html\n\n<p>hello, <b>world!</b><p>Second line<p>only here: second<p>line, hello\n--b--\n")
	if got, want := m.Text(), "Hello World\nsecond line\nonly here: second\nline, hello\n"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

func TestFlags(t *testing.T) {
	for name, c := range map[string]struct {
		message string
		want    []string
	}{
		"none":            {"From: postmaster@example.com\nSubject: s\n\nx", nil},
		"signed":          {"Content-Type: multipart/signed; boundary=b\n\n--b\n\nx\n--b--\n", []string{FlagSigned}},
		"S/MIME signed":   {"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\n\nx", []string{FlagMalformed, FlagSigned}},
		"S/MIME":          {"Content-Type: application/pkcs7-mime; name=smime.p7m\n\nx", []string{FlagEncrypted}},
		"PGP/MIME":        {"Content-Type: multipart/encrypted; boundary=b\n\n--b\nContent-Type: application/pgp-encrypted\n\nx\n--b\nContent-Type: application/octet-stream\n\nx\n--b--\n", []string{FlagEncrypted}},
		"inline PGP":      {"Subject: s\n\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n", []string{FlagSigned}},
		"DSN":             {"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nx\n--b--\n", []string{FlagBounce}},
		"mailer-daemon":   {"From: MAILER-DAEMON (Mail System)\n\nx", []string{FlagBounce}},
		"null return":     {"Return-Path: <>\nFrom: <postmaster@example.com>\n\nx", []string{FlagBounce}},
		"forwarded DSN":   {"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nx\n--b--\n--a--\n", nil},
		"plain smime.p7s": {"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/pkcs7-signature\n\nx\n--b--\n", []string{FlagSigned}},
	} {
		t.Run(name, func(t *testing.T) {
			if m := parse(t, c.message); !slices.Equal(m.Flags, c.want) {
				t.Errorf("flags %v, want %v; problems %q", m.Flags, c.want, m.Problems)
			}
		})
	}
}

func TestJournalReport(t *testing.T) {
	m := parse(t, "From: <MicrosoftExchange1@example.com>\nSubject: report\nX-MS-Journal-Report:\nContent-Type: multipart/mixed; boundary=j\n\n"+
		"--j\nContent-Type: text/plain; charset=us-ascii\n\nSender: ann@example.com\nOn-Behalf-Of: boss@example.com\nSubject: To: trap@example.com\nMessage-Id: <1@example.com>\n"+
		"To: bob@example.com, Expanded: staff@example.com\nCc: \"C, D\" <cd@example.com>\nBcc: secret@example.com\nRecipient: BOB@example.com, Forwarded: old@example.com\n"+
		"--j\nContent-Type: message/rfc822\n\nFrom: Ann <ann@example.com>\nTo: bob@example.com\nSubject: original\nMessage-ID: <1@example.com>\n\nthe text\n--j--\n")
	if m.Journal == nil || !m.HasFlag(FlagJournal) || len(m.Problems) > 0 {
		t.Fatalf("journal %v, flags %v, problems %q", m.Journal, m.Flags, m.Problems)
	}
	want := []string{"bob@example.com", "staff@example.com", "cd@example.com", "secret@example.com", "old@example.com"}
	if !slices.Equal(m.Journal.Recipients, want) {
		t.Errorf("recipients %q, want %q", m.Journal.Recipients, want)
	}
	if m.Journal.Sender != "ann@example.com" || m.Journal.OnBehalfOf != "boss@example.com" || m.Journal.MessageID != "1@example.com" {
		t.Errorf("journal %+v", m.Journal)
	}
	if m.Subject != "original" || m.From[0].Name != "Ann" || m.Text() != "the text\n" || len(m.Attachments) != 0 || m.Header.Get("subject") != "report" {
		t.Errorf("subject %q, from %v, text %q, attachments %v", m.Subject, m.From, m.Text(), m.Attachments)
	}
}
