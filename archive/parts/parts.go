// Package parts takes messages apart, so that an attachment or a body that many
// messages share is kept once, and puts them together again.
//
// A message becomes a recipe and parts. Nothing rests on the message being
// good MIME: a recipe is a list of byte ranges, and Split proves that it gives the
// very bytes back before anybody relies on it. The format is described in
// docs/formats/recipe.md.
package parts

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

const (
	// DefaultMinBytes is the size from which on a piece is a part whoever else has it: it
	// may come again, and nobody reads so much in an .eml by eye.
	DefaultMinBytes = 32 << 10
	// DefaultSharedBytes is the size of the smallest part. What is smaller costs more
	// in headers, and in reads when the message is put together, than it saves.
	DefaultSharedBytes = 1 << 10
	// maxParts bounds the parts of one message, and so the reads that it takes, and the record that says
	// where they are; what is behind the last one stays in the recipe.
	maxParts = 250
	// bufferBytes is the size of reads.
	bufferBytes = 64 << 10
)

// Options of Examine.
type Options struct {
	// MinBytes is the size, in bytes as stored, from which on every piece becomes a part; 0 for DefaultMinBytes.
	MinBytes int64
	// SharedBytes is the size from which on a piece becomes a part if another message has it; 0 for DefaultSharedBytes.
	SharedBytes int64
}

func (o *Options) fill() {
	if o.MinBytes <= 0 {
		o.MinBytes = DefaultMinBytes
	}
	if o.SharedBytes <= 0 {
		o.SharedBytes = DefaultSharedBytes
	}
	o.SharedBytes = min(o.SharedBytes, o.MinBytes)
}

// Pieces are what may become parts of a message. They are not safe for concurrent use.
type Pieces struct {
	Options
	msg    io.ReaderAt
	id     string
	size   int64
	rests  []step // from some offset to the end: one of them, or leaves
	leaves []step
	buf    []byte // of reads
}

// A Message is one that was taken apart.
type Message struct {
	Parts []Part // in the order of the message; each SHA256 once

	RecipeSHA256 string // of the recipe, lower-case hex
	RecipeBytes  int64

	pieces *Pieces
	steps  []step
}

// A Part is a piece of a message to be kept by itself.
type Part struct {
	SHA256 string // of the bytes as stored, lower-case hex
	Bytes  int64

	open        func() io.Reader
	fingerprint uint64
}

// Open returns the bytes as stored, from the beginning. They are read from the message.
func (p Part) Open() io.Reader { return p.open() }

// A step of a recipe: a range of the message that is literal text, or comes from a part.
type step struct {
	from, to int64
	part     Part // "" as SHA256 for text
	line     int  // length of the lines of base64; 0 if the part is stored as it is
	eol      string
}

// Examine looks for the pieces of a message of size bytes, whose SHA-256 is id. The message is read up to four times from
// here to the end of Split, and again for the parts; memory does not depend on its size. It must not change while Pieces
// or what Split makes of them are in use. Errors are those of reading, and of ctx, which is that of all reads.
func Examine(ctx context.Context, msg io.ReaderAt, size int64, id string, o Options) (*Pieces, error) {
	o.fill()
	p := &Pieces{Options: o, msg: readerAt{ctx, msg}, id: id, size: size}
	if size < o.SharedBytes {
		return p, nil
	}
	leaves, err := scan(io.NewSectionReader(p.msg, 0, size))
	if err == nil {
		err = p.measureRests(leaves)
	}
	if err == nil {
		err = p.measureLeaves(leaves)
	}
	if err != nil {
		return nil, fmt.Errorf("examine message %s: %w", id, err)
	}
	return p, nil
}

// measureRests looks for rests of the message behind its trace fields, which others may have too. A message with leaves of
// MinBytes has none: these are parts of their own.
func (p *Pieces) measureRests(leaves []leaf) error {
	if slices.ContainsFunc(leaves, func(l leaf) bool { return l.to-l.from >= p.MinBytes }) {
		return nil
	}
	offsets, err := rests(p.msg, p.size)
	for _, from := range offsets {
		if err != nil || p.size-from < p.SharedBytes {
			break
		}
		var s step
		s, err = p.plain(from, p.size)
		p.rests = append(p.rests, s)
	}
	return err
}

func (p *Pieces) measureLeaves(leaves []leaf) error {
	for _, l := range leaves {
		if l.to-l.from < p.SharedBytes {
			continue
		}
		s, err := p.step(l)
		if err != nil {
			return err
		}
		if s.part.Bytes >= p.SharedBytes {
			p.leaves = append(p.leaves, s)
		}
	}
	return nil
}

// Fingerprints returns those of the pieces that become parts only if other messages have them too, in the order of the message. A
// fingerprint is XXH64 of the piece: SHA-256 of everything that never comes again took a tenth of the time of Put.
// Whoever makes two pieces with one fingerprint gets a part earlier, and nothing else.
func (p *Pieces) Fingerprints() []uint64 {
	var all []uint64
	for _, s := range p.rests {
		all = append(all, s.part.fingerprint)
	}
	for _, s := range p.leaves {
		if s.part.Bytes < p.MinBytes {
			all = append(all, s.part.fingerprint)
		}
	}
	return all
}

