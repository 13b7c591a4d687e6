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

// advisoryExceeded is where the server says that a message of the stream was
// delivered as often as it may be. The message stays in the stream.
func advisoryExceeded(stream string) string {
	return "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + stream + "." + consumerArchiver
}

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
	stream, err := b.js.Stream(ctx, streamDead)
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for seq := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject("dead.*"))
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
	_, err = a.bus.js.PublishMsg(ctx, &nats.Msg{Subject: deadSubject(a.bus.opts.Shard), Data: data})
	return err
}

type exceeded struct {
	sub  *nats.Subscription
	msgs chan *nats.Msg
}

func (a *Archiver) watchExceeded() (exceeded, error) {
	x := exceeded{msgs: make(chan *nats.Msg, 16)} // one that is dropped is found by buryExceeded
	var err error
	x.sub, err = a.bus.nc.ChanSubscribe(advisoryExceeded(mailStream(a.bus.opts.Shard)), x.msgs)
	return x, err
}

// keepClean removes what is left behind, at the start, periodically, and when
// the server reports a message that it gave up.
func (a *Archiver) keepClean(ctx context.Context, exceeded <-chan *nats.Msg) {
	tick := time.NewTicker(a.bus.timing.sweepInterval)
	defer tick.Stop()
	for {
		if err := errors.Join(a.buryExceeded(ctx), a.bus.sweep(ctx)); err != nil && ctx.Err() == nil {
			a.log.Warn("cleaning up failed, trying again later", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-exceeded:
		case <-tick.C:
		}
	}
}

// buryExceeded makes dead letters of the messages that were delivered too
// often. A work queue forgets what was acknowledged, so whatever is left below
// the consumer's acknowledgement floor was given up.
func (a *Archiver) buryExceeded(ctx context.Context) error {
	stream, err := a.bus.js.Stream(ctx, mailStream(a.bus.opts.Shard))
	if err != nil {
		return err
	}
	consumer, err := a.bus.mails.Info(ctx)
	if err != nil {
		return err
	}
	for seq := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject("mail."+a.bus.opts.Shard+".*"))
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && msg.Sequence > consumer.AckFloor.Stream {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.giveUp(ctx, stream, msg); err != nil {
			return err
		}
		seq = msg.Sequence + 1
	}
}

func (a *Archiver) giveUp(ctx context.Context, stream jetstream.Stream, msg *jetstream.RawStreamMsg) error {
	e, err := readEnvelope(msg.Header, len(msg.Data))
	reason := fmt.Sprintf("delivered %d times without success", a.bus.timing.mailDelivers)
	if err != nil {
		reason += ": " + err.Error()
	}
	a.log.Error("message given up", "mailbox", e.Deposit.Mailbox, "id", e.ID, "reason", reason)
	if err := a.bury(ctx, e, msg.Header.Get(headerEnvelope), reason); err != nil {
		return err
	}
	// Not final for the poller: the next session fetches it again.
	out := outbox{}
	out.add(e, Receipt{Number: e.Number, Receipt: archive.Receipt{ID: e.ID}, Err: reason})
	a.send(out)
	a.dropBody(ctx, item{envelope: e})
	return stream.DeleteMsg(ctx, msg.Sequence)
}
