package poller

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// A clock that was ahead when a message broke sessions must not leave it alone until then.
func TestPausesNotedByAClockThatWasAheadEnd(t *testing.T) {
	var healthy atomic.Bool
	r := newRig(t, rigOptions{messages: mails(6), poller: idle(), hook: func(r *rig) pop3test.Hook {
		return until(&healthy, r.at("RETR", 4, pop3test.Drop()))
	}})
	r.clock.advance(365 * day)
	for range 5 {
		r.pollFresh()
	}
	same(t, "on the server", r.onServer(), []string{mail(4)})
	healthy.Store(true)
	r.clock.advance(-365 * day)
	r.pollFresh()
	r.clock.advance(8 * day)
	r.pollUntil(2, nil)
	if m := r.memory(); m.SingleUntil.After(r.clock.now().Add(spareMixedUp)) {
		t.Errorf("no pipelining until %s", m.SingleUntil)
	}
}

// until is a hook that does nothing any more once done is set.
func until(done *atomic.Bool, hook pop3test.Hook) pop3test.Hook {
	return func(s *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
		if done.Load() {
			return nil
		}
		return hook(s, cmd, normal)
	}
}

// Without UIDLs a message is recognised by its size, as far as that is its own.
func TestOneMessageWithoutUIDLDoesNotKeepTheOthers(t *testing.T) {
	var different []string
	for n := range 10 {
		different = append(different, mail(n)+strings.Repeat("x", n)+"\r\n")
	}
	for name, stay := range map[string]bool{"deleted": false, "never deleted": true} {
		for _, without := range [][]string{{"PIPELINING", "UIDL"}, {"UIDL"}} {
			t.Run(fmt.Sprint(name, " without ", without), func(t *testing.T) {
				var healthy atomic.Bool
				o := rigOptions{messages: different, poller: idle(), server: pop3test.Config{Without: without}, hook: func(r *rig) pop3test.Hook {
					return until(&healthy, func(_ *pop3test.Session, cmd pop3test.Command, _ pop3test.Answer) pop3test.Answer {
						if cmd.Verb == "RETR" && r.messageOf(cmd) == different[4] {
							return pop3test.Drop()
						}
						return nil
					})
				}}
				if stay {
					o.mailbox = func(m *Mailbox) { m.Delete = DeletePolicy{Never: true} }
				}
				r := newRig(t, o)
				if stay {
					for range 6 {
						r.pollFresh()
					}
					others := append(append([]string{}, different[:4]...), different[5:]...)
					same(t, "archived", sortedOnce(r.archived()), sortedOnce(others))
				} else {
					r.pollUntil(6, different[4:5])
				}
				healthy.Store(true)
				r.clock.advance(8 * day)
				for range 2 {
					report := r.pollFresh()
					t.Logf("%s %v %s", numbers(report), report.Reasons, report.Error)
				}
				same(t, "archived", sortedOnce(r.archived()), sortedOnce(different))
			})
		}
	}
}

// A server that wants a long pause between logins has one session a poll; new mail at each of them must not keep what waits for
// a session of its own.
func TestLongLoginDelayStarvesNothing(t *testing.T) {
	for _, without := range [][]string{{"PIPELINING"}, nil} {
		t.Run(fmt.Sprint("without ", without), func(t *testing.T) {
			var healthy atomic.Bool
			r := newRig(t, rigOptions{messages: mails(6), poller: idle(), server: pop3test.Config{
				Without: without, Capabilities: []string{"LOGIN-DELAY 300"},
			}, hook: func(r *rig) pop3test.Hook {
				once := pop3test.Times(1, func(_ *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
					if cmd.Verb == "RETR" && r.messageOf(cmd) == mail(3) {
						return pop3test.DropAfter(100000, normal)
					}
					return nil
				})
				return pop3test.Hooks(once, until(&healthy, r.at("RETR", 4, pop3test.Drop())))
			}})
			next := 100
			poll := func() {
				report := r.pollFresh()
				t.Logf("%s %v %v %s", numbers(report), report.Reasons, report.KeptWhy, report.Error)
				r.must(r.server.Deliver(user, pop3test.Bytes([]byte(mail(next)))))
				next++
				r.clock.advance(10 * time.Minute)
			}
			for range 10 {
				poll()
			}
			same(t, "on the server", r.onServer(), []string{mail(4), mail(next - 1)})
			healthy.Store(true)
			r.clock.advance(8 * day)
			for range 3 {
				poll()
			}
			same(t, "on the server", r.onServer(), []string{mail(next - 1)})
		})
	}
}
