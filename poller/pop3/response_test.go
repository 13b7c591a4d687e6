package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseStatus(t *testing.T) {
	for _, tc := range []struct {
		line string
		want status
		ok   bool
	}{
		{"+OK", status{ok: true}, true},
		{"+ok ready", status{ok: true, text: "ready"}, true},
		{"-ERR", status{}, true},
		{"-ERR [IN-USE] busy", status{code: "IN-USE", text: "busy"}, true},
		{"-err [sys/temp]x", status{code: "SYS/TEMP", text: "x"}, true},
		{"-ERR [mailbox locked] try", status{text: "[mailbox locked] try"}, true},
		{"-ERR [AUTH", status{text: "[AUTH"}, true},
		{"+ YWJj", status{more: true, text: "YWJj"}, true},
		{"+", status{more: true}, true},
		{"", status{}, false},
		{"OK", status{}, false},
		{"* BYE", status{}, false},
	} {
		got, err := parseStatus(tc.line, false)
		var protocol protocolError
		if tc.ok != (err == nil) || err != nil && !errors.As(err, &protocol) {
			t.Errorf("%q: error %v", tc.line, err)
			continue
		}
		tc.want.original = tc.line
		if tc.ok && got != tc.want {
			t.Errorf("%q: got %+v, want %+v", tc.line, got, tc.want)
		}
	}
}

func TestPrintableIsOneShortLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb\x1b[31m":          "a??b?[31m",
		"schlüssel":               "schlüssel",
		"\xff":                    "?",
		"evil \u202e bidi":        "evil ? bidi",
		strings.Repeat("ü", 1000): strings.Repeat("ü", 100) + "…",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"+OK <1.2@x> [a] b\r\n1 2\r\n.\r\n", "-ERR [SYS/TEMP] wait\r\n", "+OK\n1 a b\n..\n.\n", "+OK\r\n99999999999999999999 -1\r\n\x00\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		br := bufio.NewReaderSize(bytes.NewReader(wire), 64)
		s, err := readStatus(br)
		if err != nil {
			return
		}
		_ = refusalKind(s.code, s.text, KindRefused)
		_ = loginRefusalKind(s.code, s.text)
		if text := printable(decodeText(s.original)); !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n\x00\x1b") {
			t.Fatalf("decoded: %q", text)
		}
		if id := apopTimestamp(s.original); strings.ContainsAny(id, " \r\n") {
			t.Fatalf("timestamp %q", id)
		}
		if text := printable(s.original); !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n\x00\x1b") {
			t.Fatalf("printable: %q", text)
		}
		_ = readLines(br, 100, func(line []byte) {
			number, rest, ok := cutNumber(line)
			if ok && number < 1 {
				t.Fatalf("number %d from %q", number, line)
			}
			for _, b := range []byte(escapeUIDL(rest)) {
				if b <= ' ' || b > '~' {
					t.Fatalf("UIDL from %q is not clean", rest)
				}
			}
		})
	})
}

func TestEscapeUIDL(t *testing.T) {
	for in, want := range map[string]string{
		"":              "",
		"whqtswO00WBw":  "whqtswO00WBw",
		"/var/mail/1:2": "/var/mail/1:2",
		"a b":           "a%20b",
		"a%20b":         "a%2520b",
		"ü\x00\x7f":     "%C3%BC%00%7F",
	} {
		if got := escapeUIDL([]byte(in)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestRefusalKind(t *testing.T) {
	for _, tc := range []struct {
		code, text string
		want       Kind
	}{
		{"AUTH", "account is locked", KindAuth},
		{"IN-USE", "", KindBusy},
		{"LOGIN-DELAY", "", KindBusy},
		{"SYS/TEMP", "", KindTemporary},
		{"SYS/PERM", "try again", KindRefused},
		{"", "Unable to lock maildrop", KindBusy},
		{"", "Mailbox is locked by another POP3 session", KindBusy},
		{"", "mailbox in use", KindBusy},
		{"", "Please wait before logging in again", KindBusy},
		{"", "Service unavailable", KindTemporary},
		{"", "Temporary authentication failure", KindTemporary},
		{"", "Try again later", KindTemporary},
		{"", "Unknown command", KindUnsupported},
		{"", "Command not understood", KindUnsupported},
		{"", "account blocked", KindAuth},
		{"", "invalid password", KindAuth},
		{"", "", KindAuth},
	} {
		if got := refusalKind(tc.code, tc.text, KindAuth); got != tc.want {
			t.Errorf("[%s] %s: got %s, want %s", tc.code, tc.text, got, tc.want)
		}
	}
}
