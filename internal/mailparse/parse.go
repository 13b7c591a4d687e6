package mailparse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Options are the limits of one Parse. The zero value takes the defaults.
type Options struct {
	// MaxDepth is the number of levels of parts below the message; what is
	// deeper is counted as one opaque part. 0 means DefaultMaxDepth.
	MaxDepth int
	// MaxParts is the number of entities recorded; the rest is skipped.
	// 0 means DefaultMaxParts.
	MaxParts int
	// MaxHeaderBytes is the number of octets kept of one header; one field
	// gets half of it at most. 0 means DefaultMaxHeaderBytes.
	MaxHeaderBytes int
	// MaxTextBytes is the number of octets of text, and of enclosed headers,
	// kept of one message. 0 means DefaultMaxTextBytes; less than 0 keeps
	// none, for those who want the summary only.
	MaxTextBytes int
	// Part, when set, is called at the start of every entity that is neither a
	// multipart nor an enclosed message, after its header was read. The
	// part's decoded octets are written to the returned writer, before those of any other
	// part, but that a part found in the content of another comes in between; nil means that
	// they are only counted. A write error ends the writing to that part,
	// not the parsing, and is returned by Parse at the end. The Part must not
	// be kept; its Size and Text are not set yet. What stands in a multipart
	// without any boundary is found to be a part at its end: of that only the
	// collected text is written.
	Part func(*Part) io.Writer
}

// Defaults of Options.
const (
	// DefaultMaxDepth is far above what people forward, and low enough that
	// checking a line against the boundaries of every level stays cheap.
	DefaultMaxDepth = 50
	// DefaultMaxParts is above the largest digests; every part costs memory.
	DefaultMaxParts = 10_000
	// DefaultMaxHeaderBytes holds a To field of ten thousand addresses.
	DefaultMaxHeaderBytes = 1 << 20
	// DefaultMaxTextBytes is several novels; more makes the index large and
	// no search better.
	DefaultMaxTextBytes = 4 << 20
)

// chunkBytes is the size of one read, and the longest line that is looked at
// in one piece. A line longer than that cannot be a boundary.
const chunkBytes = 32 << 10

func (o Options) withDefaults() Options {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.MaxDepth, DefaultMaxDepth)
	set(&o.MaxParts, DefaultMaxParts)
	set(&o.MaxHeaderBytes, DefaultMaxHeaderBytes)
	set(&o.MaxTextBytes, DefaultMaxTextBytes)
	o.MaxTextBytes = max(o.MaxTextBytes, 0)
	return o
}

// Parse reads a message to its end. There is no such thing as a message that
// cannot be parsed: a Message always comes back, flagged with what was wrong.
// The error is that of r, of ctx or of a writer given by Options.Part, never
// one of the content; after the first two the Message holds what was read until then.
func Parse(ctx context.Context, r io.Reader, opts Options) (*Message, error) {
	return new(Parser).Parse(ctx, r, opts)
}

// Parser parses one message after the other, and keeps its buffers in between: that
// saves half of the memory traffic. The zero value is ready. It is not safe for concurrent use.
type Parser struct {
	input, carry, hdr, out, text []byte
}

// maxKeptBytes is the size above which a buffer is not kept for the next message.
const maxKeptBytes = 1 << 20

// Parse is as the function Parse.
func (p *Parser) Parse(ctx context.Context, r io.Reader, opts Options) (*Message, error) {
	s := &state{opts: opts.withDefaults(), msg: &Message{}}
	w := newWalker(s, "1", 0, -1, true)
	if p.input == nil {
		p.input = make([]byte, chunkBytes)
	}
	w.lines.carry, w.hdr.buf, w.out, w.text = p.carry[:0], p.hdr[:0], p.out[:0], p.text[:0]
	buf := p.input
	var err error
	for first := true; err == nil; first = false {
		if err = ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = io.ReadFull(r, buf)
		if first {
			// A message from an old Macintosh: not one line feed in it.
			w.lines.bareCR = bytes.IndexByte(buf[:n], '\n') < 0 && bytes.IndexByte(buf[:n], '\r') >= 0
			if w.lines.bareCR {
				s.problem("lines end in a bare CR")
			}
		}
		s.msg.Size += int64(n)
		w.take(buf[:n])
	}
	w.finish()
	s.finish()
	p.carry, p.hdr, p.out, p.text = kept(w.lines.carry), kept(w.hdr.buf), kept(w.out), kept(w.text)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.msg, s.writeErr
	}
	return s.msg, fmt.Errorf("read message after %d bytes: %w", s.msg.Size, err)
}

