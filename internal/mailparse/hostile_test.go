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
		"files in uuencode":             "Subject: s\n\n" + rep("begin 644 x\n#0V%T\n", n/20),
		"begin lines":                   "Subject: s\n\n" + rep("begin 644 x\n", n/12),
		"yEnc":                          "Subject: s\n\n=ybegin size=1\n" + rep("=", n),
		"flowed":                        "Content-Type: text/plain; format=flowed\n\n" + rep("> \n", n/3),
		"nested quotations":             "Content-Type: text/html\n\n" + rep("<blockquote>x", n/13),
		"nested lists":                  "Content-Type: text/html\n\n" + rep("<ol><li>x", n/9),
		"hidden":                        "Content-Type: text/html\n\n" + rep("<p hidden>x", n/11),
		"links":                         "Content-Type: text/html\n\n" + rep("<a href=http://a>x</a>", n/22),
		"links that do not end":         "Content-Type: text/html\n\n" + rep("<a href=http://a/b>http:", n/24),
		"nested S/MIME":                 rep("Content-Type: application/pkcs7-mime\n\n"+enclosing(oidSignedData, ber(berOctets, ""))[:40], 1000),
		"TNEF attributes":               tnefHeader + tnefStream(rep(tnefAttribute(2, tnefRendData, ""), n/11)),
		"TNEF properties":               tnefHeader + tnefStream(tnefAttribute(1, tnefProps, "\xff\xff\xff\xff"+rep("\x02\x10\x00\x01\xff\xff\xff\xff", n/8))),
		"TNEF sizes":                    tnefHeader + tnefStream("\x01\x03\x90\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x1e\x00\x00\x10\x01\x00\x00\x00\xff\xff\xff\xff"),
		"undeclared octets":             "Subject: s\n\n" + rep("\xe9\xa0\xff ", n/4),
		"escapes of ISO 2022":           "Content-Type: text/plain; charset=iso-2022-jp\n\n" + rep("\x1b$B\x1b(B", n/6),
		"delivery reports":              "Content-Type: message/delivery-status\n\n" + rep("Final-Recipient: a@b\n", n/21),
		"folded report":                 "Content-Type: message/delivery-status\n\nStatus: x\n" + rep(" y\n", n/3),
		"journal recipients":            "X-MS-Journal-Report:\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n" + rep("To: a@b, Expanded: c@d\n", n/24) + "\n--b\nContent-Type: message/rfc822\n\nSubject: s\n--b--\n",
		"calendar":                      "Content-Type: text/calendar\n\nSUMMARY:x\n" + rep(" y\n", n/3),
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

// endlessHeader is a header of size octets, made as it is read.
type endlessHeader struct{ size, at int64 }

func (h *endlessHeader) Read(p []byte) (int, error) {
	const line = "X-Field: some value that goes on for a while and is not of interest at all\r\n"
	n := 0
	for n < len(p) && h.at < h.size {
		m := copy(p[n:], line[h.at%int64(len(line)):])
		n += m
		h.at += int64(m)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func TestAHeaderOfAGigabyteTakesBoundedMemory(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() || raceEnabled {
		size = 1 << 27 // the same, in a tenth of the time
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Parse(t.Context(), &endlessHeader{size: size}, Options{})
	runtime.ReadMemStats(&after)
	if err != nil || m.Size != size || !m.HasFlag(FlagPartial) {
		t.Errorf("size %d, flags %v, error %v", m.Size, m.Flags, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("%d MiB allocated", used>>20)
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
