package mailparse

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// sniffBytes is how much of a text part is looked at for inline PGP, also
	// where no text is kept.
	sniffBytes = 4 << 10
	// maxJournalBytes is the size of the report part of a journal report that is
	// read, also where no text is kept: more than ten thousand recipients.
	maxJournalBytes = 1 << 20
	// metaBytes is how far HTML is searched for the name of its charset; the
	// HTML standard says as much.
	metaBytes = 1 << 10
)

// leaf is the content of an entity without parts. It is decoded and given out
// in pieces: to the collected text, to the caller's writer, or to the walker
// of an encoded message.
type leaf struct {
	w       *walker
	part    int // of a preamble the multipart
	decoder transferDecoder
	size    int64
	collect int // octets to collect in w.text
	isText  bool
	writer  io.Writer
	inner   content // what is in it; nil if nothing is looked for
	files   *inlineFiles
	mute    bool  // the octets are no text: a file in it
	muted   int64 // number of these octets
}

func newLeaf(w *walker, part int) *leaf {
	l := &leaf{w: w, part: part}
	p := &w.msg.Parts[part]
	l.decoder = newTransferDecoder(p.Encoding, l.issue)
	l.isText = strings.HasPrefix(p.MediaType, "text/") || strings.HasPrefix(p.MediaType, "message/") && !isEnclosed(p.MediaType)
	l.start(p)
	if _, plain := l.decoder.(*identityDecoder); plain && p.MediaType == "text/plain" {
		l.files = &inlineFiles{leaf: l}
	}
	return l
}

// newPreamble makes a leaf of what comes before the first boundary of a multipart, or behind
// the last one.
func newPreamble(w *walker, multipart int) *leaf {
	l := &leaf{w: w, part: multipart, decoder: &identityDecoder{}, isText: true}
	l.start(&Part{MediaType: "text/plain", parent: multipart})
	return l
}

func (l *leaf) start(p *Part) {
	l.w.out, l.w.text = l.w.out[:0], l.w.text[:0]
	if !l.isText {
		return
	}
	l.collect = max(l.w.textRoom(), sniffBytes)
	if p.MediaType == "text/html" && l.w.textRoom() > 0 {
		l.collect = l.w.opts.MaxTextBytes // most of it is markup
	}
	if l.w.journal && p.parent == 0 {
		l.collect = max(l.collect, maxJournalBytes)
	}
}

func (l *leaf) issue(text string) { l.w.issue(l.part, text) }

// announce offers the part to the caller.
func (l *leaf) announce() {
	if l.w.opts.Part != nil {
		l.writer = l.w.opts.Part(&l.w.msg.Parts[l.part])
	}
}

// line takes a line or a piece of one, and its line end.
func (l *leaf) line(content, eol []byte) {
	if l.files != nil && (l.files.busy || len(content) > 0 && (content[0] == 'b' || content[0] == '=')) {
		l.files.line(content)
	}
	l.w.out = l.decoder.line(l.w.out, content, eol)
	l.flushFull()
}

func (l *leaf) flushFull() {
	if len(l.w.out) >= chunkBytes {
		l.flush()
	}
}

// flush gives out what was decoded.
func (l *leaf) flush() {
	out := l.w.out
	l.w.out = out[:0]
	l.size += int64(len(out))
	if l.writer != nil {
		if _, err := l.writer.Write(out); err != nil {
			l.writer = nil
			if l.w.writeErr == nil {
				l.w.writeErr = err
			}
		}
	}
	if l.w.journal {
		l.w.hashJournaled(&l.w.msg.Parts[l.part], out)
	}
	if l.inner != nil {
		l.inner.take(out)
	}
	if l.mute {
		l.muted += int64(len(out))
		return
	}
	if room := l.collect - len(l.w.text); room > 0 {
		l.w.text = append(l.w.text, out[:min(room, len(out))]...)
	}
}

// close ends the content. atEnd is false if a boundary follows.
func (l *leaf) close(atEnd bool) {
	l.w.out = l.decoder.close(l.w.out, atEnd)
	l.flush()
	if l.files != nil {
		l.files.close()
	}
	if l.inner != nil {
		l.inner.finish()
	}
	p := &l.w.msg.Parts[l.part]
	p.Size = l.size
	if l.isText {
		l.takeText(p)
	}
}

