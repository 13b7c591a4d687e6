package mailparse

import (
	"bytes"
	"strconv"
	"strings"
)

// What was wrong with a multipart.
const (
	issueNoBoundary    = "multipart without a boundary"
	issueWrongBoundary = "multipart with another boundary than declared"
	issueNoParts       = "multipart in which no boundary occurs"
	issueNotClosed     = "multipart without its last boundary"
)

// What is cut off.
const (
	issueTooMany = "too many parts, the rest is skipped"
	issueTooDeep = "parts nested too deep, taken as one"
)

type entityKind int

const (
	leafEntity entityKind = iota
	multipartEntity
	messageEntity // an enclosed message; its content is the entity above it on the stack
	skippedEntity // beyond MaxParts
)

// entity is one that has begun and not ended.
type entity struct {
	kind     entityKind
	part     int // in Message.Parts; -1 for a skipped one
	start    int64
	children int
	leaf     *leaf // of a leaf; of a multipart what stands before its first boundary

	// Of a multipart.
	boundary  string // "" if not declared
	candidate string // a line before the first boundary that may be it
	digest    bool   // its parts are messages if they do not say otherwise
	isText    bool   // what stands before its first boundary is a part
	closed    bool   // the last boundary was seen
}

// walker takes one message line by line. Enclosed messages are taken by the
// same walker; where one is encoded, which RFC 2046 forbids and mailers do,
// a walker of its own takes what the decoder gives.
type walker struct {
	*state
	lines    lineSplitter
	hdr      headerReader
	inHeader bool
	stack    []entity
	offset   int64  // octets taken
	encoded  bool   // what is taken was decoded: offset is not one of the message
	eol      int    // length of the last line end
	out      []byte // decoded octets on their way; one leaf at a time uses it
	text     []byte // octets that the leaf collects

	// The entity whose header is being read.
	path        string
	depth       int
	parent      int
	message     bool   // it is a message
	defaultType string // of its content
}

// newWalker begins with a message, or with an entity that is none.
func newWalker(s *state, path string, depth, parent int, message bool) *walker {
	w := &walker{state: s, encoded: parent >= 0}
	w.hdr = headerReader{max: s.opts.MaxHeaderBytes, problem: s.problem, note: s.note, cutOff: s.cut}
	w.begin(path, depth, parent, message, "text/plain")
	return w
}

// take takes the next octets of the message; it may change p.
func (w *walker) take(p []byte) { w.lines.split(p, w.line) }

// finish ends the message.
func (w *walker) finish() {
	w.lines.rest(w.line)
	w.endHeaders()
	w.pop(0, true)
}

// begin starts to read the header of an entity.
func (w *walker) begin(path string, depth, parent int, message bool, defaultType string) {
	w.path, w.depth, w.parent, w.message, w.defaultType = path, depth, parent, message, defaultType
	w.inHeader = true
	w.hdr.reset(message)
}

// line takes a line or a piece of one.
func (w *walker) line(piece []byte, start, end bool) {
	if start && end && len(w.stack) > 0 && len(piece) > 2 && piece[0] == '-' && piece[1] == '-' && w.delimiter(piece) {
		w.offset += int64(len(piece))
		return
	}
	content, eol := cutEOL(piece)
	if w.inHeader { // the offset is counted when it is known where the line belongs
		v := w.hdr.line(piece, start)
		if v == headerEndedBefore {
			w.endHeader()
			w.line(piece, start, end)
			return
		}
		w.offset += int64(len(piece))
		w.eol = len(eol)
		if v == headerEnded {
			w.endHeader()
		}
		return
	}
	w.offset += int64(len(piece))
	w.eol = len(eol)
	w.body(content, eol, start)
}

// endHeader opens the entity whose header was read, and gives it the lines that
// turned out not to belong to the header.
func (w *walker) endHeader() {
	doubt := w.hdr.doubt
	w.hdr.doubt = nil
	w.offset -= int64(len(doubt))
	if w.message && bytes.IndexByte(doubt, '@') >= 0 { // of a field that could not be read, or of the text
		w.hdr.problem(issueHeaderEnd)
	}
	w.open()
	for l := range bytes.Lines(doubt) {
		w.line(l, true, l[len(l)-1] == '\n')
	}
}

// endHeaders ends all headers that are being read: that of an enclosed message
// begins when that of its part ends.
func (w *walker) endHeaders() {
	for w.inHeader {
		w.endHeader()
	}
}

// body takes a line that is neither header nor boundary.
func (w *walker) body(content, eol []byte, start bool) {
	top := &w.stack[len(w.stack)-1]
	if top.kind == multipartEntity && top.children == 0 && start && w.guess(top, content, eol) {
		return
	}
	if top.leaf != nil { // nil behind the last boundary, and in a skipped part
		top.leaf.line(content, eol)
	}
}

