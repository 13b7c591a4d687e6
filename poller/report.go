package poller

import (
	"context"
	"errors"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// state is whether the archive has a listed message.
type state int

const (
	left     state = iota // not archived
	archived              // archived by this session
	known                 // archived before
)

// outcome is what became of one listed message.
type outcome struct {
	state   state
	deleted bool
	// why a message was left, or was kept on the server
	why string
}

// count adds the outcomes up.
func count(r *pipeline.PollReport, outcomes []outcome) {
	r.Listed = len(outcomes)
	for _, o := range outcomes {
		switch o.state {
		case left:
			r.Left++
			add(&r.Reasons, o.why)
			continue
		case archived:
			r.Archived++
		case known:
			r.Known++
		}
		if o.deleted {
			r.Deleted++
		} else {
			r.Kept++
			add(&r.KeptWhy, o.why)
		}
	}
}

// maxReasons bounds the different reasons of a report: a hostile server can
// give another one for every message.
const maxReasons = 20

func add(reasons *map[string]int, why string) {
	if *reasons == nil {
		*reasons = map[string]int{}
	}
	if _, ok := (*reasons)[why]; !ok && len(*reasons) >= maxReasons {
		why = "other reasons"
	}
	(*reasons)[why]++
}

// recordWait bounds how long a report waits for the archive to take it.
const recordWait = 30 * time.Second

// poll runs one session and makes its report known, whatever happens.
func (p *Poller) poll(ctx context.Context, m Mailbox, req pipeline.PollRequest) error {
	s := &session{
		poller: p, mailbox: m, id: newID(),
		report: pipeline.PollReport{Mailbox: m.Name, Request: req.ID, Started: p.opts.Now().UTC(), Index: -1},
	}
	s.report.Session = s.id
	s.log = p.opts.Logger.With("mailbox", m.Name, "session", s.id)
	err := s.leased(ctx)
	r := &s.report
	count(r, s.outcomes)
	r.Seconds = p.opts.Now().Sub(r.Started).Seconds()
	if err != nil {
		r.Error = err.Error()
		var refusal *pop3.Error
		r.Temporary = !errors.As(err, &refusal) || refusal.Temporary()
	}
	s.log.Info("polled", "listed", r.Listed, "archived", r.Archived, "known", r.Known, "left", r.Left,
		"deleted", r.Deleted, "kept", r.Kept, "bytes", r.Bytes, "seconds", r.Seconds, "error", r.Error)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWait)
	defer cancel()
	return errors.Join(p.bus.RecordPoll(ctx, *r), p.bus.PublishReport(ctx, *r))
}
