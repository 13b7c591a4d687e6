package poller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// A message has come whole if the server answered the command after its download
// in order: then nothing of it was left over. That is what in step means here, and
// what the report of the poll states of a deposit. A message whose size is that of
// LIST is believed when the next answer is one; in a burst of pipelined commands only as
// long as all sizes are right, for behind a message that ended too early or too late
// the numbers have the messages of others. Where the sizes differ, as they
// always do at some servers, it takes the commands of pop3.Conn.InStep, whose answers
// no message can forge, and a second download with the same bytes, for the server
// itself may have sent less once.

// step is what a session knows of being in step.
type step struct {
	pending []int // indexes of items that were read and are not known to be whole
	current int   // number of the message that was answered last, 0 if none
	refused bool  // by a refusal
	odd     bool  // a message had another size than LIST said
	octets  int64 // of the message read last, as far as it came
	units   int   // downloads and headers that were answered
	quit    bool  // QUIT was answered
}

// answered takes in the first line of the answer for a message.
func (s *session) answered(number int, refused bool) {
	s.step.current, s.step.refused, s.step.octets = number, refused, 0
	s.step.units++
}

// prove marks the pending messages as whole, those of another size than LIST said
// only after a challenge.
func (s *session) prove(challenged bool) {
	rest := s.step.pending[:0]
	for _, i := range s.step.pending {
		if it := &s.items[i]; challenged || it.octets == it.listing.Size {
			it.whole = true
		} else {
			rest = append(rest, i)
		}
	}
	s.step.pending = rest
}

// inStep makes sure that no answer is left over. NOOP is answered with one line, and so the second NOOP
// would get a line of the last message if each number had the message of the one
// before.
func (s *session) inStep(ctx context.Context) error {
	for range 2 {
		if err := lost(s.conn.Noop(ctx)); err != nil {
			return err
		}
	}
	s.prove(false)
	return nil
}

// allInStep is inStep at the end of all downloads.
func (s *session) allInStep(ctx context.Context) error {
	if err := s.inStep(ctx); err != nil || len(s.step.pending) == 0 {
		return err
	}
	if err := s.conn.InStep(ctx); err != nil {
		return err
	}
	s.prove(true)
	return nil
}

// again downloads messages of another size than LIST said once more, to compare
// the bytes; nothing of it is published. The archive may have got the same in
// an earlier session.
func (s *session) again(ctx, hard context.Context) error {
	var numbers []int
	for number, sent := range s.sent { // nothing is published any more: the lock is not needed
		it := &s.items[s.at[number]]
		if it.octets != it.listing.Size && (it.holding == nil || it.holding.ID != sent.ID) {
			numbers = append(numbers, number)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	slices.Sort(numbers)
	err := s.conn.Retrieve(hard, numbers, func(m *pop3.Message) error {
		s.answered(m.Number, m.Err != nil)
		switch {
		case ctx.Err() != nil:
			return errStopped
		case s.overdue():
			return errOverdue
		case m.Err != nil:
			return nil
		}
		hash := sha256.New()
		n, err := io.Copy(hash, m.Body)
		s.report.Bytes += n
		s.items[s.at[m.Number]].twice = err == nil && hex.EncodeToString(hash.Sum(nil)) == s.sent[m.Number].ID
		return nil // an error in reading ends the session by itself
	})
	if errors.Is(err, errOverdue) || errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// certain reports whether what was read is known to be the message.
func (s *session) certain(it *item, id string) bool {
	return it.whole && (it.octets == it.listing.Size || it.twice || it.holding != nil && it.holding.ID == id)
}

// vouch notes the deposit of a whole message for the report.
func (s *session) vouch(i int, r pipeline.Receipt) {
	switch {
	case r.Disposed:
	case s.certain(&s.items[i], r.ID):
		s.vouched = append(s.vouched, r.Index)
	default:
		s.outcomes[i].unconfirmed = true
	}
}

// blame finds the message at which the server ended the session, 0 if none.
func (s *session) blame(err error) int {
	var e *pop3.Error
	if !errors.As(err, &e) {
		return 0
	}
	switch e.Kind {
	case pop3.KindClosed, pop3.KindTimeout, pop3.KindProtocol:
	default:
		return 0
	}
	verb, number := commandOf(e.Op)
	mixedUp := e.Kind == pop3.KindProtocol && verb != "DELE"
	switch {
	case number != 0 && number == s.step.current: // in the middle of it
		return number
	case mixedUp && (e.Pipelined || s.taker.burst): // any of them
		return 0
	case mixedUp || s.step.refused: // it left something over, or the server refused it and went away
		return s.step.current
	case number == 0 && s.alone:
		return s.step.current
	}
	return number
}

// Places in a message at which a session was lost, beside numbers of octets.
const (
	notRead = -1 // it was not being read
	atDELE  = -2
)

// place is how far a session had got in a message at which it was lost.
func (s *session) place(number int, err error) int64 {
	var e *pop3.Error
	if !errors.As(err, &e) {
		return notRead
	}
	switch verb, n := commandOf(e.Op); {
	case verb == "DELE":
		return atDELE
	case verb != "RETR", n != number, n != s.step.current:
		return notRead
	}
	return s.step.octets
}

// commandOf splits the Op of an error.
func commandOf(op string) (verb string, number int) {
	words := strings.Fields(op)
	if len(words) < 2 {
		return op, 0
	}
	number, err := strconv.Atoi(words[1])
	if err != nil {
		return op, 0
	}
	return words[0], number
}

// brokenBy reports whether err is the server's ending of the session.
func brokenBy(err error) bool {
	switch pop3.KindOf(err) {
	case pop3.KindClosed, pop3.KindTimeout, pop3.KindProtocol:
		return true
	}
	return false
}

// learn takes what a session showed into the memory of the server.
func (v *visit) learn(hard context.Context, s *session, err error) {
	now := v.poller.opts.Now()
	v.memory.noteError(err, s.taker.burst, now)
	switch {
	case s.step.quit:
		v.memory.ended(s.step.units, now)
	case s.listed && brokenBy(err) && hard.Err() == nil:
		explained := s.troubled // by its one message
		if number := s.blame(err); number > 0 {
			if i, ok := s.at[number]; ok && s.named(s.items[i].listing) {
				explained = explained || s.items[i].trouble.breaks()
				v.brokeAt(s.items[i].listing, s.place(number, err))
			}
		}
		if !explained {
			v.memory.broke(s.step.units, now)
		}
	}
}

// maxStatementBytes bounds what a report says of confirmed deposits, for the reasons
// of maxReplyBytes. What has no room stays unconfirmed: it is downloaded once more.
const maxStatementBytes = 64 << 10

// statement is what the report says of whole messages.
func (v *visit) statement() pipeline.Runs {
	slices.Sort(v.vouched)
	all := slices.Compact(v.vouched)
	for {
		runs := pipeline.NewRuns(all)
		if len(runs) <= maxStatementBytes {
			return runs
		}
		all = all[len(all)/4:] // the newest are the least likely to be deleted yet
	}
}
