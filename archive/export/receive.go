package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"

	"github.com/postkeep/postkeep/internal/inorder"
)

const (
	// aheadMessages and aheadBytes are how much is read, checked and parsed ahead of what is being written. Messages of more than
	// spoolMemory octets are not: they are streamed in their turn.
	aheadMessages = 512
	aheadBytes    = 8 << 20
	// streamed is how much of that is in the buffers of the stream, on both sides.
	streamed = 2 * writeBuffer
	// contentFactor is what a message with its content holds, for every octet of it: text is decoded, and attachments have some, too.
	contentFactor = 4
	// arrivalRoom is what a message holds whatever its size, in bytes.
	arrivalRoom = 1 << 10
)

// An arrival is a message on its way from the source to the files.
type arrival struct {
	Message
	raw     []byte // what came of the message, at most one octet too much; nil if it is streamed, or damaged
	content *Content
	// taken is closed when the body of a streamed message is not needed any more.
	taken chan struct{}
}

// receive exports the messages of the source, in their order.
func (x *exporter) receive(ctx context.Context, src Source, r Request, begin func(Plan) error) error {
	limits := inorder.Limits{Workers: runtime.GOMAXPROCS(0), Jobs: aheadMessages, Bytes: aheadBytes - streamed}
	return inorder.Do(ctx, limits, func(ctx context.Context, take func(*arrival, int64) error) error {
		return src.Messages(ctx, r, begin, func(m Message) error { return x.arrive(ctx, m, take) })
	}, x.check, func(a *arrival) error {
		err := x.add(ctx, a)
		if a.taken != nil {
			close(a.taken)
		}
		return err
	})
}

// arrive reads a message that fits into memory. The body of another one is valid until it was taken.
func (x *exporter) arrive(ctx context.Context, m Message, take func(*arrival, int64) error) error {
	a := &arrival{Message: m}
	if m.Damaged || m.Size < 0 {
		return take(a, arrivalRoom)
	}
	if m.Size > spoolMemory {
		a.taken = make(chan struct{})
		if err := take(a, arrivalRoom); err != nil {
			return err
		}
		select {
		case <-a.taken:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// One octet more than the message has shows that the body is too long.
	raw := bytes.NewBuffer(make([]byte, 0, m.Size+1+bytes.MinRead)) // does not grow
	if _, err := raw.ReadFrom(io.LimitReader(m.Body, m.Size+1)); err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	a.raw = raw.Bytes()
	holds := m.Size + arrivalRoom
	if x.parses() {
		holds = contentFactor*m.Size + arrivalRoom
	}
	return take(a, holds)
}

// check makes sure that a message in memory is the right one, and parses it.
func (x *exporter) check(ctx context.Context, a *arrival) (*arrival, error) {
	if a.raw == nil {
		return a, nil
	}
	err := a.same(int64(len(a.raw)), sha256.Sum256(a.raw))
	if err == nil && x.parses() {
		a.content, err = x.opts.Parser.Parse(ctx, bytes.NewReader(a.raw), a.Size)
	}
	if err != nil && validID(a.ID) { // add says it of others
		return nil, fmt.Errorf("message %s: %w", a.ID, err)
	}
	return a, nil
}

// same compares the size and the SHA-256 of what was read with those that the message should have.
func (m *Message) same(size int64, sum [sha256.Size]byte) error {
	if got := hex.EncodeToString(sum[:]); size != m.Size || got != m.ID {
		return fmt.Errorf("read %d octets of %d, with SHA-256 %s: %w; run postkeep verify --deep", size, m.Size, got, ErrMismatch)
	}
	return nil
}

// parses reports whether the content of messages is needed.
func (x *exporter) parses() bool {
	return traits(x.opts.Format).content || x.opts.Deduplicate || x.opts.OnePerThread
}

// item makes an item of an arrival. The body of a streamed message is spooled, checked and parsed here.
func (x *exporter) item(ctx context.Context, a *arrival) (*item, error) {
	it := &item{Message: a.Message, content: a.content}
	if a.raw != nil {
		it.raw, it.body = a.raw, bytes.NewReader(a.raw)
		return it, nil
	}
	err := x.spool(ctx, a.Message)
	if err == nil {
		it.body, err = x.body.reader()
	}
	if err == nil && x.parses() {
		it.content, err = x.opts.Parser.Parse(ctx, it.body, a.Size)
	}
	return it, err
}

// spool reads a message and makes sure that it is the right one.
func (x *exporter) spool(ctx context.Context, m Message) error {
	if err := x.body.reset(); err != nil {
		return err
	}
	t := newTally(&x.body)
	if _, err := io.Copy(t, contextReader{ctx, io.LimitReader(m.Body, m.Size+1)}); err != nil {
		return err
	}
	return m.same(t.size, [sha256.Size]byte(t.hash.Sum(nil)))
}
