package poller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/pipeline"
)

// noopEvery keeps the session alive while it waits for receipts. Servers may
// end one that is idle for ten minutes (RFC 1939 section 3); many do after one or two.
const noopEvery = time.Minute

// collect keeps what the archive says. A good receipt outweighs an earlier
// failure.
func (s *session) collect() {
	for r := range s.mail.Receipts() {
		s.mu.Lock()
		if old, ok := s.receipts[r.Number]; !ok || !good(old) {
			s.receipts[r.Number] = r
		}
		if r.Err != "" {
			s.refusal = r.Err
		}
		s.mu.Unlock()
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	}
}

// good reports whether the archive has the message.
func good(r pipeline.Receipt) bool { return r.Err == "" && r.Refused == "" && r.Index >= 0 }

// outstanding is the number of messages that the archive has said nothing of.
func (s *session) outstanding() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for number := range s.sent {
		if _, ok := s.receipts[number]; !ok {
			n++
		}
	}
	return n
}

// await waits until everything that was sent has its receipt, or none has
// come for the mailbox's ReceiptWait.
func (s *session) await(ctx context.Context) error {
	patience := time.NewTimer(s.mailbox.ReceiptWait)
	defer patience.Stop()
	noop := time.NewTicker(noopEvery)
	defer noop.Stop()
	total := len(s.sent)
	for {
		n := s.outstanding()
		if n == 0 {
			return nil
		}
		s.progress("wait", total-n, total)
		select {
		case <-s.arrived:
			patience.Reset(s.mailbox.ReceiptWait)
		case <-noop.C:
			if err := s.conn.Noop(ctx); err != nil {
				return err
			}
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judge turns receipts into outcomes. Only here does a fetched message become
// one that may be deleted.
func (s *session) judge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for number, sent := range s.sent {
		i := s.at[number]
		r, ok := s.receipts[number]
		switch {
		case !ok:
		case r.Err != "":
			s.outcomes[i] = outcome{why: "archive: " + r.Err}
		case r.Refused != "":
			s.outcomes[i] = outcome{why: "archive refused: " + r.Refused}
		case !good(r):
		case r.ID != sent.ID:
			s.outcomes[i] = outcome{why: fmt.Sprintf("receipt is for another message (%s)", r.ID)}
		default:
			s.outcomes[i] = outcome{state: archived, why: whyPolicy}
			if r.Known {
				s.outcomes[i].state = known
			}
			s.items[i].delete = s.mailbox.Delete.due(s.report.Started, s.report.Started)
			s.report.Index = max(s.report.Index, r.Index)
		}
	}
}

// keep notes why what could have been deleted was not.
func (s *session) keep(why string) {
	for i := range s.items {
		if s.items[i].delete {
			s.outcomes[i].deleted, s.outcomes[i].why = false, why
		}
	}
}

// deleteAndQuit sends DELE for what may go and ends the session. A deletion
// counts when the server has answered QUIT; until then it may have forgotten.
func (s *session) deleteAndQuit(ctx context.Context) error {
	var numbers []int
	for i := range s.items {
		if s.items[i].delete {
			numbers = append(numbers, s.items[i].number)
		}
	}
	select {
	case <-s.lease.Lost():
		s.keep(whyLease)
		return errors.Join(errors.New("the lease on the mailbox was lost, nothing was deleted"), s.conn.Quit(ctx))
	default:
	}
	err := s.conn.Delete(ctx, numbers, func(number int, err error) {
		o := &s.outcomes[s.at[number]]
		o.deleted = err == nil
		if err != nil {
			o.why = err.Error()
		}
	})
	if err == nil {
		err = s.conn.Quit(ctx)
	}
	if err != nil {
		s.keep(whyQuit)
	}
	s.progress("done", len(numbers), len(numbers))
	return err
}
