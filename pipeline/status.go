package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Status is what the streams hold.
type Status struct {
	// Server names the NATS server, without secrets.
	Server string `json:"server"`
	// Prefix begins the names of the streams on an external server.
	Prefix      string         `json:"prefix,omitempty"`
	Streams     []StreamStatus `json:"streams"`
	DeadLetters uint64         `json:"dead_letters"` // in the stream, of the last 90 days; the ledger has all
	// Problems are what is wrong with the server or the streams, in words.
	Problems []string `json:"problems,omitempty"`
}

// StreamStatus is the state of a stream and, for a work queue, its consumer.
type StreamStatus struct {
	Name        string `json:"name"` // without the prefix
	Replicas    int    `json:"replicas"`
	Messages    uint64 `json:"messages"`
	Bytes       uint64 `json:"bytes"`
	MaxBytes    int64  `json:"max_bytes"`
	Waiting     uint64 `json:"waiting"`     // not delivered to a worker yet
	InHand      int    `json:"in_hand"`     // delivered, not acknowledged
	Redelivered int    `json:"redelivered"` // of InHand, delivered more than once
}

// statusWait bounds the questions of Status together.
const statusWait = 10 * time.Second

// Status asks the server for the state of all streams. With an error it returns
// what is known without the server.
func (b *Bus) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	st := Status{Server: b.where(), Prefix: b.prefix, Problems: b.problems()}
	consumers := map[string]jetstream.Consumer{b.stream(streamPoll): b.polls, b.mailStream(b.opts.Shard): b.mails}
	for _, name := range []string{
		b.stream(streamPoll), b.mailStream(b.opts.Shard), b.bodyStream(), b.stream(streamArchived), b.stream(streamDead), b.leaseStream(),
	} {
		stream, err := b.js.Stream(ctx, name)
		if err != nil {
			return st, fmt.Errorf("status of stream %s: %w", name, unavailable(err))
		}
		info := stream.CachedInfo()
		s := StreamStatus{
			Name: b.unprefixed(name), Replicas: max(1, info.Config.Replicas), Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: info.Config.MaxBytes,
		}
		if c := consumers[name]; c != nil {
			info, err := c.Info(ctx)
			if err != nil {
				return st, fmt.Errorf("status of stream %s: %w", name, unavailable(err))
			}
			s.Waiting, s.InHand, s.Redelivered = info.NumPending, info.NumAckPending, info.NumRedelivered
		}
		if name == b.stream(streamDead) {
			st.DeadLetters = s.Messages
		}
		st.Streams = append(st.Streams, s)
	}
	return st, nil
}

// wakeIndexers says up to which ledger index the shard is complete.
func (b *Bus) wakeIndexers(ctx context.Context, index int64) {
	data, err := json.Marshal(index)
	if err == nil {
		err = b.publishOnce(ctx, &nats.Msg{Subject: b.archivedSubject(b.opts.Shard), Data: data})
	}
	if err != nil {
		b.log.Warn("wake-up for indexers not sent; the next one serves as well", "error", err)
	}
}

// Archived yields whenever something was archived. Wake-ups that come while
// the reader is busy are one; the first comes at once if anything was archived
// since the server started. The channel is closed when ctx or the bus ends.
func (b *Bus) Archived(ctx context.Context) (<-chan struct{}, error) {
	consumer, err := b.js.OrderedConsumer(ctx, b.stream(streamArchived), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to wake-ups: %w", err)
	}
	out := make(chan struct{}, 1)
	run, err := consumer.Consume(func(jetstream.Msg) {
		select {
		case out <- struct{}{}:
		default:
		}
	}, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		if !errors.Is(err, nats.ErrConnectionClosed) {
			b.log.Debug("wake-ups interrupted", "error", err)
		}
	}))
	if err != nil {
		return nil, fmt.Errorf("subscribe to wake-ups: %w", err)
	}
	ctx, cancel := b.join(ctx)
	b.wg.Go(func() {
		defer cancel()
		<-ctx.Done()
		run.Stop()
		<-run.Closed()
		close(out)
	})
	return out, nil
}
