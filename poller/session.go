package poller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// session is one POP3 session of a visit: list, ask the archive what it
// knows, fetch the rest, wait for receipts, delete what may go, quit.
//
// The rule for DELE: the message was fetched in this session, where message
// numbers mean the same thing throughout, and the archive's receipt names the
// SHA-256 of what was read; or the archive had it before and TOP has just
// confirmed that its header is still that of the archived message, whose bytes
// the archive has read again.
type session struct {
	*visit
	number int // of the visit's sessions, from 1
	quirk  quirk

	conn     *pop3.Conn
	source   pipeline.Source
	mail     *pipeline.Session // nil until something is fetched
	mailing  sync.WaitGroup    // collects receipts
	taker    taker
	listed   bool
	items    []item
	outcomes []outcome   // of items
	at       map[int]int // message number -> index of items
	asked    bool        // something was RETRed
	taken    int         // messages published
	cut      bool        // commit_every left work undone
	advanced bool        // and another session may get further

	mu       sync.Mutex
	sent     map[int]pipeline.Sent    // by message number
	receipts map[int]pipeline.Receipt // by message number
	arrived  chan struct{}            // told of every receipt
	refusal  string                   // the archive takes nothing at the moment
}

// item is one line of the server's listing.
type item struct {
	number  int
	listing pipeline.Listing
	holding *pipeline.Holding // what the archive has under this UIDL and size
	settled bool              // an earlier session of the visit dealt with it
	due     bool              // the policy allows its deletion once its identity is confirmed
	confirm bool              // compare its header with that of the holding
	changed bool              // and it was another one
	damaged bool              // the archive cannot read its copy any more
	deposit int64             // ledger index of the deposit for which it may be deleted
	delete  bool              // confirmed
	fetch   bool
}

func newSession(v *visit, number int) *session {
	return &session{
		visit: v, number: number, quirk: v.poller.quirks.get(v.mailbox.Name), at: map[int]int{},
		sent: map[int]pipeline.Sent{}, receipts: map[int]pipeline.Receipt{}, arrived: make(chan struct{}, 1),
	}
}

// run talks to the server. ctx is the wish to stop, hard the end of all
// patience.
func (s *session) run(ctx, hard context.Context) (err error) {
	if s.conn, err = s.connect(hard, s.number > 1); err != nil {
		return err
	}
	defer func() { _ = s.conn.Close() }() // after QUIT, or because there can be none
	defer func() { err = errors.Join(err, s.closeMail()) }()
	s.identify()
	err = s.list(hard)
	if err == nil {
		err = s.recognise(hard)
	}
	if err == nil {
		err = s.confirm(ctx, hard)
	} else if lost(err) == nil {
		return errors.Join(err, s.conn.Quit(hard))
	}
	if err == nil {
		err = s.fetch(ctx, hard)
	}
	if s.asked && lost(err) == nil { // however the fetching ended: DELE may follow
		err = errors.Join(err, s.inStep(hard))
	}
	err = errors.Join(err, s.await(hard, lost(err) == nil))
	s.judge()
	if lost(err) != nil || hard.Err() != nil {
		s.keep(whyEnded)
		return errors.Join(err, context.Cause(hard))
	}
	return errors.Join(err, s.deleteAndQuit(hard))
}

// identify notes where the messages of the session come from.
func (s *session) identify() {
	s.source = pipeline.Source{
		Protocol: "pop3", Host: net.JoinHostPort(s.mailbox.Server.Host, strconv.Itoa(s.mailbox.Server.Port)),
		User: s.mailbox.Username, Session: s.sessionID(s.number),
	}
	if state := s.conn.TLS(); state != nil {
		s.source.TLS = tls.VersionName(state.Version)
	}
}

// maxUIDLBytes is what the archive takes as a UIDL; RFC 1939 allows 70. A longer
// one counts as none.
const maxUIDLBytes = 4096

// uidls asks for the unique-ids. A number that comes twice with different ones
// has none. last is the highest number, -1 if the server has no UIDL.
func (s *session) uidls(ctx context.Context) (byNumber map[int]string, last int, err error) {
	entries, err := s.conn.UIDL(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, -1, nil
	}
	if err != nil {
		return nil, 0, err
	}
	byNumber = make(map[int]string, len(entries))
	for _, u := range entries {
		old, twice := byNumber[u.Number]
		if twice && old != u.UIDL || len(u.UIDL) > maxUIDLBytes {
			u.UIDL = ""
		}
		byNumber[u.Number] = u.UIDL
		last = max(last, u.Number)
	}
	return byNumber, last, nil
}

