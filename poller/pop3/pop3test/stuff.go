package pop3test

import (
	"bytes"
	"errors"
	"io"
)

// OnWire returns what a client gets for a message with content b: b, with CRLF
// added if its last line has no CRLF, for the final dot must follow one.
func OnWire(b []byte) []byte {
	if len(b) == 0 || bytes.HasSuffix(b, []byte("\r\n")) {
		return b
	}
	return append(bytes.Clone(b), "\r\n"...)
}

// Stuff copies a message to w as a multi-line answer (RFC 1939, section 3): dots
// at the start of lines are doubled, a missing last CRLF is added, and the
// final dot. Only CRLF ends a line. lines limits the lines after the header, as
// TOP does; -1 means all. w is written to in pieces of a line at most.
func Stuff(w io.Writer, r io.Reader, lines int) error {
	return stuff(w, r, lines, make([]byte, copyBytes))
}

// copyBytes is the size of the buffer for stuff.
const copyBytes = 32 << 10

func stuff(w io.Writer, r io.Reader, lines int, buf []byte) error {
	s := stuffer{w: w, header: lines >= 0, left: lines}
	for s.err == nil && !s.full() {
		n, err := r.Read(buf)
		s.chunk(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err // no final dot: the answer is not complete
		}
	}
	if s.length > 0 {
		s.write([]byte("\r\n"))
	}
	s.write([]byte(".\r\n"))
	return s.err
}

// stuffer keeps the state of Stuff between chunks.
type stuffer struct {
	w      io.Writer
	err    error
	length int64 // of the line so far; 0 at its start
	cr     bool  // the last byte was CR
	header bool  // the blank line matters and was not seen yet
	left   int   // lines of the body to go; negative means no limit
}

func (s *stuffer) full() bool { return s.length == 0 && !s.header && s.left == 0 }

func (s *stuffer) chunk(p []byte) {
	for len(p) > 0 && s.err == nil && !s.full() {
		piece := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			piece = p[:i+1]
		}
		p = p[len(piece):]
		if s.length == 0 && piece[0] == '.' {
			s.write([]byte("."))
		}
		s.write(piece)
		s.length += int64(len(piece))
		last := len(piece) - 1
		if piece[last] == '\n' && (last > 0 && piece[last-1] == '\r' || last == 0 && s.cr) {
			s.endLine()
		}
		s.cr = piece[last] == '\r'
	}
}

func (s *stuffer) endLine() {
	switch {
	case s.header && s.length == 2:
		s.header = false
	case !s.header && s.left > 0:
		s.left--
	}
	s.length = 0
}

func (s *stuffer) write(p []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(p)
	}
}
