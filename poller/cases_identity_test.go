package poller

import (
	"strings"
	"testing"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// identityCases are 1 to 9: which message is which.
func identityCases() []pollCase {
	keepAll := "listed 3 archived 0 known 3 left 0 deleted 0 kept 3"
	firstKept := "listed 3 archived 3 known 0 left 0 deleted 0 kept 3"
	return []pollCase{
		{
			number: "1", name: "no UIDL",
			rigOptions: rigOptions{messages: mails(3), server: pop3test.Config{Without: []string{"UIDL"}}},
			polls:      []casePoll{{want: allOf("archived", 3)}}, archived: mails(3), onServer: []string{},
		},
		{
			number: "1", name: "UIDL not understood, messages stay",
			rigOptions: rigOptions{
				messages: mails(3), mailbox: never,
				server: hooked(pop3test.Reply("UIDL", "", "-ERR Command not understood")),
			},
			polls: []casePoll{{want: firstKept}, {want: keepAll}}, archived: mails(3), onServer: mails(3),
		},
		{
			number: "2", name: "duplicate UIDLs",
			rigOptions: rigOptions{
				messages: mails(3), server: hooked(pop3test.Reply("UIDL", "", "+OK\r\n1 same\r\n2 same\r\n3 other\r\n.")),
			},
			polls: []casePoll{{want: allOf("archived", 3)}}, archived: mails(3), onServer: []string{},
		},
		{
			number: "2", name: "duplicate UIDLs, messages stay",
			rigOptions: rigOptions{maildrop: withUIDLs([]string{"same", "same", "other"}, mails(3)), mailbox: never},
			polls:      []casePoll{{want: firstKept}, {want: keepAll}}, archived: mails(3), onServer: mails(3),
			check: func(t *testing.T, r *caseRig) {
				if got := strings.Join(r.sent("RETR"), " "); got != "RETR 1 RETR 2 RETR 3 RETR 1 RETR 2" {
					t.Errorf("%s: duplicates have to be fetched at every poll, others not", got)
				}
			},
		},
		{
			number: "3", name: "blank UIDL",
			rigOptions: rigOptions{
				messages: mails(3), mailbox: never,
				server: hooked(pop3test.Reply("UIDL", "", "+OK\r\n1 \r\n2\r\n3 c\r\n.")),
			},
			polls: []casePoll{{want: firstKept}, {want: keepAll}}, archived: mails(3), onServer: mails(3),
		},
		{
			number: "4", name: "spaces, slashes, 8-bit and long UIDLs",
			rigOptions: rigOptions{
				messages: mails(4), mailbox: never,
				server: hooked(pop3test.Reply("UIDL", "", "+OK\r\n1    a b\r\n2 /\xc3\xbc/../x\r\n3 "+strings.Repeat("l", 200)+"\r\n4 \xff%\r\n.")),
			},
			polls: []casePoll{
				{want: "listed 4 archived 4 known 0 left 0 deleted 0 kept 4"}, {want: "listed 4 archived 0 known 4 left 0 deleted 0 kept 4"},
			},
			archived: mails(4),
			check: func(t *testing.T, r *caseRig) {
				if n := len(r.sent("RETR")); n != 4 {
					t.Errorf("%d downloads, want 4: the second poll knows the UIDLs", n)
				}
			},
		},
		{
			number: "4", name: "UIDL longer than the archive takes",
			rigOptions: rigOptions{
				messages: mails(2), server: hooked(pop3test.Reply("UIDL", "", "+OK\r\n1 "+strings.Repeat("l", 5000)+"\r\n2 b\r\n.")),
			},
			polls: []casePoll{{want: allOf("archived", 2)}}, archived: mails(2), onServer: []string{},
		},
		{
			number: "5", name: "UIDL with a number is not asked",
			rigOptions: rigOptions{messages: mails(3), server: hooked(pop3test.Hook(func(_ *pop3test.Session, cmd pop3test.Command, _ pop3test.Answer) pop3test.Answer {
				if cmd.Verb == "UIDL" && cmd.Arg != "" {
					return pop3test.Raw("+OK 3 other\r\n")
				}
				return nil
			}))},
			polls: []casePoll{{want: allOf("archived", 3)}}, archived: mails(3), onServer: []string{},
		},
		{
			number: "5", name: "two UIDLs for one message",
			rigOptions: rigOptions{
				messages: mails(3), mailbox: never,
				server: hooked(pop3test.Reply("UIDL", "", "+OK\r\n1 a\r\n2 b\r\n2 c\r\n3 d\r\nx\r\n.")),
			},
			polls: []casePoll{{want: firstKept}, {want: keepAll}}, archived: mails(3), onServer: mails(3),
		},
		{
			number: "6", name: "reused UIDL, deletion is due",
			rigOptions: rigOptions{
				maildrop: withUIDLs([]string{"reused"}, []string{mail(1)}),
				mailbox:  func(m *Mailbox) { m.Delete.After = day },
			},
			polls: []casePoll{
				{want: "listed 1 archived 1 known 0 left 0 deleted 0 kept 1"},
				{
					before: func(r *caseRig) {
						set(withUIDLs([]string{"reused"}, []string{mail(2)})...)(r)
						r.clock.advance(2 * day)
					},
					want: "listed 1 archived 1 known 0 left 0 deleted 0 kept 1",
				},
			},
			archived: []string{mail(1), mail(2)}, onServer: []string{mail(2)},
		},
		{
			number: "6", name: "reused UIDL, messages stay",
			rigOptions: rigOptions{maildrop: withUIDLs([]string{"reused"}, []string{mail(1)}), mailbox: never},
			polls: []casePoll{
				{want: "listed 1 archived 1 known 0 left 0 deleted 0 kept 1"},
				{before: set(withUIDLs([]string{"reused"}, []string{mail(2)})...), want: "listed 1 archived 1 known 0 left 0 deleted 0 kept 1"},
			},
			archived: []string{mail(1), mail(2)}, onServer: []string{mail(2)},
		},
		{
			number: "6", name: "all UIDLs change",
			rigOptions: rigOptions{messages: mails(3), mailbox: never},
			polls: []casePoll{
				{want: firstKept}, {before: set(withUIDLs([]string{"x", "y", "z"}, mails(3))...), want: firstKept}, {want: keepAll},
			},
			archived: mails(3), onServer: mails(3),
		},
		{
			number: "7", name: "mail arrives between UIDL and LIST",
			rigOptions: rigOptions{messages: mails(3), server: times(1, pop3test.Reply("UIDL", "", "+OK\r\n1 uid-1\r\n2 uid-2\r\n."))},
			polls: []casePoll{
				{want: "listed 3 archived 2 known 0 left 1 deleted 2 kept 0", left: whyArriving}, {want: allOf("archived", 1)},
			},
			archived: mails(3), onServer: []string{},
		},
		{
			number: "7", name: "UIDL shows nothing",
			rigOptions: rigOptions{messages: mails(3), server: hooked(pop3test.Reply("UIDL", "", "+OK\r\n."))},
			polls:      []casePoll{{want: allOf("archived", 3)}}, archived: mails(3), onServer: []string{},
		},
		{
			number: "8", name: "mail inserted in the middle",
			rigOptions: rigOptions{
				maildrop: withUIDLs([]string{"a", "new", "b"}, mails(3)), mailbox: never,
				server: times(1, pop3test.Reply("UIDL", "", "+OK\r\n1 a\r\n2 b\r\n.")),
			},
			polls: []casePoll{
				{want: "listed 3 archived 2 known 0 left 1 deleted 0 kept 2", left: whyArriving},
				// "b" is known with the header of "new", which the sample finds out.
				{want: "listed 3 archived 2 known 1 left 0 deleted 0 kept 3"},
				{want: keepAll},
			},
			archived: mails(3), onServer: mails(3),
		},
		{
			number: "9", name: "deleted messages still listed with size 0",
			rigOptions: rigOptions{messages: mails(2), server: hooked(
				pop3test.Reply("LIST", "", "+OK\r\n1 0\r\n2 59\r\n."), pop3test.Reply("RETR", "1", "-ERR message 1 already deleted"),
			)},
			polls:    []casePoll{{want: "listed 2 archived 1 known 0 left 1 deleted 1 kept 0", left: "already deleted"}},
			archived: mails(2)[1:], onServer: mails(1),
		},
		{
			number: "9", name: "size 0 but a message comes",
			rigOptions: rigOptions{messages: mails(2), server: hooked(pop3test.Reply("LIST", "", "+OK\r\n1 0\r\n2 0\r\n."))},
			polls:      []casePoll{{want: allOf("archived", 2)}}, archived: mails(2), onServer: []string{},
		},
	}
}