func kept(buf []byte) []byte {
	if cap(buf) > maxKeptBytes {
		return nil
	}
	return buf
}

// maxProblems is the number of problems listed: enough to understand what
// happened, and a hostile message cannot make the list long.
const maxProblems = 32

// state is what the walkers of one message share.
type state struct {
	opts     Options
	msg      *Message
	textUsed int // of opts.MaxTextBytes
	journal  bool
	// journaled is the hash of the contents of a journal report's message.
	journaled hash.Hash
	inflated  int64 // octets of compressed S/MIME
	writeErr  error // first error of a writer from opts.Part
}

// problem notes that the message is malformed.
func (s *state) problem(text string) {
	s.flag(FlagMalformed)
	s.note(text)
}

// cut notes that a limit took something away.
func (s *state) cut(text string) {
	s.flag(FlagPartial)
	s.note(text)
}

func (s *state) note(text string) { s.msg.Problems = appendOnce(s.msg.Problems, text) }
func (s *state) flag(flag string) { s.msg.Flags = appendOnce(s.msg.Flags, flag) }

// issue notes a problem of one part.
func (s *state) issue(part int, text string) {
	s.problem(text)
	if part >= 0 {
		p := &s.msg.Parts[part]
		p.Issues = appendOnce(p.Issues, text)
	}
}

func appendOnce(list []string, text string) []string {
	if len(list) >= maxProblems {
		return list
	}
	for _, have := range list {
		if have == text {
			return list
		}
	}
	return append(list, text)
}

// lineSplitter cuts what is written to it into lines.
type lineSplitter struct {
	bareCR bool   // CR ends a line too
	carry  []byte // an incomplete line
	inside bool   // part of the current line was given out already
}

// split calls emit for every line with its line end. A line longer than
// chunkBytes comes in several pieces: start and end mark the first and the
// last. The piece is valid during the call only; p may be changed.
func (ls *lineSplitter) split(p []byte, emit func(piece []byte, start, end bool)) {
	for len(p) > 0 {
		n := ls.index(p)
		if n < 0 {
			break
		}
		p[n] = '\n' // also where CR ends a line: all others need not know
		piece := p[:n+1]
		p = p[n+1:]
		if len(ls.carry) > 0 {
			ls.carry = append(ls.carry, piece...)
			piece = ls.carry
		}
		emit(piece, !ls.inside, true)
		ls.carry, ls.inside = ls.carry[:0], false
	}
	ls.carry = append(ls.carry, p...)
	if len(ls.carry) >= chunkBytes {
		// A CR stays behind: with the LF that may follow it is a line end.
		keep := 0
		if ls.carry[len(ls.carry)-1] == '\r' {
			keep = 1
		}
		n := len(ls.carry) - keep
		emit(ls.carry[:n], !ls.inside, false)
		ls.carry = append(ls.carry[:0], ls.carry[n:]...)
		ls.inside = true
	}
}

// rest gives out what is left after the last line end.
func (ls *lineSplitter) rest(emit func(piece []byte, start, end bool)) {
	if len(ls.carry) > 0 {
		emit(ls.carry, !ls.inside, true)
	}
	ls.carry = ls.carry[:0]
}

func (ls *lineSplitter) index(p []byte) int {
	if ls.bareCR {
		return bytes.IndexAny(p, "\r\n")
	}
	return bytes.IndexByte(p, '\n')
}

// cutEOL splits a line into its content and its line end: LF, CRLF, or the CR
// that ends a message cut between the two.
func cutEOL(line []byte) (content, eol []byte) {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		n--
	}
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	return line[:n], line[n:]
}
