package pipeline

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// subscriptionBuffer is the number of reports or progress events that wait for
// a slow reader; further ones are dropped. A burst is one per mailbox.
const subscriptionBuffer = 4096

// Progress says how far a session is. Events are for people who watch; any may
// be lost.
type Progress struct {
	Mailbox string `json:"mailbox"`
	Session string `json:"session"`
	// Phase is what the poller does, such as "listing" or "fetching".
	Phase string `json:"phase"`
	Done  int    `json:"done"`  // messages
	Total int    `json:"total"` // messages
	Bytes int64  `json:"bytes"` // octets received in messages
}

// PublishReport tells whoever listens how a poll ended. Reports are not kept;
// RecordPoll writes them to the archive.
func (b *Bus) PublishReport(ctx context.Context, r PollReport) error {
	if err := b.publishJSON(b.reportSubject(r.Mailbox), r); err != nil {
		return fmt.Errorf("publish report of mailbox %q: %w", r.Mailbox, err)
	}
	return b.flush(ctx)
}

// Reports subscribes to the reports of some mailboxes, or of all when none is
// named. It is subscribed when it returns; the channel is closed when ctx or
// the bus ends.
func (b *Bus) Reports(ctx context.Context, mailboxes ...string) (<-chan PollReport, error) {
	return subscribe[PollReport](ctx, b, subjects(b.reportSubject, b.subject("report", "*"), mailboxes))
}

// PublishProgress is best effort, and never waits.
func (b *Bus) PublishProgress(p Progress) {
	if err := b.publishJSON(b.progressSubject(p.Mailbox), p); err != nil {
		b.log.Debug("progress not published", "mailbox", p.Mailbox, "error", err)
	}
}

// Progress subscribes to the progress of some mailboxes, or of all when none
// is named, as Reports does.
func (b *Bus) Progress(ctx context.Context, mailboxes ...string) (<-chan Progress, error) {
	return subscribe[Progress](ctx, b, subjects(b.progressSubject, b.subject("progress", "*"), mailboxes))
}

func subjects(of func(string) string, all string, mailboxes []string) []string {
	if len(mailboxes) == 0 {
		return []string{all}
	}
	var list []string
	for _, m := range mailboxes {
		list = append(list, of(m))
	}
	return list
}

func (b *Bus) publishJSON(subject string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.nc.Publish(subject, data)
}

// flush waits until the server has what was published and subscribed so far.
func (b *Bus) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.timing.publish)
	defer cancel()
	return b.nc.FlushWithContext(ctx)
}

// subscribe yields the JSON values published on core NATS subjects until ctx
// or the bus ends.
func subscribe[T any](ctx context.Context, b *Bus, subjects []string) (<-chan T, error) {
	ctx, cancel := b.join(ctx)
	in, out := make(chan *nats.Msg, subscriptionBuffer), make(chan T)
	var subs []*nats.Subscription
	unsubscribe := func() {
		cancel()
		for _, s := range subs {
			if err := s.Unsubscribe(); err != nil {
				b.log.Debug("unsubscribe failed", "subject", s.Subject, "error", err)
			}
		}
	}
	for _, subject := range subjects {
		s, err := b.nc.ChanSubscribe(subject, in)
		if err != nil {
			unsubscribe()
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		subs = append(subs, s)
	}
	if err := b.flush(ctx); err != nil {
		unsubscribe()
		return nil, fmt.Errorf("subscribe to %v: %w", subjects, err)
	}
	b.wg.Go(func() {
		defer close(out)
		defer unsubscribe()
		for {
			select {
			case <-ctx.Done():
				return
			case msg := <-in:
				var v T
				if err := json.Unmarshal(msg.Data, &v); err != nil {
					b.log.Warn("message is not readable", "subject", msg.Subject, "error", err)
					continue
				}
				select {
				case out <- v:
				case <-ctx.Done():
					return
				}
			}
		}
	})
	return out, nil
}
