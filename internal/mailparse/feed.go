package mailparse

import (
	"io"
	"iter"
)

// content takes what a leaf decodes, to find parts in it.
type content interface {
	take(p []byte)
	finish()
}

// feed turns what is pushed, piece by piece, into a reader for a parser that
// pulls. The parser runs as a coroutine, within take and finish only; its panics are those
// of the caller. It may stop reading early: the rest is dropped.
type feed struct {
	piece []byte
	next  func() (struct{}, bool)
	stop  func()
	wants bool // the parser waits for more
}

// newFeed starts parse. finish must be called for it to end.
func newFeed(parse func(io.Reader)) *feed {
	f := &feed{}
	f.next, f.stop = iter.Pull(func(yield func(struct{}) bool) {
		parse(&feedReader{f, yield})
	})
	_, f.wants = f.next()
	return f
}

func (f *feed) take(p []byte) {
	f.piece = p
	for f.wants && len(f.piece) > 0 {
		_, f.wants = f.next()
	}
	f.piece = nil
}

// finish lets the parser read the end of the content.
func (f *feed) finish() { f.stop() }

type feedReader struct {
	*feed
	yield func(struct{}) bool
}

func (r *feedReader) Read(p []byte) (int, error) {
	for len(r.piece) == 0 {
		if !r.yield(struct{}{}) {
			return 0, io.EOF
		}
	}
	n := copy(p, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}
