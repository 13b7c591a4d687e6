package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// headerCheck marks a message that only shows that the stream takes messages.
const headerCheck = "Postkeep-Check"

// suspect has the embedded server checked now: a publish failed in a way that a
// healthy one does not know.
func (b *Bus) suspect(err error) {
	if b.server == nil || err == nil || isFull(err) || isQueued(err) {
		return
	}
	select {
	case b.doubt <- struct{}{}:
	default:
	}
}

// suspectStore is suspect for errors among which may be those of the reader of
// a body.
func (b *Bus) suspectStore(err error) {
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrAsyncPublishTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		b.suspect(err)
	}
}

// guard replaces the embedded server when its streams take no messages any
// more. A server that cannot write to its files only stops to answer, or turns
// JetStream off; nothing in its directory is worth more than the polls that
// wait.
func (b *Bus) guard() {
	tick := time.NewTicker(b.timing.watch)
	defer tick.Stop()
	pause := b.newBackoff()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.doubt:
		case <-tick.C:
		}
		cause := b.check(b.ctx)
		if b.ctx.Err() != nil || errors.Is(cause, nats.ErrConnectionClosed) {
			continue
		}
		if cause == nil {
			pause = b.newBackoff()
			continue
		}
		b.log.Error("the embedded NATS server failed, starting it with empty streams", "error", cause)
		err := b.replaceServer(b.ctx)
		b.state.replaced(cause, err)
		if err != nil {
			b.log.Error("the embedded NATS server does not start, trying again", "error", err)
			b.suspect(err)
		}
		select { // whatever was in there is to be archived
		case b.left <- struct{}{}:
		default:
		}
		if !b.wait(b.ctx, pause.pause()) { // a disk that is broken breaks the next one, too
			return
		}
	}
}

// check publishes to the streams that are files, and removes the messages
// again. A full stream works.
func (b *Bus) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.timing.publish)
	defer cancel()
	if srv := b.server.current(); srv == nil || !srv.JetStreamEnabled() {
		return errors.New("JetStream was turned off after an error of its store")
	}
	for pause := b.newBackoff(); !b.nc.IsConnected(); { // after a server was replaced it takes a moment
		if b.nc.IsClosed() {
			return nats.ErrConnectionClosed
		}
		if !b.wait(ctx, pause.pause()) {
			return errors.New("it takes no connection")
		}
	}
	mail, chunk := b.mailStream(b.opts.Shard), b.chunkSubject("check")
	ack, err := b.js.PublishMsg(ctx, &nats.Msg{Subject: b.mailSubject(b.opts.Shard, ""), Header: nats.Header{headerCheck: {"1"}}})
	if err == nil {
		var stream jetstream.Stream
		if stream, err = b.js.Stream(ctx, mail); err == nil {
			if err = stream.DeleteMsg(ctx, ack.Sequence); errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
				err = nil // the archive worker was faster
			}
		}
	}
	if err != nil && !isFull(err) {
		return fmt.Errorf("stream %s: %w", mail, unavailable(err))
	}
	if _, err = b.js.PublishMsg(ctx, &nats.Msg{Subject: chunk, Data: []byte("check")}); err == nil {
		err = b.chunks.Purge(ctx, jetstream.WithPurgeSubject(chunk))
	}
	if err != nil && !isFull(err) {
		return fmt.Errorf("stream %s: %w", b.bodyStream(), unavailable(err))
	}
	return nil
}

// replaceServer stops the embedded server and starts one with empty streams.
// The bus's connection finds it by itself when everything is declared.
func (b *Bus) replaceServer(ctx context.Context) error {
	b.server.use(nil)
	if err := b.clear(); err != nil {
		return err
	}
	srv, err := startServer(b.opts.Dir, &serverLog{log: b.log})
	if err != nil {
		return err
	}
	next := newBus(ctx, b.opts, b.timing)
	next.transient, next.server, next.keepStore = b.transient, &embeddedServer{srv: srv}, true
	err = next.open(ctx)
	if err != nil {
		return errors.Join(err, next.Close()) // with the server
	}
	next.server = nil
	if err := next.Close(); err != nil {
		b.log.Debug("connection for declarations not closed", "error", err)
	}
	b.server.use(srv)
	return nil
}
