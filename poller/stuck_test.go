package poller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// pollFresh polls with a poller of its own, as a process does that cron starts.
func (r *rig) pollFresh() pipeline.PollReport {
	r.t.Helper()
	m, _, _ := r.poller.mailbox(user)
	p, err := New(r.bus, []Mailbox{m}, Options{Now: r.clock.now})
	r.must(err)
	work, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Work(work) }()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	reports, err := p.PollNow(ctx, nil, Events{})
	stop()
	r.must(errors.Join(err, <-done))
	if len(reports) != 1 || !reports[0].Consistent() {
		r.t.Fatalf("reports %+v, want one that adds up", reports)
	}
	return reports[0]
}

// idle is the context of a rig whose own poller does not work.
func idle() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// pollUntil polls in fresh processes until the server has nothing but rest, and
// returns the number of polls.
func (r *rig) pollUntil(most int, rest []string) int {
	r.t.Helper()
	for n := range most {
		report := r.pollFresh()
		r.t.Logf("poll %d: %s %v %v %s", n+1, numbers(report), report.Reasons, report.KeptWhy, report.Error)
		if strings.Join(r.onServer(), "") == strings.Join(rest, "") {
			return n + 1
		}
	}
	r.t.Errorf("after %d polls %d messages are on the server, want %d", most, len(r.onServer()), len(rest))
	return most
}

// endsAfter is a server that ends a session at the command after n of some verbs.
func endsAfter(n int, verbs ...string) pop3test.Hook {
	var mu sync.Mutex
	counts := map[*pop3test.Session]int{}
	return func(s *pop3test.Session, cmd pop3test.Command, _ pop3test.Answer) pop3test.Answer {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range verbs {
			if cmd.Verb == v {
				counts[s]++
				if counts[s] > n {
					return pop3test.Drop()
				}
			}
		}
		return nil
	}
}

func TestServerThatEndsSessionsAfterSomeCommandsIsEmptied(t *testing.T) {
	for name, hook := range map[string]pop3test.Hook{
		"RETR and TOP":       endsAfter(6, "RETR", "TOP"),
		"one RETR or TOP":    endsAfter(1, "RETR", "TOP"),
		"everything counts":  endsAfter(10, "RETR", "TOP", "DELE", "NOOP", "STAT", "UIDL", "LIST", "QUIT"),
		"deletions count":    endsAfter(4, "DELE"),
		"downloads in all 9": endsAfter(9, "RETR"),
	} {
		for _, without := range [][]string{{"PIPELINING"}, nil} {
			t.Run(fmt.Sprint(name, " without ", without), func(t *testing.T) {
				r := newRig(t, rigOptions{messages: mails(20), poller: idle(), server: pop3test.Config{Without: without, Hook: hook}})
				r.pollUntil(8, nil)
				same(t, "archived", sortedOnce(r.archived()), sortedOnce(mails(20)))
			})
		}
	}
}

// at applies answer to commands of a verb for the message with a number in its subject.
func (r *rig) at(verb string, subject int, answer pop3test.Answer) pop3test.Hook {
	return func(_ *pop3test.Session, cmd pop3test.Command, _ pop3test.Answer) pop3test.Answer {
		if cmd.Verb == verb && r.messageOf(cmd) == mail(subject) {
			return answer
		}
		return nil
	}
}

// messageOf is the message on the server that a command is for, "" if none.
func (r *rig) messageOf(cmd pop3test.Command) string {
	word, _, _ := strings.Cut(cmd.Arg, " ")
	n, err := strconv.Atoi(word)
	messages, e := r.server.Messages(user)
	if err != nil || e != nil || n < 1 || n > len(messages) {
		return ""
	}
	b, err := messages[n-1].ReadAll()
	if err != nil {
		return ""
	}
	return string(b)
}

