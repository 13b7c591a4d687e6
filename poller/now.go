package poller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/pipeline"
)

// ErrUnknownMailbox means that the configuration has no such mailbox.
var ErrUnknownMailbox = errors.New("no such mailbox in the configuration")

// askAgain is how often a request is repeated while an older job of the
// mailbox keeps it out of the queue. Such a job ends with its session.
const askAgain = 250 * time.Millisecond

// askLost is how long a queued request is believed to be in the queue while
// nothing is heard of it: a NATS server that lost its streams has lost it, or the report.
const askLost = 30 * time.Second

// Events are what PollNow tells while it waits. Both may be nil; they are
// called from one goroutine.
type Events struct {
	Progress func(pipeline.Progress)
	Report   func(pipeline.PollReport)
}

// request is a poll that PollNow waits for.
type request struct {
	pipeline.PollRequest
	queued bool
	heard  time.Time // when it was queued, or progress was last made
}

// PollNow polls the mailboxes (all if none is named) with sessions that start
// after the call, and returns when every one has reported. It does the work
// wherever a poller works; if none does, it waits until ctx ends.
func (p *Poller) PollNow(ctx context.Context, names []string, on Events) ([]pipeline.PollReport, error) {
	if len(names) == 0 {
		names = p.Names()
	}
	waiting := map[string]*request{}
	for _, name := range names {
		if _, _, ok := p.mailbox(name); !ok {
			return nil, fmt.Errorf("%w: %q", ErrUnknownMailbox, name)
		}
		waiting[name] = &request{PollRequest: pipeline.PollRequest{Mailbox: name, ID: newID(), Requested: p.opts.Now()}}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reports, err := p.bus.Reports(ctx)
	if err != nil {
		return nil, err
	}
	progress, err := p.bus.Progress(ctx)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	var out []pipeline.PollReport
	if err := p.ask(ctx, waiting); err != nil {
		return nil, err
	}
	for len(waiting) > 0 {
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-ticker.C:
			if err := p.ask(ctx, waiting); err != nil {
				return out, err
			}
		case g := <-progress:
			w := waiting[g.Mailbox]
			if w == nil {
				continue
			}
			w.heard = time.Now()
			if on.Progress != nil {
				on.Progress(g)
			}
		case r := <-reports:
			w := waiting[r.Mailbox]
			if w == nil {
				continue
			}
			// The request that caused it is certain; the clocks of two machines are not.
			if r.Request != w.ID && r.Started.Before(w.Requested) {
				w.queued = false // that session had begun before: its server may have listed less
				continue
			}
			delete(waiting, r.Mailbox)
			out = append(out, r)
			if on.Report != nil {
				on.Report(r)
			}
		}
	}
	return out, nil
}

// ask puts into the queue what is not in it yet.
func (p *Poller) ask(ctx context.Context, waiting map[string]*request) error {
	for _, w := range waiting {
		lost := w.queued && time.Since(w.heard) > askLost
		if w.queued && !lost {
			continue
		}
		queued, err := p.bus.RequestPoll(ctx, w.PollRequest)
		if err != nil && !lost {
			return err
		}
		w.queued, w.heard = queued || lost, time.Now()
	}
	return nil
}
