package poller

import (
	"fmt"
	"strings"
	"testing"

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
