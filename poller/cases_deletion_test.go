package poller

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

const day = 24 * time.Hour

// falseQUIT answers QUIT without deleting anything.
func falseQUIT(answer string) pop3test.Hook { return pop3test.Reply("QUIT", "", answer) }

// deletionCases are 10 to 16: what deletes, and what only says so.
func deletionCases() []pollCase {
	kept3 := "listed 3 archived 3 known 0 left 0 deleted 0 kept 3"
	return append([]pollCase{
		{
			number: "10", name: "drop after RETR",
			rigOptions: rigOptions{messages: mails(3), server: times(1, drop("DELE", "1"))},
			polls:      []casePoll{{want: kept3, kept: whyQuit, kind: "closed"}, {want: allOf("known", 3)}},
			archived:   mails(3), onServer: []string{},
		},
		{
			number: "10", name: "drop after DELE",
			rigOptions: rigOptions{messages: mails(3), server: times(1, drop("DELE", "3"))},
			polls:      []casePoll{{want: kept3, kept: whyQuit, kind: "closed"}, {want: allOf("known", 3)}},
			archived:   mails(3), onServer: []string{},
		},
		{
			number: "10", name: "drop before QUIT is executed",
			rigOptions: rigOptions{messages: mails(3), server: times(1, drop("QUIT", ""))},
			polls:      []casePoll{{want: kept3, kept: whyQuit, kind: "closed"}, {want: allOf("known", 3)}},
			archived:   mails(3), onServer: []string{},
		},
		{
			number: "11", name: "drop after QUIT was executed",
			rigOptions: rigOptions{messages: mails(3), server: times(1, cut("QUIT", "", 0))},
			polls:      []casePoll{{want: kept3, kept: whyQuit, kind: "closed", lies: true}, {want: nothing}},
			archived:   mails(3), onServer: []string{},
		},
		{
			number: "12", name: "QUIT answers before the deletion",
			rigOptions: rigOptions{messages: mails(3), server: times(1, falseQUIT("+OK"))},
			polls:      []casePoll{{want: allOf("archived", 3), lies: true}, {want: allOf("known", 3)}, {want: nothing}},
			archived:   mails(3), onServer: []string{},
		},
		{
			number: "12", name: "deleted behind our back while listed",
			rigOptions: rigOptions{messages: mails(2), server: hooked(
				pop3test.Times(1, falseQUIT("+OK")), afterSession(2, pop3test.Reply("TOP", "", "-ERR no such message")),
				afterSession(2, pop3test.Reply("RETR", "", "-ERR no such message")),
			)},
			polls: []casePoll{
				{want: allOf("archived", 2), lies: true}, {want: "listed 2 archived 0 known 2 left 0 deleted 0 kept 2", kept: "no such message"},
			},
			archived: mails(2),
		},
		{
			number: "13", name: "server deletes although the connection dropped",
			rigOptions: rigOptions{messages: mails(3), server: times(1, drop("DELE", "3"))},
			polls: []casePoll{
				{want: kept3, kept: whyQuit, kind: "closed"}, {before: set(), want: nothing},
			},
			archived: mails(3), onServer: []string{},
		},
		{
			number: "13", name: "deleted messages come back later",
			rigOptions: rigOptions{maildrop: withUIDLs([]string{"a", "b"}, mails(2))},
			polls: []casePoll{
				{want: allOf("archived", 2)},
				{before: set(withUIDLs([]string{"a", "b"}, mails(2))...), want: allOf("known", 2)},
			},
			archived: mails(2), onServer: []string{},
		},
		stoppedWhileRETRHides(),
		{
			number: "14", name: "RETR hides, DELE finds nothing",
			rigOptions: rigOptions{messages: mails(3), server: hooked(pop3test.Reply("DELE", "", "-ERR no such message"))},
			polls:      []casePoll{{want: kept3, kept: `server refused DELE: "no such message"`}},
			archived:   mails(3),
		},
		{
			number: "Gmail", name: "hidden after RETR, connection drops",
			rigOptions: rigOptions{messages: mails(3), server: times(1, drop("DELE", "1"))},
			polls: []casePoll{
				{want: kept3, kept: whyQuit, kind: "closed"},
				// The next session lists the next messages only.
				{before: set(withUIDLs([]string{"next"}, mails(4)[3:])...), want: allOf("archived", 1)},
			},
			archived: mails(4), onServer: []string{},
		},
		{
			number: "15", name: "server takes the marks back",
			rigOptions: rigOptions{messages: mails(3), server: times(1, falseQUIT("-ERR some deleted messages not removed"))},
			polls:      []casePoll{{want: kept3, kept: whyQuit, kind: "refused", error: "not removed"}, {want: allOf("known", 3)}},
			archived:   mails(3), onServer: []string{},
			check: func(t *testing.T, r *caseRig) {
				if len(r.sent("RSET")) > 0 {
					t.Error("RSET was sent")
				}
			},
		},
		{
			number: "16", name: "DELE refused",
			rigOptions: rigOptions{messages: mails(3), server: times(1, pop3test.Reply("DELE", "2", "-ERR not today"))},
			polls: []casePoll{
				{want: "listed 3 archived 3 known 0 left 0 deleted 2 kept 1", kept: `server refused DELE: "not today"`}, {want: allOf("known", 1)},
			},
			archived: mails(3), onServer: []string{},
		},
		{
			number: "16", name: "DELE answered with a blank line",
			rigOptions: rigOptions{messages: mails(3), server: times(1, pop3test.Reply("DELE", "2", ""))},
			polls:      []casePoll{{want: kept3, kept: whyQuit, kind: "protocol"}, {want: allOf("known", 3)}},
			archived:   mails(3), onServer: []string{},
			check: func(t *testing.T, r *caseRig) {
				if m := r.memory(); !m.SingleUntil.After(time.Now()) {
					t.Error("the next session would use pipelining again")
				}
			},
		},
	}, commitCases()...)
}

