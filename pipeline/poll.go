package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A PollRequest asks for one poll of one mailbox.
type PollRequest struct {
	Mailbox string `json:"mailbox"`
	// ID names the request in the report of the poll that it causes.
	ID        string    `json:"id"`
	Requested time.Time `json:"requested"`
}

// RequestPoll queues a poll. It returns false when a poll of that mailbox is
// queued or running already: there is at most one.
func (b *Bus) RequestPoll(ctx context.Context, req PollRequest) (queued bool, err error) {
	data, err := json.Marshal(req)
	if err != nil {
		return false, err
	}
	err = b.settled(ctx, func() error { return b.publishOnce(ctx, &nats.Msg{Subject: b.pollSubject(req.Mailbox), Data: data}) })
	if isQueued(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("request poll of mailbox %q: %w", req.Mailbox, err)
	}
	return true, nil
}

// ServePolls lets workers goroutines handle poll requests until ctx ends, and
// returns nil when the last handler did. The request leaves the queue when
// handle returns, whatever it returns; its error is logged. A handler that
// panics is called again after a while. The context of a handler ends with
// ctx.
func (b *Bus) ServePolls(ctx context.Context, workers int, handle func(context.Context, PollRequest) error) error {
	if workers < 1 {
		return fmt.Errorf("serve polls: %d workers, but at least 1 is needed", workers)
	}
	ctx, cancel := b.join(ctx)
	defer cancel()
	// A job is fetched when there is a place for it, and by one loop: thousands
	// of waiting fetches would cost the server more than the jobs.
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, workers)
	places <- struct{}{}
	for msg := range b.each(ctx, b.polls) {
		wg.Go(func() {
			defer func() { <-places }()
			b.servePoll(ctx, msg, handle)
		})
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (b *Bus) servePoll(ctx context.Context, msg jetstream.Msg, handle func(context.Context, PollRequest) error) {
	var req PollRequest
	if err := json.Unmarshal(msg.Data(), &req); err != nil {
		b.log.Error("poll request is not readable", "subject", msg.Subject(), "error", err)
		b.settle(msg, msg.TermWithReason("not readable"))
		return
	}
	if _, running := b.polling.LoadOrStore(req.Mailbox, true); running {
		// The stream was lost, and somebody asked again.
		b.settle(msg, msg.NakWithDelay(b.timing.redelivery))
		return
	}
	defer b.polling.Delete(req.Mailbox)
	stop := b.keepInProgress(b.timing.pollAckWait, msg)
	defer stop()
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("poll panicked", "mailbox", req.Mailbox, "panic", p, "stack", string(debug.Stack()))
			b.settle(msg, msg.NakWithDelay(b.timing.redelivery))
		}
	}()
	if err := handle(ctx, req); err != nil {
		b.log.Warn("poll failed", "mailbox", req.Mailbox, "error", err)
	}
	b.settle(msg, msg.Ack())
}

// each yields the messages of a consumer one by one, and fetches the next only
// when it is asked for: a message that waits here is missing elsewhere. It
// ends with ctx.
func (b *Bus) each(ctx context.Context, c jetstream.Consumer) func(yield func(jetstream.Msg) bool) {
	return func(yield func(jetstream.Msg) bool) {
		pause := b.newBackoff()
		for ctx.Err() == nil {
			msg, err := b.next(ctx, c)
			switch {
			case err == nil:
				pause = b.newBackoff()
				if !yield(msg) {
					return
				}
			case ctx.Err() != nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, context.Canceled):
			case errors.Is(err, nats.ErrNoHeartbeat) && b.server == nil:
				b.log.Debug("the NATS server forgot a fetch", "error", err)
			default:
				b.fetchFailed(ctx, err, pause.pause())
			}
		}
	}
}

// fetchHeartbeat is how often the server says that a fetch still waits: after two
// that are missing it is repeated. A server that dies forgets it.
const fetchHeartbeat = 2 * time.Second

// next fetches a message. It gives up when the connection was lost and restored:
// the server does not know any more that somebody waits.
func (b *Bus) next(ctx context.Context, c jetstream.Consumer) (jetstream.Msg, error) {
	again := b.state.nextReconnection()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		select {
		case <-again:
			cancel()
		case <-ctx.Done():
		}
	})
	return c.Next(jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(fetchHeartbeat))
}

// fetchFailed waits before the next try, and declares everything again: a
// server that lost its streams has to get them back without a restart of ours.
func (b *Bus) fetchFailed(ctx context.Context, err error, pause time.Duration) {
	b.suspect(err)
	b.log.Warn("cannot fetch from NATS, trying again", "error", unavailable(err))
	if !b.wait(ctx, pause) {
		return
	}
	if _, err := b.declare(ctx); err != nil && ctx.Err() == nil {
		b.log.Warn("cannot declare streams", "error", err)
	}
}

// keepInProgress tells the server that messages are being worked on, often
// enough for ackWait, until stop is called. stop waits for its goroutine.
func (b *Bus) keepInProgress(ackWait time.Duration, msgs ...jetstream.Msg) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(ackWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for _, m := range msgs {
				if err := m.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
					b.log.Warn("heartbeat failed", "subject", m.Subject(), "error", err)
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// settle logs that an acknowledgement could not be sent. The message comes
// again, and everything here bears that.
func (b *Bus) settle(msg jetstream.Msg, err error) {
	if err != nil {
		b.log.Warn("acknowledgement not sent", "subject", msg.Subject(), "error", err)
	}
}

// join returns a context that ends with ctx and with the bus.
func (b *Bus) join(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Error codes of the JetStream API that the client library has no names for.
const (
	codeNoResources jetstream.ErrorCode = 10023 // insufficient resources
	codeNoStorage   jetstream.ErrorCode = 10047 // insufficient storage resources available
	codeStoreFailed jetstream.ErrorCode = 10077 // with the reason as text
	codeTooMany     jetstream.ErrorCode = 10167 // too many requests
)

// isQueued reports whether a publish was refused because its subject has a
// message already.
func isQueued(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, "per subject")
}

// isFull reports whether there is no room now.
func isFull(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode {
	case codeNoResources, codeNoStorage, codeTooMany:
		return true
	case codeStoreFailed:
		return strings.Contains(api.Description, "maximum") && !isQueued(err)
	}
	return false
}
