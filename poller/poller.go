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
	"sync"
	"time"

	"github.com/robfig/cron/v3"

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
	Policy
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
	bus  *pipeline.Bus
	opts Options
	all  chan struct{} // a place for every session

	mu        sync.Mutex
	mailboxes map[string]*scheduled
	names     []string                 // in the order of the configuration
	hosts     map[string]chan struct{} // a place for every session to a host
	cron      *cron.Cron               // nil unless Schedule runs
	tick      func(name string)        // what the cron calls
	asking    sync.WaitGroup           // requests, and crons that end; Schedule waits for them

	uptime func() time.Duration // goes on whatever is done to the clock
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
	begun := time.Now()
	p := &Poller{uptime: func() time.Duration { return time.Since(begun) }, bus: bus, opts: opts, all: make(chan struct{}, opts.Sessions), hosts: map[string]chan struct{}{}}
	return p, p.Update(mailboxes)
}

// mailbox returns the mailbox and the places that its host has, nil if they
// are not limited.
func (p *Poller) mailbox(name string) (m Mailbox, host chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.mailboxes[name]
	if s == nil {
		return Mailbox{}, nil, false
	}
	return s.Mailbox, p.hosts[s.Server.Host], true
}

// maxJobs bounds the jobs that wait here for a place, so that a slow host does
// not keep the other mailboxes waiting. A job costs a goroutine.
const maxJobs = 4096

// Work runs the sessions that are asked for until ctx ends. Sessions then
// stop fetching, delete what was receipted, and QUIT.
func (p *Poller) Work(ctx context.Context) error {
	return p.bus.ServePolls(ctx, maxJobs, func(ctx context.Context, req pipeline.PollRequest) error {
		m, host, ok := p.mailbox(req.Mailbox)
		if !ok {
			// Whoever waits for the report must not wait for ever.
			return p.bus.PublishReport(ctx, pipeline.PollReport{
				Mailbox: req.Mailbox, Request: req.ID, Started: p.opts.Now().UTC(), Index: -1,
				Error: ErrUnknownMailbox.Error(),
			})
		}
		// The host's place first: who waits for it must not hold one of all.
		for _, places := range []chan struct{}{host, p.all} {
			if places == nil {
				continue
			}
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
			case <-ctx.Done():
				return nil // the schedule asks again
			}
		}
		return p.poll(ctx, m, req)
	})
}

func newID() string { return fmt.Sprintf("%016x", rand.Uint64()) }
