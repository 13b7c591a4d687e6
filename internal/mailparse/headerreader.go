package mailparse

import (
	"bytes"
	"strings"
)

// verdict says where the header stands after a line.
type verdict int

const (
	headerGoesOn      verdict = iota
	headerEnded               // the line was the separator, or is among the doubtful ones
	headerEndedBefore         // the line belongs to the body
)

const (
	// maxDoubtBytes is how much text without a colon is held back to see
	// whether the header goes on behind it.
	maxDoubtBytes = 8 << 10
	// maxNameBytes is the longest field name; longer ones are text with a
	// colon somewhere.
	maxNameBytes = 200
)

// issueFromLine is harmless: servers and mbox files leave the line in front.
const issueFromLine = "begins with an mbox From line"

// issueHeaderEnd says that addresses may stand in what was taken for the body.
const issueHeaderEnd = "header does not end in an empty line"

// issueHeader says that not all of a header was kept.
const issueHeader = "header too large, cut"

// headerReader collects one header (RFC 5322 section 2.2) from lines. Lines
// that are no field are held in doubt: if a field that is certain follows, they are junk
// within the header and kept as fields without name, else they begin the body.
type headerReader struct {
	max     int
	message bool // the header of a message, not that of a part
	problem func(string)
	note    func(string) // of what is odd but harmless
	cutOff  func(string)

	buf    []byte // fields, unfolded, each ended by LF; "name:value"
	field  int    // where the current field begins in buf
	doubt  []byte // lines that may be junk or body, as received
	from   []byte // the mbox From line in front, without what is beyond one piece
	first  bool   // no line was seen
	blank  bool   // the line before was white space only
	ignore bool   // the rest of the current line is of no interest
}

func (h *headerReader) reset(message bool) {
	h.message = message
	h.buf, h.doubt, h.from = h.buf[:0], h.doubt[:0], h.from[:0]
	h.field, h.first, h.blank, h.ignore = 0, true, false, false
}

// line takes the next piece of a line.
func (h *headerReader) line(piece []byte, start bool) verdict {
	if !start {
		return h.more(piece)
	}
	first := h.first
	h.first, h.ignore = false, false
	text := bytes.TrimRight(piece, "\r\n")
	if len(text) == 0 {
		return h.emptyLine(first)
	}
	if first && (bytes.HasPrefix(text, []byte("From ")) || bytes.HasPrefix(text, []byte(">From "))) {
		h.note(issueFromLine)
		h.from = append(h.from[:0], text...)
		h.ignore, h.first = true, false
		return headerGoesOn
	}
	wasBlank := h.blank
	h.blank = false
	if text[0] == ' ' || text[0] == '\t' {
		return h.indented(piece, text)
	}
	colon := h.fieldName(text)
	if colon < 0 && (wasBlank || bytes.HasPrefix(text, []byte("--"))) {
		// "--" is a boundary that follows the header at once.
		h.problem(issueHeaderEnd)
		return headerEndedBefore
	}
	if colon < 0 || len(h.doubt) > 0 && !isCertain(text[:colon]) || wasBlank && len(h.buf) == 0 && !isCertain(text[:colon]) {
		return h.hold(piece)
	}
	h.junk()
	h.add(text, colon)
	return headerGoesOn
}

func (h *headerReader) emptyLine(first bool) verdict {
	switch {
	case len(h.doubt) > 0:
		return headerEndedBefore
	case h.message && len(h.buf) == 0 && (first || h.blank):
		// Some servers and mbox files put empty lines before the header.
		h.blank = true
		return headerGoesOn
	}
	return headerEnded
}

// indented takes a line that begins with white space.
func (h *headerReader) indented(piece, text []byte) verdict {
	trimmed := bytes.TrimLeft(text, " \t")
	switch {
	case len(trimmed) == 0:
		h.blank = true
	case len(h.doubt) > 0:
		return h.hold(piece)
	case len(h.buf) > 0:
		h.unfold(trimmed)
	default:
		colon := h.fieldName(trimmed)
		if colon < 0 {
			return h.hold(piece)
		}
		h.problem("white space before the first header field")
		h.add(trimmed, colon)
	}
	return headerGoesOn
}

// hold keeps a line in doubt.
func (h *headerReader) hold(piece []byte) verdict {
	h.doubt = append(h.doubt, piece...)
	if len(h.doubt) > maxDoubtBytes {
		return headerEnded
	}
	return headerGoesOn
}

