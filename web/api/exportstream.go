package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"strings"
	"sync"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/internal/inorder"
)

const (
	// wholeInMemory is how large a message may be, in octets, for its bytes to be read ahead and once; larger ones are read twice, and
	// streamed in their turn. Nearly all are smaller.
	wholeInMemory = 1 << 20
	// runOctets is how many octets of messages are read by one goroutine one after the other: about a frame of a volume, so that each
	// frame is decoded by one.
	runOctets = 1 << 20
	// Of an export this many runs and octets are read ahead of what is being made of them, which reads ahead, too.
	aheadRuns   = 8
	aheadOctets = 4 << 20
	// entryRoom is what a message holds besides its octets, in bytes, if it has few deposits.
	entryRoom = 1 << 10
)

// stream gives all messages. They are read in runs, on all processors, and given in order.
func (e *exporting) stream(ctx context.Context, each func(func(id string) error) error, fn func(export.Message) error) error {
	limits := inorder.Limits{Workers: runtime.GOMAXPROCS(0), Jobs: aheadRuns, Bytes: aheadOctets}
	return inorder.Do(ctx, limits, func(ctx context.Context, take func([]*archive.Stored, int64) error) error {
		return inBatches(each, func(ids []string) error {
			found, err := e.s.opts.Store.Stored(ctx, ids) // without those that were disposed of in this moment
			if err != nil {
				return err
			}
			return inRuns(found, take)
		})
	}, e.read, func(r run) error { return e.give(ctx, r, fn) })
}

// inRuns takes messages in runs of at most runOctets, and those apart that are not read into memory.
func inRuns(found []*archive.Stored, take func(messages []*archive.Stored, bytes int64) error) error {
	for len(found) > 0 {
		n, octets := 1, found[0].Size
		for n < len(found) && octets+found[n].Size <= runOctets {
			octets += found[n].Size
			n++
		}
		if octets > wholeInMemory {
			octets = 0
		}
		if err := take(found[:n:n], octets+int64(n)*entryRoom); err != nil {
			return err
		}
		found = found[n:]
	}
	return nil
}

// A run is a stretch of the messages.
type run struct {
	messages []runMessage
	octets   *bytes.Buffer // of all of them
	// err is why there is nothing behind the messages.
	err error
}

// A runMessage is a message of a run.
type runMessage struct {
	export.Message
	from, to int // its octets
	// stored is the message if it is too large for memory, nil otherwise.
	stored *archive.Stored
}

// read reads messages. Its errors are in the run, because what lies before is given all the same.
func (e *exporting) read(ctx context.Context, messages []*archive.Stored) (run, error) {
	body := e.buffer()
	defer e.bufs.Put(body)
	r := run{octets: e.buffer(), messages: make([]runMessage, 0, len(messages))}
	for _, m := range messages {
		if r.err = e.message(ctx, m, body, &r); r.err != nil {
			break
		}
	}
	return r, nil
}

func (e *exporting) buffer() *bytes.Buffer {
	b, ok := e.bufs.Get().(*bytes.Buffer)
	if !ok {
		return new(bytes.Buffer)
	}
	b.Reset()
	return b
}

// message adds a message to a run. It uses body.
func (e *exporting) message(ctx context.Context, m *archive.Stored, body *bytes.Buffer, r *run) error {
	damaged := false
	if body.Reset(); m.Size > wholeInMemory || keep(ctx, m, body) != nil {
		var err error
		if m, err = e.again(ctx, m); err != nil || m == nil {
			return err
		}
		if damaged, err = e.readable(ctx, m, body); err != nil {
			return err
		}
	}
	next := runMessage{Message: e.about(m), from: r.octets.Len()}
	switch {
	case damaged:
		next.Damaged = true
	case m.Size > wholeInMemory:
		next.stored = m
	default:
		r.octets.Write(body.Bytes())
	}
	next.to = r.octets.Len()
	r.messages = append(r.messages, next)
	return nil
}

// again looks a message up once more. It was looked up ahead of its turn, and may have been disposed of since, then it is nil, or
// stored again.
func (e *exporting) again(ctx context.Context, m *archive.Stored) (*archive.Stored, error) {
	found, err := e.s.opts.Store.Stored(ctx, []string{m.ID})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// about is what the principal may know of a message.
func (e *exporting) about(m *archive.Stored) export.Message {
	about := export.Message{ID: m.ID, Received: m.Received, From: sender(m.Summary.From), Size: m.Size}
	for _, d := range m.Deposited {
		if !e.scope.Sees(d.Mailbox, d.Received) {
			continue
		}
		if len(about.Deposits) == 0 || d.Received.Before(about.Received) {
			about.Received = d.Received
		}
		about.Deposits = append(about.Deposits, export.Deposit{Index: d.Index, Mailbox: d.Mailbox, UIDL: d.UIDL, Received: d.Received})
	}
	return about
}

// sender is the first address of a header as the summary shows it.
func sender(from string) string {
	if _, rest, ok := strings.Cut(from, "<"); ok {
		from, _, _ = strings.Cut(rest, ">")
	}
	return strings.TrimSpace(from)
}

// readable reads a message, and keeps it in body if it is small. It reports whether the stored bytes are damaged.
func (e *exporting) readable(ctx context.Context, m *archive.Stored, body *bytes.Buffer) (damaged bool, err error) {
	var failed error
	if body.Reset(); m.Size <= wholeInMemory {
		if failed = keep(ctx, m, body); failed == nil {
			return false, nil
		}
	}
	// Whether it is damage, or something that goes away, is for the archive to say.
	found, err := e.s.opts.Store.Damaged(ctx, []string{m.ID})
	if err == nil && len(found) == 0 {
		err = failed
	}
	return len(found) > 0, err
}

func keep(ctx context.Context, m *archive.Stored, to *bytes.Buffer) error {
	body, err := m.Open(ctx)
	if err != nil {
		return err
	}
	if _, err = to.ReadFrom(io.LimitReader(body, m.Size+1)); err == nil && int64(to.Len()) != m.Size {
		err = fmt.Errorf("message %s has %d octets or more, the catalog says %d: run postkeep rebuild catalog", m.ID, to.Len(), m.Size)
	}
	return joinClose(err, body)
}

// give gives a run to the export, which keeps nothing of its octets.
func (e *exporting) give(ctx context.Context, r run, fn func(export.Message) error) error {
	defer e.bufs.Put(r.octets)
	for i := range r.messages {
		m := &r.messages[i]
		if m.stored == nil {
			m.Body = bytes.NewReader(r.octets.Bytes()[m.from:m.to])
			if err := fn(m.Message); err != nil {
				return err
			}
			continue
		}
		if err := e.streamed(ctx, m, fn); err != nil {
			return err
		}
	}
	return r.err
}

// streamed gives a message that is not read into memory.
func (e *exporting) streamed(ctx context.Context, m *runMessage, fn func(export.Message) error) error {
	stored, err := e.again(ctx, m.stored)
	if err != nil || stored == nil {
		return err
	}
	opened, err := stored.Open(ctx)
	if err != nil {
		return err
	}
	body := &sharedBody{body: opened}
	m.Body = body
	return joinClose(fn(m.Message), body)
}

// sharedBody is a body that may be closed while another goroutine reads it, as when the client has gone.
type sharedBody struct {
	mu     sync.Mutex
	body   io.ReadCloser // guarded by mu
	closed bool          // guarded by mu
}

func (b *sharedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, fs.ErrClosed
	}
	return b.body.Read(p)
}

func (b *sharedBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.body.Close()
}
