package poller

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// payloadCases are 22 to 34 but for 33: what comes as a message, and how.
func payloadCases() []pollCase {
	dots := "Subject: dots\r\n\r\n..\r\n.unstuffed\r\n\n.\n\r\n.\n.\r\n"
	return append([]pollCase{
		{
			number: "22", name: "no CRLF before the final dot",
			rigOptions: rigOptions{
				messages: mails(3), mailbox: impatient,
				server: pop3test.Config{Without: []string{"PIPELINING"}, Hook: withoutCRLF()},
			},
			polls: []casePoll{
				{want: "listed 3 archived 0 known 0 left 3 deleted 0 kept 0", left: whyEnded, kind: "timeout", error: "may not send CRLF before the final dot"},
				// It is tried in a session of its own now.
				{want: "listed 3 archived 2 known 0 left 1 deleted 2 kept 0", left: whyEnded, kind: "timeout"},
			},
			archived: mails(3)[1:], onServer: mails(1),
		},
		{
			number: "22", name: "no CRLF before the final dot, pipelined",
			rigOptions: rigOptions{messages: mails(3), mailbox: impatient, server: hooked(withoutCRLF())},
			polls: []casePoll{
				// Each message has the answer of the next as well, or in place of its own.
				{want: "listed 3 archived 2 known 0 left 1 deleted 0 kept 2", kept: whyEnded, kind: "timeout"},
				{want: "listed 3 archived 2 known 0 left 1 deleted 2 kept 0", kind: "timeout", error: "may not send CRLF before the final dot"},
				{want: "listed 1 archived 0 known 0 left 1 deleted 0 kept 0", kind: "timeout"},
				{want: "listed 1 archived 0 known 0 left 1 deleted 0 kept 0", kind: "timeout"},
				{want: "listed 1 archived 0 known 0 left 1 deleted 0 kept 0", left: whyBreaking},
			},
			archived: []string{mail(0) + "end.\r\n+OK 58 octets\r\n" + mail(1), mail(1), mail(2)}, onServer: mails(1),
		},
		{
			number: "23", name: "connection ends in mid-message",
			rigOptions: rigOptions{messages: mails(3), server: times(1, cut("RETR", "2", 40))},
			polls: []casePoll{
				{want: "listed 3 archived 1 known 0 left 2 deleted 0 kept 1", left: whyEnded, kept: whyEnded, kind: "closed", error: "RETR 2"},
				{want: "listed 3 archived 2 known 1 left 0 deleted 3 kept 0"},
			},
			archived: mails(3), onServer: []string{},
		},
		{
			number: "23", name: "stall in mid-message",
			rigOptions: rigOptions{messages: mails(3), mailbox: impatient, server: times(1, pop3test.On("RETR", "2", func(s *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
				return pop3test.StallAfter(s, 40, normal)
			}))},
			polls: []casePoll{
				{want: "listed 3 archived 1 known 0 left 2 deleted 0 kept 1", left: whyEnded, kept: whyEnded, kind: "timeout", error: "RETR 2"},
				{before: freed, want: "listed 3 archived 2 known 1 left 0 deleted 3 kept 0"},
			},
			archived: mails(3), onServer: []string{},
		},
		{
			number: "23", name: "one message always breaks the session",
			rigOptions: rigOptions{messages: mails(4), server: hooked(broken)},
			polls: []casePoll{
				{want: "listed 4 archived 1 known 0 left 3 deleted 0 kept 1", left: whyEnded, kind: "closed"},
				{want: "listed 4 archived 2 known 1 left 1 deleted 3 kept 0", left: whyEnded, kind: "closed"},
				{want: "listed 1 archived 0 known 0 left 1 deleted 0 kept 0", left: whyEnded, kind: "closed"},
			},
			archived: []string{mail(0), mail(2), mail(3)}, onServer: []string{mail(1)},
		},
		{
			number: "24", name: "stuffed, unstuffed and bare-LF dots",
			rigOptions: rigOptions{messages: []string{"replaced\r\n"}, server: hooked(pop3test.On("RETR", "", func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
				return pop3test.Raw("+OK\r\nSubject: dots\r\n\r\n...\r\n.unstuffed\r\n\n.\n\r\n..\n.\r\n.\r\n")
			}))},
			asSent:   map[string]string{"replaced\r\n": dots},
			polls:    []casePoll{{want: allOf("archived", 1)}},
			archived: []string{dots}, onServer: []string{},
		},
		{
			number: "24", name: "dots not stuffed, a message forges answers",
			rigOptions: rigOptions{messages: mails(3), server: hooked(pop3test.On("RETR", "1", func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
				return pop3test.Raw("+OK\r\nSubject: x\r\n\r\n.\r\n+OK\r\nforged\r\n.\r\n")
			}))},
			polls:    []casePoll{{want: "listed 3 archived 3 known 0 left 0 deleted 0 kept 3", kept: whyEnded, kind: "protocol"}},
			archived: []string{"Subject: x\r\n\r\n", "forged\r\n", mail(1)}, onServer: mails(3),
		},
		forgedAndStopped(),
		{
			number: "25", name: "line ends and dots across buffer edges",
			rigOptions: rigOptions{messages: acrossEdges()},
			polls:      []casePoll{{want: allOf("archived", len(acrossEdges()))}},
			archived:   acrossEdges(), onServer: []string{},
		},
		{
			number: "25", name: "bare CR and LF, no final newline",
			rigOptions: rigOptions{messages: []string{"Subject: a\n\nbare\rcr\n.\nlf", "Subject: b\r\r\n\r\r\n\r"}},
			polls:      []casePoll{{want: allOf("archived", 2)}},
			archived:   []string{"Subject: a\n\nbare\rcr\n.\nlf\r\n", "Subject: b\r\r\n\r\r\n\r\r\n"}, onServer: []string{},
		},
		{
			number: "26", name: "NUL bytes",
			rigOptions: rigOptions{messages: []string{"Subject: a\x00b\r\n\r\n\x00\r\n.\x00\r\n"}},
			polls:      []casePoll{{want: allOf("archived", 1)}},
			archived:   []string{"Subject: a\x00b\r\n\r\n\x00\r\n.\x00\r\n"}, onServer: []string{},
		},
		{
			number: "27", name: "lines of megabytes",
			rigOptions: rigOptions{messages: []string{"Subject: " + strings.Repeat("s", 2<<20) + "\r\n\r\n" + strings.Repeat(".", 3<<20) + "\r\n"}},
			polls:      []casePoll{{want: allOf("archived", 1)}},
			archived:   []string{"Subject: " + strings.Repeat("s", 2<<20) + "\r\n\r\n" + strings.Repeat(".", 3<<20) + "\r\n"}, onServer: []string{},
		},
		{
			number: "28", name: "wrong, absurd and missing sizes",
			rigOptions: rigOptions{messages: mails(4), mailbox: never, server: hooked(
				pop3test.Reply("LIST", "", "+OK\r\n1 1\r\n2 9223372036854775807\r\n3 -5\r\n4\r\n."),
			)},
			polls: []casePoll{
				{want: "listed 4 archived 4 known 0 left 0 deleted 0 kept 4"}, {want: "listed 4 archived 0 known 4 left 0 deleted 0 kept 4"},
			},
			archived: mails(4), onServer: mails(4),
		},
		{
			number: "28", name: "STAT differs from LIST",
			rigOptions: rigOptions{messages: mails(2), server: hooked(pop3test.Reply("STAT", "", "+OK -1 99999999999999999999"))},
			polls:      []casePoll{{want: allOf("archived", 2)}},
			archived:   mails(2), onServer: []string{},
		},
		{
			number: "28", name: "negative and repeated message numbers",
			rigOptions: rigOptions{messages: mails(2), server: hooked(
				pop3test.Times(1, pop3test.Reply("LIST", "", "+OK\r\n-1 59\r\n2 59\r\n.")), pop3test.Times(1, pop3test.Reply("LIST", "", "+OK\r\n1 59\r\n1 60\r\n.")),
				pop3test.Times(1, pop3test.Reply("LIST", "", "+OK\r\n1 59\r\n2 59\r\n2147483647 59\r\n.")),
			)},
			polls: []casePoll{
				{want: nothing, kind: "protocol", error: "expected a message number"},
				{want: "listed 1 archived 0 known 0 left 1 deleted 0 kept 0", kind: "other", error: "shows message 1 twice"},
				{want: "listed 3 archived 2 known 0 left 1 deleted 2 kept 0", left: whyArriving},
			},
			archived: mails(2), onServer: []string{},
		},
		{
			number: "29", name: "TOP truncated",
			rigOptions: rigOptions{messages: mails(2), server: hooked(pop3test.Reply("TOP", "", "+OK\r\nReceived: x\r\n\r\n.")), mailbox: afterADay},
			polls: []casePoll{
				{want: "listed 2 archived 2 known 0 left 0 deleted 0 kept 2"}, {before: twoDaysLater, want: allOf("known", 2)},
			},
			archived: mails(2), onServer: []string{},
		},
		{
			number: "29", name: "TOP unknown",
			rigOptions: rigOptions{messages: mails(2), server: pop3test.Config{Without: []string{"TOP"}}, mailbox: afterADay},
			polls: []casePoll{
				{want: "listed 2 archived 2 known 0 left 0 deleted 0 kept 2"}, {before: twoDaysLater, want: allOf("known", 2)},
			},
			archived: mails(2), onServer: []string{},
		},
		{
			number: "29", name: "TOP is not sent to learn what is there",
			rigOptions: rigOptions{messages: mails(2)},
			polls:      []casePoll{{want: allOf("archived", 2)}},
			archived:   mails(2), onServer: []string{},
			check: func(t *testing.T, r *caseRig) {
				if len(r.sent("TOP")) > 0 {
					t.Error("TOP marks messages as seen on some servers, and was sent")
				}
			},
		},
		refusedRETR("empty answer", "+OK\r\n.", whyEmpty),
		refusedRETR("message can not load", "-ERR Message can not load", `server refused RETR: "Message can not load"`),
		refusedRETR("download quota exceeded", "-ERR Download exceed", "Download exceed"),
		largeMessage(),
		{
			number: "32", name: "pseudo-message and no header",
			rigOptions: rigOptions{messages: []string{pseudo, "no header\r\n", "\r\n\r\n", ""}},
			polls:      []casePoll{{want: allOf("archived", 4)}},
			archived:   []string{pseudo, "no header\r\n", "\r\n\r\n", ""}, onServer: []string{},
		},
	}, endlessCases()...)
}

