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

// A DeadLetter is a message that the archive did not take. The message itself
// is still on its server.
type DeadLetter struct {
	Time    time.Time `json:"time"`
	Reason  string    `json:"reason"`
	ID      string    `json:"id,omitempty"` // SHA-256 as the poller computed it
	Size    int64     `json:"size,omitempty"`
	Deposit Deposit   `json:"deposit"`
	// Envelope is the text of an envelope, where it could not be read.
	Envelope string `json:"envelope,omitempty"`
}

// DeadLetters calls fn with each dead letter, the oldest first, until fn
// returns an error, which it returns.
func (b *Bus) DeadLetters(ctx context.Context, fn func(DeadLetter) error) error {
	stream, err := b.js.Stream(ctx, b.stream(streamDead))
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for seq := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(b.subject("dead", "*")))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		var d DeadLetter
		if err := json.Unmarshal(msg.Data, &d); err != nil {
			return fmt.Errorf("read dead letter %d: %w", msg.Sequence, err)
		}
		if err := fn(d); err != nil {
			return err
		}
		seq = msg.Sequence + 1
	}
}

// bury writes a dead letter. text is the envelope as it came.
func (a *Archiver) bury(ctx context.Context, e envelope, text, reason string) error {
	d := DeadLetter{Time: time.Now().UTC(), Reason: reason, ID: e.ID, Size: e.Size, Deposit: e.Deposit}
	if e.Deposit.Mailbox == "" {
		d.Envelope = text[:min(len(text), maxEnvelope)]
	}
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return a.bus.publishOnce(ctx, &nats.Msg{Subject: a.bus.deadSubject(a.bus.opts.Shard), Data: data})
}
