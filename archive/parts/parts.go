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

// Options of Split.
type Options struct {
	// MinBytes is the size, in bytes as stored, from which on every piece becomes a part; 0 for DefaultMinBytes.
	MinBytes int64
	// Shared is asked, if it is not nil, about pieces of SharedBytes (0 for DefaultSharedBytes) to MinBytes: those for which it
	// says yes become parts. It is called in the order of the message, and again when a piece comes again. Its error ends Split.
	// The fingerprint is XXH64 of the piece: SHA-256 of everything that never comes again took a tenth of the time of Put.
	// Whoever makes two pieces with one fingerprint gets a part earlier, and nothing else.
	Shared      func(fingerprint uint64) (bool, error)
	SharedBytes int64
}

func (o *Options) fill() {
	if o.MinBytes <= 0 {
		o.MinBytes = DefaultMinBytes
	}
	if o.SharedBytes <= 0 {
		o.SharedBytes = DefaultSharedBytes
	}
	if o.Shared == nil {
		o.SharedBytes = o.MinBytes
	}
	o.SharedBytes = min(o.SharedBytes, o.MinBytes)
}

// A Message is one that was taken apart.
type Message struct {
	Parts []Part // in the order of the message; each SHA256 once

	RecipeSHA256 string // of the recipe, lower-case hex
	RecipeBytes  int64

	msg      io.ReaderAt
	id       string
	size     int64
	minBytes int64 // what is larger becomes a part in any case
	steps    []step
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

// Split takes a message of size bytes apart, whose SHA-256 is id. It returns nil when there
// is nothing to gain, or the recipe would not give the same bytes: keep the message as a whole then. The message
// is read up to four times; memory does not depend on its size. It must not change while the
// Message is in use. Errors are those of reading, and of ctx.
func Split(ctx context.Context, msg io.ReaderAt, size int64, id string, o Options) (*Message, error) {
	o.fill()
	if size < o.SharedBytes {
		return nil, nil
	}
	msg = readerAt{ctx, msg}
	leaves, err := scan(io.NewSectionReader(msg, 0, size))
	if err != nil {
		return nil, fmt.Errorf("split message %s: %w", id, err)
	}
	m := &Message{msg: msg, id: id, size: size, minBytes: o.MinBytes}
	if err := m.plan(leaves, o); err != nil {
		return nil, fmt.Errorf("split message %s: %w", id, err)
	}
	if len(m.Parts) == 0 {
		return nil, nil
	}
	ok, err := m.prove()
	if err != nil {
		return nil, fmt.Errorf("split message %s: %w", id, err)
	}
	if !ok {
		return nil, nil
	}
	return m, nil
}

// plan makes steps of the leaves that are worth it, and of what is between them.
func (m *Message) plan(leaves []leaf, o Options) error {
	var done int64
	seen := map[string]bool{}
	if ok, err := m.rest(leaves, o); ok || err != nil {
		return err
	}
	for _, l := range leaves {
		if l.to-l.from < o.SharedBytes || len(m.Parts) == maxParts {
			continue
		}
		s, err := m.step(l)
		if err != nil {
			return err
		}
		if ok, err := o.worth(&s.part); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		m.text(done, s.from)
		m.steps = append(m.steps, s)
		done = s.to
		if !seen[s.part.SHA256] {
			seen[s.part.SHA256] = true
			m.Parts = append(m.Parts, s.part)
		}
	}
	m.text(done, m.size)
	return nil
}

// rest looks for a rest of the message behind its trace fields that others have too, and makes one part of it. A
// message with leaves of MinBytes has none: these are parts of their own.
func (m *Message) rest(leaves []leaf, o Options) (bool, error) {
	if o.Shared == nil || slices.ContainsFunc(leaves, func(l leaf) bool { return l.to-l.from >= o.MinBytes }) {
		return false, nil
	}
	offsets, err := rests(m.msg, m.size)
	if err != nil {
		return false, err
	}
	for _, from := range offsets {
		if m.size-from < o.SharedBytes {
			break
		}
		s, err := m.plain(from, m.size)
		if err != nil {
			return false, err
		}
		if ok, err := o.shared(&s.part); err != nil || !ok {
			if err != nil {
				return false, err
			}
			continue
		}
		m.text(0, from)
		m.steps, m.Parts = append(m.steps, s), append(m.Parts, s.part)
		return true, nil
	}
	return false, nil
}

// worth reports whether a piece becomes a part, which it hashes then.
func (o *Options) worth(p *Part) (bool, error) {
	switch {
	case p.Bytes >= o.MinBytes:
		return true, p.hash()
	case p.Bytes < o.SharedBytes:
		return false, nil
	}
	return o.shared(p)
}

func (o *Options) shared(p *Part) (bool, error) {
	ok, err := o.Shared(p.fingerprint)
	if err != nil || !ok {
		return false, err
	}
	return true, p.hash()
}

func (m *Message) text(from, to int64) {
	if from < to {
		m.steps = append(m.steps, step{from: from, to: to})
	}
}

// step chooses how to keep a leaf: decoded, if it is base64 as programs write it.
func (m *Message) step(l leaf) (step, error) {
	if l.base64 {
		s, ok, err := measure(io.NewSectionReader(m.msg, l.from, l.to-l.from))
		if err != nil {
			return step{}, err
		}
		if ok {
			s.from, s.to = s.from+l.from, s.to+l.from
			raw := io.NewSectionReader(m.msg, s.from, s.to-s.from)
			s.part, err = m.part(raw.Size(), func() io.Reader {
				return base64.NewDecoder(base64.StdEncoding.Strict(), buffered(io.NewSectionReader(raw, 0, raw.Size())))
			})
			var corrupt base64.CorruptInputError
			if !errors.As(err, &corrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return s, err
			}
		}
	}
	return m.plain(l.from, l.to)
}

// plain keeps a range as it is.
func (m *Message) plain(from, to int64) (s step, err error) {
	s.from, s.to = from, to
	s.part, err = m.part(to-from, func() io.Reader { return io.NewSectionReader(m.msg, from, to-from) })
	return s, err
}

// part takes the fingerprint of what open gives, at most size octets, and at once the SHA-256 of what is so large that it
// will become a part.
func (m *Message) part(size int64, open func() io.Reader) (p Part, err error) {
	p.open = open
	short, long := xxhash.New(), sha256.New()
	var to io.Writer = short
	if size >= m.minBytes {
		to = io.MultiWriter(short, long)
	}
	if p.Bytes, err = io.CopyBuffer(to, onlyReader{open()}, make([]byte, max(1, min(size, bufferBytes)))); err != nil {
		return p, err
	}
	p.fingerprint = short.Sum64()
	if size >= m.minBytes {
		p.SHA256 = hex.EncodeToString(long.Sum(nil))
	}
	return p, nil
}

// hash completes a part.
func (p *Part) hash() error {
	if p.SHA256 != "" {
		return nil
	}
	h := sha256.New()
	_, err := io.CopyBuffer(h, onlyReader{p.open()}, make([]byte, max(1, min(p.Bytes, bufferBytes))))
	p.SHA256 = hex.EncodeToString(h.Sum(nil))
	return err
}

// buffered reads through a buffer that is no larger than it has to be: most of what is read here is small, and clearing
// large buffers took a seventh of the time of Put. There is always room for one octet more, for ReadSlice to meet the end.
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
		_, err = io.CopyBuffer(io.Discard, onlyReader{r}, make([]byte, bufferBytes))
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
	readers := []io.Reader{strings.NewReader(head(m.id, m.size))}
	for _, s := range m.steps {
		readers = append(readers, strings.NewReader(s.String()+"\n"))
		if s.part.SHA256 == "" {
			readers = append(readers, io.NewSectionReader(m.msg, s.from, s.to-s.from), strings.NewReader("\n"))
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

// onlyReader hides everything but Read, so that copying uses the buffer that it is given.
type onlyReader struct{ io.Reader }

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
