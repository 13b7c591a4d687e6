package export

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// samples are messages that a careless writer would change.
func samples() []string {
	return []string{
		"From: a@example.com\r\nSubject: plain\r\n\r\nHello\r\n",
		"Subject: bare LF\n\nFrom here on\n>From there\n>>From nowhere\nFrom\nFromage\n> From\n",
		"From sender@example.com Thu Jan  1 00:00:00 1970\nSubject: mbox line first\n\nx\n",
		"Subject: no final newline\r\n\r\nlast line",
		"Subject: ends in CR\r\n\r\nlast line\r",
		"Subject: NULs\r\n\r\na\x00b\x00\r\n\x00From \r\n",
		"Subject: bare CR\r\rFrom one\rFrom two\r",
		"Subject: ends within the pattern\n\n>>From",
		"Subject: 8-bit\r\n\r\n\xe9\xff\xfe\r\n",
		"",
		"\n",
		"\n\n\n",
		"From ",
		">",
	}
}

// mailText draws byte strings that are mostly made of what the format is about.
func mailText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		piece := rapid.OneOf(
			rapid.SampledFrom([]string{"From ", "From", ">", "\n", "\r\n", "\r", "\x00", "F", "Fr", "Subject: x"}),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 5), func(b []byte) string { return string(b) }),
		)
		return strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "pieces"), "")
	})
}

// TestMboxrdIsReversible checks every split into writes, the independent
// definition of the quoting, and that no line can be taken for a separator.
func TestMboxrdIsReversible(t *testing.T) {
	quotable := regexp.MustCompile(`(?m)^(>*From )`)
	rapid.Check(t, func(t *rapid.T) {
		raw := mailText().Draw(t, "message")
		var quoted, back bytes.Buffer
		q := newFromRewriter(&quoted, quote)
		for rest := raw; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if _, err := io.WriteString(q, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := q.finish(); err != nil {
			t.Fatal(err)
		}
		if want := quotable.ReplaceAllString(raw, ">$1"); quoted.String() != want {
			t.Fatalf("%q was quoted as %q, want %q", raw, quoted.String(), want)
		}
		if wantHead := raw == "" || strings.HasSuffix(raw, "\n"); q.head != wantHead {
			t.Fatalf("%q: at the start of a line: %v, want %v", raw, q.head, wantHead)
		}
		if err := UnquoteMbox(&back, &quoted); err != nil {
			t.Fatal(err)
		}
		if back.String() != raw {
			t.Fatalf("%q came back as %q", raw, back.String())
		}
	})
}

func FuzzMboxrd(f *testing.F) {
	for _, s := range samples() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var quoted, back bytes.Buffer
		q := newFromRewriter(&quoted, quote)
		if _, err := q.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(q.finish(), UnquoteMbox(&back, bytes.NewReader(quoted.Bytes()))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Bytes(), raw) {
			t.Errorf("%q came back as %q", raw, back.Bytes())
		}
		if bytes.HasPrefix(quoted.Bytes(), []byte("From ")) || bytes.Contains(quoted.Bytes(), []byte("\nFrom ")) {
			t.Errorf("%q still has a separator", quoted.Bytes())
		}
	})
}

func TestFromLineTakesOnlyPlainAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"anna@example.com":            "anna@example.com",
		"":                            daemonAddress,
		"a b@example.com":             daemonAddress,
		"a@example.com\nFrom x":       daemonAddress,
		"a\x00@example.com":           daemonAddress,
		"jürgen@example.com":          daemonAddress,
		strings.Repeat("a", 254):      strings.Repeat("a", 254),
		strings.Repeat("a", 255):      daemonAddress,
		`"quoted"@example.com`:        `"quoted"@example.com`,
		"anna@example.com\tThu\x7f-x": daemonAddress,
	} {
		if got := fromAddress(in); got != want {
			t.Errorf("fromAddress(%q) = %q, want %q", in, got, want)
		}
	}
}
