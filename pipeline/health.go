package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// state is what a bus remembers of its server, for people and for those who
// wait.
type state struct {
	mu      sync.Mutex
	since   time.Time     // connection lost; zero: connected. Guarded by mu, as all below
	cause   error         // of the loss
	back    chan struct{} // closed at the next reconnection; nil if nobody waits
	failed  error         // embedded: the server could not be replaced
	renewed int           // embedded: servers that were replaced
	last    string        // embedded: when the last was replaced, and why
	short   bool          // streams have fewer replicas than asked for
	refused string        // a problem: a cluster refused them
}

func (s *state) disconnected(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.cause = time.Now(), err
}

func (s *state) reconnected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.cause = time.Time{}, nil
	if s.back != nil {
		close(s.back)
		s.back = nil
	}
}

// nextReconnection is closed when the connection has been lost and restored: a
// request under way has no answer then.
func (s *state) nextReconnection() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.back == nil {
		s.back = make(chan struct{})
	}
	return s.back
}

// replaced notes that the embedded server was replaced because of cause, or
// that err kept it from being.
func (s *state) replaced(cause, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed = err; err == nil {
		s.renewed++
		s.last = fmt.Sprintf("%s: %v", time.Now().UTC().Format(time.RFC3339), cause)
	}
}

func (s *state) replicated(short bool, problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.short, s.refused = short, problem
}

// problems says what is wrong with the server, in words.
func (b *Bus) problems() (out []string) {
	s := &b.state
	s.mu.Lock()
	if !s.since.IsZero() {
		out = append(out, b.disconnectedLocked())
	}
	if s.failed != nil {
		out = append(out, fmt.Sprintf("streams: the embedded NATS server failed and cannot be started again, trying on: %v", s.failed))
	}
	if s.renewed > 0 {
		out = append(out, fmt.Sprintf("streams: the embedded NATS server failed and was started again %d time(s), last at %s (is the disk well?)", s.renewed, s.last))
	}
	if s.refused != "" {
		out = append(out, s.refused)
	}
	s.mu.Unlock()
	if b.server != nil {
		out = append(out, leftoverProblems(b.opts.Dir)...)
	}
	return out
}

// disconnectedLocked is called with state.mu held.
func (b *Bus) disconnectedLocked() string {
	why := ""
	if b.state.cause != nil {
		why = fmt.Sprintf(" (%v)", b.state.cause)
	}
	if err := b.nc.LastError(); err != nil && !errors.Is(err, b.state.cause) {
		why += fmt.Sprintf(", last attempt: %v", err)
	}
	return fmt.Sprintf("streams: not connected to %s since %s%s, trying on", b.where(), b.state.since.UTC().Format(time.RFC3339), why)
}

// Diagnose says why the archive does not answer: the first of connection,
// streams, archive worker and archive that does not work. It takes some seconds at most,
// and returns nil when all of them do.
func (b *Bus) Diagnose(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.timing.diagnose)
	defer cancel()
	if status := b.nc.Status(); status != nats.CONNECTED {
		b.state.mu.Lock()
		defer b.state.mu.Unlock()
		if !b.state.since.IsZero() {
			return errors.New(b.disconnectedLocked())
		}
		return fmt.Errorf("not connected to %s: %s", b.where(), status)
	}
	mail := b.mailStream(b.opts.Shard)
	stream, err := b.js.Stream(ctx, mail)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%s has lost stream %s", b.where(), mail)
	case err != nil:
		return fmt.Errorf("%s does not answer for stream %s: %w", b.where(), mail, unavailable(err))
	}
	if _, err := b.requestOnce(ctx, b.serviceSubject(serviceKnown, b.opts.Shard), []byte(`{"mailbox":"","listed":[]}`)); err != nil {
		if errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("no archive worker is connected to %s for shard %s", b.where(), b.opts.Shard)
		}
		return fmt.Errorf("the archive worker of shard %s does not answer: %w", b.opts.Shard, err)
	}
	if n := stream.CachedInfo().State.Msgs; n > 0 {
		return fmt.Errorf("%d messages wait for the archive worker in stream %s", n, mail)
	}
	return nil
}

// unavailable puts into words what JetStream without a leader answers.
func unavailable(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fmt.Errorf("JetStream is not available, or the stream has no leader: %w", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("no answer in time: %w", err)
	}
	return err
}
