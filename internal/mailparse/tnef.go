package mailparse

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// typeTNEF is the media type of winmail.dat.
const typeTNEF = "application/ms-tnef"

// What is wrong with a winmail.dat.
const issueTNEF = "unreadable winmail.dat"

// Attributes of TNEF ([MS-OXTNEF] section 2.1.3.2), by the lower half of their id.
const (
	tnefBody       = 0x800c
	tnefProps      = 0x9003
	tnefCodePage   = 0x9007
	tnefRendData   = 0x9002 // begins an attachment
	tnefFileTitle  = 0x8010
	tnefFileData   = 0x800f
	tnefFileProps  = 0x9005
	tnefAttachment = 2 // level
)

const (
	tnefSignature = 0x223e9f78
	// maxTNEFValue is what is kept of one body, and of an attached file until its
	// name is known, which comes last. What is larger is written under its short name.
	maxTNEFValue = 8 << 20
	// maxTNEFName is more than any name takes.
	maxTNEFName = 4 << 10
)

// tnefReader reads the format in which Outlook wraps a message
// (application/ms-tnef), and makes parts of its bodies and files.
type tnefReader struct {
	*state
	r     *bufio.Reader
	part  int // winmail.dat itself
	level int // of messages within it
	count int // parts made

	charset string
	body    tnefBodies
	file    tnefFile
}

// tnefBodies are the forms of the text; one of them is taken.
type tnefBodies struct {
	plain, html, rtf []byte
	charset          string // of html
}

// tnefFile is the attachment that is being read.
type tnefFile struct {
	begun                          bool
	title, longName, mediaType, id string
	data                           []byte
	size                           int64
	leaf                           *leaf // of a file too large to be kept
	message                        bool  // data is a TNEF stream
	hidden                         bool  // shown within the text
}

// unpackTNEF reads the content of part. It reports whether anything is in it.
func (s *state) unpackTNEF(r io.Reader, part int) bool {
	t := &tnefReader{state: s, r: bufio.NewReader(r), part: part}
	t.read()
	return t.count > 0
}

func (t *tnefReader) read() {
	var head [6]byte
	if _, err := io.ReadFull(t.r, head[:]); err != nil || binary.LittleEndian.Uint32(head[:]) != tnefSignature {
		t.issue(t.part, issueTNEF)
		return
	}
	for t.attribute() {
	}
	t.endFile()
	t.endBody()
}

// attribute reads the next attribute. It returns false at the end.
func (t *tnefReader) attribute() bool {
	var head [9]byte
	if n, err := io.ReadFull(t.r, head[:]); err != nil {
		if n > 2 { // less is padding
			t.issue(t.part, issueTNEF)
		}
		return false
	}
	level, id, size := head[0], binary.LittleEndian.Uint16(head[1:]), int64(binary.LittleEndian.Uint32(head[5:]))
	if level != 1 && level != tnefAttachment {
		t.issue(t.part, issueTNEF)
		return false
	}
	value := &io.LimitedReader{R: t.r, N: size}
	switch {
	case level == tnefAttachment && id == tnefRendData:
		t.endFile()
		t.file.begun = true
	case level == tnefAttachment && id == tnefFileTitle:
		t.file.title = tnefString(readValue(value, maxTNEFName), t.charset)
	case level == tnefAttachment && id == tnefFileData:
		t.file.begun = true
		t.fileData(value)
	case level == tnefAttachment && id == tnefFileProps:
		t.file.begun = true
		t.properties(value, t.fileProperty)
	case id == tnefCodePage:
		number, _ := readUint32(value)
		t.charset = codePageName(number)
	case id == tnefBody:
		t.body.plain = readValue(value, maxTNEFValue)
	case id == tnefProps:
		t.properties(value, t.messageProperty)
	}
	_, _ = io.Copy(io.Discard, value) // an error comes again
	if _, err := t.r.Discard(2); err != nil || value.N > 0 {
		t.issue(t.part, issueTNEF) // cut, or its size is wrong
		return false
	}
	return true
}

// readValue reads at most limit octets; there may be fewer.
func readValue(r io.Reader, limit int64) []byte {
	var b bytes.Buffer // grows with what is there, whatever the size claims
	_, _ = io.Copy(&b, io.LimitReader(r, limit))
	return b.Bytes()
}

// readUint32 reads a number. It is 0 at the end, and ok false.
func readUint32(r io.Reader) (n uint32, ok bool) {
	var b [4]byte
	_, err := io.ReadFull(r, b[:])
	return binary.LittleEndian.Uint32(b[:]), err == nil
}

// fileData keeps the data of a file, or writes it out if it is large.
func (t *tnefReader) fileData(r io.Reader) {
	t.file.data = readValue(r, maxTNEFValue)
	t.file.size = int64(len(t.file.data))
	next := make([]byte, 1)
	if n, _ := io.ReadFull(r, next); n == 0 {
		return
	}
	if t.file.leaf = t.openFile(); t.file.leaf != nil {
		t.file.leaf.write(t.file.data)
		t.file.leaf.write(next)
		_, _ = io.Copy(leafWriter{t.file.leaf}, r)
	}
	t.file.data = nil
}

type leafWriter struct{ *leaf }

func (w leafWriter) Write(p []byte) (int, error) {
	w.write(p)
	return len(p), nil
}

func (t *tnefReader) openFile() *leaf {
	f := &t.file
	p := Part{FileName: f.longName, MediaType: f.mediaType, ContentID: f.id, IsAttachment: !f.hidden}
	if p.FileName == "" {
		p.FileName = f.title
	}
	t.count++
	return t.embed(t.part, t.count, p)
}

// endFile makes a part of the attachment that was read.
func (t *tnefReader) endFile() {
	f := t.file
	switch {
	case !f.begun:
	case f.leaf != nil:
		f.leaf.close(true)
	case f.message && t.level < t.opts.MaxDepth:
		inner := &tnefReader{state: t.state, r: bufio.NewReader(bytes.NewReader(f.data)), part: t.part, level: t.level + 1, count: t.count, charset: t.charset}
		inner.read()
		t.count = inner.count
	default:
		if l := t.openFile(); l != nil {
			l.write(f.data)
			l.close(true)
		}
	}
	t.file = tnefFile{}
}

// endBody makes a part of the best form of the text.
func (t *tnefReader) endBody() {
	p := Part{MediaType: "text/plain", Params: map[string]string{}}
	if t.charset != "" {
		p.Params["charset"] = t.charset
	}
	text := t.body.plain
	switch {
	case len(t.body.html) > 0:
		p.MediaType, text = "text/html", t.body.html
		if t.body.charset != "" {
			p.Params["charset"] = t.body.charset
		}
	case len(t.body.rtf) > 0 && len(bytes.Trim(text, "\x00 \r\n")) == 0:
		var isHTML bool
		if text, isHTML = rtfText(t.body.rtf, maxTNEFValue); isHTML {
			p.MediaType = "text/html"
		}
		p.Params["charset"] = "utf-8"
	}
	if text = bytes.TrimRight(text, "\x00"); len(text) == 0 {
		return
	}
	t.count++
	if l := t.embed(t.part, t.count, p); l != nil {
		l.write(text)
		l.close(true)
	}
}

func tnefString(b []byte, charset string) string {
	text, _, _ := decodeCharset(bytes.TrimRight(b, "\x00"), charset)
	return cleanValue(strings.TrimSpace(text))
}