// stoppedWhileRETRHides stops the poller while commands are pipelined: what
// was asked for would be hidden by the server, and so it has to be archived.
func stoppedWhileRETRHides() pollCase {
	const many = 300
	work, stop := context.WithCancel(context.Background())
	return pollCase{
		number: "14", name: "RETR hides, poller is stopped",
		rigOptions: rigOptions{messages: mails(many), poller: work, server: hooked(
			pop3test.On("RETR", "5", func(*pop3test.Session, pop3test.Answer) pop3test.Answer { stop(); return nil }),
		)},
		polls: []casePoll{{
			want: "listed 300 archived 128 known 0 left 172 deleted 128 kept 0", left: whyStopped, kind: "other", error: whyStopped,
		}},
		archived: mails(many)[:burstMessages],
		check: func(t *testing.T, r *caseRig) {
			if asked := len(r.sent("RETR")); asked != burstMessages {
				t.Errorf("%d messages were asked for and %d archived", asked, burstMessages)
			}
		},
	}
}

// commitCases are 17: several sessions for one poll.
func commitCases() []pollCase {
	every := func(n int) func(*Mailbox) { return func(m *Mailbox) { m.CommitEvery = n } }
	sessions := func(want int) func(*testing.T, *caseRig) {
		return func(t *testing.T, r *caseRig) {
			if n := r.server.Sessions(); n != want {
				t.Errorf("%d sessions, want %d", n, want)
			}
		}
	}
	return []pollCase{
		{
			number: "17", name: "session every two messages",
			rigOptions: rigOptions{messages: mails(5), mailbox: every(2)},
			polls:      []casePoll{{want: allOf("archived", 5)}},
			archived:   mails(5), onServer: []string{}, check: sessions(3),
		},
		{
			number: "17", name: "maildrop still locked after QUIT",
			rigOptions: rigOptions{messages: mails(4), mailbox: every(2), server: hooked(pop3test.Times(1, afterSession(2, pop3test.Reply("AUTH", "PLAIN", "-ERR [IN-USE] still locked"))))},
			polls:      []casePoll{{want: allOf("archived", 4)}},
			archived:   mails(4), onServer: []string{}, check: sessions(3),
		},
		{
			number: "17", name: "server does not let the poller come back",
			rigOptions: rigOptions{messages: mails(4), mailbox: every(2), server: hooked(afterSession(2, pop3test.Reply("AUTH", "PLAIN", "-ERR [AUTH] no more today")))},
			polls: []casePoll{{
				want: "listed 4 archived 2 known 0 left 2 deleted 2 kept 0", left: whyCommit, kind: "auth", error: "no more today",
			}},
			archived: mails(2), onServer: mails(4)[2:],
		},
		{
			number: "17", name: "LOGIN-DELAY between sessions",
			rigOptions: rigOptions{messages: mails(2), mailbox: every(1), server: pop3test.Config{Capabilities: []string{"LOGIN-DELAY 1"}}},
			polls:      []casePoll{{want: allOf("archived", 2)}},
			archived:   mails(2), onServer: []string{}, check: sessions(2),
		},
		{
			number: "17", name: "LOGIN-DELAY too long to wait for",
			rigOptions: rigOptions{messages: mails(2), mailbox: every(1), server: pop3test.Config{Capabilities: []string{"LOGIN-DELAY 900"}}},
			polls:      []casePoll{{want: "listed 2 archived 1 known 0 left 1 deleted 1 kept 0", left: whyCommit}},
			archived:   mails(1), onServer: mails(2)[1:], check: sessions(1),
		},
		{
			number: "17", name: "a drop costs one part",
			rigOptions: rigOptions{messages: mails(6), mailbox: every(2), server: times(1, afterSession(2, drop("QUIT", "")))},
			polls: []casePoll{
				{want: "listed 6 archived 4 known 0 left 2 deleted 2 kept 2", left: whyCommit, kept: whyQuit, kind: "closed"},
				{want: "listed 4 archived 2 known 2 left 0 deleted 4 kept 0"},
			},
			archived: mails(6), onServer: []string{},
			check: func(t *testing.T, r *caseRig) {
				if n := len(r.sent("RETR")); n != 6 {
					t.Errorf("%d downloads of 6 messages", n)
				}
			},
		},
		{
			number: "17", name: "nothing deleted is gone in the next session",
			rigOptions: rigOptions{messages: mails(3), mailbox: every(1), server: hooked(falseQUIT("+OK"))},
			polls:      []casePoll{{want: "listed 3 archived 3 known 0 left 0 deleted 1 kept 2", kept: whyRestored, lies: true}},
			archived:   mails(3), onServer: mails(3),
		},
		{
			number: "17", name: "refused messages do not hold up the others",
			rigOptions: rigOptions{messages: mails(4), mailbox: every(1), server: hooked(
				pop3test.Reply("RETR", "1", "-ERR cannot be read"), pop3test.Reply("RETR", "2", "-ERR cannot be read"),
			)},
			polls:    []casePoll{{want: "listed 4 archived 2 known 0 left 2 deleted 2 kept 0", left: "cannot be read"}},
			archived: mails(4)[2:], onServer: mails(2),
		},
	}
}

// afterSession applies a hook from the n-th session on.
func afterSession(n int32, hook pop3test.Hook) pop3test.Hook {
	var sessions atomic.Int32
	return func(s *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
		if cmd.Verb == pop3test.VerbGreeting {
			sessions.Add(1)
		}
		if sessions.Load() < n {
			return nil
		}
		return hook(s, cmd, normal)
	}
}