// promote makes a text part of what was taken for a preamble. It returns false if
// there is nothing.
func (l *leaf) promote(atEnd bool) bool {
	l.w.out = l.decoder.close(l.w.out, atEnd)
	l.flush()
	if l.size == 0 || len(l.w.msg.Parts) >= l.w.opts.MaxParts {
		return false
	}
	multipart := &l.w.msg.Parts[l.part]
	p := Part{Path: multipart.Path + ".1", Depth: multipart.Depth + 1, parent: l.part, MediaType: "text/plain", Size: l.size}
	if looksLikeHTML(l.w.text) {
		p.MediaType = "text/html"
	}
	l.w.msg.Parts = append(l.w.msg.Parts, p)
	l.part = len(l.w.msg.Parts) - 1
	l.announce()
	if l.writer != nil {
		if _, err := l.writer.Write(l.w.text); err != nil && l.w.writeErr == nil {
			l.w.writeErr = err
		}
	}
	l.takeText(&l.w.msg.Parts[l.part])
	return true
}

// maxBoilerplate is the length of a preamble that may be a mail program's word to those
// that know no MIME; people write more, or do not mention it.
const maxBoilerplate = 512

// keepMargin keeps text of a multipart that is in no part: nobody is shown it, and so it is
// a place to hide something in. Programs for mailing lists also write their footers behind the last part.
func (l *leaf) keepMargin(e *entity) {
	w := l.w
	w.out = l.decoder.close(w.out, false)
	l.flush()
	octets := bytes.TrimSpace(w.text)
	octets = bytes.TrimSpace(bytes.TrimSuffix(octets, []byte("--"+e.boundary))) // one that was guessed
	if len(octets) == 0 || e.children == 0 && len(octets) <= maxBoilerplate && bytes.Contains(octets, []byte("MIME")) {
		return
	}
	p, room := &w.msg.Parts[l.part], w.textRoom()
	text, _, _ := decodeCharset(octets, "")
	text = truncate(plainText(text), room)
	if l.size > int64(len(w.text)) || len(text) == room {
		w.textCut()
	}
	if p.Hidden != "" && text != "" {
		text = p.Hidden + "\n" + text
	}
	w.textUsed += len(text) - len(p.Hidden)
	p.Hidden = text
}

func looksLikeHTML(b []byte) bool {
	b = bytes.ToLower(bytes.TrimSpace(b[:min(len(b), metaBytes)]))
	return bytes.HasPrefix(b, []byte("<html")) || bytes.HasPrefix(b, []byte("<!doctype html"))
}

// takeText makes readable text of the collected octets.
func (l *leaf) takeText(p *Part) {
	octets, w := l.w.text, l.w
	label := p.Params["charset"]
	if label == "" && p.MediaType == "text/html" {
		label = htmlCharset(octets)
	}
	text, used, issue := decodeCharset(octets, label)
	p.Charset = used
	if issue != "" && l.size-l.muted <= int64(len(octets)) { // a character that was cut is no mistake
		l.issue(issue)
	}
	decoded := text
	room := w.textRoom()
	if p.MediaType == "text/html" {
		content := readHTML(text, max(room, sniffBytes))
		text = content.text
		p.Hidden, p.Links = truncate(content.hidden, room), content.links
		if room == 0 {
			p.Links = nil
		}
	} else {
		text = plainText(text)
		switch {
		case isDirectory(p.MediaType):
			text = directoryText(text)
		case strings.EqualFold(p.Params["format"], "flowed"):
			text = unflow(text, strings.EqualFold(p.Params["delsp"], "yes"))
		}
	}
	if strings.IndexByte(decoded, 0) >= 0 {
		l.issue("NUL in text") // RFC 5322 section 4.1: obsolete, never to be sent
	}
	w.inspect(p, text)
	if l.size-l.muted > int64(len(octets)) || len(text) > room {
		w.textCut()
	}
	p.Text = truncate(text, room)
	w.textUsed += len(p.Text) + len(p.Hidden)
}

// plainText makes LF of all line ends and drops NULs.
func plainText(s string) string {
	if strings.IndexByte(s, '\r') >= 0 {
		s = strings.ReplaceAll(s, "\r\n", "\n")
		s = strings.ReplaceAll(s, "\r", "\n")
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return s
}

// truncate cuts s to n bytes, between characters.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}
