package parts

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

const (
	magic = "postkeep-recipe 1\n"
	end   = "end\n"
	lf    = "\n"
	crlf  = "\r\n"
	// maxLine bounds the lines of a recipe: a word, a hash and a few numbers.
	maxLine = 256
)

// ErrRecipe means that a recipe is not one, or that it and the parts do not give the message.
var ErrRecipe = errors.New("recipe does not give the message")

func head(id string, size int64) string { return fmt.Sprintf("%smessage %s %d\n", magic, id, size) }

// String returns the line that the step begins with.
func (s step) String() string {
	switch {
	case s.part.SHA256 == "":
		return fmt.Sprintf("text %d", s.to-s.from)
	case s.line == 0:
		return fmt.Sprintf("part %s %d", s.part.SHA256, s.part.Bytes)
	case s.eol == lf:
		return fmt.Sprintf("base64 %s %d %d lf", s.part.SHA256, s.part.Bytes, s.line)
	}
	return fmt.Sprintf("base64 %s %d %d crlf", s.part.SHA256, s.part.Bytes, s.line)
}

// An Opener opens a part of the given size, by its SHA-256. The Reader closes it.
type Opener func(sha256 string, bytes int64) (io.ReadCloser, error)

// A Reader puts a message together. It gives an error, ErrRecipe among them, and not io.EOF, if the bytes do not have
// the SHA-256 that the message should have. It is not safe for concurrent use.
type Reader struct {
	ID    string // SHA-256 of the message, lower-case hex
	Bytes int64  // of the message

	recipe *bufio.Reader
	open   Opener
	h      hash.Hash
	left   int64     // bytes of the message to come
	cur    io.Reader // of the step; nil between two
	text   bool      // cur is in the recipe
	part   io.Closer
	err    error // sticky
}

// NewReader reads the beginning of a recipe. The recipe is not closed.
func NewReader(recipe io.Reader, open Opener) (*Reader, error) {
	r := &Reader{recipe: bufio.NewReaderSize(recipe, bufferBytes), open: open, h: sha256.New()}
	line, err := r.line()
	if err == nil && line != strings.TrimSuffix(magic, "\n") {
		err = fmt.Errorf("%w: it begins with %.40q", ErrRecipe, line)
	}
	if err == nil {
		line, err = r.line()
	}
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscanf(line, "message %64s %d", &r.ID, &r.Bytes); err != nil || r.Bytes < 0 || magic+line+"\n" != head(r.ID, r.Bytes) {
		return nil, fmt.Errorf("%w: bad line %.100q", ErrRecipe, line)
	}
	r.left = r.Bytes
	return r, nil
}

func (r *Reader) line() (string, error) {
	line, err := r.recipe.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxLine:
		return "", fmt.Errorf("%w: it breaks off", ErrRecipe)
	case err != nil:
		return "", err
	}
	return string(line[:len(line)-1]), nil
}

// Read reads the message on.
func (r *Reader) Read(p []byte) (int, error) {
	for r.err == nil {
		if r.cur == nil {
			r.err = r.step()
			continue
		}
		n, err := r.cur.Read(p[:min(int64(len(p)), r.left+1)])
		if r.left -= int64(n); r.left < 0 {
			r.err = fmt.Errorf("%w: it gives more bytes than %d", ErrRecipe, r.Bytes)
			break
		}
		r.h.Write(p[:n])
		if errors.Is(err, io.EOF) {
			err = r.endStep()
		}
		r.err = err
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, r.err
}

// step begins the next step, or ends with io.EOF.
func (r *Reader) step() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	if line+"\n" == end {
		if sum := hex.EncodeToString(r.h.Sum(nil)); r.left != 0 || sum != r.ID {
			return fmt.Errorf("%w: %d bytes with SHA-256 %s instead of %d with %s", ErrRecipe, r.Bytes-r.left, sum, r.Bytes, r.ID)
		}
		return io.EOF
	}
	s, err := parseStep(line)
	if err != nil {
		return err
	}
	if s.part.SHA256 == "" {
		if s.to > r.left {
			return fmt.Errorf("%w: text is longer than the message", ErrRecipe)
		}
		r.cur, r.text = &exactReader{r: r.recipe, left: s.to}, true
		return nil
	}
	part, err := r.open(s.part.SHA256, s.part.Bytes)
	if err != nil {
		return fmt.Errorf("part %s: %w", s.part.SHA256, err)
	}
	r.part, r.text = part, false
	r.cur = &exactReader{r: part, left: s.part.Bytes, whole: true}
	if s.line > 0 {
		r.cur = newEncoder(r.cur, s.part.Bytes, s.line, s.eol)
	}
	return nil
}

