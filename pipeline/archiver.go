package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postkeep/postkeep/archive"
)

const (
	// batchMessages and batchBytes bound a group commit: inline bodies only, large ones are streamed. A larger
	// batch saves nothing once its fsyncs are a small part of it. The worker holds batchesAtOnce in memory.
	batchMessages = 1024
	batchBytes    = 8 << 20
	// batchesAtOnce is how many batches are given to the store at the same time: it makes one ready while it writes another.
	batchesAtOnce = 2
	// batchWait is how long a batch waits for company; an fsync takes longer. While another batch is with the store, which has
	// a disk and processors to wait for, it waits for busyWait: a commit costs the same for a few messages as for many.
	batchWait = 5 * time.Millisecond
	busyWait  = 50 * time.Millisecond
	// receiptsPerMessage keeps a message with receipts below minPayload.
	receiptsPerMessage = 128
)

// A Store is what the archive worker and the services need of an archive. Its
// methods are called concurrently. Put must be idempotent: a
// message is delivered again when its acknowledgement got lost.
type Store interface {
	Put(ctx context.Context, batch []archive.Delivery) ([]archive.Receipt, error)
	Known(ctx context.Context, mailbox string, listed []archive.Listing) ([]archive.Holding, error)
	Damaged(ctx context.Context, ids []string) ([]string, error)
	RecordPoll(ctx context.Context, r archive.PollReport) error
	PollMemory(ctx context.Context, mailbox string) (json.RawMessage, error)
	RecordDeadLetter(ctx context.Context, d archive.DeadLetter) error
}

// ArchiverOptions configure an archive worker.
type ArchiverOptions struct {
	// Tenure is the right to serve the bus's shard. Without one receipts name no epoch, and nobody finds out when another copy of
	// the archive has taken over: that is for tests.
	Tenure *Tenure
	// Logger gets what cannot be returned as an error. Default: discard.
	Logger *slog.Logger
}

// An Archiver moves messages from the stream into a store, in group commits, and answers the pollers' questions. There is one per shard.
type Archiver struct {
	bus   *Bus
	out   *Bus // where receipts and wake-ups go; another one while an earlier run's messages are drained
	store Store
	log   *slog.Logger

	failures failures
	lost     atomic.Int64 // bodies that NATS does not have any more
	draining sync.Mutex   // one Drain at a time

	held *Tenure // nil without one
}

// NewArchiver returns a worker for the bus's shard; Run starts it.
func NewArchiver(bus *Bus, store Store, opts ArchiverOptions) *Archiver {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Archiver{bus: bus, out: bus, store: store, log: opts.Logger, held: opts.Tenure}
}