// junk keeps the lines in doubt as fields without a name.
func (h *headerReader) junk() {
	if len(h.doubt) == 0 {
		return
	}
	h.problem("header line without a colon")
	for line := range bytes.Lines(h.doubt) {
		h.appendField(nil, bytes.TrimSpace(line))
	}
	h.doubt = h.doubt[:0]
}

// fieldName returns the place of the colon if the line begins with a field
// name, else -1.
func (h *headerReader) fieldName(text []byte) int {
	colon := bytes.IndexByte(text[:min(len(text), maxNameBytes)], ':')
	if colon <= 0 || bytes.HasPrefix(text[colon+1:], []byte("//")) {
		return -1
	}
	name := bytes.TrimRight(text[:colon], " \t")
	for _, c := range name {
		// QUIRK: a space within the name, as some bulk mailers write it, is
		// taken where a header is under way.
		// So are octets above 127.
		if (c == ' ' || c > 0x7f) && len(h.buf) > 0 && len(h.doubt) == 0 {
			continue
		}
		if c <= ' ' || c >= 0x7f {
			return -1
		}
	}
	return colon
}

// isCertain reports whether a name is not likely to be text with a colon.
func isCertain(name []byte) bool {
	if bytes.IndexByte(name, ' ') >= 0 {
		return false
	}
	if bytes.IndexByte(name, '-') > 0 {
		return true
	}
	switch strings.ToLower(string(name)) {
	case "from", "to", "cc", "bcc", "subject", "date", "received", "sender", "references", "precedence", "organization", "lines", "status":
		return true
	}
	return false
}

func (h *headerReader) add(text []byte, colon int) {
	name := bytes.TrimRight(text[:colon], " \t")
	if bytes.IndexByte(name, ' ') >= 0 {
		h.problem("space in the name of a header field")
	}
	h.appendField(name, bytes.Trim(text[colon+1:], " \t"))
}

func (h *headerReader) appendField(name, value []byte) {
	if h.full() {
		return
	}
	h.field = len(h.buf)
	h.put(name)
	h.put([]byte{':'})
	h.put(value)
	h.put([]byte{'\n'})
}

// full reports whether no more is kept.
func (h *headerReader) full() bool {
	if len(h.buf) < h.max {
		return false
	}
	h.cutOff(issueHeader)
	return true
}

// unfold adds a continuation line (RFC 5322 section 2.2.3) to the last field;
// the white space of the fold becomes one space.
func (h *headerReader) unfold(text []byte) {
	if h.full() {
		return
	}
	h.buf = bytes.TrimRight(h.buf, " \t\n")
	h.put([]byte{' '})
	h.put(text)
	h.put([]byte{'\n'})
}

// more adds the next piece of a line that is longer than chunkBytes.
func (h *headerReader) more(piece []byte) verdict {
	switch {
	case h.ignore:
	case len(h.doubt) > 0:
		return h.hold(piece)
	case len(h.buf) > 0:
		h.buf = h.buf[:len(h.buf)-1]
		h.put(bytes.TrimRight(piece, "\r\n"))
		h.put([]byte{'\n'})
	}
	return headerGoesOn
}

// put appends to the current field within the limits. A LF, which ends a field,
// always fits.
func (h *headerReader) put(p []byte) {
	if len(p) == 1 && p[0] == '\n' {
		h.buf = append(h.buf, '\n')
		return
	}
	room := min(h.max-len(h.buf), h.max/2-(len(h.buf)-h.field))
	if len(p) > room {
		h.cutOff(issueHeader)
		p = p[:max(room, 0)]
	}
	at := len(h.buf)
	h.buf = append(h.buf, p...)
	for added := h.buf[at:]; ; {
		i := bytes.IndexByte(added, '\r')
		if i < 0 {
			return
		}
		added[i] = ' '
	}
}

// header returns what was read.
func (h *headerReader) header() Header {
	if len(h.buf) == 0 {
		return Header{}
	}
	all := string(h.buf)
	fields := make([]Field, 0, strings.Count(all, "\n"))
	for line := range strings.Lines(all) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if ok {
			fields = append(fields, Field{Name: name, Value: value})
		}
	}
	if len(h.from) > 0 { // it names the sender of the envelope
		fields = append(fields, Field{Value: string(h.from)})
	}
	return Header{fields: fields}
}
