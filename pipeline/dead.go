package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postkeep/postkeep/archive"
)

// DeadLetter is a message that the archive did not take.
type DeadLetter = archive.DeadLetter

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

// bury records a dead letter in the ledger, and tells those who watch the
// stream. text is the envelope as it came.
func (a *Archiver) bury(ctx context.Context, e envelope, text, reason string) error {
	d := DeadLetter{Time: time.Now().UTC(), Reason: reason, ID: e.ID, Size: e.Size, Deposit: e.Deposit}
	if e.Deposit.Mailbox == "" {
		d.Envelope = text[:min(len(text), maxEnvelope)]
	}
	if err := a.store.RecordDeadLetter(ctx, d); err != nil {
		return err
	}
	data, err := json.Marshal(d)
	if err == nil {
		err = a.out.publishOnce(ctx, &nats.Msg{Subject: a.out.deadSubject(a.out.opts.Shard), Data: data})
	}
	if err != nil { // the ledger has it
		a.log.Warn("dead letter not published", "error", err)
	}
	return nil
}
