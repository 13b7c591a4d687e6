package poller

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

func (s *session) recognised(i int, h *pipeline.Holding) {
	it := &s.items[i]
	it.holding, it.fetch = h, false
	switch {
	case h.Disposed:
		s.outcomes[i] = outcome{state: known, why: whyDisposed}
	case !h.Confirmed:
		s.outcomes[i] = outcome{state: known, why: whyUnconfirmed, unconfirmed: true}
		it.unconfirmed, it.fetch = true, true
		if !s.mailbox.Delete.due(h.Received, s.poller.opts.Now()) {
			s.outcomes[i].why = whyPolicy
			it.fetch = s.reconfirmed < maxReconfirmed
			s.reconfirmed++
		}
	case !s.mailbox.Delete.due(h.Received, s.poller.opts.Now()):
		s.outcomes[i] = outcome{state: known, why: whyPolicy}
	default:
		s.outcomes[i] = outcome{state: known, why: whyEnded}
		it.due = true
		it.confirm = h.HeaderHash != ""
		it.fetch = !it.confirm
	}
}

// retry leaves to the next session of the visit what a lost one did not reach, or did not delete although it
// was confirmed by an earlier poll. Messages that this poll archived wait for the
// next, which has the statement of this one.
func (s *session) retry() {
	for i := range s.items {
		it, o := &s.items[i], &s.outcomes[i]
		if it.due && !it.settled && !o.deleted && o.state == known && !s.troubleOf(it.listing).breaks() {
			o.postponed = true
		}
		if it.fetch && !it.settled && !s.chosen { // it broke over headers, before anything was fetched
			o.postponed = true
		}
		if o.postponed {
			s.cut, s.later = true, true
		}
	}
}

// maxReconfirmed is how many messages that stay on the server a session
// downloads again because their copies are unconfirmed. An archive made before
// there were confirmations has only such copies.
const maxReconfirmed = 256

// avoid takes out the messages that broke earlier sessions: they are left alone
// for a while, or fetched in a session of their own. That goes for their headers
// and deletions too.
func (s *session) avoid() {
	now := s.poller.opts.Now()
	for i := range s.items {
		it := &s.items[i]
		it.trouble = s.troubleOf(it.listing)
		switch {
		case it.settled || !it.trouble.breaks():
		case now.Before(it.trouble.Until):
			if it.fetch || it.confirm {
				s.outcomes[i].why = whyBreaking
			}
			if it.unconfirmed { // it has not been archived for certain
				s.outcomes[i].state = left
			}
			it.fetch, it.confirm = false, false
		case it.confirm:
			it.fetch, it.confirm = it.due, false
		}
	}
}

// samples is how many of the messages that stay for ever, because of the policy or because
// they were disposed of, a session confirms all the same, at random. Servers reuse
// UIDLs, and a new message under an old one, of the same size by chance, must
// not be taken for known for ever.
const samples = 16

func (s *session) sample() {
	if s.poller.opts.Now().Before(s.memory.NoTOPUntil) {
		return
	}
	picked := 0
	for _, i := range rand.Perm(len(s.items)) {
		it := &s.items[i]
		if it.holding == nil || it.unconfirmed || it.holding.HeaderHash == "" || !s.mailbox.Delete.Never && !it.holding.Disposed {
			continue
		}
		it.confirm = true
		picked++
		if limit := s.memory.limit(s.poller.opts.Now()); picked == samples || limit > 0 && picked > limit/2 {
			return
		}
	}
}

// commitCut leaves to the next session of the visit what is more than one QUIT
// is to delete.
func (s *session) commitCut() {
	every := lesser(s.mailbox.CommitEvery, s.memory.limit(s.poller.opts.Now()))
	if every == 0 {
		return
	}
	n := 0
	for i := range s.items {
		it := &s.items[i]
		if !it.confirm || !it.due {
			continue
		}
		if n++; n > every {
			it.confirm, s.cut, s.outcomes[i].why = false, true, s.whyCut()
		}
	}
}

