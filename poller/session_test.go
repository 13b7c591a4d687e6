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

func TestReusedUIDLIsNotTakenForTheArchivedMessage(t *testing.T) {
	old, other := mail(1), mail(2) // of the same size
	r := newRig(t, rigOptions{mailbox: func(m *Mailbox) { m.Delete.After = time.Hour }})
	set := func(body string) {
		m := pop3test.Bytes([]byte(body))
		m.UIDL = "reused"
		r.must(r.server.SetMessages(user, m))
	}
	set(old)
	r.want(r.poll(), "listed 1 archived 1 known 0 left 0 deleted 0 kept 1")
	set(other)
	r.clock.advance(2 * time.Hour)
	r.want(r.poll(), "listed 1 archived 1 known 0 left 0 deleted 0 kept 1")
	same(t, "archived", r.archived(), []string{old, other})
}

func TestTruncatedTOPLeadsToADownload(t *testing.T) {
	hook := pop3test.Reply("TOP", "", "+OK\r\nReceived: x\r\n\r\n.")
	r := newRig(t, rigOptions{
		messages: mails(1), server: pop3test.Config{Hook: hook},
		mailbox: func(m *Mailbox) { m.Delete.After = time.Hour },
	})
	r.poll()
	r.clock.advance(2 * time.Hour)
	// Fetched again and receipted: it is known, but its policy counts from this session.
	r.want(r.poll(), "listed 1 archived 0 known 1 left 0 deleted 0 kept 1")
	same(t, "archived", r.archived(), mails(1))
}

func TestDuplicateUIDLsAreAllDownloaded(t *testing.T) {
	hook := pop3test.Reply("UIDL", "", "+OK\r\n1 same\r\n2 same\r\n3 other\r\n.")
	r := newRig(t, rigOptions{messages: mails(3), server: pop3test.Config{Hook: hook}})
	r.want(r.poll(), "listed 3 archived 3 known 0 left 0 deleted 3 kept 0")
	same(t, "archived", r.archived(), mails(3))
}

func TestServerWithoutUIDLIsEmptied(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(3), server: pop3test.Config{Without: []string{"UIDL"}}})
	r.want(r.poll(), "listed 3 archived 3 known 0 left 0 deleted 3 kept 0")
	same(t, "archived", r.archived(), mails(3))
}

func TestServerWithoutUIDLKnowsMessagesByTheirHash(t *testing.T) {
	r := newRig(t, rigOptions{
		messages: mails(3), server: pop3test.Config{Without: []string{"UIDL"}},
		mailbox: func(m *Mailbox) { m.Delete.Never = true },
	})
	r.want(r.poll(), "listed 3 archived 3 known 0 left 0 deleted 0 kept 3")
	r.want(r.poll(), "listed 3 archived 0 known 3 left 0 deleted 0 kept 3")
}

func TestMessageArrivingWhileListingIsLeftForTheNextPoll(t *testing.T) {
	hook := pop3test.Times(1, pop3test.Reply("UIDL", "", "+OK\r\n1 a\r\n2 b\r\n."))
	r := newRig(t, rigOptions{messages: mails(3), server: pop3test.Config{Hook: hook}})
	report := r.poll()
	r.want(report, "listed 3 archived 2 known 0 left 1 deleted 2 kept 0")
	if report.Reasons[whyArriving] != 1 {
		t.Errorf("reasons %v", report.Reasons)
	}
	r.want(r.poll(), "listed 1 archived 1 known 0 left 0 deleted 1 kept 0")
}

func TestRefusedMessageIsLeftAndTheOthersAreArchived(t *testing.T) {
	hook := pop3test.Reply("RETR", "2", "-ERR Message can not load")
	r := newRig(t, rigOptions{messages: mails(3), server: pop3test.Config{Hook: hook}})
	report := r.poll()
	r.want(report, "listed 3 archived 2 known 0 left 1 deleted 2 kept 0")
	if why := fmt.Sprint(report.Reasons); !strings.Contains(why, "can not load") {
		t.Errorf("reasons %s lack the server's words", why)
	}
	same(t, "on the server", r.onServer(), []string{mail(1)})
}

func TestEmptyAnswerToRETRIsNotTakenForTheMessage(t *testing.T) {
	hook := pop3test.Reply("RETR", "1", "+OK\r\n.")
	r := newRig(t, rigOptions{messages: mails(2), server: pop3test.Config{Hook: hook}})
	report := r.poll()
	r.want(report, "listed 2 archived 1 known 0 left 1 deleted 1 kept 0")
	same(t, "on the server", r.onServer(), []string{mail(0)})
}

func TestConnectionLostInMidMessageLosesNothing(t *testing.T) {
	hook := pop3test.Times(1, pop3test.On("RETR", "3", func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		return pop3test.DropAfter(40, normal)
	}))
	r := newRig(t, rigOptions{messages: mails(5), server: pop3test.Config{Hook: hook}})
	report := r.poll()
	r.want(report, "listed 5 archived 2 known 0 left 3 deleted 0 kept 2")
	if report.Error == "" || !report.Temporary {
		t.Errorf("error %q, temporary %v", report.Error, report.Temporary)
	}
	same(t, "on the server", r.onServer(), mails(5))
	r.want(r.poll(), "listed 5 archived 3 known 2 left 0 deleted 5 kept 0")
	same(t, "archived", r.archived(), mails(5))
}

func TestDropAfterQUITWasSentIsConfirmedAtTheNextPoll(t *testing.T) {
	hook := pop3test.Times(1, pop3test.On("QUIT", "", func(*pop3test.Session, pop3test.Answer) pop3test.Answer { return pop3test.Drop() }))
	r := newRig(t, rigOptions{messages: mails(2), server: pop3test.Config{Hook: hook}})
	report := r.poll()
	r.want(report, "listed 2 archived 2 known 0 left 0 deleted 0 kept 2")
	if report.KeptWhy[whyQuit] != 2 {
		t.Errorf("kept because %v", report.KeptWhy)
	}
	r.want(r.poll(), "listed 2 archived 0 known 2 left 0 deleted 2 kept 0")
}

func TestRefusedDELEIsReportedAsKept(t *testing.T) {
	hook := pop3test.Reply("DELE", "1", "-ERR not today")
	r := newRig(t, rigOptions{messages: mails(2), server: pop3test.Config{Hook: hook}})
	r.want(r.poll(), "listed 2 archived 2 known 0 left 0 deleted 1 kept 1")
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

func TestLockedMaildropIsTemporary(t *testing.T) {
	hook := pop3test.Reply("PASS", "", "-ERR [IN-USE] maildrop is locked")
	r := newRig(t, rigOptions{messages: mails(1), server: pop3test.Config{Hook: hook, Without: []string{"SASL"}}})
	if report := r.poll(); report.Error == "" || !report.Temporary {
		t.Errorf("error %q, temporary %v", report.Error, report.Temporary)
	}
}

func TestNothingIsDeletedWithoutAReceipt(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(3), noStore: true, mailbox: func(m *Mailbox) { m.ReceiptWait = 100 * time.Millisecond }})
	// Somebody has to answer what is known, but nobody archives.
	r.background(context.Background(), pipeline.NewArchiver(r.bus, silent{r.store}, pipeline.ArchiverOptions{}).Run)
	report := r.poll()
	r.want(report, "listed 3 archived 0 known 0 left 3 deleted 0 kept 0")
	if report.Reasons[whyNoReceipt] != 3 {
		t.Errorf("reasons %v", report.Reasons)
	}
	same(t, "on the server", r.onServer(), mails(3))
}

// silent is a store that never ends a Put before its context does.
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
