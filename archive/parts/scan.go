package parts

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
)

const (
	// maxDepth bounds how deep multiparts are looked into. Real mail has a handful of levels.
	maxDepth = 20
	// maxHeader bounds how much of a header field is kept. A boundary has at most 70
	// characters (RFC 2046 section 5.1.1); the type before it is short.
	maxHeader = 4 << 10
	// maxLeaves bounds memory for messages with very many tiny parts.
	maxLeaves = 100_000
)

// A leaf is a body without further structure, without the end of line that belongs to the boundary behind it.
type leaf struct {
	from, to int64
	base64   bool
}

// A scanner finds the leaves of a message by its boundaries (RFC 2046 section 5.1).
type scanner struct {
	r          *bufio.Reader
	off        int64 // of the next line
	boundaries []string
	leaves     []leaf

	line  []byte // the last one that was read, or a piece of a long one
	inner bool   // the piece goes on a line that began before
	eol   int    // length of the end of line that was read last
	was   int    // and of the one before
}

// scan returns the leaves of a message, in order.
func scan(r *io.SectionReader) ([]leaf, error) {
	s := &scanner{r: buffered(r)}
	// Without a boundary that it is in, the message ends with the stream.
	if _, err := s.entity(0); !errors.Is(err, io.EOF) {
		return nil, err
	}
	return s.leaves, nil
}

// next reads a line. It returns the index of the boundary that the line is, or -1.
func (s *scanner) next() (boundary int, closing bool, err error) {
	inner := len(s.line) > 0 && s.line[len(s.line)-1] != '\n'
	s.off += int64(len(s.line))
	s.line, err = s.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, io.EOF) && len(s.line) > 0 {
		err = nil
	}
	if err != nil {
		s.line = nil
		return -1, false, err
	}
	s.inner = inner
	text := trimEOL(s.line)
	s.was, s.eol = s.eol, len(s.line)-len(text)
	if !inner && bytes.HasPrefix(text, []byte("--")) {
		name := string(bytes.TrimRight(text[2:], " \t"))
		for i := len(s.boundaries) - 1; i >= 0; i-- {
			if name == s.boundaries[i] {
				return i, false, nil
			}
			if name == s.boundaries[i]+"--" {
				return i, true, nil
			}
		}
	}
	return -1, false, nil
}

// A delimiter is the boundary line that ended something.
type delimiter struct {
	boundary int
	closing  bool
}

var noDelimiter = delimiter{boundary: -1}

// entity reads a header and a body, up to a boundary line.
func (s *scanner) entity(depth int) (delimiter, error) {
	h, d, err := s.header()
	if err != nil || d != noDelimiter {
		return d, err
	}
	switch {
	case depth >= maxDepth:
	case h.boundary != "":
		return s.multipart(h.boundary, depth)
	case h.message:
		return s.entity(depth + 1)
	}
	from := s.off + int64(len(s.line))
	for {
		b, closing, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			s.leaf(from, s.off, h.base64)
			return noDelimiter, err
		case err != nil:
			return noDelimiter, err
		case b >= 0:
			s.leaf(from, s.off-int64(s.was), h.base64)
			return delimiter{b, closing}, nil
		}
	}
}

func (s *scanner) leaf(from, to int64, base64 bool) {
	if from < to && len(s.leaves) < maxLeaves {
		s.leaves = append(s.leaves, leaf{from, to, base64})
	}
}

// multipart reads a multipart body up to a boundary line of one that it is in.
func (s *scanner) multipart(boundary string, depth int) (delimiter, error) {
	mine := len(s.boundaries)
	s.boundaries = append(s.boundaries, boundary)
	defer func() { s.boundaries = s.boundaries[:mine] }()
	d := noDelimiter
	var err error
	for {
		switch {
		case d.boundary >= 0 && d.boundary < mine:
			return d, nil
		case d.boundary == mine && !d.closing:
			d, err = s.entity(depth + 1)
		default: // before the first boundary, or behind the last
			d.boundary, d.closing, err = s.next()
		}
		if err != nil {
			return noDelimiter, err
		}
	}
}