const (
	// distrustMessages and distrustBytes bound what the archive is asked to
	// read at once: some seconds from a slow disk, so that the server does not
	// end the session meanwhile.
	distrustMessages = 16
	distrustBytes    = 64 << 20
)

// distrust has the archive read again what may be deleted because it was
// archived before. A message whose copy is damaged is fetched once more, and
// replaces it. What cannot be checked now stays on the server; new messages do
// not wait for it.
func (s *session) distrust(ctx, hard context.Context) error {
	var due []int
	for i := range s.items {
		if s.items[i].confirm && s.items[i].due {
			due = append(due, i)
		}
	}
	checking := true
	for len(due) > 0 {
		n, size := 0, int64(0)
		for n < min(distrustMessages, len(due)) && (n == 0 || size < distrustBytes) {
			size += max(s.items[due[n]].listing.Size, 0)
			n++
		}
		part := due[:n]
		due = due[n:]
		if checking = checking && ctx.Err() == nil && !s.overdue() && s.intact(hard, part); !checking {
			why := whyUnchecked
			if s.overdue() {
				why = whyDuration
			}
			for _, i := range part {
				s.items[i].confirm, s.outcomes[i].why = false, why
			}
			continue
		}
		if err := lost(s.conn.Noop(hard)); err != nil {
			return err
		}
	}
	return nil
}

// intact has some items checked, and reports whether they could be.
func (s *session) intact(ctx context.Context, part []int) bool {
	at := map[string][]int{}
	var ids []string
	for _, i := range part {
		id := s.items[i].holding.ID
		if at[id] == nil {
			ids = append(ids, id)
		}
		at[id] = append(at[id], i)
	}
	damaged, err := s.poller.bus.Damaged(ctx, ids)
	if err != nil {
		s.log.Warn("archived copies cannot be checked, their messages stay on the server", "error", err)
		return false
	}
	for _, id := range damaged {
		for _, i := range at[id] {
			it := &s.items[i]
			it.confirm, it.fetch, it.damaged = false, true, true
			s.outcomes[i] = outcome{why: whyEnded}
		}
	}
	return true
}

// confirm reads the headers of messages that were archived before and may be
// deleted now. Where a header is not the archived one, or cannot be had, the
// message is fetched like a new one: servers reuse UIDLs.
func (s *session) confirm(ctx, hard context.Context) error {
	s.commitCut()
	if err := s.distrust(ctx, hard); err != nil {
		return err
	}
	var numbers []int
	for i := range s.items {
		if s.items[i].confirm {
			numbers = append(numbers, s.items[i].number)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	err := s.conn.RetrieveTop(hard, numbers, 0, func(m *pop3.Message) error {
		if ctx.Err() != nil {
			return errStopped
		}
		if s.overdue() {
			return errOverdue
		}
		s.answered(m.Number, m.Err != nil)
		s.confirmed(s.at[m.Number], m)
		return nil // an error in reading ends the session by itself
	})
	if !errors.Is(err, errOverdue) {
		return err
	}
	for _, n := range numbers {
		if it := &s.items[s.at[n]]; it.due && !it.delete && !it.fetch {
			s.outcomes[s.at[n]].why = whyDuration
		}
	}
	return nil
}

var errOverdue = errors.New(whyDuration)

func (s *session) confirmed(i int, m *pop3.Message) {
	it := &s.items[i]
	if m.Err != nil {
		it.fetch = it.due
		return
	}
	hash, confirmable, err := pop3.HeaderHash(m.Body)
	switch {
	case err != nil:
	case confirmable && hash == it.holding.HeaderHash:
		it.delete, it.deposit = it.due, it.holding.Index
	default:
		it.fetch, it.changed = true, true
		s.outcomes[i] = outcome{why: whyEnded}
	}
}
