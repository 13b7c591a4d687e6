package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func newDotReader(r io.Reader, bareLF bool) *dotReader {
	return &dotReader{br: bufio.NewReaderSize(r, 16), bareLF: bareLF, lineStart: true, limit: 1 << 30}
}

func TestDotReaderTakesOffOnlyTheStuffing(t *testing.T) {
	for _, tc := range []struct {
		name, wire, want string
		bareLF           bool
	}{
		{name: "empty", wire: ".\r\n", want: ""},
		{name: "one line", wire: "a\r\n.\r\n", want: "a\r\n"},
		{name: "stuffed dot", wire: "..\r\n.\r\n", want: ".\r\n"},
		{name: "stuffed dots", wire: "...a\r\n.\r\n", want: "..a\r\n"},
		{name: "dot within a line", wire: "a..b\r\n.\r\n", want: "a..b\r\n"},
		{name: "dot that no server stuffed", wire: ".a\r\n.\r\n", want: ".a\r\n"},
		{name: "dot CR without LF", wire: ".\ra\r\n.\r\n", want: ".\ra\r\n"},
		{name: "NUL, 8-bit, bare CR, bare LF", wire: "\x00\xff\rb\nc\r\n.\r\n", want: "\x00\xff\rb\nc\r\n"},
		{name: "CR CR LF", wire: "a\r\r\n.\r\n", want: "a\r\r\n"},
		{name: "LF dot LF", wire: "a\n.\nb\r\n.\r\n", want: "a\n.\nb\r\n"},
		{name: "LF dot CRLF", wire: "a\n.\r\nb\r\n.\r\n", want: "a\n.\r\nb\r\n"},
		{name: "LF dot dot", wire: "a\n..b\r\n.\r\n", want: "a\n..b\r\n"},
		{name: "CRLF dot LF", wire: "a\r\n.\nb\r\n.\r\n", want: "a\r\n.\nb\r\n"},
		{name: "no line end before the dot is no end", wire: "a.\r\nb\r\n.\r\n", want: "a.\r\nb\r\n"},
		{name: "bare LF server", wire: "a\n..b\n.\n", want: "a\n.b\n", bareLF: true},
		{name: "bare LF server, dot CRLF", wire: "a\n.\r\n", want: "a\n", bareLF: true},
		{name: "bare LF server, empty", wire: ".\n", want: "", bareLF: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			const next = "+OK next"
			for name, source := range map[string]io.Reader{
				"whole":       strings.NewReader(tc.wire + next),
				"byte a time": iotest.OneByteReader(strings.NewReader(tc.wire + next)),
			} {
				for _, size := range []int{1, 2, 3, 100} {
					d := newDotReader(source, tc.bareLF)
					got := readBySize(t, d, size)
					rest, err := io.ReadAll(d.br)
					if err != nil {
						t.Fatal(err)
					}
					if string(got) != tc.want || string(rest) != next {
						t.Errorf("%s, reads of %d: got %q, rest %q; want %q, %q", name, size, got, rest, tc.want, next)
					}
					source = strings.NewReader(tc.wire + next)
				}
			}
		})
	}
}

func readBySize(t *testing.T, r io.Reader, size int) []byte {
	t.Helper()
	var got []byte
	buf := make([]byte, size)
	for {
		n, err := r.Read(buf)
		got = append(got, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
	}
}

func TestDotReaderNeverTakesACutForTheEnd(t *testing.T) {
	const wire = "Subject: a\r\n\r\n..b\r\n.\r\n"
	for cut := range len(wire) {
		_, err := io.ReadAll(newDotReader(strings.NewReader(wire[:cut]), false))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: error %v", wire[:cut], err)
		}
	}
}

func TestDotReaderStopsAtItsLimit(t *testing.T) {
	d := newDotReader(strings.NewReader(strings.Repeat("x", 1000)), false)
	d.limit = 100
	got, err := io.ReadAll(d)
	var limit limitError
	if !errors.As(err, &limit) || len(got) > 200 {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
}

// chunks reads in pieces of the given sizes, over and over.
type chunks struct {
	r     io.Reader
	sizes []byte
	i     int
}

func (c *chunks) Read(p []byte) (int, error) {
	size := 1
	if len(c.sizes) > 0 {
		size += int(c.sizes[c.i%len(c.sizes)])
		c.i++
	}
	return c.r.Read(p[:min(size, len(p))])
}

func FuzzUnstuffUndoesStuff(f *testing.F) {
	for _, seed := range []string{"", ".", "..\r\n.", "a\n.\nb", "\r\n.\r\n", "a\r", "\r\n.\r", "\n.\r\n", "\x00\r\r\n..", "a\n.\r\n.\r\n"} {
		f.Add([]byte(seed), []byte{0}, []byte{2, 0})
	}
	f.Fuzz(func(t *testing.T, message, in, out []byte) {
		var wire bytes.Buffer
		if err := pop3test.Stuff(&wire, &chunks{r: bytes.NewReader(message), sizes: out}, -1); err != nil {
			t.Fatal(err)
		}
		wire.WriteString("+OK")
		d := newDotReader(&chunks{r: &wire, sizes: in}, false)
		got, err := io.ReadAll(&chunks{r: d, sizes: out})
		if err != nil {
			t.Fatal(err)
		}
		if want := pop3test.OnWire(message); !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		if rest, _ := io.ReadAll(d.br); string(rest) != "+OK" {
			t.Fatalf("rest %q", rest)
		}
	})
}

func FuzzDotReaderOnAnyInput(f *testing.F) {
	f.Add([]byte("a\r\n.\r\n"), true)
	f.Add([]byte("..\n.\n"), true)
	f.Fuzz(func(t *testing.T, wire []byte, bareLF bool) {
		got, err := io.ReadAll(newDotReader(bytes.NewReader(wire), bareLF))
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		end := bytes.Contains(wire, []byte(".\r\n")) || bareLF && bytes.Contains(wire, []byte(".\n"))
		if err == nil && !end || len(got) > len(wire) {
			t.Fatalf("%q from %q, error %v", got, wire, err)
		}
	})
}

func BenchmarkDotReader(b *testing.B) {
	for name, line := range map[string]string{
		"text":      "A line of text as long as they are in mail, give or take some.\r\n",
		"dots":      ".a\r\n",
		"long line": strings.Repeat("x", 1<<20) + "\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			message := []byte(strings.Repeat(line, (4<<20)/len(line)))
			var wire bytes.Buffer
			if err := pop3test.Stuff(&wire, bytes.NewReader(message), -1); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(message)))
			br := bufio.NewReaderSize(nil, maxLineBytes)
			buf := make([]byte, 32<<10)
			for b.Loop() {
				br.Reset(bytes.NewReader(wire.Bytes()))
				d := &dotReader{br: br, lineStart: true, limit: 1 << 30}
				if n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{d}, buf); err != nil || n != int64(len(message)) {
					b.Fatal(n, err)
				}
			}
		})
	}
}
