package poller

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

const (
	// burstMessages and burstBytes (by LIST) are what is asked for at once from
	// a server that takes pipelined commands. Everything that was asked for is
	// archived, also when the poller is told to stop in between: some servers
	// hide a message after RETR. The pause between bursts is one round trip.
	burstMessages = 128
	burstBytes    = 8 << 20
	// maxFailures is the number of messages in a row that cannot be published
	// before the session takes it for a failure of NATS and not of the messages.
	maxFailures = 3
)

// taker is what fetching needs from one message to the next.
type taker struct {
	peek     *bufio.Reader
	failures int  // in a row
	burst    bool // other messages were asked for at the same time
	done     int
	total    int
}

// fetch downloads and publishes. It goes on after a message that the server
// refuses, and stops when the archive takes no more.
func (s *session) fetch(ctx, hard context.Context) error {
	numbers := s.wanted()
	if len(numbers) == 0 {
		return nil
	}
	if err := s.openMail(hard); err != nil {
		return err
	}
	s.taker = taker{peek: bufio.NewReader(nil), total: len(numbers)}
	for len(numbers) > 0 {
		if err := s.halted(ctx); err != nil {
			s.leave(numbers, err.Error())
			return err
		}
		s.alone = s.troubled || s.items[s.at[numbers[0]]].single()
		n, why := s.burst(numbers)
		if n == 0 {
			s.leave(numbers, why)
			break
		}
		if len(s.step.pending) > 0 && s.items[s.at[numbers[0]]].trouble.breaks() { // the next answer may not come
			if err := s.inStep(hard); err != nil {
				return err
			}
		}
		if err := s.retrieve(hard, numbers[:n]); err != nil {
			return err
		}
		numbers = numbers[n:]
	}
	return nil
}

// retrieve fetches one burst.
func (s *session) retrieve(hard context.Context, numbers []int) error {
	s.downloads += len(numbers)
	s.asked = true
	s.taker.burst = len(numbers) > 1
	err := s.conn.Retrieve(hard, numbers, func(m *pop3.Message) error {
		s.answered(m.Number, m.Err != nil)
		if !s.taker.burst || !s.step.odd {
			s.prove(false)
		}
		if err := s.take(hard, m); err != nil {
			return err
		}
		s.taker.done++
		s.progress("fetch", s.taker.done, s.taker.total)
		return nil
	})
	if err == nil && (s.alone || s.taker.burst) {
		err = s.inStep(hard)
	}
	return err
}

// wanted lists the messages to fetch, in the server's order, without those
// that are too large. What is most likely to end well comes first, and what was not
// reached waits for another session: where sessions were lost lately, what can be deleted is
// deleted before anything is fetched, and messages whose copies are unconfirmed have
// a session after that of the new ones. At last, in a session of its own each, come those
// that broke earlier sessions. Where the server wants so long a pause between logins that this session is the only one, it has all of them, in this
// order.
func (s *session) wanted() []int {
	s.chosen = true
	var fresh, unconfirmed, breakers []int
	for i := range s.items {
		it := &s.items[i]
		switch why := s.visit.oversize(it.trouble); {
		case !it.fetch:
		case s.tooLarge(it.listing.Size):
			s.outcomes[i] = outcome{why: s.largerThan()}
		case why != "":
			s.outcomes[i] = outcome{why: why}
		case it.trouble.breaks():
			breakers = append(breakers, it.number)
		case it.unconfirmed:
			s.outcomes[i].postponed = true // until it is reached
			unconfirmed = append(unconfirmed, it.number)
		default:
			fresh = append(fresh, it.number)
		}
	}
	deletions, fragile := s.confirmedCount(), s.memory.fragile(s.poller.opts.Now())
	// The least troublesome first: some were only there when it happened.
	slices.SortStableFunc(breakers, func(a, b int) int {
		return cmp.Compare(s.items[s.at[a]].trouble.Count, s.items[s.at[b]].trouble.Count)
	})
	switch {
	case fragile && deletions > 0:
		s.postpone(fresh, whyDeleting)
		s.postpone(unconfirmed, "")
		s.postpone(breakers, whyBreaking)
		return nil
	case s.tooLateToReturn() && len(fresh)+len(unconfirmed) > 0: // at a server that always has new mail no session would be left for the others
		last := min(1, len(breakers))
		s.postpone(breakers[last:], whyBreaking)
		return slices.Concat(fresh, unconfirmed, breakers[:last])
	case fragile && len(fresh) > 0:
		s.postpone(unconfirmed, "")
		unconfirmed = nil
		fallthrough
	case len(fresh)+len(unconfirmed) > 0, deletions > 0:
		s.postpone(breakers, whyBreaking)
		return append(fresh, unconfirmed...)
	case len(breakers) > 0:
		s.troubled = true
		s.postpone(breakers[1:], whyBreaking)
		return breakers[:1]
	}
	return nil
}