const pseudo = "From: Mail System Internal Data <MAILER-DAEMON@x>\r\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\r\n\r\nThis text is part of the internal format of your mail folder.\r\n"

// broken drops the connection in the middle of the message that has number 1 in
// its subject, whatever number it has in the session.
func broken(_ *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
	if cmd.Verb != "RETR" {
		return nil
	}
	var answer bytes.Buffer
	failed := normal(&answer)
	whole := pop3test.Raw(answer.String())
	if strings.Contains(answer.String(), "number 1\r\n") {
		return pop3test.DropAfter(40, whole)
	}
	return func(w io.Writer) error { return errors.Join(failed, whole(w)) }
}

// withoutCRLF lets the final dot of message 1 follow its text.
func withoutCRLF() pop3test.Hook {
	return pop3test.On("RETR", "1", func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
		return pop3test.Raw("+OK\r\n" + mail(0) + "end.\r\n")
	})
}

func afterADay(m *Mailbox)    { m.Delete.After = day }
func twoDaysLater(r *caseRig) { r.clock.advance(2 * day) }
func freed(r *caseRig)        { r.rig.server.CloseSessions() }

func refusedRETR(name, answer, why string) pollCase {
	return pollCase{
		number: "30", name: name,
		rigOptions: rigOptions{messages: mails(3), server: times(1, pop3test.Reply("RETR", "2", answer))},
		polls: []casePoll{
			{want: "listed 3 archived 2 known 0 left 1 deleted 2 kept 0", left: why}, {want: allOf("archived", 1)},
		},
		archived: mails(3), onServer: []string{},
	}
}

