package poller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// TestLostLeaseStopsBeforeTheServerDeletes takes the lease away at each of the
// commands of a session.
func TestLostLeaseStopsBeforeTheServerDeletes(t *testing.T) {
	for _, verb := range []string{"UIDL", "RETR", "NOOP", "DELE"} {
		t.Run(verb, func(t *testing.T) {
			hard, lose := context.WithCancelCause(t.Context())
			defer lose(nil)
			r := newRig(t, rigOptions{messages: mails(3), server: hooked(
				pop3test.On(verb, "", func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
					lose(errLease)
					return normal
				}),
			)})
			m, _, _ := r.poller.mailbox(user)
			v := &visit{
				poller: r.poller, mailbox: m, id: newID(), log: r.poller.opts.Logger,
				report: pipeline.PollReport{Mailbox: user, Started: time.Now(), Index: -1},
			}
			if err := v.sessions(t.Context(), hard); !errors.Is(err, errLease) {
				t.Errorf("error %v", err)
			}
			count(&v.report, append(v.gone, v.rest...))
			if !v.report.Consistent() || v.report.Deleted != 0 {
				t.Errorf("report %+v", v.report)
			}
			if verb == "DELE" && v.report.KeptWhy[whyLease] != 3 {
				t.Errorf("kept because %v", v.report.KeptWhy)
			}
			same(t, "on the server", r.onServer(), mails(3))
		})
	}
}

func TestServerThatBrokeWhilePipeliningIsSparedIt(t *testing.T) {
	now := time.Now()
	var m memory
	for _, e := range []*pop3.Error{
		{Kind: pop3.KindRefused, Pipelined: true}, {Kind: pop3.KindCanceled, Pipelined: true}, {Kind: pop3.KindClosed},
	} {
		m.noteError(e, false, now)
		if !m.SingleUntil.IsZero() {
			t.Errorf("%s, pipelined %v: spared", e.Kind, e.Pipelined)
		}
	}
	m.noteError(fmt.Errorf("session: %w", &pop3.Error{Kind: pop3.KindClosed, Pipelined: true}), false, now)
	if got := m.SingleUntil.Sub(now); got != spareBroken {
		t.Errorf("spared for %s", got)
	}
	m.noteError(&pop3.Error{Kind: pop3.KindProtocol}, true, now)
	if got := m.SingleUntil.Sub(now); got != spareMixedUp {
		t.Errorf("spared for %s", got)
	}
}

func TestReportsAreShortAndOneLine(t *testing.T) {
	joined := errors.Join(errors.New("a\nb"), errors.Join(errors.New("b"), errors.New("c")))
	if got := oneLine(joined.Error(), 100); got != "a; b; c" {
		t.Errorf("%q", got)
	}
	if got := oneLine(strings.Repeat("ü", 100), 11); got != "üüüüü…" {
		t.Errorf("%q", got)
	}
	var reasons map[string]int
	for i := range 100 {
		add(&reasons, strings.Repeat("x", 1000*i)+fmt.Sprint(i))
	}
	total := 0
	for why, n := range reasons {
		total += n
		if len(why) > maxWhyBytes+len("…") {
			t.Errorf("reason of %d bytes", len(why))
		}
	}
	if len(reasons) > maxReasons+1 || total != 100 {
		t.Errorf("%d reasons for %d messages", len(reasons), total)
	}
}

func TestRefusalsOfManyMessagesAreOneReason(t *testing.T) {
	hook := pop3test.Reply("RETR", "", "-ERR [SYS/TEMP] try later")
	r := newRig(t, rigOptions{messages: mails(3), server: hooked(hook)})
	report := r.poll()
	if got := report.Reasons[`server refused RETR: "[SYS/TEMP] try later"`]; got != 3 {
		t.Errorf("reasons %v", report.Reasons)
	}
}

func TestMessageLargerThanTheStreamsIsLeftAndTheOthersGoOn(t *testing.T) {
	const store = pipeline.MinMaxStoreBytes
	large := mail(1) + strings.Repeat("0123456789abcdef\r\n", int(store)/16)
	r := newRig(t, rigOptions{messages: []string{mail(0), large, mail(2)}, streams: store})
	for range 2 { // the second time by what was learned in the first
		report := r.poll()
		if report.Left != 1 || !strings.Contains(fmt.Sprint(report.Reasons), "nats.max_store_bytes") {
			t.Errorf("report: %s (%v %s)", numbers(report), report.Reasons, report.Error)
		}
	}
	same(t, "on the server", r.onServer(), []string{large})
}