// postpone leaves messages to another session of the visit; an empty why leaves
// theirs as it is.
func (s *session) postpone(numbers []int, why string) {
	if len(numbers) == 0 {
		return
	}
	s.cut = true
	s.later = s.later || why != whyDeleting
	for _, n := range numbers {
		i := s.at[n]
		s.outcomes[i].postponed = true
		if why != "" {
			s.outcomes[i].why = why
		}
	}
}

func (s *session) tooLarge(size int64) bool {
	return s.mailbox.MaxMessageBytes > 0 && size > s.mailbox.MaxMessageBytes
}

func (s *session) largerThan() string {
	return fmt.Sprintf("larger than %d bytes", s.mailbox.MaxMessageBytes)
}

// leave notes why messages were not fetched.
func (s *session) leave(numbers []int, why string) {
	for _, n := range numbers {
		s.outcomes[s.at[n]].why = why
	}
}

// burst is how many of the messages to ask for now; if none, why.
func (s *session) burst(numbers []int) (n int, why string) {
	most := 1
	if !s.alone && s.conn.Capabilities().Has("PIPELINING") && !s.unpipelined() {
		most = burstMessages
	}
	p := &s.mailbox.Policy
	switch {
	case s.overdue():
		return 0, whyDuration
	case p.MaxMessages > 0 && s.downloads >= p.MaxMessages:
		return 0, whyMessages
	case p.MaxMessages > 0:
		most = min(most, p.MaxMessages-s.downloads)
	}
	if every := s.every(); every > 0 {
		room := every - s.taken - s.confirmedCount()
		if limit := s.memory.limit(s.poller.opts.Now()); limit > 0 {
			room = min(room, limit-s.step.units)
		}
		if room <= 0 {
			s.cut = true
			return 0, s.whyCut()
		}
		most = min(most, room)
	}
	var size int64
	for n < min(most, len(numbers)) {
		listed := max(s.items[s.at[numbers[n]]].listing.Size, 0)
		if n > 0 && (listed > burstBytes-size || s.items[s.at[numbers[n]]].single()) { // not size+listed: servers claim absurd sizes
			break
		}
		size += listed
		n++
	}
	return n, ""
}

// every is after how many messages a session ends with QUIT, 0 if there is no
// such limit. By the policy only what will be deleted is worth a QUIT of its own.
func (s *session) every() int {
	every := s.mailbox.CommitEvery
	if s.mailbox.Delete != (DeletePolicy{}) {
		every = 0
	}
	return lesser(every, s.memory.limit(s.poller.opts.Now()))
}