// Run drains what earlier runs left (see Drain) and works until ctx ends; then it
// finishes the batch that it has in hand, and returns nil. An error means that
// it could not start.
func (a *Archiver) Run(ctx context.Context) error {
	ctx, cancel := a.bus.join(ctx)
	defer cancel()
	a.Drain(ctx)
	svc, err := a.serve(ctx)
	if err != nil {
		return fmt.Errorf("archive worker: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { a.keepClean(ctx) })
	wg.Go(func() { a.keepDrained(ctx) })
	a.work(ctx)
	wg.Wait()
	if err := svc.stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("archive worker: %w", err)
	}
	return nil
}

// keepClean sweeps at the start and periodically.
func (a *Archiver) keepClean(ctx context.Context) {
	for {
		if err := a.bus.sweep(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("cleaning up failed, trying again later", "error", err)
		}
		if !a.bus.wait(ctx, a.bus.timing.sweepInterval) {
			return
		}
	}
}

// keepDrained archives what a replaced embedded server held.
func (a *Archiver) keepDrained(ctx context.Context) {
	for {
		select {
		case <-a.bus.left:
			a.Drain(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// work archives batch after batch, batchesAtOnce side by side. After the end of ctx those that were fetched are finished.
func (a *Archiver) work(ctx context.Context) {
	free := make(chan backoff, batchesAtOnce)
	for range batchesAtOnce {
		free <- a.bus.newBackoff()
	}
	var wg sync.WaitGroup
	pause := <-free
	for msg := range a.bus.each(ctx, a.bus.mails) {
		wait := batchWait
		if len(free) < batchesAtOnce-1 {
			wait = busyWait
		}
		batch, mine := a.gather(msg, wait), pause
		wg.Go(func() { free <- a.batch(ctx, batch, mine) })
		pause = <-free
	}
	wg.Wait()
}

// batch commits messages while it tells the server that they are worked on. After an error it waits for the pause, and returns
// that of the next time.
func (a *Archiver) batch(ctx context.Context, msgs []jetstream.Msg, pause backoff) backoff {
	stop := a.bus.keepInProgress(a.bus.timing.mailAckWait, msgs...)
	err := a.commit(ctx, msgs)
	stop()
	if err == nil {
		return a.bus.newBackoff()
	}
	a.log.Error("messages not archived, trying again later", "messages", len(msgs), "error", err)
	a.bus.wait(ctx, pause.pause())
	return pause
}

// gather adds to a message what comes in time.
func (a *Archiver) gather(first jetstream.Msg, wait time.Duration) []jetstream.Msg {
	batch := []jetstream.Msg{first}
	room := batchBytes - len(first.Data())
	more, err := a.bus.mails.Fetch(batchMessages-1, jetstream.FetchMaxBytes(room), jetstream.FetchMaxWait(wait))
	if err != nil {
		return batch // the next fetch reports it
	}
	for msg := range more.Messages() {
		batch = append(batch, msg)
	}
	return batch
}

// An item is one message of a batch.
type item struct {
	msg      jetstream.Msg
	envelope envelope
	body     *bodyReader // nil for an inline body
}

// commit archives messages. It is not interrupted by the end of ctx: what is
// in hand is finished. After an error the messages that are not archived come
// again.
func (a *Archiver) commit(ctx context.Context, msgs []jetstream.Msg) error {
	ctx = context.WithoutCancel(ctx) // without a deadline each NATS request has its own
	for items := a.open(ctx, msgs); len(items) > 0; {
		n := a.atOnce(items)
		if err := a.put(ctx, items[:n]); err != nil {
			if !errors.Is(err, errUnserved) { // none of the messages is to blame
				items = append(a.giveUp(ctx, items[:n], err), items[n:]...)
			}
			a.postpone(items, err)
			return err
		}
		items = items[n:]
	}
	return nil
}

// atOnce is how many of the items make one group commit: the first, and others
// up to batchBytes. Many large bodies in one would let all pollers wait for
// the last. One that is suspected of making commits fail is alone.
func (a *Archiver) atOnce(items []item) int {
	if a.failures.suspected(items[0]) {
		return 1
	}
	n, size := 1, items[0].envelope.Size
	for ; n < len(items); n++ {
		if size += items[n].envelope.Size; size > batchBytes || a.failures.suspected(items[n]) {
			break
		}
	}
	return n
}

// put archives items and ends them. On error none is archived.
func (a *Archiver) put(ctx context.Context, items []item) error {
	if err := a.stopped(); err != nil { // what is stored now would be in a copy that nobody uses
		return err
	}
	batch := make([]archive.Delivery, len(items))
	for i, it := range items {
		e := it.envelope
		if meta, err := it.msg.Metadata(); err == nil {
			e.Deposit.Source.Stream, e.Deposit.Source.Sequence = meta.Stream, meta.Sequence.Stream
		}
		batch[i] = archive.Delivery{ID: e.ID, Size: e.Size, Body: it.reader(), Deposit: e.Deposit}
	}
	receipts, err := a.store.Put(ctx, batch)
	if err == nil && len(receipts) != len(batch) {
		err = fmt.Errorf("the store gave %d receipts for %d messages", len(receipts), len(batch))
	}
	if err != nil {
		return err
	}
	if err := a.finish(ctx, items, receipts); err != nil {
		return err
	}
	a.failures.succeeded(items)
	return nil
}

func (it *item) reader() io.Reader {
	if it.body != nil {
		return it.body
	}
	return bytes.NewReader(it.msg.Data())
}

// open reads the envelopes and finds the large bodies. What cannot be
// archived at all is refused here.
func (a *Archiver) open(ctx context.Context, msgs []jetstream.Msg) []item {
	var items []item
	for _, msg := range msgs {
		if msg.Headers().Get(headerCheck) != "" { // somebody looked whether the stream works
			a.bus.settle(msg, msg.Ack())
			continue
		}
		e, err := readEnvelope(msg.Headers(), len(msg.Data()))
		it := item{msg: msg, envelope: e}
		if err != nil {
			a.refuse(ctx, it, archive.Receipt{ID: e.ID, Refused: err.Error()})
			continue
		}
		if !a.bus.ours(e) {
			a.leave(it)
			continue
		}
		if e.Object != "" {
			it.body, err = a.bus.openBody(ctx, e.Object)
			if err != nil && a.bodyLost(ctx, it, err) {
				continue
			}
			if err != nil {
				it.body = &bodyReader{err: err}
				a.postpone([]item{it}, err)
				continue
			}
		}
		items = append(items, it)
	}
	return items
}

// leave keeps a message of another installation out of the archive. It stays in the stream, for somebody to look at: no
// receipt is sent, so that it stays on its POP3 server too.
func (a *Archiver) leave(it item) {
	level := slog.LevelError
	if deliveries(it.msg) > 1 {
		level = slog.LevelDebug // it has been said
	}
	a.log.Log(context.Background(), level, "a message of another installation is in the stream and is not archived: look for a program that publishes under a wrong prefix",
		"subject", it.msg.Subject(), "mailbox", it.envelope.Deposit.Mailbox, "id", it.envelope.ID, "identity", it.envelope.Identity)
	a.bus.settle(it.msg, it.msg.NakWithDelay(a.bus.timing.redeliveryMax))
}

// bodyLost ends a message whose body NATS does not have any more, and reports
// whether it did. It is no dead letter: nothing is wrong with the message, and
// the next poll fetches it again. A replica of a cluster may only be behind.
func (a *Archiver) bodyLost(ctx context.Context, it item, err error) bool {
	n := a.failures.failed(it)
	if !errors.Is(err, errBodyMissing) || a.bus.nc.ConnectedClusterName() != "" && n < maxFailures {
		return false
	}
	a.lost.Add(1)
	a.log.Warn("message without its body dropped, it has to be fetched again", "mailbox", it.envelope.Deposit.Mailbox, "id", it.envelope.ID, "error", err)
	a.end(ctx, it, archive.Receipt{ID: it.envelope.ID, Refused: err.Error()})
	return true
}

// giveUp looks for the message that made a commit fail, and refuses it when it
// did so maxFailures times while others passed. It returns the others.
func (a *Archiver) giveUp(ctx context.Context, items []item, cause error) (rest []item) {
	for _, it := range items {
		switch {
		case it.body != nil && it.body.err != nil:
			if a.bodyLost(ctx, it, it.body.err) {
				continue
			}
		case a.failures.failed(it) >= maxFailures && len(items) == 1:
			a.refuse(ctx, it, archive.Receipt{ID: it.envelope.ID, Refused: fmt.Sprintf(
				"failed %d times while others were archived, the last time: %v", maxFailures, cause)})
			continue
		}
		rest = append(rest, it)
	}
	return rest
}

// postpone hands messages back after an error that is not theirs, and tells
// the pollers. They are not told of trouble with NATS, which passes: a poller that
// hears of an error leaves the message to the next poll.
func (a *Archiver) postpone(items []item, cause error) {
	out := outbox{}
	tell := !errors.Is(cause, errUnserved) || errors.Is(cause, ErrStale)
	for _, it := range items {
		tell = tell && (it.body == nil || it.body.err == nil)
	}
	for _, it := range items {
		if tell {
			out.add(it.envelope, Receipt{
				Number: it.envelope.Number, Receipt: archive.Receipt{ID: it.envelope.ID}, Err: cause.Error(),
			})
		}
		delay := min(time.Duration(deliveries(it.msg))*a.bus.timing.redelivery, a.bus.timing.redeliveryMax)
		a.bus.settle(it.msg, it.msg.NakWithDelay(delay))
	}
	if err := a.send(out, a.lastTerm()); err != nil { // it promises nothing
		a.log.Warn("receipts not sent", "error", err)
	}
}

// finish sends the receipts, if the archive is still the one that is served, and only then lets the large bodies and the
// messages go: a worker that dies in between archives them again, which Put
// recognises.
func (a *Archiver) finish(ctx context.Context, items []item, receipts []archive.Receipt) error {
	term, err := a.confirm(ctx)
	if err != nil {
		return err
	}
	out, last := outbox{}, int64(-1)
	var kept []item
	for i, it := range items {
		r := receipts[i]
		if r.Refused != "" {
			a.refuse(ctx, it, r)
			continue
		}
		out.add(it.envelope, Receipt{Number: it.envelope.Number, Receipt: r})
		last = max(last, r.Index)
		kept = append(kept, it)
	}
	if len(kept) > 0 {
		defer a.out.wakeIndexers(ctx, last)
	}
	if err := a.send(out, term); err != nil { // they come again, and their receipts with them
		a.log.Warn("receipts not sent, trying again", "error", err)
		for _, it := range kept {
			a.bus.settle(it.msg, it.msg.NakWithDelay(a.bus.timing.redelivery))
		}
		return nil
	}
	for _, it := range kept {
		a.dropBody(ctx, it)
		a.bus.settle(it.msg, it.msg.Ack())
	}
	return nil
}

// refuse ends a message that the archive will never take: a receipt for the
// poller, its envelope to the dead letters.
func (a *Archiver) refuse(ctx context.Context, it item, r archive.Receipt) {
	e := it.envelope
	a.log.Error("message refused", "mailbox", e.Deposit.Mailbox, "id", e.ID, "reason", r.Refused)
	if err := a.bury(ctx, e, it.msg.Headers().Get(headerEnvelope), r.Refused); err != nil {
		a.log.Error("dead letter not written, trying again later", "error", err)
		a.bus.settle(it.msg, it.msg.NakWithDelay(a.bus.timing.redelivery))
		return
	}
	a.end(ctx, it, r)
}

// end removes a message that is not archived, after a receipt for the poller.
func (a *Archiver) end(ctx context.Context, it item, r archive.Receipt) {
	out := outbox{}
	out.add(it.envelope, Receipt{Number: it.envelope.Number, Receipt: r})
	if err := a.send(out, a.lastTerm()); err != nil { // it promises nothing
		a.log.Warn("receipt not sent, trying again", "error", err)
		a.bus.settle(it.msg, it.msg.NakWithDelay(a.bus.timing.redelivery))
		return
	}
	a.failures.forget(it)
	a.dropBody(ctx, it)
	a.bus.settle(it.msg, it.msg.TermWithReason(r.Refused))
}

// dropBody deletes a large body. When that fails the sweep does it later.
func (a *Archiver) dropBody(ctx context.Context, it item) {
	if it.envelope.Object == "" {
		return
	}
	if err := a.bus.removeBody(ctx, it.envelope.Object); err != nil {
		a.log.Warn("large body not removed", "object", it.envelope.Object, "error", err)
	}
}

// An outbox collects receipts by the session that waits for them.
type outbox map[string][]Receipt

func (o outbox) add(e envelope, r Receipt) {
	if e.Reply != "" {
		o[e.Reply] = append(o[e.Reply], r)
	}
}

// send publishes receipts, and makes sure that the server has them: a
// connection that was lost takes with it what was written last.
func (a *Archiver) send(out outbox, term Term) error {
	if len(out) == 0 {
		return nil
	}
	before := a.out.nc.Stats().Reconnects
	for reply, receipts := range out {
		for part := range slices.Chunk(receipts, receiptsPerMessage) {
			data, err := json.Marshal(part)
			if err == nil {
				err = a.out.nc.PublishMsg(&nats.Msg{Subject: reply, Header: a.out.speaks(term), Data: data})
			}
			if err != nil {
				return err
			}
		}
	}
	if err := a.out.flush(context.Background()); err != nil {
		return err
	}
	if a.out.nc.Stats().Reconnects != before {
		return nats.ErrDisconnected
	}
	return nil
}

// deliveries is how often the message was delivered, 1 for the first time.
func deliveries(msg jetstream.Msg) int {
	meta, err := msg.Metadata()
	if err != nil {
		return 1
	}
	return int(meta.NumDelivered)
}
