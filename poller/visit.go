package poller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// visit is one poll of a mailbox: under one lease one POP3 session, or several
// when the policy commits every few messages. Its report counts each message
// once, however many of the sessions listed it.
type visit struct {
	poller  *Poller
	mailbox Mailbox
	id      string
	log     *slog.Logger
	report  pipeline.PollReport

	downloads  int           // of Policy.MaxMessages
	loggedIn   time.Time     // last login
	loginDelay time.Duration // that the server wants between logins (RFC 2449, section 6.5)

	replyRoom int // bytes left for the server's answers in the report

	memory     memory  // of the server, from earlier polls and this one
	recalled   []byte  // what it was at the start
	everListed bool    // a session got a listing
	forgetful  bool    // it could not be read, and must not be replaced
	returns    int     // sessions that followed lost ones
	vouched    []int64 // ledger indexes of deposits that are known to be whole

	gone    []result // deleted, by all sessions
	rest    []result // what else the last session listed
	settled map[pipeline.Listing]outcome
}

// result is the outcome of a message, which the next session of the visit
// recognises by its listing.
type result struct {
	pipeline.Listing
	outcome
}

// maxVisit ends a poll that would keep the mailbox's lease, and a place that
// others wait for, for days: a server may send a few hundred bytes a second for ever.
// What was archived until then is known to the next poll.
const maxVisit = 12 * time.Hour

var (
	errTooLong = errors.New("poll took too long")
	errStopped = errors.New(whyStopped)
	errLease   = errors.New("the lease on the mailbox was lost, nothing more was deleted")
	errRefused = errors.New("archive takes nothing at the moment")
)

// recordWait bounds how long a report waits for the archive to take it.
const recordWait = 30 * time.Second

// poll runs one visit and makes its report known, whatever happens.
func (p *Poller) poll(ctx context.Context, m Mailbox, req pipeline.PollRequest) error {
	v := &visit{
		poller: p, mailbox: m, id: newID(), replyRoom: maxReplyBytes,
		report: pipeline.PollReport{Mailbox: m.Name, Request: req.ID, Started: p.opts.Now().UTC(), Index: -1},
	}
	v.report.Session = v.id
	v.log = p.opts.Logger.With("mailbox", m.Name, "session", v.id)
	err := v.leased(ctx)
	r := &v.report
	count(r, append(v.gone, v.rest...))
	r.Confirmed = v.statement()
	if v.everListed {
		v.memory.Unconfirmed = r.Unconfirmed
	}
	r.Unconfirmed = v.memory.Unconfirmed
	v.remember()
	r.Seconds = p.opts.Now().Sub(r.Started).Seconds()
	if err != nil {
		r.Error, r.Temporary = oneLine(err.Error(), maxErrorBytes), temporary(err)
		r.Kind = kind(err)
	}
	r.RetryAfter = v.loginDelay.Seconds()
	r.Inconsistent = !r.Consistent()
	v.log.Info("polled", "listed", r.Listed, "archived", r.Archived, "known", r.Known, "left", r.Left,
		"deleted", r.Deleted, "kept", r.Kept, "bytes", r.Bytes, "seconds", r.Seconds, "error", r.Error)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWait)
	defer cancel()
	err = p.bus.RecordPoll(ctx, *r)
	return errors.Join(err, p.bus.PublishReport(ctx, r.ForWatchers()))
}

// leased runs the sessions under the mailbox's lease. When ctx ends they have
// Options.Grace to end properly. When the lease is lost everything stops where it
// is: a connection that drops deletes nothing, and another poller may begin.
func (v *visit) leased(ctx context.Context) (err error) {
	hard, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	limit := time.AfterFunc(maxVisit+v.mailbox.MaxDuration, func() { cancel(errTooLong) })
	defer limit.Stop()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(v.poller.opts.Grace, func() { cancel(errStopped) })
		context.AfterFunc(hard, func() { timer.Stop() })
	})
	defer stop()
	lease, err := v.poller.bus.Lease(hard, v.mailbox.Name, v.id)
	v.recall(hard)
	if err != nil {
		v.forgetful = true // somebody else has the mailbox
		return err
	}
	fenced := make(chan struct{})
	go func() {
		defer close(fenced)
		select {
		case <-lease.Lost():
			cancel(errLease)
		case <-hard.Done():
		}
	}()
	defer func() {
		cancel(nil)
		<-fenced
		err = errors.Join(err, lease.Release())
	}()
	return v.sessions(ctx, hard)
}

// sessions runs one session, and while that left something undone and got
// somewhere, another. ctx is the wish to stop, hard the end of all patience.
func (v *visit) sessions(ctx, hard context.Context) error {
	var failed error
	most := 1
	for n := 1; ; n++ {
		s := newSession(v, n)
		err := s.run(ctx, hard)
		v.learn(hard, s, err)
		if brokenBy(err) && s.listed {
			s.retry()
		}
		v.absorb(s)
		failed = errors.Join(failed, err)
		if err != nil && (!s.later || !brokenBy(err) || hard.Err() != nil || !v.comesBack(err)) {
			return failed
		}
		if n == 1 && s.cut { // what arrives meanwhile can wait for the next poll
			most += 1 + maxReturns
			if every := s.every(); every > 0 {
				most += 2 * len(s.items) / every
			}
		}
		if !s.cut || err == nil && !s.advanced || n >= most || ctx.Err() != nil || v.tooLateToReturn() {
			return failed
		}
	}
}

