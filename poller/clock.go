package poller

import (
	"context"
	"time"

	"github.com/robfig/cron/v3"
)

// A schedule speaks of the clock on the wall, which somebody may set; waiting is
// measured by a clock that only goes on. robfig/cron compares what the wall clock
// shows: when that is set back, nothing is due until it has caught up, be it a
// year. So its entries are made of times that Go compares by the other clock
// (timed), and made anew when the wall clock jumps (watchClock).

const (
	// clockCheck is how often the two clocks are compared: how long a schedule
	// goes by the old time after the clock was set.
	clockCheck = time.Second
	// clockTolerance is the difference between them that is no jump. Time servers
	// slew half a millisecond a second; what adds up to more than this changes a
	// schedule of whole seconds.
	clockTolerance = 2 * time.Second
)

// timed is a schedule by the wall clock now, for a cron that goes by the
// monotonic one. It belongs to the goroutine of the cron.
type timed struct {
	cron.Schedule
	now  func() time.Time
	loc  *time.Location
	last time.Time // what Next found
}

// Next returns the time of the next tick after at, which the cron took from
// time.Now: the monotonic reading of it is kept, and with it compared. The wall
// clock is asked anew.
func (s *timed) Next(at time.Time) time.Time {
	now := s.now().In(s.loc).Round(0)
	after := now
	if early := s.last.Sub(now); early > 0 && early <= clockTolerance {
		after = s.last // a wall clock that is slewed reaches the tick a little later
	}
	s.last = s.Schedule.Next(after)
	if s.last.IsZero() { // never
		return s.last
	}
	return at.Add(s.last.Sub(now))
}

// newCron returns a cron without entries that is not started. It is called with
// mu held.
func (p *Poller) newCron() *cron.Cron {
	log := cronLogger{p.opts.Logger}
	c := cron.New(cron.WithLocation(p.opts.Location), cron.WithLogger(log), cron.WithChain(cron.Recover(log)))
	for _, s := range p.mailboxes {
		s.entry = 0
	}
	return c
}

// watchClock looks for jumps of the wall clock until ctx ends, and makes the
// schedule anew after each. A machine that slept looks the same: its monotonic
// clock stood still.
func (p *Poller) watchClock(ctx context.Context) {
	ticker := time.NewTicker(clockCheck)
	defer ticker.Stop()
	before := p.opts.Now().Round(0)
	start := p.uptime()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, passed := p.opts.Now().Round(0), p.uptime()-start
		expected := before.Add(passed)
		if jump := now.Sub(expected); jump.Abs() > clockTolerance {
			p.opts.Logger.Warn("the clock was set or the machine slept, the schedule is made anew", "from", expected, "to", now)
			p.rescheduled(ctx, expected, now)
			before, start = now, start+passed
		}
	}
}

// rescheduled replaces the cron after the clock jumped from one time to another.
// Ticks that were jumped over are made up for by one.
func (p *Poller) rescheduled(ctx context.Context, from, to time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cron == nil {
		return
	}
	old := p.cron
	p.asking.Go(func() { <-old.Stop().Done() }) // its jobs end with ctx
	p.cron = p.newCron()
	p.enter()
	p.cron.Start()
	for _, name := range p.names {
		s := p.mailboxes[name]
		if next := s.schedule.Next(from.In(p.opts.Location)); !next.IsZero() && !next.After(to) {
			p.asking.Go(func() { p.request(ctx, name, time.Duration(len(p.names))*startSpread) })
		}
	}
}