func TestOneMessageDoesNotKeepTheOthers(t *testing.T) {
	refuseAndClose := func(w2 string) pop3test.Answer { return pop3test.DropAfter(1000, pop3test.Raw(w2)) }
	for name, fault := range map[string]struct {
		verb   string
		answer pop3test.Answer
	}{
		"RETR closes the connection":   {"RETR", pop3test.Drop()},
		"RETR breaks off":              {"RETR", refuseAndClose("+OK\r\nSubject: x\r\n")},
		"RETR is refused, then closed": {"RETR", refuseAndClose("-ERR no\r\n")},
		"DELE closes the connection":   {"DELE", pop3test.Drop()},
		"TOP closes the connection":    {"TOP", pop3test.Drop()},
	} {
		for _, without := range [][]string{{"PIPELINING"}, nil} {
			t.Run(fmt.Sprint(name, " without ", without), func(t *testing.T) {
				first := pop3test.Times(1, drop("QUIT", "")) // so that TOP is sent
				r := newRig(t, rigOptions{messages: mails(10), poller: idle(), server: pop3test.Config{Without: without}, hook: func(r *rig) pop3test.Hook {
					at := r.at(fault.verb, 4, fault.answer)
					if fault.verb == "TOP" {
						return pop3test.Hooks(first, at)
					}
					return at
				}})
				rest := []string{mail(4)}
				if fault.verb == "TOP" {
					rest = nil
				}
				r.pollUntil(4, rest)
				if fault.verb != "TOP" {
					r.blamedOne()
				}
			})
		}
	}
}

// blamedOne lets time pass until the message that breaks sessions is tried no
// more at every poll, heals it, and expects it to be tried again.
func (r *rig) blamedOne() {
	r.t.Helper()
	var report pipeline.PollReport
	for range 4 {
		report = r.pollFresh()
	}
	if report.Error != "" || report.Left+report.Kept != 1 {
		r.t.Errorf("a message that broke several sessions is still tried at each poll: %s %v %s", numbers(report), report.Reasons, report.Error)
	}
	r.clock.advance(8 * day)
	if report = r.pollFresh(); report.Error == "" {
		r.t.Errorf("it is never tried again: %s %v", numbers(report), report.Reasons)
	}
}

const (
	stuckRuns        = 40
	stuckTortureRuns = 2000
	stuckPolls       = 14
)

// TestWholeMessagesGoWithinTwoPolls gives random faults to messages and sessions. Each
// message without a fault of its own has to be deleted within two polls, after it came whole, in which QUIT was
// answered; and nothing is ever lost. POSTKEEP_SEED repeats a run.
func TestWholeMessagesGoWithinTwoPolls(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("POSTKEEP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	runs := uint64(stuckRuns)
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		runs = stuckTortureRuns
	}
	for n := range runs {
		t.Run(fmt.Sprintf("seed %d", seed+n), func(t *testing.T) {
			newStuck(t, seed+n).run()
		})
		if t.Failed() {
			t.Fatalf("repeat with POSTKEEP_SEED=%d", seed+n)
		}
	}
}

// stuck is a server with faults, and what has to be expected of it.
type stuck struct {
	*rig
	rng    *rand.Rand
	next   int
	limit  int // commands for messages in a session, 0 for any number
	random int // per mille of commands at which the connection drops

	mu     sync.Mutex
	faults map[string]string // by content
	units  map[*pop3test.Session]int
	whole  map[string]bool                // came whole
	own    map[*pop3test.Session][]string // messages of the commands of a session
	hit    map[string]bool                // whose own commands were hit by chance in this poll
	quit   bool                           // QUIT was answered in this poll
	since  map[string]int                 // polls with an answered QUIT since a message came whole
	seen   map[string]bool
}

var stuckFaults = []string{"close", "break", "refuse", "refuse and close", "unstuffed", "close after", "close DELE", "close TOP"}

func newStuck(t *testing.T, seed uint64) *stuck {
	x := &stuck{
		rng: rand.New(rand.NewPCG(seed, 0)), faults: map[string]string{}, units: map[*pop3test.Session]int{},
		whole: map[string]bool{}, own: map[*pop3test.Session][]string{}, hit: map[string]bool{}, since: map[string]int{}, seen: map[string]bool{},
	}
	config := pop3test.Config{Hook: x.hook}
	if x.rng.IntN(2) == 0 {
		config.Without = []string{"PIPELINING"}
	}
	if x.rng.IntN(3) == 0 {
		x.limit = 2 + x.rng.IntN(12)
	}
	if x.rng.IntN(2) == 0 {
		x.random = x.rng.IntN(30)
	}
	x.rig = newRig(t, rigOptions{server: config, poller: idle()})
	t.Logf("limit %d, random %d, without %v", x.limit, x.random, config.Without)
	return x
}