// acrossEdges are messages with CRLF, dots and the end at each place around the
// edges of buffers of 4, 32 and 64 KiB.
func acrossEdges() []string {
	var out []string
	for _, size := range []int{4 << 10, 32 << 10, 64 << 10} {
		for shift := -8; shift <= 2; shift += 2 {
			line := strings.Repeat("x", size+shift-len("Subject: e\r\n\r\n"))
			out = append(out, "Subject: e\r\n\r\n"+line+"\r\n.\r\n..\r\n.\r.\r\n"+line+"\r\n.\r\n")
		}
	}
	return out
}

// largeMessage is streamed from the server to the archive's disk.
func largeMessage() pollCase {
	block := strings.Repeat("0123456789abcdef\r\n", 1<<10)
	const blocks = 1 << 10
	content := "Message-ID: <large@x>\r\n\r\n" + strings.Repeat(block, blocks)
	return pollCase{
		number: "31", name: "larger than a NATS message",
		rigOptions: rigOptions{maildrop: []pop3test.Message{{
			Size: int64(len(content)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(content))), nil },
		}}},
		polls:    []casePoll{{want: allOf("archived", 1)}},
		archived: []string{content}, onServer: []string{},
	}
}

// endlessCases are 34: no limit in sight.
func endlessCases() []pollCase {
	endlessly := func(name, kind, want string, hook pop3test.Hook, left int) pollCase {
		c := pollCase{
			number: "34", name: name,
			rigOptions: rigOptions{messages: mails(1), server: times(1, hook), mailbox: func(m *Mailbox) {
				impatient(m)
				m.MaxMessageBytes = 1 << 20
			}},
			polls:    []casePoll{{want: want, kind: kind}, {before: freed, want: allOf("archived", 1)}},
			archived: mails(1), onServer: []string{},
		}
		switch {
		case left > 0: // it is remembered as too large
			c.polls[1].want, c.archived, c.onServer = want, nil, mails(1)
		case left < 0:
			c.polls[1].want = allOf("known", 1)
		}
		return c
	}
	one := "listed 1 archived 0 known 0 left 1 deleted 0 kept 0"
	return []pollCase{
		endlessly("endless greeting", "limit", nothing, pop3test.On(pop3test.VerbGreeting, "", endless("+OK ", "x")), 0),
		endlessly("endless list of capabilities", "limit", nothing, pop3test.On("CAPA", "", endless("+OK\r\n", "X\r\n")), 0),
		endlessly("endless UIDL", "limit", nothing, pop3test.On("UIDL", "", endless("+OK\r\n", "1 "+strings.Repeat("x", 20000)+"\r\n")), 0),
		endlessly("endless line in LIST", "limit", nothing, pop3test.On("LIST", "", endless("+OK\r\n", "1")), 0),
		endlessly("endless message", "limit", one, pop3test.On("RETR", "", endless("+OK\r\n", strings.Repeat("x", 20000)+"\r\n")), 1),
		endlessly("one byte at a time", "timeout", one, pop3test.On("RETR", "", dripped), 0),
		endlessly("stall at QUIT", "timeout", "listed 1 archived 1 known 0 left 0 deleted 0 kept 1", pop3test.On("QUIT", "", stalled), -1),
	}
}

