package mailparse

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// maxHostileTime is far above what the hostile messages take, also with the race
// detector on a busy machine, and far below what anything quadratic would.
const maxHostileTime = 20 * time.Second

func TestHostileMessagesTakeLinearTime(t *testing.T) {
	const n = 1 << 19
	rep := strings.Repeat
	cases := map[string]string{
		"10000 nested levels": func() string {
			var b strings.Builder
			for i := range 10_000 {
				fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
			}
			return b.String()
		}(),
		"nested levels of one boundary": rep("Content-Type: multipart/mixed; boundary=b\n\n--b\n", 10_000),
		"10000 enclosed messages":       rep("Content-Type: message/rfc822\n\n", 10_000),
		"100000 parts":                  "Content-Type: multipart/mixed; boundary=b\n\n" + rep("--b\n\nx\n", 100_000),
		"encoded enclosed messages":     rep("Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\n", 1000),
		"boundaries that match nothing": "Content-Type: multipart/mixed; boundary=b\n\n" + rep("--x\n", n/4),
		"one header line":               "Subject: " + rep("x", n),
		"one junk line":                 rep("x", n),
		"many fields":                   rep("a:b\n", n/4),
		"continuations":                 "a: b\n" + rep(" c\n", n/3),
		"blank lines in the header":     "a: b\n" + rep(" \n", n/2),
		"encoded words without end":     "Subject: " + rep("=?u?q?a ", n/8),
		"encoded words":                 "Subject: " + rep("=?utf-8?q?a?= ", n/14),
		"word starts":                   "Subject: " + rep("=?", n/2),
		"addresses":                     "To: " + rep("a@b,", n/4),
		"open angles":                   "To: " + rep("<a,", n/3) + ">",
		"open quotes":                   "To: é" + rep(`"\`, n/2),
		"open comments":                 "To: é" + rep("(", n),
		"open colons":                   "To: é" + rep("a:", n/2),
		"parameters":                    "Content-Type: a/b" + rep(";a=b", n/4),
		"segments":                      "Content-Type: a/b" + rep(";a*1=b", n/6),
		"comments in Content-Type":      "Content-Type: a/b" + rep("(", n),
		"ids":                           "References: " + rep("<a", n/2),
		"tags":                          "Content-Type: text/html\n\n" + rep("<a ", n/3),
		"nested tags":                   "Content-Type: text/html\n\n" + rep("<div>", n/5),
		"attributes":                    "Content-Type: text/html\n\n<img " + rep("a ", n/2),
		"entities":                      "Content-Type: text/html\n\n" + rep("&", n),
		"open scripts":                  "Content-Type: text/html\n\n" + rep("<script>", n/8),
		"one base64 line":               "Content-Transfer-Encoding: base64\n\n" + rep("A", n),
		"escapes":                       "Content-Transfer-Encoding: quoted-printable\n\n" + rep("=", n),
		"utf-7":                         "Content-Type: text/plain; charset=utf-7\n\n" + rep("+A", n/2),
		"carriage returns":              rep("\r", n),
		"NULs":                          rep("\x00", n),
	}
	for name, message := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			m := parse(t, message)
			text := m.Text()
			if took := time.Since(start); took > maxHostileTime {
				t.Errorf("took %v", took)
			}
			if len(m.Parts) > DefaultMaxParts || len(text) > 2*DefaultMaxTextBytes || len(m.Problems) > maxProblems {
				t.Errorf("%d parts, %d bytes of text, %d problems", len(m.Parts), len(text), len(m.Problems))
			}
			for _, p := range m.Parts {
				if p.Depth > DefaultMaxDepth+1 {
					t.Fatalf("part %s has depth %d", p.Path, p.Depth)
				}
			}
		})
	}
}

func TestLimitsFlagPartial(t *testing.T) {
	parts := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\ntext\n", 10) + "--b--\n"
	for name, c := range map[string]struct {
		message string
		opts    Options
	}{
		"parts":  {parts, Options{MaxParts: 5}},
		"depth":  {"Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: x\n\n", Options{MaxDepth: 1}},
		"text":   {parts, Options{MaxTextBytes: 10}},
		"header": {"Subject: " + strings.Repeat("x", 200) + "\n\n", Options{MaxHeaderBytes: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Parse(t.Context(), strings.NewReader(c.message), c.opts)
			if err != nil || !m.HasFlag(FlagPartial) {
				t.Errorf("flags %v, error %v", m.Flags, err)
			}
			if m := parse(t, c.message); m.HasFlag(FlagPartial) {
				t.Errorf("partial without limits: %v", m.Problems)
			}
		})
	}
}

func TestFieldsBehindAHugeFieldAreKept(t *testing.T) {
	m := parse(t, "To: "+strings.Repeat("a@example.com, ", 200_000)+"\nSubject: kept\n\nbody")
	if m.Subject != "kept" || !m.HasFlag(FlagPartial) || m.Text() != "body\n" {
		t.Errorf("subject %q, flags %v, text %q", m.Subject, m.Flags, m.Text())
	}
}

// endless gives the head, then n octets of body.
func endless(head string, line string, n int) io.Reader {
	return io.MultiReader(strings.NewReader(head), &repeater{[]byte(line), 0, n})
}

type repeater struct {
	line     []byte
	at, rest int
}

func (r *repeater) Read(p []byte) (int, error) {
	if r.rest <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && r.rest > 0 {
		c := copy(p[n:min(len(p), n+r.rest)], r.line[r.at:])
		r.at = (r.at + c) % len(r.line)
		r.rest -= c
		n += c
	}
	return n, nil
}

func TestALargeAttachmentIsNotBuffered(t *testing.T) {
	const size = 64 << 20
	line := strings.Repeat("QUJD", 19) + "\r\n"
	head := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
	var written int64
	opts := Options{Part: func(*Part) io.Writer { return countingWriter{&written} }}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Parse(t.Context(), endless(head, line, size), opts)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("allocated %d bytes", grown)
	}
	if want := int64(size/78*57) + 57; m.Parts[1].Size > want || m.Parts[1].Size < want-57 || written != m.Parts[1].Size {
		t.Errorf("size %d, written %d, want about %d", m.Parts[1].Size, written, want)
	}
}

type countingWriter struct{ n *int64 }

func (w countingWriter) Write(p []byte) (int, error) {
	*w.n += int64(len(p))
	return len(p), nil
}

func TestParseStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m, err := Parse(ctx, bytes.NewReader(nil), Options{})
	if err == nil || m == nil || len(m.Parts) != 1 {
		t.Errorf("message %v, error %v", m, err)
	}
}