// arrive delivers mail, some of which has a fault.
func (x *stuck) arrive(n int) {
	for range n {
		m := fmt.Sprintf("Message-ID: <%d@example.com>\r\nSubject: number %d\r\n\r\n%s\r\nend\r\n", x.next, x.next, strings.Repeat("text\r\n", x.rng.IntN(3)))
		fault := ""
		if x.rng.IntN(6) == 0 {
			fault = stuckFaults[x.rng.IntN(len(stuckFaults))]
		}
		if fault == "unstuffed" {
			m += ".\r\nmore\r\n"
		}
		x.next++
		x.mu.Lock()
		x.faults[m] = fault
		x.seen[m] = true
		x.mu.Unlock()
		x.must(x.server.Deliver(user, pop3test.Bytes([]byte(m))))
	}
}

func (x *stuck) hook(s *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
	x.mu.Lock()
	defer x.mu.Unlock()
	if cmd.Verb == "RETR" || cmd.Verb == "TOP" {
		if x.units[s]++; x.limit > 0 && x.units[s] > x.limit {
			return pop3test.Drop()
		}
	}
	switch cmd.Verb {
	case "RETR", "TOP", "DELE":
		x.own[s] = append(x.own[s], x.messageOf(cmd))
		fallthrough
	case "NOOP", "QUIT":
		if x.rng.IntN(1000) < x.random {
			// What the command is about did not break elsewhere.
			own := x.own[s]
			if cmd.Verb != "QUIT" {
				own = own[max(0, len(own)-1):]
			}
			for _, m := range own {
				x.hit[m] = true
			}
			return pop3test.Drop()
		}
	}
	if cmd.Verb == "QUIT" {
		x.quit = true
		return nil
	}
	m := x.messageOf(cmd)
	fault := x.faults[m]
	switch {
	case cmd.Verb == "RETR" && fault == "close", cmd.Verb == "DELE" && fault == "close DELE", cmd.Verb == "TOP" && fault == "close TOP":
		return pop3test.Drop()
	case cmd.Verb == "RETR" && fault == "break":
		return pop3test.DropAfter(40, normal)
	case cmd.Verb == "RETR" && fault == "refuse":
		return pop3test.Raw("-ERR cannot\r\n")
	case cmd.Verb == "RETR" && fault == "refuse and close":
		return pop3test.DropAfter(100, pop3test.Raw("-ERR cannot\r\n"))
	case cmd.Verb == "RETR" && fault == "close after":
		return pop3test.DropAfter(1000, normal)
	case cmd.Verb == "RETR" && fault == "unstuffed":
		return pop3test.Edit(normal, func(raw []byte) []byte { return []byte(strings.ReplaceAll(string(raw), "\r\n..", "\r\n.")) })
	case cmd.Verb == "RETR":
		x.whole[m] = true
	}
	return nil
}

func (x *stuck) run() {
	x.arrive(5 + x.rng.IntN(20))
	for n := range stuckPolls {
		x.mu.Lock()
		before := make(map[string]bool, len(x.whole))
		for m := range x.whole {
			before[m] = true
		}
		x.quit = false
		clear(x.hit)
		x.mu.Unlock()
		report := x.pollFresh()
		x.t.Logf("poll %d: %s %v %v %s", n+1, numbers(report), report.Reasons, report.KeptWhy, report.Error)
		x.inspect(n, before)
		if x.t.Failed() {
			return
		}
		x.arrive(x.rng.IntN(3))
	}
}

// inspect checks that nothing is lost, and that what came whole before this poll
// has not seen two answered QUITs.
func (x *stuck) inspect(n int, before map[string]bool) {
	left := map[string]bool{}
	for _, m := range x.onServer() {
		left[m] = true
	}
	held := map[string]bool{}
	for _, m := range x.archived() {
		held[m] = true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for m := range x.seen {
		switch fault := x.faults[m]; {
		case !left[m] && !held[m]:
			x.t.Errorf("poll %d: lost (%s): %q", n+1, fault, m)
		case left[m] && x.quit && before[m] && !x.hit[m] && fault == "":
			if x.since[m]++; x.since[m] >= 2 {
				x.t.Errorf("poll %d: came whole, and is there after %d polls with an answered QUIT: %q", n+1, x.since[m], m)
			}
		}
	}
}
