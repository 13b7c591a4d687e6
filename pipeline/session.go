package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/postkeep/postkeep/archive"
)

const (
	// maxInFlight bounds the octets that all sessions of the process have
	// published without an acknowledgement: some hundred messages of usual
	// size, enough to keep the server busy.
	maxInFlight = 16 << 20
	// maxInline bounds a body that travels in a message, however large the
	// server's max_payload is: what is in flight and what an archive worker
	// fetches at once are many of them.
	maxInline = 1<<20 - envelopeRoom
	// messageOverhead is what a message in flight counts beside its body:
	// header, future, goroutine.
	messageOverhead = 4 << 10
)

// SessionOptions describe a poll session. Both fields are required.
type SessionOptions struct {
	// ID is unique for ever: letters, digits, '-' and '_'.
	ID      string
	Mailbox string
}

// Mail is a message to be published, without its body.
type Mail struct {
	// Number is the message number in the session, from 1.
	Number int
	// Attempt tells publications of the same number in one session apart, so
	// that the stream does not take the second for a repeated first.
	Attempt int
	// Deposit goes into the archive as it is; an empty Mailbox becomes that of
	// the session.
	Deposit Deposit
	// Finish, if not nil, is called when the body was read to its end, before
	// publishing, to set what is known only then.
	Finish func(*Deposit)
}

// Sent is what was read from a body.
type Sent struct {
	ID   string // SHA-256, lower-case hex
	Size int64  // octets
}

// A Session publishes the messages of one mailbox and gets their receipts.
// It is safe for concurrent use, but publishes one message at a time.
type Session struct {
	bus     *Bus
	id      string
	mailbox string
	inbox   string
	floor   Term // heard of when the session began
	sub     *nats.Subscription

	publishing sync.Mutex
	buf        bytes.Buffer // body being read

	ctx    context.Context // ends publishing
	cancel context.CancelFunc
	acks   sync.WaitGroup // goroutines that wait for acknowledgements
	warn   sync.Once

	mu      sync.Mutex
	waiting []Receipt     // not read yet; at most a few per message published
	wake    chan struct{} // capacity 1: waiting is not empty
	out     chan Receipt
	done    chan struct{}
	pump    sync.WaitGroup
	close   sync.Once
}

// OpenSession starts a session. When ctx ends, what still waits for room in
// the stream is given up. The caller must Close the session.
func (b *Bus) OpenSession(ctx context.Context, opts SessionOptions) (*Session, error) {
	if !plain(opts.ID) {
		return nil, fmt.Errorf("session id %q: only letters, digits, '-' and '_' are allowed", opts.ID)
	}
	if opts.Mailbox == "" {
		return nil, errors.New("open session: no mailbox is named")
	}
	s := &Session{
		bus: b, id: opts.ID, mailbox: opts.Mailbox, inbox: b.nc.NewInbox(), floor: b.terms.get(),
		wake: make(chan struct{}, 1),
		out:  make(chan Receipt),
		done: make(chan struct{}),
	}
	var err error
	if s.sub, err = b.nc.Subscribe(s.inbox, s.receive); err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	// The archive may be connected to another server of a cluster.
	if err := b.flush(ctx); err != nil {
		return nil, fmt.Errorf("open session: %w", errors.Join(err, s.sub.Unsubscribe()))
	}
	s.ctx, s.cancel = b.join(ctx)
	s.pump.Go(s.pumpReceipts)
	return s, nil
}

// Receipts yields the outcome of each message. It is closed when the session
// or the bus is. A number may come more than once: after a temporary error, or
// when an acknowledgement was lost and the archive got the message twice.
func (s *Session) Receipts() <-chan Receipt { return s.out }

// Close gives up what is not published yet, and waits for the session's
// goroutines and for a Publish that is reading its body. It may be called
// again.
func (s *Session) Close() error {
	var err error
	s.close.Do(func() {
		s.cancel()
		err = s.sub.Unsubscribe()
		s.publishing.Lock()
		defer s.publishing.Unlock()
		s.acks.Wait()
		close(s.done)
		s.pump.Wait()
	})
	if errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return err
}

// Publish reads body to its end and publishes the message. It returns when the
// message is on its way; a Receipt with the same number tells the outcome. An
// error of body is returned (wrapped), and nothing was published then. A message
// that is too large to pass is read to its end and gives a *TooLargeError. Publish
// waits while too much is in flight or the store for large bodies is full,
// until ctx or the session ends.
func (s *Session) Publish(ctx context.Context, m Mail, body io.Reader) (Sent, error) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	if s.ctx.Err() != nil {
		return Sent{}, fmt.Errorf("publish message %d: the session has ended: %w", m.Number, s.ctx.Err())
	}
	sent, err := s.publish(ctx, m, body)
	if err != nil {
		return Sent{}, fmt.Errorf("publish message %d: %w", m.Number, err)
	}
	return sent, nil
}

