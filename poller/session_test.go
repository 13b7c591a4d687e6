package poller

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// odd are messages that a careless client or archive would change.
var odd = []string{
	mail(1), "", "no header", "Subject: nul\x00\r\n\r\n\x00\r\n", "Subject: dots\r\n\r\n.\r\n..\r\n...\r\n",
	"From mbox\r\nFrom: x\r\n\r\nFrom here\r\n", "Subject: \xff\xfe\r\n\r\n\x80\r\n",
	"Subject: long\r\n\r\n" + strings.Repeat("x", 3<<20) + "\r\n", "Subject: lf\n\nbare\nlf\r\n", "Subject: cr\r\r\nx\r\r\n",
}

func TestPollEmptiesTheMailboxAndKeepsEveryByte(t *testing.T) {
	var want []string
	for _, m := range odd {
		if m != "" && !strings.HasSuffix(m, "\r\n") {
			m += "\r\n" // POP3 cannot end a message in mid-line
		}
		want = append(want, m)
	}
	r := newRig(t, rigOptions{messages: want})
	r.want(r.poll(), "listed 10 archived 10 known 0 left 0 deleted 10 kept 0")
	same(t, "archived", r.archived(), want)
	same(t, "on the server", r.onServer(), nil)
	r.want(r.poll(), "listed 0 archived 0 known 0 left 0 deleted 0 kept 0")
}

func TestMessagesLeftOnTheServerAreNotDownloadedAgain(t *testing.T) {
	var commands pop3test.Recorder
	r := newRig(t, rigOptions{
		messages: mails(3), server: pop3test.Config{OnCommand: commands.OnCommand},
		mailbox: func(m *Mailbox) { m.Delete.Never = true },
	})
	r.want(r.poll(), "listed 3 archived 3 known 0 left 0 deleted 0 kept 3")
	before := len(commands.Commands())
	r.want(r.poll(), "listed 3 archived 0 known 3 left 0 deleted 0 kept 3")
	for _, c := range commands.Commands()[before:] {
		if strings.Contains(c, "RETR") || strings.Contains(c, "DELE") {
			t.Errorf("second poll sent %q", c)
		}
	}
	same(t, "on the server", r.onServer(), mails(3))
}

func TestDeleteAfterWaitsAndThenConfirmsByHeader(t *testing.T) {
	var commands pop3test.Recorder
	r := newRig(t, rigOptions{
		messages: mails(2), server: pop3test.Config{OnCommand: commands.OnCommand},
		mailbox: func(m *Mailbox) { m.Delete.After = 14 * 24 * time.Hour },
	})
	r.want(r.poll(), "listed 2 archived 2 known 0 left 0 deleted 0 kept 2")
	r.clock.advance(13 * 24 * time.Hour)
	r.want(r.poll(), "listed 2 archived 0 known 2 left 0 deleted 0 kept 2")
	r.clock.advance(2 * 24 * time.Hour)
	before := len(commands.Commands())
	r.want(r.poll(), "listed 2 archived 0 known 2 left 0 deleted 2 kept 0")
	sent := strings.Join(commands.Commands()[before:], "\n")
	if !strings.Contains(sent, "TOP 1 0") || strings.Contains(sent, "RETR") {
		t.Errorf("commands %s: want deletion after TOP, without RETR", sent)
	}
	same(t, "on the server", r.onServer(), nil)
}

func TestWrongPasswordIsReportedAndNotTemporary(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(1), mailbox: func(m *Mailbox) {
		m.Password = func(context.Context) (string, error) { return "wrong-password", nil }
	}})
	report := r.poll()
	if report.Error == "" || report.Temporary || strings.Contains(report.Error, "wrong-password") {
		t.Errorf("error %q, temporary %v", report.Error, report.Temporary)
	}
}