// A header is what matters of one.
type header struct {
	boundary string
	base64   bool
	message  bool // of type message/rfc822, not encoded
}

// header reads up to the empty line, or a boundary.
func (s *scanner) header() (header, delimiter, error) {
	var contentType, encoding string
	field := &contentType // that a folded line goes on with
	for {
		b, closing, err := s.next()
		if err != nil || b >= 0 {
			return header{}, delimiter{b, closing}, err
		}
		if s.inner {
			continue
		}
		text := trimEOL(s.line)
		if len(text) == 0 {
			break
		}
		switch name, value, _ := bytes.Cut(text, []byte(":")); {
		case text[0] == ' ' || text[0] == '\t':
			value = text
			if field != nil && len(*field) < maxHeader {
				*field += string(value[:min(len(value), maxHeader)])
			}
		case strings.EqualFold(string(bytes.TrimSpace(name)), "Content-Type") && contentType == "":
			contentType, field = string(value[:min(len(value), maxHeader)]), &contentType
		case strings.EqualFold(string(bytes.TrimSpace(name)), "Content-Transfer-Encoding") && encoding == "":
			encoding, field = string(value[:min(len(value), maxHeader)]), &encoding
		default:
			field = nil
		}
	}
	return newHeader(contentType, encoding), noDelimiter, nil
}

var boundaryParameter = regexp.MustCompile(`(?i);\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;"]+))`)

func newHeader(contentType, encoding string) header {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	encoding = strings.ToLower(strings.TrimSpace(encoding))
	h := header{base64: encoding == "base64"}
	h.message = kind == "message/rfc822" && !h.base64 && encoding != "quoted-printable"
	if !strings.HasPrefix(kind, "multipart/") {
		return h
	}
	if m := boundaryParameter.FindStringSubmatch(contentType); m != nil {
		h.boundary = strings.TrimRight(m[1]+m[2], " \t")
	}
	return h
}

// measure looks whether r is base64 in lines of one length with one kind of end of line, the last one shorter perhaps, with
// nothing but white space around it. from and to of the step are without that.
func measure(r *io.SectionReader) (s step, ok bool, err error) {
	b := buffered(r)
	var off int64
	length, total := 0, int64(0) // of the line, of all
	done := false                // nothing may follow
	for {
		line, err := b.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			err = nil
			if len(line) == 0 {
				break
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return step{}, false, err
		}
		text := trimEOL(line)
		eol := endOfLine(line[len(text):])
		switch {
		case total == 0 && length == 0 && len(text) == 0: // empty lines before it
		case len(text) == 0 && length == 0:
			done = true
		case done:
			return step{}, false, nil
		default:
			if total == 0 {
				s.from = off
			}
			length, total = length+len(text), total+int64(len(text))
			s.to = off + int64(len(text))
			if len(text) == len(line) {
				break // a piece of a long line, or the end
			}
			switch {
			case s.line == 0:
				s.line, s.eol = length, eol
			case length > s.line:
				return step{}, false, nil
			case length < s.line:
				done = true
			}
			if eol == "" || eol != s.eol && !done {
				return step{}, false, nil
			}
			length = 0
		}
		off += int64(len(line))
	}
	if s.line == 0 {
		s.line, s.eol = length, lf
	}
	return s, total > 0 && total%4 == 0 && length <= s.line, nil
}

// trimEOL cuts off all CR and LF at the end. It is called for each line of all mail; bytes.TrimRight makes a set of them each time.
func trimEOL(line []byte) []byte {
	n := len(line)
	for n > 0 && (line[n-1] == '\n' || line[n-1] == '\r') {
		n--
	}
	return line[:n]
}

// endOfLine returns "" for one that no recipe has.
func endOfLine(b []byte) string {
	switch string(b) {
	case lf:
		return lf
	case crlf:
		return crlf
	}
	return ""
}