func (s *Session) publish(ctx context.Context, m Mail, body io.Reader) (Sent, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()

	if m.Deposit.Mailbox == "" {
		m.Deposit.Mailbox = s.mailbox
	}
	msgID := fmt.Sprintf("%s.%d.%d", s.id, m.Number, m.Attempt)
	in := &measured{r: body, hash: sha256.New()}
	s.buf.Reset()
	limit := min(s.bus.nc.MaxPayload()-envelopeRoom, maxInline)
	if _, err := s.buf.ReadFrom(io.LimitReader(in, limit+1)); err != nil {
		return Sent{}, err
	}
	e := envelope{Version: envelopeVersion, Identity: s.bus.opts.Identity, Number: m.Number, Reply: s.inbox}
	var data []byte
	if in.size > limit {
		e.Object = msgID
		if err := s.bus.waitForBodyRoom(ctx, max(m.Deposit.ListedSize, in.size)); err != nil {
			return Sent{}, err
		}
		in.limit = s.bus.largestBody()
		if err := s.bus.putBody(ctx, e.Object, io.MultiReader(&s.buf, in)); err != nil {
			return Sent{}, in.trueSize(err)
		}
	} else {
		data = bytes.Clone(s.buf.Bytes())
	}
	if m.Finish != nil {
		m.Finish(&m.Deposit)
	}
	sent := Sent{ID: hex.EncodeToString(in.hash.Sum(nil)), Size: in.size}
	e.ID, e.Size, e.Deposit = sent.ID, sent.Size, m.Deposit
	return sent, s.send(ctx, &e, msgID, data)
}

// send publishes the message, and leaves a goroutine that waits for the
// acknowledgement.
func (s *Session) send(ctx context.Context, e *envelope, msgID string, data []byte) error {
	header, err := e.header(msgID)
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: s.bus.mailSubject(s.bus.opts.Shard, e.Deposit.Mailbox), Header: header, Data: data}
	weight := int64(len(data) + messageOverhead)
	if err := s.bus.inFlight.Acquire(ctx, weight); err != nil {
		return err
	}
	ack, err := s.bus.js.PublishMsgAsync(msg)
	s.acks.Go(func() {
		if err == nil {
			select {
			case <-ack.Ok():
			case err = <-ack.Err():
			}
		}
		err = s.retry(msg, err)
		s.bus.inFlight.Release(weight)
		if err != nil {
			s.add(Receipt{Number: e.Number, Err: fmt.Sprintf("not published: %v", err)})
		}
	})
	return nil
}

// retry publishes a message again until it is acknowledged or the session
// ends: a full stream is back-pressure, not loss. The stream recognises a
// message that it has by its id. One message of the process tries at a time:
// each try carries the whole body to a server that may refuse it.
func (s *Session) retry(msg *nats.Msg, err error) error {
	if !isTemporary(err) {
		return err
	}
	if !isFull(err) {
		s.bus.suspect(err)
		s.warn.Do(func() { s.bus.log.Warn("publishing failed, trying again", "session", s.id, "error", err) })
	}
	if s.bus.retrying.Acquire(s.ctx, 1) != nil {
		return err
	}
	defer s.bus.retrying.Release(1)
	for pause := s.bus.newBackoff(); ; {
		again := s.bus.publishOnce(s.ctx, msg)
		if s.ctx.Err() == nil || again == nil {
			err = again
			s.bus.suspect(err)
		}
		if !isTemporary(err) || !s.bus.wait(s.ctx, pause.pause()) {
			return err
		}
	}
}

// isTemporary reports whether publishing again may help.
func isTemporary(err error) bool {
	return err != nil && !errors.Is(err, nats.ErrMaxPayload) && !errors.Is(err, nats.ErrConnectionClosed)
}

// publishOnce waits for the acknowledgement, but not longer than one may take.
func (b *Bus) publishOnce(ctx context.Context, msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, b.timing.publish)
	defer cancel()
	_, err := b.js.PublishMsg(ctx, msg)
	return err
}

func (s *Session) receive(msg *nats.Msg) {
	var receipts []Receipt
	if err := json.Unmarshal(msg.Data, &receipts); err != nil {
		s.bus.log.Warn("receipts are not readable", "session", s.id, "error", err)
		return
	}
	if _, err := s.bus.heard(msg.Header, s.floor); err != nil {
		s.bus.log.Error("receipts are refused", "session", s.id, "error", err)
		for i := range receipts { // nothing may be deleted because of them
			receipts[i] = Receipt{Number: receipts[i].Number, Receipt: archive.Receipt{ID: receipts[i].ID}, Err: err.Error()}
		}
	}
	s.add(receipts...)
}

// add queues receipts without waiting for a reader: a poller that is busy with
// a long download must not hold up the archive.
func (s *Session) add(receipts ...Receipt) {
	s.mu.Lock()
	s.waiting = append(s.waiting, receipts...)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Session) pumpReceipts() {
	defer close(s.out)
	for {
		select {
		case <-s.wake:
		case <-s.done:
			return
		case <-s.bus.ctx.Done():
			return
		}
		s.mu.Lock()
		batch := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		for _, r := range batch {
			select {
			case s.out <- r:
			case <-s.done:
				return
			case <-s.bus.ctx.Done():
				return
			}
		}
	}
}

// measured counts and hashes what is read.
type measured struct {
	r     io.Reader
	hash  hash.Hash
	size  int64
	limit int64 // a *TooLargeError above it; 0 is none
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.hash.Write(p[:n])
	m.size += int64(n)
	if m.limit > 0 && m.size > m.limit {
		return n, &TooLargeError{Size: m.size, Limit: m.limit}
	}
	return n, err
}

// trueSize reads the rest of a body that is too large, which a POP3 session has
// to do in any case, so that the error names the size that would have to fit.
func (m *measured) trueSize(err error) error {
	large, ok := errors.AsType[*TooLargeError](err)
	if !ok {
		return err
	}
	m.limit = 0
	if _, err := io.Copy(io.Discard, m); err != nil {
		return err
	}
	large.Size = m.size
	return err
}