// Split takes the message apart: into pieces of MinBytes and those that are shared. It returns nil when there
// is nothing to gain, or the recipe would not give the same bytes: keep the message as a whole then.
func (p *Pieces) Split(shared func(fingerprint uint64) bool) (*Message, error) {
	taken := slices.DeleteFunc(slices.Clone(p.rests), func(s step) bool { return !shared(s.part.fingerprint) })
	if len(taken) > 0 {
		taken = taken[:1]
	} else {
		taken = slices.DeleteFunc(slices.Clone(p.leaves), func(s step) bool { return s.part.Bytes < p.MinBytes && !shared(s.part.fingerprint) })
		taken = taken[:min(len(taken), maxParts)]
	}
	if len(taken) == 0 {
		return nil, nil
	}
	m := &Message{pieces: p}
	err := m.plan(taken)
	ok := false
	if err == nil {
		ok, err = m.prove()
	}
	if err != nil {
		return nil, fmt.Errorf("split message %s: %w", p.id, err)
	}
	if !ok {
		return nil, nil
	}
	return m, nil
}

// plan makes steps of the pieces that are taken, and of what is between them.
func (m *Message) plan(taken []step) error {
	var done int64
	seen := map[string]bool{}
	for _, s := range taken {
		if err := m.pieces.hash(&s.part); err != nil {
			return err
		}
		m.text(done, s.from)
		m.steps = append(m.steps, s)
		done = s.to
		if !seen[s.part.SHA256] {
			seen[s.part.SHA256] = true
			m.Parts = append(m.Parts, s.part)
		}
	}
	m.text(done, m.pieces.size)
	return nil
}

func (m *Message) text(from, to int64) {
	if from < to {
		m.steps = append(m.steps, step{from: from, to: to})
	}
}

// step chooses how to keep a leaf: decoded, if it is base64 as programs write it.
func (p *Pieces) step(l leaf) (step, error) {
	if l.base64 {
		s, ok, err := measure(io.NewSectionReader(p.msg, l.from, l.to-l.from))
		if err != nil {
			return step{}, err
		}
		if ok {
			s.from, s.to = s.from+l.from, s.to+l.from
			s.part, err = p.part(s.to-s.from, func() io.Reader {
				return newDecoder(io.NewSectionReader(p.msg, s.from, s.to-s.from), s.line, s.eol)
			})
			var corrupt base64.CorruptInputError
			if !errors.As(err, &corrupt) {
				return s, err
			}
		}
	}
	return p.plain(l.from, l.to)
}

// plain keeps a range as it is.
func (p *Pieces) plain(from, to int64) (s step, err error) {
	s.from, s.to = from, to
	s.part, err = p.part(to-from, func() io.Reader { return io.NewSectionReader(p.msg, from, to-from) })
	return s, err
}

// part takes the fingerprint of what open gives, at most size octets, and at once the SHA-256 of what is so large that it
// will become a part.
func (p *Pieces) part(size int64, open func() io.Reader) (one Part, err error) {
	one.open = open
	short, long := xxhash.New(), sha256.New()
	var to io.Writer = short
	if size >= p.MinBytes {
		to = io.MultiWriter(short, long)
	}
	if one.Bytes, err = p.copy(to, open()); err != nil {
		return one, err
	}
	one.fingerprint = short.Sum64()
	if size >= p.MinBytes {
		one.SHA256 = hex.EncodeToString(long.Sum(nil))
	}
	return one, nil
}

// hash completes a part.
func (p *Pieces) hash(one *Part) error {
	if one.SHA256 != "" {
		return nil
	}
	h := sha256.New()
	_, err := p.copy(h, one.open())
	one.SHA256 = hex.EncodeToString(h.Sum(nil))
	return err
}

// copy has one buffer for all that is read, no larger than it has to be: most messages are small, and clearing
// buffers took a seventh of the time of Put.
func (p *Pieces) copy(to io.Writer, from io.Reader) (int64, error) {
	if p.buf == nil {
		p.buf = make([]byte, max(1, min(p.size, bufferBytes)))
	}
	return io.CopyBuffer(onlyWriter{to}, onlyReader{from}, p.buf)
}

// buffered reads through a buffer that is no larger than it has to be. There is always room for one octet more, for ReadSlice to meet the end.
func buffered(r *io.SectionReader) *bufio.Reader {
	return bufio.NewReaderSize(r, int(min(r.Size()+1, bufferBytes)))
}

// prove puts the message together from recipe and parts, and compares the SHA-256.
func (m *Message) prove() (bool, error) {
	byID := make(map[string]Part, len(m.Parts))
	for _, p := range m.Parts {
		byID[p.SHA256] = p
	}
	h := sha256.New()
	recipe := &countingReader{r: io.TeeReader(m.Recipe(), h)}
	r, err := NewReader(recipe, func(id string, _ int64) (io.ReadCloser, error) { return io.NopCloser(byID[id].Open()), nil })
	if err == nil {
		_, err = m.pieces.copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	if errors.Is(err, ErrRecipe) {
		return false, nil
	}
	m.RecipeSHA256, m.RecipeBytes = hex.EncodeToString(h.Sum(nil)), recipe.n
	return err == nil, err
}

// Recipe returns the recipe, from the beginning. Its text is read from the message.
func (m *Message) Recipe() io.Reader {
	readers := []io.Reader{strings.NewReader(head(m.pieces.id, m.pieces.size))}
	for _, s := range m.steps {
		readers = append(readers, strings.NewReader(s.String()+"\n"))
		if s.part.SHA256 == "" {
			readers = append(readers, io.NewSectionReader(m.pieces.msg, s.from, s.to-s.from), strings.NewReader("\n"))
		}
	}
	return io.MultiReader(append(readers, strings.NewReader(end))...)
}

// readerAt reads until ctx is done.
type readerAt struct {
	ctx context.Context
	io.ReaderAt
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.ReaderAt.ReadAt(p, off)
}

// onlyReader and onlyWriter hide everything but Read and Write, so that copying uses the buffer that it is given.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
