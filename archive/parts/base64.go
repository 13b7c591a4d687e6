package parts

import (
	"encoding/base64"
	"errors"
	"io"
)

// chunkBytes is how much is encoded at a time; a multiple of three has no padding.
const chunkBytes = 3 << 14

// A decoder decodes base64 that measure has found to be in lines of one length. The decoder of the library looks at each octet
// for an end of line, which takes it longer than decoding.
type decoder struct {
	r      io.Reader
	line   int
	eol    int    // length of the end of a line
	column int    // of what is read next; from line on it is in the end of line
	buf    []byte // for what is read
	text   []byte // the beginning of buf: without ends of lines, and not decoded yet
	data   []byte // decoded
	out    []byte // of it, to be read
	padded bool   // the end has come
	err    error
}

func newDecoder(r *io.SectionReader, line int, eol string) *decoder {
	size := int(min(max(r.Size(), 4), bufferBytes))
	d := &decoder{r: r, line: line, eol: len(eol), buf: make([]byte, size), data: make([]byte, base64.StdEncoding.DecodedLen(size))}
	d.text = d.buf[:0]
	return d
}

// Read gives a base64.CorruptInputError where the text is not base64.
func (d *decoder) Read(p []byte) (int, error) {
	for len(d.out) == 0 && d.err == nil {
		d.err = d.fill()
	}
	if len(d.out) == 0 {
		return 0, d.err
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

func (d *decoder) fill() error {
	n, err := io.ReadFull(d.r, d.buf[len(d.text):])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	d.join(d.buf[len(d.text) : len(d.text)+n])
	whole := len(d.text) &^ 3
	if corrupt := whole > 0 && d.padded || errors.Is(err, io.EOF) && whole < len(d.text); corrupt {
		return base64.CorruptInputError(whole)
	}
	if whole > 0 {
		k, bad := base64.StdEncoding.Strict().Decode(d.data, d.text[:whole])
		if bad != nil {
			return bad
		}
		d.out, d.padded = d.data[:k], d.text[whole-1] == '='
	}
	d.text = d.buf[:copy(d.buf, d.text[whole:])]
	return err
}

// join appends to the text what was read behind it, without the ends of lines.
func (d *decoder) join(read []byte) {
	for len(read) > 0 {
		var k int
		if d.column < d.line {
			k = min(len(read), d.line-d.column)
			d.text = append(d.text, read[:k]...) // in buf, at or before read
		} else {
			k = min(len(read), d.line+d.eol-d.column)
		}
		read = read[k:]
		if d.column += k; d.column == d.line+d.eol {
			d.column = 0
		}
	}
}

// An encoder encodes r in lines of base64, without an end of line behind the last one.
type encoder struct {
	r      io.Reader
	line   int
	eol    string
	column int
	src    []byte
	text   []byte // encoded, without ends of lines
	out    []byte // with them, to be read
	buf    []byte
	err    error
}

// newEncoder encodes r, which has so many bytes.
func newEncoder(r io.Reader, bytes int64, line int, eol string) *encoder {
	chunk := chunkBytes
	if bytes < chunkBytes {
		chunk = int(bytes/3+1) * 3
	}
	return &encoder{r: r, line: line, eol: eol, src: make([]byte, chunk), text: make([]byte, base64.StdEncoding.EncodedLen(chunk))}
}

func (e *encoder) Read(p []byte) (int, error) {
	for len(e.out) == 0 && e.err == nil {
		e.fill()
	}
	if len(e.out) == 0 {
		return 0, e.err
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

func (e *encoder) fill() {
	n, err := io.ReadFull(e.r, e.src)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	e.err = err
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	text := e.text[:base64.StdEncoding.EncodedLen(n)]
	base64.StdEncoding.Encode(text, e.src[:n])
	e.buf = e.buf[:0]
	for len(text) > 0 {
		if e.column == e.line {
			e.buf, e.column = append(e.buf, e.eol...), 0
		}
		k := min(len(text), e.line-e.column)
		e.buf, text, e.column = append(e.buf, text[:k]...), text[k:], e.column+k
	}
	e.out = e.buf
}
