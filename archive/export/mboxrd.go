package export

import (
	"bytes"
	"io"
)

const separator = "From "

type direction bool

const (
	quote   direction = false
	unquote direction = true
)

// A fromRewriter adds one '>' to, or takes one from, every line that matches
// ^>*From (mboxrd). A line ends with a line feed; everything else, bare CR and
// NUL included, is content. Its state is a few bytes, whatever the line length.
type fromRewriter struct {
	w       io.Writer
	dir     direction
	head    bool // at the start of a line, or in the part of it that may match
	held    bool // a '>' was read and not written
	matched int  // bytes of separator read and not written
}

func newFromRewriter(w io.Writer, dir direction) *fromRewriter {
	return &fromRewriter{w: w, dir: dir, head: true}
}

func (r *fromRewriter) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		if !r.head {
			n := plainLines(p[i:])
			r.head = p[i+n-1] == '\n'
			if _, err := r.w.Write(p[i : i+n]); err != nil {
				return i, err
			}
			i += n
			continue
		}
		taken, err := r.step(p[i])
		if err != nil {
			return i, err
		}
		if taken {
			i++
		}
	}
	return len(p), nil
}

// plainLines returns how much of p, which begins within a line, can be written as it is: up to the end of a line behind which one
// begins that may match.
func plainLines(p []byte) int {
	for n := 0; ; {
		end := bytes.IndexByte(p[n:], '\n') + 1
		if end == 0 {
			return len(p)
		}
		if n += end; n == len(p) || p[n] == '>' || p[n] == separator[0] {
			return n
		}
	}
}

// step looks at one byte while the line may still match. It reports whether it
// has taken the byte; if not, the rest of the line is copied as it is.
func (r *fromRewriter) step(c byte) (taken bool, err error) {
	switch {
	case c == '>' && r.matched == 0:
		err = r.release()
		r.held = true
		return true, err
	case c == separator[r.matched]:
		r.matched++
		if r.matched < len(separator) {
			return true, nil
		}
		if r.dir == quote {
			if _, err := io.WriteString(r.w, ">"); err != nil {
				return false, err
			}
		} else {
			r.held = false
		}
		taken = true
	}
	r.head = false
	return taken, r.release()
}

// release writes what was read ahead.
func (r *fromRewriter) release() error {
	ahead := separator[:r.matched]
	if r.held {
		ahead = ">" + ahead
	}
	r.held, r.matched = false, 0
	if ahead == "" {
		return nil
	}
	_, err := io.WriteString(r.w, ahead)
	return err
}

// finish ends the input. Afterwards head says whether the input was empty or
// ended with a line feed.
func (r *fromRewriter) finish() error {
	if r.held || r.matched > 0 {
		r.head = false
	}
	return r.release()
}

// UnquoteMbox copies the content of one mboxrd message, without its From_ line
// and the empty line after it, to w and takes the quoting away. The exact
// bytes of the message are the result, less the last line feed where the
// manifest says added_newline.
func UnquoteMbox(w io.Writer, content io.Reader) error {
	r := newFromRewriter(w, unquote)
	if _, err := io.Copy(r, content); err != nil {
		return err
	}
	return r.finish()
}
