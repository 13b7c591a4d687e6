// Package poller empties POP3 mailboxes into the archive.
//
// It keeps no state of its own: what is held it asks the archive, who is
// polling it asks the lease, and a message is deleted on the server only after
// the archive has receipted the very bytes that were read (see session.go).
package poller

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// A Mailbox is one POP3 maildrop to be emptied.
type Mailbox struct {
	Name     string // unique
	Schedule string // cron expression of five fields, or a descriptor such as "@every 5m"
	Server   pop3.Options
	Username string
	// Password is asked at every login, so that a changed secret needs no restart.
	Password func(ctx context.Context) (string, error)
	Delete   DeletePolicy
	// ReceiptWait is how long a session waits for receipts after the last one
	// came; 0 is DefaultReceiptWait.
	ReceiptWait time.Duration
	// Jitter delays each scheduled poll by a random time below it.
	Jitter time.Duration
}

// A DeletePolicy says when a message that the archive holds is deleted on the
// server. The zero value deletes it in the session that archived it.
type DeletePolicy struct {
	Never bool
	// After leaves a message on the server for this long after it was received.
	After time.Duration
}

// due reports whether a message received at that time may be deleted now.
func (d DeletePolicy) due(received, now time.Time) bool {
	return !d.Never && now.Sub(received) >= d.After
}

const (
	// DefaultSessions is the number of sessions at the same time: enough to
	// hide the network's delay, few enough for memory.
	DefaultSessions = 16
	// DefaultReceiptWait is how long a session waits for an archive that says
	// nothing. Servers drop idle sessions after ten minutes (RFC 1939 section 3).
	DefaultReceiptWait = 5 * time.Minute
	// DefaultGrace is how long sessions may take to end properly when the
	// program is told to stop: a QUIT commits what was receipted.
	DefaultGrace = 20 * time.Second
)

// Options are the settings of a poller.
type Options struct {
	Sessions int            // at the same time; 0 is DefaultSessions
	PerHost  int            // of these to one host; 0 is no limit of its own
	Grace    time.Duration  // 0 is DefaultGrace
	Location *time.Location // of the schedules; time.Local if nil
	Now      func() time.Time
	Logger   *slog.Logger
}

// Poller polls mailboxes. It is safe for concurrent use.
type Poller struct {
	bus       *pipeline.Bus
	mailboxes map[string]Mailbox
	names     []string                 // in the order of the configuration
	all       chan struct{}            // a place for every session
	hosts     map[string]chan struct{} // and for every session to a host
	opts      Options
}

// New makes a poller. It fails on a schedule that cannot be read and on two
// mailboxes of one name.
func New(bus *pipeline.Bus, mailboxes []Mailbox, opts Options) (*Poller, error) {
	if opts.Sessions <= 0 {
		opts.Sessions = DefaultSessions
	}
	if opts.Grace <= 0 {
		opts.Grace = DefaultGrace
	}
	if opts.Location == nil {
		opts.Location = time.Local
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Poller{
		bus: bus, mailboxes: map[string]Mailbox{}, opts: opts,
		all: make(chan struct{}, opts.Sessions), hosts: map[string]chan struct{}{},
	}
	for _, m := range mailboxes {
		if _, ok := p.mailboxes[m.Name]; ok {
			return nil, fmt.Errorf("mailbox %q is there twice", m.Name)
		}
		if m.ReceiptWait <= 0 {
			m.ReceiptWait = DefaultReceiptWait
		}
		if opts.PerHost > 0 && p.hosts[m.Server.Host] == nil {
			p.hosts[m.Server.Host] = make(chan struct{}, opts.PerHost)
		}
		p.mailboxes[m.Name] = m
		p.names = append(p.names, m.Name)
	}
	return p, nil
}

// Names lists the mailboxes in the order of the configuration.
func (p *Poller) Names() []string { return p.names }

// maxJobs bounds the jobs that wait here for a place, so that a slow host does
// not keep the other mailboxes waiting. A job costs a goroutine.
const maxJobs = 4096

// Work runs the sessions that are asked for until ctx ends. Sessions then
// stop fetching, delete what was receipted, and QUIT.
func (p *Poller) Work(ctx context.Context) error {
	jobs := min(max(len(p.names), p.opts.Sessions), maxJobs)
	return p.bus.ServePolls(ctx, jobs, func(ctx context.Context, req pipeline.PollRequest) error {
		m, ok := p.mailboxes[req.Mailbox]
		if !ok {
			return fmt.Errorf("mailbox %q is not in the configuration", req.Mailbox)
		}
		// The host's place first: who waits for it must not hold one of all.
		for _, places := range []chan struct{}{p.hosts[m.Server.Host], p.all} {
			if places == nil {
				continue
			}
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return p.poll(ctx, m, req)
	})
}

// Schedule asks for polls by the mailboxes' schedules until ctx ends. Those
// with an "@every" schedule are polled at the start too.
func (p *Poller) Schedule(ctx context.Context) error {
	c := cron.New(cron.WithLocation(p.opts.Location), cron.WithLogger(cronLogger{p.opts.Logger}),
		cron.WithChain(cron.Recover(cronLogger{p.opts.Logger})))
	var first []string
	for _, name := range p.names {
		schedule, err := cron.ParseStandard(p.mailboxes[name].Schedule)
		if err != nil {
			return fmt.Errorf("schedule of mailbox %q: %w", name, err)
		}
		if _, ok := schedule.(cron.ConstantDelaySchedule); ok {
			first = append(first, name)
		}
		c.Schedule(schedule, cron.FuncJob(func() { p.tick(ctx, name) }))
	}
	c.Start()
	var group errgroup.Group
	for _, name := range first {
		group.Go(func() error { p.tick(ctx, name); return nil })
	}
	<-ctx.Done()
	<-c.Stop().Done() // waits for running jobs
	return group.Wait()
}

// tick asks for one poll after a random delay. A poll that is still waiting or
// running makes the request superfluous: missed ticks coalesce.
func (p *Poller) tick(ctx context.Context, name string) {
	if jitter := p.mailboxes[name].Jitter; jitter > 0 {
		timer := time.NewTimer(rand.N(jitter))
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

// Next returns when the schedule of the mailbox is due after now, zero if it
// is not known.
func (p *Poller) Next(name string) time.Time {
	schedule, err := cron.ParseStandard(p.mailboxes[name].Schedule)
	if err != nil {
		return time.Time{}
	}
	return schedule.Next(p.opts.Now().In(p.opts.Location))
}

func newID() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// cronLogger hands what cron has to say to slog.
type cronLogger struct{ log *slog.Logger }

func (l cronLogger) Info(msg string, kv ...any) { l.log.Debug("cron: "+msg, kv...) }
func (l cronLogger) Error(err error, msg string, kv ...any) {
	l.log.Error("cron: "+msg, append(kv, "error", err)...)
}