// delimiter handles a line that may be a boundary (RFC 2046 section 5.1.1). The
// innermost multipart that is not closed goes first: forwarded mail may have
// the same boundary at several levels.
func (w *walker) delimiter(line []byte) bool {
	text := bytes.TrimRight(line[2:], " \t\r\n")
	closed, closedMatch := false, -1
	for i := len(w.stack) - 1; i >= 0; i-- {
		e := &w.stack[i]
		if e.boundary == "" || !bytes.HasPrefix(text, []byte(e.boundary)) {
			continue
		}
		switch rest := delimiterRest(text[len(e.boundary):], len(e.boundary)); {
		case rest == 0 && !e.closed:
			w.looseDelimiter(e, len(text)-rest)
			w.endPart(i)
			w.nextPart(&w.stack[i])
			return true
		case rest == 2 && isClosing(text, e.boundary) && !e.closed:
			w.endPart(i)
			w.closeMultipart(&w.stack[i])
			return true
		case rest == 0 && closedMatch < 0:
			closedMatch = i
		case rest == 2 && isClosing(text, e.boundary):
			closed = true // once more
		}
	}
	if closedMatch < 0 {
		return closed
	}
	w.issue(w.stack[closedMatch].part, "parts after the last boundary")
	w.endPart(closedMatch)
	w.nextPart(&w.stack[closedMatch])
	return true
}

// looseDelimiter notes that there is more in the line than the boundary.
func (w *walker) looseDelimiter(e *entity, length int) {
	if length > len(e.boundary) {
		w.issue(e.part, "text behind a boundary")
	}
}

func isClosing(text []byte, boundary string) bool {
	return bytes.HasPrefix(text[len(boundary):], []byte("--"))
}

// minLooseBoundary is the length of a boundary from which on it need not fill its line.
const minLooseBoundary = 6

// delimiterRest returns how much of a line behind the boundary tells what it is. RFC
// 2046 section 5.1.1 lets anything follow; it is taken for nothing
// if there is a space before it, and the boundary not too short to occur in text.
func delimiterRest(rest []byte, boundary int) int {
	if boundary >= minLooseBoundary {
		if i := bytes.IndexAny(rest, " \t"); i == 0 || i == 2 && rest[0] == '-' && rest[1] == '-' {
			return i
		}
	}
	return len(rest)
}

// guess looks, before the first part of a multipart, for what its boundary is
// if the declared one does not come.
func (w *walker) guess(e *entity, line, eol []byte) bool {
	if e.candidate != "" && w.confirms(e, line) {
		issue := issueWrongBoundary
		if e.boundary == "" {
			issue = issueNoBoundary
		}
		w.issue(e.part, issue)
		e.boundary = e.candidate
		w.nextPart(e)
		if w.hdr.line(append(line, eol...), true) == headerEnded { // they lie side by side
			w.endHeader()
		}
		return true
	}
	e.candidate = ""
	if len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return false
	}
	text := string(bytes.TrimRight(line[2:], " \t"))
	if strings.Trim(text, "-") != "" && !strings.ContainsAny(text, " \t") && len(text) <= maxNameBytes {
		e.candidate = text
	}
	return false
}

// confirms reports whether the line behind one that may be a boundary says that
// it was one: the header of a part begins, or is empty where no boundary is declared.
func (w *walker) confirms(e *entity, line []byte) bool {
	if len(line) > 8 && bytes.EqualFold(line[:8], []byte("content-")) {
		return true
	}
	return e.boundary == "" && len(line) == 0
}

// closeMultipart notes that the last boundary of e was there. What follows is no part.
func (w *walker) closeMultipart(e *entity) {
	e.closed = true
	if e.children > 0 {
		w.endMargin(e)
		e.leaf = newPreamble(w, e.part)
	}
}

// endMargin keeps what stood before the first part of e, or behind the last one.
func (w *walker) endMargin(e *entity) {
	if e.leaf != nil {
		e.leaf.keepMargin(e)
	}
	e.leaf = nil
}

// endPart ends what is above the multipart at place i of the stack.
func (w *walker) endPart(i int) {
	w.endHeaders()
	w.pop(i+1, false)
}

// nextPart begins the next part of the multipart e.
func (w *walker) nextPart(e *entity) {
	if e.isText && e.leaf != nil && e.leaf.promote(false) {
		e.children++
		e.leaf = nil
	}
	w.endMargin(e)
	e.closed = false
	e.children++
	def := "text/plain"
	if e.digest {
		def = "message/rfc822" // RFC 2046 section 5.1.5
	}
	p := &w.msg.Parts[e.part]
	w.begin(p.Path+"."+strconv.Itoa(e.children), p.Depth+1, e.part, false, def)
}

// pop ends all entities from place n of the stack upwards.
func (w *walker) pop(n int, atEnd bool) {
	for i := len(w.stack) - 1; i >= n; i-- {
		e := &w.stack[i]
		switch e.kind {
		case leafEntity:
			e.leaf.close(atEnd)
		case messageEntity:
			if !w.encoded {
				w.msg.Parts[e.part].Offset = e.start
			}
			w.msg.Parts[e.part].Size = w.offset - e.start
			if !atEnd { // the line end belongs to the boundary
				w.msg.Parts[e.part].Size = max(0, w.offset-e.start-int64(w.eol))
			}
		case multipartEntity:
			w.endMultipart(e, atEnd)
		}
		w.stack = w.stack[:i]
	}
}

func (w *walker) endMultipart(e *entity, atEnd bool) {
	switch {
	case e.children == 0:
		// No part was found: what there is is text.
		w.issue(e.part, issueNoParts)
		e.leaf.promote(atEnd)
	case !e.closed:
		w.issue(e.part, issueNotClosed)
	default:
		w.endMargin(e)
	}
}
