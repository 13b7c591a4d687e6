package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// dotReader takes the stuffing of RFC 1939, section 3, off a multi-line answer
// and returns io.EOF after the final dot. Package documentation, "Where a
// message ends", has the rules.
type dotReader struct {
	br        *bufio.Reader // its buffer must hold 3 bytes or more
	bareLF    bool          // every LF ends a line
	lineStart bool          // at a place where a dot may be stuffing; initially true
	cr        bool          // the last byte was CR
	limit     int64         // of bytes to deliver
	tail      [4]byte       // the last bytes read, to explain a stall
	err       error
}

// Read fills as much of p as can be had without waiting, and at least a byte.
func (d *dotReader) Read(p []byte) (n int, err error) {
	for n < len(p) && d.err == nil {
		if n > 0 && d.br.Buffered() == 0 {
			break
		}
		if d.lineStart {
			// A dot may need three bytes to be told; do not wait for them with
			// bytes to deliver.
			if n > 0 && d.br.Buffered() < 3 {
				break
			}
			d.err = d.startLine()
			continue
		}
		var copied int
		copied, d.err = d.copyLines(p[n:])
		n += copied
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, d.err
}

// startLine looks at the first bytes of a line: it takes a stuffed dot away, and
// returns io.EOF if the line is the end.
func (d *dotReader) startLine() error {
	b, err := d.br.Peek(1)
	if err != nil {
		return unexpected(err)
	}
	d.lineStart = false
	if b[0] != '.' {
		return nil
	}
	if b, err = d.br.Peek(2); err != nil {
		return unexpected(err)
	}
	switch b[1] {
	case '.':
		_, err = d.br.Discard(1)
		return err
	case '\n':
		if d.bareLF {
			_, _ = d.br.Discard(2)
			return io.EOF
		}
	case '\r':
		if b, err = d.br.Peek(3); err != nil {
			return unexpected(err)
		}
		if b[2] == '\n' {
			_, _ = d.br.Discard(3)
			return io.EOF
		}
	}
	// QUIRK: a dot that is not doubled was not put there by stuffing. RFC 1939
	// would take it away all the same; but Dovecot 2.3 does not stuff a dot
	// that starts a message, and that byte would be lost.
	return nil
}

// copyLines copies from the buffer up to the next place where a dot needs a
// look. The caller has made sure that d is not at the start of a line.
func (d *dotReader) copyLines(p []byte) (int, error) {
	if d.br.Buffered() == 0 {
		if _, err := d.br.Peek(1); err != nil {
			return 0, unexpected(err)
		}
	}
	b, _ := d.br.Peek(min(d.br.Buffered(), len(p)))
	if i := bytes.Index(b, lfDot); i >= 0 {
		b = b[:i+1]
	}
	last := len(b) - 1
	beforeLast := d.cr
	if last > 0 {
		beforeLast = b[last-1] == '\r'
	}
	d.lineStart = b[last] == '\n' && (beforeLast || d.bareLF)
	d.cr = b[last] == '\r'
	d.note(b)
	n := copy(p, b)
	_, _ = d.br.Discard(n)
	if d.limit -= int64(n); d.limit < 0 {
		return n, limitError("the message is larger than the limit")
	}
	return n, nil
}

var lfDot = []byte("\n.")

// note keeps the last bytes of b.
func (d *dotReader) note(b []byte) {
	if len(b) >= len(d.tail) {
		copy(d.tail[:], b[len(b)-len(d.tail):])
		return
	}
	copy(d.tail[:], d.tail[len(b):])
	copy(d.tail[len(d.tail)-len(b):], b)
}

// stalledAtDot reports whether the last line so far would be the end of a
// message in the eyes of a sloppy server.
func (d *dotReader) stalledAtDot() bool {
	return bytes.HasSuffix(d.tail[:], []byte(".\r\n")) || bytes.HasSuffix(d.tail[:], []byte(".\n"))
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body is the Message.Body that belongs to a connection.
type body struct {
	c    *Conn
	op   string
	dots dotReader
	err  error // what Read returns from now on
}

func (c *Conn) newBody(op string, s status) *body {
	return &body{c: c, op: op, dots: dotReader{
		br: c.br, bareLF: s.bareLF || c.opts.BareLF, lineStart: true, limit: c.opts.MaxMessageBytes,
	}}
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.dots.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		b.err = err
		return n, err
	}
	e := b.c.fail(b.op, err)
	if e.Kind == KindTimeout && b.dots.stalledAtDot() {
		e.Hint = "the last line ends in a dot: the server may not send CRLF before the final dot"
	}
	b.err = e
	return n, e
}

// finish reads what is left. No more can be read after it.
func (b *body) finish() error {
	_, err := io.Copy(io.Discard, b)
	if err == nil {
		b.err = errBodyOver
	}
	return err
}

var errBodyOver = errors.New("read of a message after its callback returned")