func TestNothingIsDeletedWithoutAReceipt(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(3), through: func(s *archive.Store) pipeline.Store { return silent{s} }})
	report := r.poll()
	r.want(report, "listed 3 archived 0 known 0 left 3 deleted 0 kept 0")
	if report.Reasons[whyNoReceipt] != 3 {
		t.Errorf("reasons %v", report.Reasons)
	}
	same(t, "on the server", r.onServer(), mails(3))
}

// silent archives nothing and says nothing of it.
type silent struct{ *archive.Store }

func (silent) Put(_ context.Context, batch []archive.Delivery) ([]archive.Receipt, error) {
	for _, d := range batch {
		_, _ = io.Copy(io.Discard, d.Body)
	}
	out := make([]archive.Receipt, len(batch))
	for i := range out {
		out[i].Index = -1 // no receipt worth the name
	}
	return out, nil
}

func TestStoppedPollerEndsTheSessionProperly(t *testing.T) {
	work, stop := context.WithCancel(context.Background())
	hook := pop3test.Hook(func(_ *pop3test.Session, cmd pop3test.Command, _ pop3test.Answer) pop3test.Answer {
		if cmd.Verb == "RETR" && cmd.Arg == "3" {
			stop()
		}
		return nil
	})
	r := newRig(t, rigOptions{messages: mails(40), server: pop3test.Config{Hook: hook, Without: []string{"PIPELINING"}}, poller: work})
	report := r.poll()
	if report.Archived < 2 || report.Archived > 4 || report.Deleted != report.Archived || report.Left != 40-report.Archived {
		t.Errorf("report: %s (%v)", numbers(report), report.Reasons)
	}
	if left := r.onServer(); len(left) != report.Left {
		t.Errorf("%d messages on the server, want %d", len(left), report.Left)
	}
}

func TestPollNowWaitsForASessionThatStartsAfterIt(t *testing.T) {
	inSession, release := make(chan struct{}), make(chan struct{})
	hook := pop3test.Times(1, pop3test.On("QUIT", "", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		close(inSession)
		return pop3test.Stall(s, release, normal)
	}))
	r := newRig(t, rigOptions{messages: mails(1), server: pop3test.Config{Hook: hook}})
	first := make(chan pipeline.PollReport, 1)
	go func() { first <- r.poll() }()
	<-inSession
	r.must(r.server.Deliver(user, pop3test.Bytes([]byte(mail(2)))))
	second := make(chan pipeline.PollReport, 1)
	go func() { second <- r.poll() }()
	close(release)
	if got := numbers(<-first); got != "listed 1 archived 1 known 0 left 0 deleted 1 kept 0" {
		t.Errorf("first: %s", got)
	}
	if got := numbers(<-second); got != "listed 1 archived 1 known 0 left 0 deleted 1 kept 0" {
		t.Errorf("second: %s", got)
	}
}

func TestPollNowRefusesAnUnknownMailbox(t *testing.T) {
	r := newRig(t, rigOptions{})
	if _, err := r.poller.PollNow(t.Context(), []string{"nobody"}, Events{}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("error %v", err)
	}
}

func TestProgressReachesTheWholeListing(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(45)})
	var seen []string
	_, err := r.poller.PollNow(t.Context(), nil, Events{Progress: func(p pipeline.Progress) {
		seen = append(seen, fmt.Sprintf("%s %d/%d", p.Phase, p.Done, p.Total))
	}})
	r.must(err)
	for _, want := range []string{"listed 0/45", "fetch 20/45", "fetch 45/45"} {
		if !slices.Contains(seen, want) {
			t.Errorf("progress %v lacks %q", seen, want)
		}
	}
}

func TestSchedulePollsEveryMailboxAtTheStart(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(2)})
	reports, err := r.bus.Reports(t.Context())
	r.must(err)
	r.background(context.Background(), r.poller.Schedule)
	select {
	case report := <-reports:
		r.want(report, "listed 2 archived 2 known 0 left 0 deleted 2 kept 0")
	case <-time.After(time.Minute):
		t.Fatal("no poll")
	}
}