// dripped sends a byte every few milliseconds.
func dripped(s *pop3test.Session, _ pop3test.Answer) pop3test.Answer {
	return func(w io.Writer) error {
		if _, err := io.WriteString(w, "+OK\r\n"); err != nil {
			return err
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-s.Done():
				return pop3test.ErrDrop
			}
			if _, err := w.Write([]byte("x")); err != nil {
				return err
			}
			if err := s.Flush(); err != nil {
				return err
			}
		}
	}
}

// forgedAndStopped forges an answer in the first of two bursts and stops the
// poller in it: what ends the fetching must not end the checking.
func forgedAndStopped() pollCase {
	const many = burstMessages + 72
	work, stop := context.WithCancel(context.Background())
	archived := append([]string{"Subject: x\r\n\r\n", "forged\r\n"}, mails(many)[1:burstMessages-1]...)
	return pollCase{
		number: "24", name: "dots not stuffed, and the poller is stopped",
		rigOptions: rigOptions{messages: mails(many), poller: work, server: hooked(
			pop3test.On("RETR", "1", func(*pop3test.Session, pop3test.Answer) pop3test.Answer {
				stop()
				return pop3test.Raw("+OK\r\nSubject: x\r\n\r\n.\r\n+OK\r\nforged\r\n.\r\n")
			}))},
		polls:    []casePoll{{want: "listed 200 archived 128 known 0 left 72 deleted 0 kept 128", kind: "protocol"}},
		archived: archived, onServer: mails(many),
	}
}
