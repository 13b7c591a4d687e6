package poller

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

const (
	// firstRetry is the pause after a first failure; each further one doubles
	// it up to lastRetry. Servers that are down are asked often enough to be
	// noticed when they are back, and not more.
	firstRetry = time.Minute
	lastRetry  = time.Hour
	// passwordRetry is the pause after a refused password: accounts get locked.
	passwordRetry = 6 * time.Hour
	// startSpread is added to the jitter of the first poll for every mailbox,
	// so that thousands do not begin in one second.
	startSpread = 5 * time.Millisecond
)

// scheduled is a mailbox with what the scheduler knows of it.
type scheduled struct {
	Mailbox
	schedule cron.Schedule
	entry    cron.EntryID // valid while Schedule runs

	failures int
	// notBefore is the uptime until which scheduled polls are left out. It is no
	// time of day, so that a clock that is set makes no pause longer.
	notBefore time.Duration
	attention string // what an operator has to mend
}

// Update replaces the mailboxes, whether Schedule and Work run or not. Sessions
// under way end as they began. What is not valid changes nothing. A mailbox of
// the same user on the same server keeps its pause after failures.
func (p *Poller) Update(mailboxes []Mailbox) error {
	next := make(map[string]*scheduled, len(mailboxes))
	var names []string
	for _, m := range mailboxes {
		schedule, err := parseSchedule(m.Name, m.Schedule)
		if err != nil {
			return fmt.Errorf("schedule of mailbox %q: %w", m.Name, err)
		}
		if next[m.Name] != nil {
			return fmt.Errorf("mailbox %q is there twice", m.Name)
		}
		if m.ReceiptWait <= 0 {
			m.ReceiptWait = DefaultReceiptWait
		}
		next[m.Name] = &scheduled{Mailbox: m, schedule: schedule}
		names = append(names, m.Name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range next {
		if p.opts.PerHost > 0 && p.hosts[s.Server.Host] == nil {
			p.hosts[s.Server.Host] = make(chan struct{}, p.opts.PerHost)
		}
	}
	for name, old := range p.mailboxes {
		s := next[name]
		if s != nil && s.Username == old.Username && s.Server.Host == old.Server.Host && s.Server.Port == old.Server.Port {
			s.failures, s.notBefore, s.attention = old.failures, old.notBefore, old.attention
		}
		switch {
		case p.cron == nil:
		case s != nil && s.Mailbox.Schedule == old.Mailbox.Schedule:
			s.entry = old.entry // the cron sorts at every change
		default:
			p.cron.Remove(old.entry)
		}
	}
	p.mailboxes, p.names = next, names
	p.enter()
	return nil
}

// enter puts mailboxes into the cron, if it runs, that are not in it. It is
// called with mu held.
func (p *Poller) enter() {
	if p.cron == nil {
		return
	}
	for _, name := range p.names {
		if s, tick := p.mailboxes[name], p.tick; s.entry == 0 {
			s.entry = p.cron.Schedule(&timed{Schedule: s.schedule, now: p.opts.Now, loc: p.opts.Location}, cron.FuncJob(func() { tick(name) }))
		}
	}
}

// Recall takes up the pauses after refused passwords from reports of an earlier
// process: a program that is started again and again must not lock an account. A
// report from the future, of a clock that was ahead, counts from now.
func (p *Poller) Recall(reports []pipeline.PollReport) {
	for _, r := range reports {
		if r.Kind == pop3.KindAuth.String() {
			p.learn(r, max(0, p.opts.Now().Sub(r.Started)))
		}
	}
}

// parseSchedule reads a schedule. The ticks of "@every" are spread over the
// interval by the mailbox's name, the same in every process.
func parseSchedule(name, schedule string) (cron.Schedule, error) {
	s, err := cron.ParseStandard(schedule)
	if err != nil {
		return nil, err
	}
	every, ok := s.(cron.ConstantDelaySchedule)
	if !ok {
		return s, nil
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	seconds := uint64(every.Delay / time.Second)
	return spread{every.Delay, time.Duration(h.Sum64()%seconds) * time.Second}, nil
}

// spread is due once in every interval, at a phase of its own. Phases are
// whole seconds: the cron wakes up, and sorts, once for all that share one.
type spread struct{ interval, phase time.Duration }

func (s spread) Next(t time.Time) time.Time {
	next := t.Truncate(s.interval).Add(s.phase)
	if !next.After(t) {
		next = next.Add(s.interval)
	}
	return next
}

// Schedule asks for polls by the mailboxes' schedules until ctx ends. Those
// with an "@every" schedule are polled at the start too. A poll that is still
// waiting or running makes a request superfluous: missed ticks coalesce.
func (p *Poller) Schedule(ctx context.Context) error {
	reports, err := p.bus.Reports(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.cron = p.newCron()
	p.tick = func(name string) { p.request(ctx, name, 0) }
	p.enter()
	start := time.Duration(len(p.names)) * startSpread
	for _, name := range p.names {
		if _, ok := p.mailboxes[name].schedule.(spread); ok {
			p.asking.Go(func() { p.request(ctx, name, start) })
		}
	}
	p.cron.Start()
	p.mu.Unlock()
	var watching sync.WaitGroup
	watching.Go(func() { p.watchClock(ctx) })
	for r := range reports { // closed when ctx ends
		p.observe(r)
	}
	watching.Wait()
	p.mu.Lock()
	c := p.cron
	p.cron = nil
	for _, s := range p.mailboxes {
		s.entry = 0
	}
	p.mu.Unlock()
	<-c.Stop().Done() // waits for running jobs
	p.asking.Wait()
	return nil
}

// request asks for one poll after a random delay, unless the mailbox has to
// wait after a failure.
func (p *Poller) request(ctx context.Context, name string, more time.Duration) {
	p.mu.Lock()
	s := p.mailboxes[name]
	if s == nil || p.uptime() < s.notBefore {
		p.mu.Unlock()
		return
	}
	delay := s.Jitter + more
	p.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(rand.N(delay))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
	_, err := p.bus.RequestPoll(ctx, pipeline.PollRequest{Mailbox: name, ID: newID(), Requested: p.opts.Now()})
	if err != nil && ctx.Err() == nil {
		p.opts.Logger.Error("cannot ask for a poll", "mailbox", name, "error", err)
	}
}

// observe learns from a report, wherever the session was, when the next
// scheduled poll makes sense.
func (p *Poller) observe(r pipeline.PollReport) { p.learn(r, 0) }

// learn is observe for a report of that age.
func (p *Poller) learn(r pipeline.PollReport, age time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.mailboxes[r.Mailbox]
	if s == nil {
		return
	}
	if r.Kind == kindLeased {
		return // the other session has its own report
	}
	wait := time.Duration(r.RetryAfter * float64(time.Second))
	s.attention = ""
	switch {
	case r.Error == "", r.Archived+r.Deleted > 0: // one bad message must not slow down the others
		s.failures = 0
	case r.Kind == pop3.KindAuth.String():
		s.failures++
		wait = max(wait, passwordRetry)
		s.attention = r.Error
	default:
		s.failures++
		wait = max(wait, backoff(s.failures))
	}
	s.notBefore = p.uptime() + wait - age
	if s.failures > 0 {
		p.opts.Logger.Warn("scheduled polls pause", "mailbox", r.Mailbox, "failures", s.failures, "until", p.opts.Now().Add(wait-age), "error", r.Error)
	}
}

// backoff is the pause after so many failures in a row.
func backoff(failures int) time.Duration {
	wait := firstRetry
	for i := 1; i < failures && wait < lastRetry; i++ {
		wait *= 2
	}
	return min(wait, lastRetry)
}

// Outlook is what the scheduler expects of a mailbox.
type Outlook struct {
	Next time.Time // of the next scheduled poll, zero if there is none
	// Failures is the number of sessions in a row that failed.
	Failures int
	// Attention is what an operator has to mend, "" if nothing: a refused
	// password is tried again only every few hours.
	Attention string
}

// Outlook returns what is expected of the mailbox.
func (p *Poller) Outlook(name string) Outlook {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.mailboxes[name]
	if s == nil {
		return Outlook{}
	}
	from := p.opts.Now()
	if pause := s.notBefore - p.uptime(); pause > 0 {
		// Due at that very second counts; what has passed of it since does not.
		from = from.Add(pause.Round(time.Second) - time.Second)
	}
	return Outlook{Next: s.schedule.Next(from.In(p.opts.Location)), Failures: s.failures, Attention: s.attention}
}

// Names lists the mailboxes in the order of the configuration.
func (p *Poller) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.names)
}

// cronLogger hands what cron has to say to slog.
type cronLogger struct{ log *slog.Logger }

func (l cronLogger) Info(msg string, kv ...any) { l.log.Debug("cron: "+msg, kv...) }
func (l cronLogger) Error(err error, msg string, kv ...any) {
	l.log.Error("cron: "+msg, append(kv, "error", err)...)
}
