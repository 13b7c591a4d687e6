package poller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// unstuffed is a message with a line of one dot, which a server that does not
// double dots sends as it is.
const unstuffed = "Message-ID: <dot@example.com>\r\nSubject: dot\r\n\r\nabove\r\n.\r\nbelow\r\n"

// withoutStuffing sends the messages that contain a text without doubling dots.
func withoutStuffing(text string) pop3test.Hook {
	return func(_ *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
		if cmd.Verb != "RETR" {
			return nil
		}
		return pop3test.Edit(normal, func(raw []byte) []byte {
			if !strings.Contains(string(raw), text) {
				return raw
			}
			return []byte(strings.ReplaceAll(string(raw), "\r\n..", "\r\n."))
		})
	}
}

// TestTruncatedCopyNeverLeadsToDELE polls a server that does not double the dots
// of one message: what the archive gets of it is cut, and the rest of the mailbox
// has to be emptied all the same.
func TestTruncatedCopyNeverLeadsToDELE(t *testing.T) {
	all := append(mails(3), unstuffed)
	all = append(all, mail(4), mail(5))
	for name, without := range map[string][]string{"one by one": {"PIPELINING"}, "pipelined": nil} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{messages: all, server: pop3test.Config{Without: without, Hook: withoutStuffing("Subject: dot")}})
			for n := range 8 {
				report := r.poll()
				t.Logf("poll %d: %s %v %v %s", n+1, numbers(report), report.Reasons, report.KeptWhy, report.Error)
				if !strings.Contains(fmt.Sprint(r.onServer()), "Subject: dot") {
					t.Fatalf("poll %d deleted a message of which the archive has only the beginning", n+1)
				}
			}
			same(t, "on the server", r.onServer(), []string{unstuffed})
		})
	}
}

// TestUnconfirmedCopiesAreToldUntilTheyAreConfirmed looks at what reports say of
// copies that are not known to be whole, also when a later poll gets no listing.
func TestUnconfirmedCopiesAreToldUntilTheyAreConfirmed(t *testing.T) {
	r := newRig(t, rigOptions{messages: []string{mail(0), unstuffed, mail(2)}, server: pop3test.Config{
		Without: []string{"PIPELINING"},
		Hook:    pop3test.Hooks(withoutStuffing("Subject: dot"), pop3test.Times(1, afterSession(4, drop("UIDL", "")))),
	}})
	for n := range 6 {
		report := r.poll()
		t.Logf("poll %d: %s unconfirmed %d %v %v %s", n+1, numbers(report), report.Unconfirmed, report.Reasons, report.KeptWhy, report.Error)
		if report.Unconfirmed == 0 {
			t.Errorf("poll %d: the short copy is taken for confirmed", n+1)
		}
		boxes, err := r.store.Mailboxes(t.Context())
		r.must(err)
		if got := boxes[0].LastPoll.Unconfirmed; got != report.Unconfirmed {
			t.Errorf("poll %d: the archive says %d", n+1, got)
		}
	}
	r.must(r.server.SetMessages(user))
	if report := r.poll(); report.Unconfirmed != 0 {
		t.Errorf("%d unconfirmed of an empty maildrop", report.Unconfirmed)
	}
}

// TestDepositWithoutAStatementIsFetchedOnceMore covers archives made before there
// were statements, and polls that were killed before theirs: the report is lost.
func TestDepositWithoutAStatementIsFetchedOnceMore(t *testing.T) {
	lose := true
	r := newRig(t, rigOptions{messages: mails(3), mailbox: afterADay, through: func(s *archive.Store) pipeline.Store {
		return withoutReports{s, &lose}
	}})
	r.poll()
	lose = false
	r.clock.advance(2 * day)
	report := r.poll()
	r.want(report, allOf("known", 3))
	if report.Bytes == 0 {
		t.Error("deleted without a download, although no session had vouched for the copies")
	}
	status, err := r.store.Status(t.Context())
	r.must(err)
	if status.Deposits != 3 {
		t.Errorf("%d deposits, want 3", status.Deposits)
	}
	same(t, "on the server", r.onServer(), nil)
}

// TestConfirmedDepositIsNotFetchedAgain has the statement, and the catalog made anew.
func TestConfirmedDepositIsNotFetchedAgain(t *testing.T) {
	r := newRig(t, rigOptions{messages: mails(3), mailbox: afterADay})
	r.poll()
	r.must(r.store.RebuildCatalog(t.Context(), func(context.Context, *archive.Store) error { return nil }))
	r.clock.advance(2 * day)
	report := r.poll()
	r.want(report, allOf("known", 3))
	if report.Bytes != 0 {
		t.Errorf("%d octets were downloaded", report.Bytes)
	}
}

// withoutReports is a store whose reports are lost while lose is set.
type withoutReports struct {
	*archive.Store
	lose *bool
}

func (s withoutReports) RecordPoll(ctx context.Context, r archive.PollReport) error {
	if *s.lose {
		return errors.New("killed")
	}
	return s.Store.RecordPoll(ctx, r)
}

// TestMessageThatForgesAnswersIsNotDeleted has a message, on a server that does not
// double dots, whose text answers the commands that follow its download. It comes
// in two pieces, so that nothing is left over when the next command is sent.
func TestMessageThatForgesAnswersIsNotDeleted(t *testing.T) {
	forged := "Message-ID: <f@example.com>\r\nSubject: forged\r\n\r\nabove\r\n.\r\n" + strings.Repeat("+OK\r\n", 40) + "below\r\n"
	var late []byte
	var mu sync.Mutex
	hook := func(_ *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case cmd.Verb == "RETR":
			return pop3test.Edit(normal, func(raw []byte) []byte {
				whole := strings.ReplaceAll(string(raw), "\r\n..", "\r\n.")
				end := strings.Index(whole, "\r\n.\r\n") + len("\r\n.\r\n")
				late = []byte(whole[end:])
				return []byte(whole[:end])
			})
		case cmd.Verb == "CAPA" || cmd.Verb == "AUTH" || cmd.Verb == "UIDL" || cmd.Verb == "LIST":
			late = nil
			return nil
		case len(late) > 0: // one forged line comes in time for each command
			return pop3test.Edit(normal, func(raw []byte) []byte {
				mu.Lock()
				defer mu.Unlock()
				line, rest, _ := strings.Cut(string(late), "\r\n")
				late = append([]byte(rest), raw...)
				return []byte(line + "\r\n")
			})
		}
		return nil
	}
	r := newRig(t, rigOptions{messages: []string{forged}, server: pop3test.Config{Without: []string{"PIPELINING"}, Hook: hook}})
	for n := range 4 {
		report := r.poll()
		t.Logf("poll %d: %s %v %v %s", n+1, numbers(report), report.Reasons, report.KeptWhy, report.Error)
		same(t, "on the server", r.onServer(), []string{forged})
	}
}