// list reads UIDL and LIST. A message beyond the last that UIDL shows arrived
// between the two: it is left for the next poll, which will know its UIDL. When
// UIDL shows nothing at all it says nothing about LIST.
func (s *session) list(ctx context.Context) error {
	byNumber, last, err := s.uidls(ctx)
	if err != nil {
		return err
	}
	entries, err := s.conn.List(ctx)
	if err != nil {
		return err
	}
	s.listed = true
	for _, e := range entries {
		if _, twice := s.at[e.Number]; twice {
			return fmt.Errorf("LIST at %s shows message %d twice: the listing cannot be trusted", s.source.Host, e.Number)
		}
		s.at[e.Number] = len(s.items)
		it := item{number: e.Number, listing: pipeline.Listing{UIDL: byNumber[e.Number], Size: e.Size}, fetch: true}
		o := outcome{why: whyEnded}
		if last > 0 && e.Number > last {
			it.fetch, o.why = false, whyArriving
		}
		s.items, s.outcomes = append(s.items, it), append(s.outcomes, o)
	}
	s.resume(s)
	for i := range s.items {
		if s.items[i].settled {
			s.items[i].fetch = false
		}
	}
	s.progress("listed", 0, len(s.items))
	return nil
}

// recognise asks the archive what it holds of the listing. A UIDL that the
// server shows twice identifies nothing.
func (s *session) recognise(ctx context.Context) error {
	times := map[string]int{}
	for i := range s.items {
		times[s.items[i].listing.UIDL]++
	}
	asks := func(it *item) bool { return !it.settled && it.listing.UIDL != "" && times[it.listing.UIDL] == 1 }
	var ask []pipeline.Listing
	for i := range s.items {
		if asks(&s.items[i]) {
			ask = append(ask, s.items[i].listing)
		}
	}
	// Asked also when there is nothing to ask: an archive that takes nothing
	// says so here, before anything is downloaded.
	holdings, err := s.poller.bus.Known(ctx, s.mailbox.Name, ask)
	if err != nil {
		return err
	}
	held := make(map[pipeline.Listing]*pipeline.Holding, len(holdings))
	for i := range holdings {
		held[holdings[i].Listing] = &holdings[i] // the newest comes last
	}
	for i := range s.items {
		if h := held[s.items[i].listing]; h != nil && asks(&s.items[i]) {
			s.recognised(i, h)
		}
	}
	s.sample()
	return nil
}

func (s *session) recognised(i int, h *pipeline.Holding) {
	it := &s.items[i]
	it.holding, it.fetch = h, false
	switch {
	case h.Disposed:
		s.outcomes[i] = outcome{state: known, why: whyDisposed}
	case !s.mailbox.Delete.due(h.Received, s.poller.opts.Now()):
		s.outcomes[i] = outcome{state: known, why: whyPolicy}
	default:
		s.outcomes[i] = outcome{state: known, why: whyEnded}
		it.due = true
		it.confirm = h.HeaderHash != ""
		it.fetch = !it.confirm
	}
}

// samples is how many of the messages that stay for ever a session confirms
// all the same, at random. Servers reuse UIDLs, and a new message under an old
// one, of the same size by chance, must not be taken for known for ever.
const samples = 16

func (s *session) sample() {
	if !s.mailbox.Delete.Never || s.poller.opts.Now().Before(s.quirk.noTOPUntil) {
		return
	}
	picked := 0
	for _, i := range rand.Perm(len(s.items)) {
		it := &s.items[i]
		if it.holding == nil || it.holding.Disposed || it.holding.HeaderHash == "" {
			continue
		}
		it.confirm = true
		if picked++; picked == samples {
			return
		}
	}
}

// commitCut leaves to the next session of the visit what is more than one QUIT
// is to delete.
func (s *session) commitCut() {
	if s.mailbox.CommitEvery == 0 {
		return
	}
	n := 0
	for i := range s.items {
		it := &s.items[i]
		if !it.confirm || !it.due {
			continue
		}
		if n++; n > s.mailbox.CommitEvery {
			it.confirm, s.cut, s.outcomes[i].why = false, true, whyCommit
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

// overdue reports whether MaxDuration is over.
func (s *session) overdue() bool {
	limit := s.mailbox.MaxDuration
	return limit > 0 && s.poller.opts.Now().Sub(s.report.Started) >= limit
}

func (s *session) progress(phase string, done, total int) {
	const every = 20 // messages; a bar needs no more
	if done%every == 0 || done == total {
		s.poller.bus.PublishProgress(pipeline.Progress{
			Mailbox: s.mailbox.Name, Session: s.id, Phase: phase, Done: done, Total: total, Bytes: s.report.Bytes,
		})
	}
}