// maxReturns is how many lost sessions a visit goes on after, for the sake of what was archived by earlier
// polls: each loss shows which message it was. One by a timeout counts as timeoutReturns.
const (
	maxReturns     = 16
	timeoutReturns = 8
)

func (v *visit) comesBack(err error) bool {
	v.returns++
	if pop3.KindOf(err) == pop3.KindTimeout {
		v.returns += timeoutReturns - 1
	}
	return v.returns <= maxReturns
}

// absorb takes the outcomes of a session. One that did not get to list leaves
// the earlier ones as they are.
func (v *visit) absorb(s *session) {
	if !s.listed {
		return
	}
	v.everListed = true
	if v.settled == nil {
		v.settled = map[pipeline.Listing]outcome{}
	}
	for _, r := range v.rest {
		if r.postponed && r.why == whyQuit && s.times[r.Listing] == 0 { // the answer was lost, not QUIT
			r.deleted = true
			v.gone = append(v.gone, r)
		}
	}
	v.rest = v.rest[:0]
	for i, o := range s.outcomes {
		l := s.items[i].listing
		if o.deleted {
			v.gone = append(v.gone, result{l, o})
		} else {
			v.rest = append(v.rest, result{l, o})
		}
		if o.why != whyCommit && o.why != whyShort && !o.postponed && s.times[l] == 1 {
			v.settled[l] = o
			s.advanced = s.advanced || !s.items[i].settled
		}
		s.advanced = s.advanced || o.deleted
	}
}

// resume applies to a fresh listing what earlier sessions of the visit did:
// nothing is tried twice, and a message that was deleted and is listed again is
// counted here and not there.
func (v *visit) resume(s *session) {
	again := map[pipeline.Listing]bool{}
	for i := range s.items {
		l := s.items[i].listing
		if o, ok := v.settled[l]; ok && !again[l] && s.named(l) {
			if o.deleted {
				o.deleted, o.why = false, whyRestored
				again[l] = true
			}
			s.outcomes[i], s.items[i].settled = o, true
		}
	}
	if len(again) == 0 {
		return
	}
	var gone []result
	for _, r := range v.gone {
		if !again[r.Listing] {
			gone = append(gone, r)
		}
	}
	v.gone = gone
}

const (
	// loginPatience is how long a visit tries to come back after QUIT. Servers
	// release the lock some seconds after the answer; a longer LOGIN-DELAY leaves
	// the rest to the next poll.
	loginPatience = 30 * time.Second
	// loginPause is the first pause after a refusal; it doubles.
	loginPause = 500 * time.Millisecond
)

// tooLateToReturn reports whether the server wants a longer pause than a visit
// waits.
func (v *visit) tooLateToReturn() bool {
	return time.Until(v.loggedIn.Add(v.loginDelay)) > loginPatience
}

// connect logs in. A session that comes back waits as long as the server
// asked for, and again when the maildrop is still locked.
func (v *visit) connect(ctx context.Context, again bool) (*pop3.Conn, error) {
	if !again {
		return v.dial(ctx)
	}
	until := time.Now().Add(loginPatience)
	if err := sleep(ctx, time.Until(v.loggedIn.Add(v.loginDelay))); err != nil {
		return nil, err
	}
	for pause := loginPause; ; pause *= 2 {
		conn, err := v.dial(ctx)
		if pop3.KindOf(err) != pop3.KindBusy || time.Now().Add(pause).After(until) {
			return conn, err
		}
		v.log.Debug("the server does not let the poller come back yet", "error", err)
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (v *visit) dial(ctx context.Context) (*pop3.Conn, error) {
	credentials := pop3.Credentials{Username: v.mailbox.Username}
	if v.mailbox.Password != nil { // not with a token
		var err error
		if credentials.Password, err = v.mailbox.Password(ctx); err != nil {
			return nil, err
		}
	}
	options := v.mailbox.Server
	options.NoAPOP = options.NoAPOP || v.poller.opts.Now().Before(v.memory.NoAPOPUntil)
	if v.unpipelined() {
		options.PipelineWindow = 1
	}
	if limit := v.mailbox.MaxMessageBytes; limit > 0 {
		// A message that is a little larger than LIST said is read to its end, so
		// that the session can go on; see take.
		options.MaxMessageBytes = limit + min(limit, maxDrained)
	}
	conn, err := pop3.Dial(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := conn.Login(ctx, credentials); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if conn.RefusedAPOP() {
		// Failed logins add up: some servers lock accounts, or addresses, for them.
		v.memory.NoAPOPUntil = v.poller.opts.Now().Add(spareAPOP)
	}
	v.loggedIn = time.Now()
	v.loginDelay = conn.Capabilities().LoginDelay()
	return conn, nil
}

// unpipelined reports whether the server is spared pipelining.
func (v *visit) unpipelined() bool {
	return v.mailbox.Server.PipelineWindow == 1 || v.poller.opts.Now().Before(v.memory.SingleUntil)
}

// maxDrained is how much of a message over the limit is read and thrown away
// for the sake of the session.
const maxDrained = 16 << 20

// sessionID names the n-th session of the visit.
func (v *visit) sessionID(n int) string {
	if n == 1 {
		return v.id
	}
	return fmt.Sprintf("%s-%d", v.id, n)
}
