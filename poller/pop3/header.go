package pop3

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
)

// maxHeaderBytes bounds the header that can confirm an identity. Servers limit
// headers to some hundred KiB; what is larger is no header.
const maxHeaderBytes = 1 << 20

// HeaderHasher is a Writer that hashes the header of the message written to
// it: SHA-256 over the lines up to the first blank line, or the end, each without
// its LF or CRLF, joined by LF. TOP with 0 lines and RETR of the same message
// give the same hash. Create it with NewHeaderHasher. Its Write never fails and
// costs next to nothing after the header, so that a whole message can be copied
// through it.
type HeaderHasher struct {
	sum       hash.Hash
	size      int64
	over      bool   // the blank line was seen
	cr        bool   // a CR is held back: it may belong to the line end
	newLine   bool   // the next byte starts a line
	started   bool   // there is a line
	name      []byte // the start of the line, as long as it may be a field that counts
	confirmed bool   // there is a Message-ID or Received field
}

// NewHeaderHasher returns a HeaderHasher for one message.
func NewHeaderHasher() *HeaderHasher {
	return &HeaderHasher{sum: sha256.New(), newLine: true}
}

// Write takes the next bytes of the message.
func (h *HeaderHasher) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !h.over && h.size <= maxHeaderBytes {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			h.add(p)
			break
		}
		h.add(p[:end])
		h.endLine()
		p = p[end+1:]
	}
	return n, nil
}

// add takes a piece of a line.
func (h *HeaderHasher) add(p []byte) {
	if len(p) == 0 {
		return
	}
	h.size += int64(len(p))
	if h.cr {
		h.text([]byte("\r"))
	}
	if h.cr = p[len(p)-1] == '\r'; h.cr {
		p = p[:len(p)-1]
	}
	h.text(p)
}

func (h *HeaderHasher) text(p []byte) {
	if len(p) == 0 {
		return
	}
	if h.newLine {
		if h.started {
			h.sum.Write([]byte("\n"))
		}
		h.newLine, h.started, h.name = false, true, h.name[:0]
	}
	h.sum.Write(p)
	if room := maxNameBytes - len(h.name); room > 0 && !h.confirmed {
		h.name = append(h.name, p[:min(room, len(p))]...)
		h.confirmed = identifies(h.name)
	}
}

func (h *HeaderHasher) endLine() {
	h.size++
	h.cr = false
	h.over = h.newLine
	h.newLine = true
}

// maxNameBytes is room for the longest field name of identifies and for
// white space before the colon.
const maxNameBytes = 32

// identifies reports whether a line starts a field that differs from message to
// message: other headers, such as those of a daily report, may not.
func identifies(line []byte) bool {
	name, _, found := strings.Cut(string(line), ":")
	name = strings.TrimRight(name, " \t")
	return found && (strings.EqualFold(name, "Message-ID") || strings.EqualFold(name, "Received"))
}

// Sum returns the hash in hex, and whether it can confirm that two messages
// are the same one: the header has a Message-ID or Received field and is not
// larger than 1 MiB.
func (h *HeaderHasher) Sum() (hash string, confirmable bool) {
	return hex.EncodeToString(h.sum.Sum(nil)), h.confirmed && h.size <= maxHeaderBytes
}

// HeaderHash hashes the header of the message in r; see HeaderHasher. It reads no
// further than it must. An error is one of r.
func HeaderHash(r io.Reader) (hash string, confirmable bool, err error) {
	h := NewHeaderHasher()
	buf := make([]byte, 4096) // most headers in one piece
	for !h.over && h.size <= maxHeaderBytes {
		n, err := r.Read(buf)
		_, _ = h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", false, err
		}
	}
	hash, confirmable = h.Sum()
	return hash, confirmable, nil
}