// lesser is the lesser of two limits, of which 0 is none.
func lesser(a, b int) int {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// whyCut is the reason for what is left to the next session.
func (s *session) whyCut() string {
	if s.memory.limit(s.poller.opts.Now()) > 0 {
		return whyShort
	}
	return whyCommit
}

// confirmedCount is how many messages will be deleted without a download.
func (s *session) confirmedCount() int {
	n := 0
	for i := range s.items {
		if s.items[i].delete {
			n++
		}
	}
	return n
}

// halted says why nothing more is to be fetched.
func (s *session) halted(ctx context.Context) error {
	if ctx.Err() != nil {
		return errStopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != "" {
		return fmt.Errorf("%w: %s", errRefused, s.refusal)
	}
	return nil
}

// take publishes one message. An error ends the fetching.
func (s *session) take(hard context.Context, m *pop3.Message) error {
	i := s.at[m.Number]
	it := &s.items[i]
	if m.Err != nil {
		why := refusal("RETR", m.Err)
		if it.holding != nil && !it.changed && !it.damaged {
			s.outcomes[i] = outcome{state: known, why: why, unconfirmed: it.unconfirmed} // nothing says that it is another one
		} else {
			s.outcomes[i] = outcome{why: why}
		}
		return nil
	}
	s.taker.peek.Reset(m.Body)
	if _, err := s.taker.peek.Peek(1); errors.Is(err, io.EOF) && it.listing.Size != 0 {
		s.outcomes[i] = outcome{why: whyEmpty}
		return nil
	}
	s.outcomes[i] = outcome{why: whyEnded, unconfirmed: it.unconfirmed}
	sent, err := s.publish(hard, m)
	switch {
	case err == nil:
		s.taker.failures = 0
		s.taken++
		s.mu.Lock()
		s.sent[m.Number] = sent
		s.mu.Unlock()
		it.octets = sent.Size
		s.step.pending = append(s.step.pending, i)
		s.step.odd = s.step.odd || sent.Size != it.listing.Size
		s.report.Bytes += sent.Size
		s.outcomes[i].why = whyNoReceipt
		return nil
	case errors.Is(err, errTooLarge):
		s.tooLargeFor(it.listing, s.largerThan(), s.mailbox.MaxMessageBytes)
		s.outcomes[i] = outcome{why: s.largerThan()}
		return nil // the client reads the rest, or ends the session
	case lost(err) != nil, hard.Err() != nil, errors.Is(err, errStuck):
		return err
	}
	if large, ok := errors.AsType[*pipeline.TooLargeError](err); ok {
		s.tooLargeFor(it.listing, large.Error(), 0)
		s.outcomes[i].why = large.Error()
		return nil
	}
	s.outcomes[i].why = err.Error()
	if s.taker.failures++; s.taker.failures < maxFailures {
		return nil
	}
	return err
}

func (s *session) publish(ctx context.Context, m *pop3.Message) (pipeline.Sent, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(s.mailbox.ReceiptWait, func() { cancel(errStuck) })
	defer stuck.Stop()
	header := pop3.NewHeaderHasher()
	body := &meter{
		r: io.TeeReader(s.taker.peek, header), limit: s.mailbox.MaxMessageBytes,
		pause: func() { stuck.Stop() }, goOn: func() { stuck.Reset(s.mailbox.ReceiptWait) },
	}
	defer func() { s.step.octets = body.size }()
	source := s.source
	source.Number = m.Number
	listing := s.items[s.at[m.Number]].listing
	sent, err := s.mail.Publish(ctx, pipeline.Mail{
		Number:  m.Number,
		Deposit: pipeline.Deposit{Mailbox: s.mailbox.Name, UIDL: listing.UIDL, ListedSize: listing.Size, Source: source},
		Finish: func(d *pipeline.Deposit) {
			d.Received = s.poller.opts.Now().UTC()
			// The header may be right and the rest not: that is for the report to state.
			if hash, confirmable := header.Sum(); confirmable {
				d.HeaderHash = hash
			}
		},
	}, body)
	if err != nil && errors.Is(context.Cause(ctx), errStuck) {
		err = errStuck
	}
	return sent, err
}

var (
	errTooLarge = errors.New("message is larger than max_message_bytes")
	errStuck    = errors.New("archive takes nothing: no room in the stream within receipt_wait")
)

// meter limits a body, and tells when the server is waited for and when the
// archive.
type meter struct {
	r     io.Reader
	limit int64 // 0 is none
	size  int64
	pause func()
	goOn  func()
}

func (m *meter) Read(p []byte) (int, error) {
	m.pause()
	n, err := m.r.Read(p)
	m.goOn()
	m.size += int64(n)
	if m.limit > 0 && m.size > m.limit {
		return n, errTooLarge
	}
	return n, err
}
