package poller

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// unscheduled is a poller without a bus: enough for what it plans.
func unscheduled(t *testing.T, now *time.Time, mailboxes ...Mailbox) *Poller {
	t.Helper()
	p, err := New(nil, mailboxes, Options{Now: func() time.Time { return *now }, Location: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestIntervalsAreSpreadByNameAndTheSameEverywhere(t *testing.T) {
	const interval = 5 * time.Minute
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	perMinute := map[int]int{}
	for i := range 1000 {
		name := fmt.Sprint("mailbox-", i)
		a, err := parseSchedule(name, "@every 5m")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := parseSchedule(name, "@every 5m")
		first := a.Next(now)
		if !first.Equal(b.Next(now)) || !first.After(now) || first.Sub(now) > interval {
			t.Fatalf("%s: next is %v and %v after %v", name, first, b.Next(now), now)
		}
		if second := a.Next(first); second.Sub(first) != interval {
			t.Fatalf("%s: %v after %v", name, second, first)
		}
		perMinute[int(first.Sub(now)/time.Minute)]++
	}
	for minute := range 5 {
		if n := perMinute[minute]; n < 150 || n > 250 {
			t.Errorf("%d of 1000 mailboxes are polled in minute %d", n, minute)
		}
	}
}

func TestCronSchedulesAreKeptAsWritten(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 3, 0, 0, time.UTC)
	p := unscheduled(t, &now, Mailbox{Name: "a", Schedule: "*/10 * * * *"})
	if got, want := p.Outlook("a").Next, time.Date(2026, 5, 1, 12, 10, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("next is %v, want %v", got, want)
	}
}

func TestFailuresBackOffAndSuccessResets(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := unscheduled(t, &now, Mailbox{Name: "a", Schedule: "* * * * *"})
	wait := func() time.Duration { return p.Outlook("a").Next.Sub(now) }
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		p.observe(pipeline.PollReport{Mailbox: "a", Error: "connection refused", Kind: "connect", Temporary: true})
		if got := wait(); got != want*time.Minute {
			t.Errorf("next poll in %v, want %v", got, want*time.Minute)
		}
	}
	p.observe(pipeline.PollReport{Mailbox: "a"})
	if got := wait(); got != time.Minute || p.Outlook("a").Failures != 0 {
		t.Errorf("after a success: next poll in %v, %d failures", got, p.Outlook("a").Failures)
	}
}

func TestWrongPasswordIsTriedRarelyAndNeedsAttention(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := unscheduled(t, &now, Mailbox{Name: "a", Schedule: "* * * * *"})
	p.observe(pipeline.PollReport{Mailbox: "a", Error: "login refused", Kind: "auth"})
	if o := p.Outlook("a"); o.Next.Sub(now) < passwordRetry || o.Attention != "login refused" {
		t.Errorf("outlook %+v", o)
	}
	update := func(m Mailbox) Outlook {
		if err := p.Update([]Mailbox{m}); err != nil {
			t.Fatal(err)
		}
		return p.Outlook("a")
	}
	if o := update(Mailbox{Name: "a", Schedule: "* * * * *"}); o.Next.Sub(now) < passwordRetry || o.Attention == "" {
		t.Errorf("after the configuration was read again: %+v", o)
	}
	if o := update(Mailbox{Name: "a", Schedule: "* * * * *", Username: "another"}); o.Next.Sub(now) > time.Minute || o.Attention != "" {
		t.Errorf("with another user: %+v", o)
	}
	p.Recall([]pipeline.PollReport{{Mailbox: "a", Error: "login refused", Kind: "auth", Started: now.Add(-time.Hour)}})
	if o := p.Outlook("a"); o.Next.Sub(now) < passwordRetry-time.Hour || o.Attention == "" {
		t.Errorf("after a restart: %+v", o)
	}
}

func TestOneBadMessageDoesNotSlowDownTheOthers(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := unscheduled(t, &now, Mailbox{Name: "a", Schedule: "* * * * *"})
	for range 5 {
		p.observe(pipeline.PollReport{Mailbox: "a", Error: "connection lost in RETR 7", Kind: "closed", Archived: 6, Left: 1})
	}
	if o := p.Outlook("a"); o.Next.Sub(now) != time.Minute {
		t.Errorf("next poll in %v", o.Next.Sub(now))
	}
}

func TestServersWishToBeLeftAloneIsHonoured(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	p := unscheduled(t, &now, Mailbox{Name: "a", Schedule: "* * * * *"})
	p.observe(pipeline.PollReport{Mailbox: "a", RetryAfter: 1800})
	if o := p.Outlook("a"); o.Next.Sub(now) != 30*time.Minute || o.Failures != 0 {
		t.Errorf("next poll in %v", o.Next.Sub(now))
	}
}

func TestBadMailboxesChangeNothing(t *testing.T) {
	now := time.Now()
	p := unscheduled(t, &now, Mailbox{Name: "a", Schedule: "@every 1m"})
	for _, bad := range [][]Mailbox{
		{{Name: "b", Schedule: "@every 1m"}, {Name: "b", Schedule: "@every 1m"}},
		{{Name: "b", Schedule: "sometimes"}},
	} {
		if err := p.Update(bad); err == nil || strings.Join(p.Names(), " ") != "a" {
			t.Errorf("error %v, mailboxes %v", err, p.Names())
		}
	}
}

func TestUpdateAddsAndRemovesMailboxesWhileRunning(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(1)})
	const added = "added"
	r.server.AddMailbox(pop3test.Mailbox{User: added, Password: secret, Messages: []pop3test.Message{pop3test.Bytes([]byte(mail(7)))}})
	reports, err := r.bus.Reports(t.Context())
	r.must(err)
	r.background(context.Background(), r.poller.Schedule)
	next := func() pipeline.PollReport {
		select {
		case report := <-reports:
			return report
		case <-time.After(time.Minute):
			t.Fatal("no poll")
			return pipeline.PollReport{}
		}
	}
	if got := next(); got.Mailbox != user {
		t.Fatalf("first poll is of %s", got.Mailbox)
	}
	m, _, _ := r.poller.mailbox(user)
	m.Name, m.Username, m.Schedule = added, added, "@every 1s"
	r.must(r.poller.Update([]Mailbox{m}))
	if got := next(); got.Mailbox != added || got.Archived != 1 {
		t.Errorf("after the update: %+v", got)
	}
	if _, err := r.poller.PollNow(t.Context(), []string{user}, Events{}); err == nil {
		t.Error("the removed mailbox can still be polled")
	}
}
