package mailparse

import (
	"bytes"
	"strings"
)

// inlineFiles finds files that stand in text: uuencode (POSIX) and yEnc
// (http://www.yenc.org). They become parts below the text, and are left out of
// it. It is asked before every line of the text is taken.
type inlineFiles struct {
	leaf   *leaf
	count  int    // of files found
	busy   bool   // a file goes on, or may begin
	name   string // of the file that begins if the next line is data
	mark   int    // where it begins in the collected text
	file   *leaf  // that goes on; nil before it, or if a limit was met
	uu     *uuDecoder
	yenc   *yencDecoder
	ending bool // the file ends with this line
}

// line looks at a line, or a piece of a long one, of the text.
func (f *inlineFiles) line(content []byte) {
	switch {
	case f.ending:
		f.end("")
	case f.uu != nil:
		f.uuLine(content)
		return
	case f.yenc != nil:
		f.yencLine(content)
		return
	case f.busy: // a begin line was seen
		f.busy = false
		if isUULine(content) {
			f.uu = &uuDecoder{issue: f.leaf.issue, begun: true}
			f.begin()
			f.uuLine(content)
			return
		}
	}
	f.first(content)
}

// first looks for the first line of a file.
func (f *inlineFiles) first(content []byte) {
	if rest, ok := bytes.CutPrefix(content, []byte("begin ")); ok {
		mode, name, _ := strings.Cut(string(rest[:min(len(rest), maxNameBytes)]), " ")
		if len(mode) < 3 || len(mode) > 4 || strings.Trim(mode, "01234567") != "" {
			return
		}
		f.leaf.flush()
		f.busy, f.name, f.mark = true, decodeRaw(strings.TrimSpace(name), ""), len(f.leaf.w.text)
		return
	}
	rest, ok := bytes.CutPrefix(content, []byte("=ybegin "))
	if !ok || !bytes.Contains(rest, []byte("size=")) {
		return
	}
	_, name, _ := strings.Cut(string(rest), "name=") // the last field, and may hold spaces
	f.leaf.flush()
	f.name, f.mark = decodeRaw(strings.TrimSpace(name), ""), len(f.leaf.w.text)
	f.yenc = &yencDecoder{}
	f.begin()
	if bytes.Contains(rest, []byte(" part=")) || bytes.HasPrefix(rest, []byte("part=")) {
		f.leaf.w.cut("a piece of a file in yEnc")
	}
}

// begin opens the part; what was collected of its first line is taken back.
func (f *inlineFiles) begin() {
	l := f.leaf
	l.flush()
	mark := min(f.mark, len(l.w.text))
	l.muted += int64(len(l.w.text) - mark)
	l.w.text = l.w.text[:mark]
	l.mute, f.busy = true, true
	f.count++
	f.file = l.w.embed(l.part, f.count, Part{FileName: f.name, IsAttachment: true})
}

func (f *inlineFiles) uuLine(content []byte) {
	switch {
	case bytes.Equal(bytes.TrimRight(content, " \t"), []byte("end")):
		f.ending = true
	case len(content) == 0: // a line of no octets whose only space was lost
	case !isUULine(content):
		f.end("uuencode ends early")
		f.first(content)
	case f.file != nil:
		f.file.w.out = f.uu.line(f.file.w.out, content, nil)
		f.file.flushFull()
	}
}

func (f *inlineFiles) yencLine(content []byte) {
	switch {
	case bytes.HasPrefix(content, []byte("=yend")):
		f.ending = true
	case bytes.HasPrefix(content, []byte("=ypart ")):
	case f.file != nil:
		f.file.w.out = f.yenc.decode(f.file.w.out, content)
		f.file.flushFull()
	}
}

// end closes the file; text follows.
func (f *inlineFiles) end(issue string) {
	if issue != "" {
		f.leaf.issue(issue)
	}
	f.leaf.flush()
	f.leaf.mute, f.busy, f.ending = false, false, false
	f.uu, f.yenc = nil, nil
	if f.file != nil {
		f.file.close(true)
		f.file = nil
	}
}

// close ends the text.
func (f *inlineFiles) close() {
	switch {
	case f.ending:
		f.end("")
	case f.uu != nil:
		f.end("uuencode ends early")
	case f.yenc != nil:
		f.end("yEnc ends early")
	}
}

// isUULine reports whether a line is one of uuencoded data: a length, and
// as many characters as it takes; spaces at the end may be lost, a checksum added.
func isUULine(line []byte) bool {
	if len(line) == 0 || len(line) > 90 {
		return false
	}
	for _, c := range line {
		if c < ' ' || c > '`' {
			return false
		}
	}
	// What is lost stands for zeros at the end: not more than two groups.
	missing := (int(line[0]-' ')&63+2)/3*4 - (len(line) - 1)
	return -4 <= missing && missing <= 8
}

// yencDecoder decodes the lines of yEnc: every octet moved by 42, "=" before those
// that would be control characters, which are moved by 64 more.
type yencDecoder struct{ escaped bool }

func (d *yencDecoder) decode(dst, line []byte) []byte {
	for _, c := range line {
		switch {
		case d.escaped:
			d.escaped = false
			c -= 64
		case c == '=':
			d.escaped = true
			continue
		}
		dst = append(dst, c-42)
	}
	return dst
}