// endStep ends a step that was read to its end.
func (r *Reader) endStep() error {
	r.cur = nil
	if !r.text {
		err := r.part.Close()
		r.part = nil
		return err
	}
	b, err := r.recipe.ReadByte()
	if err == nil && b != '\n' || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: text has another length", ErrRecipe)
	}
	return err
}

// Close closes the part that is open.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = errors.New("recipe reader is closed")
	}
	if r.part == nil {
		return nil
	}
	part := r.part
	r.part = nil
	return part.Close()
}

// References returns the size of the message that a recipe is of, and the parts that it refers to, each once: those
// that have to stay as long as the recipe does.
func References(recipe io.Reader) (bytes int64, parts []Part, err error) {
	r, err := NewReader(recipe, nil)
	if err != nil {
		return 0, nil, err
	}
	seen := map[string]bool{}
	for {
		line, err := r.line()
		if err != nil || line+"\n" == end {
			return r.Bytes, parts, err
		}
		s, err := parseStep(line)
		if err != nil {
			return 0, nil, err
		}
		if s.part.SHA256 == "" {
			r.text = true
			if _, err := io.Copy(io.Discard, &exactReader{r: r.recipe, left: s.to}); err != nil {
				return 0, nil, err
			}
			if err := r.endStep(); err != nil {
				return 0, nil, err
			}
		} else if !seen[s.part.SHA256] {
			seen[s.part.SHA256] = true
			parts = append(parts, s.part)
		}
	}
}

// parseStep reads the line that a step begins with. There is one way to write each.
func parseStep(line string) (step, error) {
	var s step
	var eol string
	var err error
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "text":
		_, err = fmt.Sscanf(rest, "%d", &s.to)
	case "part":
		_, err = fmt.Sscanf(rest, "%64s %d", &s.part.SHA256, &s.part.Bytes)
	case "base64":
		_, err = fmt.Sscanf(rest, "%64s %d %d %4s", &s.part.SHA256, &s.part.Bytes, &s.line, &eol)
		s.eol = map[string]string{"lf": lf, "crlf": crlf}[eol]
	}
	sum, hexErr := hex.DecodeString(s.part.SHA256)
	if err != nil || hexErr != nil || len(sum) != 0 && len(sum) != sha256.Size || s.to < 0 || s.part.Bytes < 0 || s.line < 0 ||
		hex.EncodeToString(sum) != s.part.SHA256 || s.String() != line {
		return step{}, fmt.Errorf("%w: bad line %.100q", ErrRecipe, line)
	}
	return s, nil
}

// An exactReader reads left bytes of r. Fewer are an error; so are more, if it is to be the whole.
type exactReader struct {
	r     io.Reader
	left  int64
	whole bool
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		if !e.whole {
			return 0, io.EOF
		}
		var more [1]byte
		if _, err := io.ReadFull(e.r, more[:]); err != nil {
			return 0, err // io.EOF, if all is well
		}
		return 0, fmt.Errorf("%w: part is longer than it should be", ErrRecipe)
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if e.left > 0 {
			err = fmt.Errorf("%w: %d bytes are missing", ErrRecipe, e.left)
		}
	}
	return n, err
}
