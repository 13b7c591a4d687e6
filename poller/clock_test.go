package poller

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// secondsBeforeNewYear is how far the clock must be set for the start of the
// next year to be so near.
func secondsBeforeNewYear(now time.Time, seconds time.Duration) time.Duration {
	return time.Date(now.Year()+1, 1, 1, 0, 0, 0, 0, time.Local).Add(-seconds * time.Second).Sub(now)
}

func TestScheduleGoesByAClockThatIsSet(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, tc := range map[string]struct {
		schedule string
		set      func(now time.Time) []time.Duration // one after the other, each followed by a poll
	}{
		"forward to before the tick": {"@yearly", func(now time.Time) []time.Duration {
			return []time.Duration{secondsBeforeNewYear(now, 4)}
		}},
		"forward over many ticks": {"@yearly", func(time.Time) []time.Duration { return []time.Duration{3 * year} }},
		"back to before a tick that was": {"@yearly", func(now time.Time) []time.Duration {
			return []time.Duration{2 * year, secondsBeforeNewYear(now, 4) - 2*year}
		}},
		"intervals, back": {"@every 1s", func(time.Time) []time.Duration { return []time.Duration{0, -time.Hour, -year} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{mailbox: func(m *Mailbox) { m.Schedule = tc.schedule }})
			reports, err := r.bus.Reports(t.Context())
			r.must(err)
			r.background(context.Background(), r.poller.Schedule)
			for deadline := time.After(30 * time.Second); r.poller.scheduling() == 0; {
				select {
				case <-deadline:
					t.Fatal("the schedule does not run")
				case <-time.After(10 * time.Millisecond):
				}
			}
			for _, d := range tc.set(r.clock.now()) {
				r.clock.advance(d)
				set := r.clock.now()
				for { // the report of a poll that began after that
					select {
					case got := <-reports:
						if got.Started.Before(set.UTC()) || got.Started.Sub(set) > time.Hour {
							continue
						}
					case <-time.After(30 * time.Second):
						t.Fatalf("no poll after the clock was set by %v, to %v", d, set)
					}
					break
				}
			}
		})
	}
}

// scheduling is the number of entries of the cron.
func (p *Poller) scheduling() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cron == nil {
		return 0
	}
	return len(p.cron.Entries())
}

func TestSetClockMakesNoPauseLonger(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	for name, tc := range map[string]struct {
		report pipeline.PollReport
		recall bool
		set    time.Duration // after the report
		most   time.Duration
	}{
		"set back after a failure":          {pipeline.PollReport{Error: "refused", Kind: "busy"}, false, -year, 2 * time.Minute},
		"set back after a wrong password":   {pipeline.PollReport{Error: "refused", Kind: "auth"}, false, -year, passwordRetry + time.Minute},
		"set back, the server wants a rest": {pipeline.PollReport{RetryAfter: 1800}, false, -year, 31 * time.Minute},
		"report of a clock that was ahead":  {pipeline.PollReport{Error: "refused", Kind: "auth", Started: start.Add(year)}, true, 0, passwordRetry + time.Minute},
		"report of years ago":               {pipeline.PollReport{Error: "refused", Kind: "auth", Started: start.Add(-year)}, true, 0, time.Minute},
	} {
		now := start
		p := unscheduled(t, &now, Mailbox{Name: "a", Schedule: "* * * * *"})
		tc.report.Mailbox = "a"
		if tc.recall {
			p.Recall([]pipeline.PollReport{tc.report})
		} else {
			p.observe(tc.report)
		}
		now = now.Add(tc.set)
		if wait := p.Outlook("a").Next.Sub(now); wait > tc.most || wait <= 0 {
			t.Errorf("%s: the next poll is in %v, want at most %v", name, wait, tc.most)
		}
	}
}

func TestTickIsNotRepeatedWhenTheClockIsSlewed(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	schedule, err := parseSchedule("a", "*/5 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	s := &timed{Schedule: schedule, now: func() time.Time { return now }, loc: time.UTC}
	at := time.Now()
	if got := s.Next(at).Sub(at); got != 5*time.Minute {
		t.Fatalf("first tick in %v", got)
	}
	now = now.Add(5*time.Minute - 100*time.Millisecond) // what the wall clock shows after five minutes
	if got := s.Next(at).Sub(at); got != 5*time.Minute+100*time.Millisecond {
		t.Errorf("second tick in %v", got)
	}
}

func TestServerThatRefusedAPOPIsNotAskedForItAgain(t *testing.T) {
	var rec pop3test.Recorder
	r := newRig(t, rigOptions{messages: mails(1), server: pop3test.Config{
		APOP: true, OnCommand: rec.OnCommand, Hook: pop3test.Reply("APOP", "", "-ERR [AUTH] Bad login"),
	}})
	r.want(r.poll(), allOf("archived", 1))
	r.want(r.poll(), allOf("archived", 0))
	asked := 0
	for _, c := range rec.Commands() {
		if c == ": APOP "+user {
			asked++
		}
	}
	if asked != 1 || !slices.Contains(rec.Commands(), ": AUTH PLAIN") {
		t.Errorf("APOP was tried %d times: %q", asked, rec.Commands())
	}
}
