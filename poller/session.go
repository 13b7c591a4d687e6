package poller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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

	conn     *pop3.Conn
	source   pipeline.Source
	mail     *pipeline.Session // nil until something is fetched
	mailing  sync.WaitGroup    // collects receipts
	taker    taker
	listed   bool
	items    []item
	outcomes []outcome                // of items
	at       map[int]int              // message number -> index of items
	times    map[pipeline.Listing]int // how many items have it
	asked    bool                     // something was RETRed
	taken    int                      // messages published
	cut      bool                     // work was left for another session
	later    bool                     // of messages that have to be fetched alone
	alone    bool                     // messages are fetched one by one, each followed by NOOP
	troubled bool                     // and this is the only one, because it broke earlier sessions
	chosen   bool                     // what is to be fetched
	advanced bool                     // another session may get further
	step     step
	// reconfirmed counts messages that stay and are fetched for the sake of their confirmation
	reconfirmed int

	mu       sync.Mutex
	sent     map[int]pipeline.Sent    // by message number
	receipts map[int]pipeline.Receipt // by message number
	term     pipeline.Term            // in which the archive said what it holds
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

	unconfirmed bool     // the holding is not known to be whole
	trouble     *trouble // that it made in earlier sessions
	octets      int64    // that were read in this session
	whole       bool     // what was read is all that the server sent of the message
	twice       bool     // and it came twice with the same bytes
}

// single reports whether the message is fetched alone.
func (it *item) single() bool { return it.unconfirmed || it.trouble.breaks() }

func newSession(v *visit, number int) *session {
	return &session{
		visit: v, number: number, at: map[int]int{}, times: map[pipeline.Listing]int{},
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
		err = errors.Join(err, s.again(ctx, hard))
	}
	if s.asked && lost(err) == nil {
		err = errors.Join(err, s.allInStep(hard))
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
		s.times[it.listing]++
	}
	s.forgetOthers()
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
	holdings, term, err := s.poller.bus.Known(ctx, s.mailbox.Name, ask)
	if err != nil {
		return err
	}
	s.term = term
	held := make(map[pipeline.Listing]*pipeline.Holding, len(holdings))
	for i := range holdings { // the newest comes last; a confirmed one is better
		h := &holdings[i]
		if old := held[h.Listing]; old == nil || !old.Confirmed || h.Confirmed || h.Disposed {
			held[h.Listing] = h
		}
	}
	for i := range s.items {
		if h := held[s.items[i].listing]; h != nil && asks(&s.items[i]) {
			s.recognised(i, h)
		}
	}
	s.sample()
	s.avoid()
	return nil
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
