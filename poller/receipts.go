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

// openMail begins to publish. Each POP3 session has an inbox of its own: a late
// receipt for message 5 of an earlier one must not be taken for this one's.
func (s *session) openMail(ctx context.Context) (err error) {
	if s.mail, err = s.poller.bus.OpenSession(ctx, pipeline.SessionOptions{ID: s.sessionID(s.number), Mailbox: s.mailbox.Name}); err != nil {
		return err
	}
	s.mailing.Go(s.collect)
	return nil
}

func (s *session) closeMail() error {
	if s.mail == nil {
		return nil
	}
	err := s.mail.Close()
	s.mailing.Wait()
	return err
}

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
	return len(s.sent) - len(s.receipts)
}

// await waits until everything that was sent has its receipt, or none has
// come for the mailbox's ReceiptWait. When the connection is lost the receipts
// still tell the report what is archived.
func (s *session) await(ctx context.Context, connected bool) error {
	patience := time.NewTimer(s.mailbox.ReceiptWait)
	defer patience.Stop()
	noop := time.NewTicker(noopEvery)
	defer noop.Stop()
	total := len(s.sent)
	for {
		n := s.outstanding()
		if n <= 0 {
			return nil
		}
		s.progress("wait", total-n, total)
		select {
		case <-s.arrived:
			patience.Reset(s.mailbox.ReceiptWait)
		case <-noop.C:
			if !connected {
				continue
			}
			if err := lost(s.conn.Noop(ctx)); err != nil {
				return err
			}
		case <-patience.C:
			return s.silent(ctx, n)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// silent says why n messages have no receipt.
func (s *session) silent(ctx context.Context, n int) error {
	err := fmt.Errorf("no receipt for %d messages within %s", n, s.mailbox.ReceiptWait)
	if why := s.poller.bus.Diagnose(ctx); why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return fmt.Errorf("%w, although the archive worker answers", err)
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
			s.outcomes[i] = outcome{why: "receipt is for another message"}
		default:
			s.accept(i, r)
			s.vouch(i, r)
		}
	}
}

// accept takes a good receipt. A message counts as received now, unless it is
// the very one that the archive holds under this UIDL.
func (s *session) accept(i int, r pipeline.Receipt) {
	it, now := &s.items[i], s.poller.opts.Now()
	received := now
	s.report.Index = max(s.report.Index, r.Index)
	s.outcomes[i] = outcome{state: archived, why: whyPolicy}
	if it.whole && (it.trouble == nil || it.trouble.At != atDELE) {
		s.forgive(it.listing)
	}
	if r.Known {
		s.outcomes[i].state = known
		received = r.Received
	}
	if r.Disposed { // nobody decided that the server's copy goes, too
		s.outcomes[i].why = whyDisposed
		return
	}
	if h := it.holding; h != nil && h.ID == r.ID {
		received = h.Received
		if it.changed { // TOP gave another header than RETR
			s.memory.NoTOPUntil = now.Add(distrustTOP)
		}
	}
	it.deposit = r.Index
	switch due := s.mailbox.Delete.due(received, now); {
	case s.certain(it, r.ID):
		it.delete = due
	case !it.whole:
		s.outcomes[i].why = whyEnded
	case due:
		s.outcomes[i].why = whyOtherSize
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

// fenced says why nothing may be deleted any more: the lease is gone, or the
// time to end is over.
func (s *session) fenced(ctx context.Context) error {
	err := context.Cause(ctx)
	switch {
	case errors.Is(err, errLease):
		s.keep(whyLease)
	case err != nil:
		s.keep(whyStopped)
	}
	return err
}

// current returns an error if what gave the receipts is not the archive any more: another copy of it has taken over, or an older one
// was restored. That may lack the messages.
func (s *session) current(ctx context.Context) error {
	err := s.poller.bus.Valid(ctx, s.term)
	if err != nil {
		s.keep(whyTerm)
	}
	return err
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
	if err := s.fenced(ctx); err != nil {
		return err
	}
	var answers replies
	defer func() { s.keepReplies(s.source.Session, &answers) }()
	s.step.current, s.step.refused = 0, false
	err := s.conn.Delete(ctx, numbers, func(number int, err error) {
		s.step.current, s.step.refused = number, err != nil
		answers.note(number, s.items[s.at[number]].deposit, s.conn.LastReply(), err == nil)
		o := &s.outcomes[s.at[number]]
		o.deleted = err == nil
		if err != nil {
			o.why = refusal("DELE", err)
		}
	})
	if fenced := s.fenced(ctx); fenced != nil {
		return errors.Join(err, fenced) // without QUIT nothing is deleted
	}
	if err == nil && len(numbers) > 0 {
		if err := s.current(ctx); err != nil {
			return err // as above
		}
	}
	if err == nil {
		s.step.current = 0
		err = s.conn.Quit(ctx)
		if s.step.quit = lost(err) == nil; err == nil {
			for _, n := range numbers {
				s.forgive(s.items[s.at[n]].listing)
			}
		}
		answers.quit = s.conn.LastReply()
	}
	if err != nil {
		s.keep(whyQuit)
	}
	s.progress("done", len(numbers), len(numbers))
	return err
}
