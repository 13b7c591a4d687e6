package poller

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// session is one visit to a mailbox: list, ask the archive what it knows,
// fetch the rest, wait for receipts, delete what may go, quit.
//
// The rule for DELE: the message was fetched in this session, where message
// numbers mean the same thing throughout, and the archive's receipt names the
// SHA-256 of what was read; or the archive had it before and TOP has just
// confirmed that its header is still that of the archived message.
type session struct {
	poller  *Poller
	mailbox Mailbox
	id      string
	log     *slog.Logger
	report  pipeline.PollReport

	conn     *pop3.Conn
	source   pipeline.Source
	mail     *pipeline.Session
	lease    *pipeline.Lease
	peek     *bufio.Reader
	items    []item
	outcomes []outcome   // of items
	at       map[int]int // message number -> index of items

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
	confirm bool              // may be deleted once its identity is confirmed
	delete  bool              // confirmed
	fetch   bool
}

// Reasons in reports.
const (
	whyEnded     = "session ended early"
	whyStopped   = "poller was stopped"
	whyEmpty     = "server sent nothing"
	whyArriving  = "arrived while listing"
	whyNoReceipt = "no receipt"
	whyPolicy    = "policy"
	whyDisposed  = "disposed"
	whyLease     = "lease was lost"
	whyQuit      = "server did not confirm the deletion"
)

var (
	errStopped = errors.New(whyStopped)
	errRefused = errors.New("archive takes nothing at the moment")
)

// leased runs the session under the mailbox's lease. When ctx ends the session
// has Options.Grace to end properly.
func (s *session) leased(ctx context.Context) (err error) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(s.poller.opts.Grace, cancel)
		context.AfterFunc(hard, func() { timer.Stop() })
	})
	defer stop()
	if s.lease, err = s.poller.bus.Lease(hard, s.mailbox.Name, s.id); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lease.Release()) }()
	if s.mail, err = s.poller.bus.OpenSession(hard, pipeline.SessionOptions{ID: s.id, Mailbox: s.mailbox.Name}); err != nil {
		return err
	}
	s.sent, s.receipts = map[int]pipeline.Sent{}, map[int]pipeline.Receipt{}
	s.arrived = make(chan struct{}, 1)
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		s.collect()
	}()
	defer func() {
		err = errors.Join(err, s.mail.Close())
		<-collected
	}()
	return s.run(ctx, hard)
}

// run talks to the server. ctx is the wish to stop, hard the end of all
// patience.
func (s *session) run(ctx, hard context.Context) (err error) {
	if err := s.login(hard); err != nil {
		return err
	}
	defer func() { _ = s.conn.Close() }() // after QUIT, or because there can be none
	if err := s.list(hard); err != nil {
		return err
	}
	if err := s.recognise(hard); err != nil {
		return errors.Join(err, s.conn.Quit(hard))
	}
	err = s.confirm(ctx, hard)
	if err == nil {
		err = s.fetch(ctx, hard)
	}
	waitErr := s.await(hard)
	s.judge()
	if lost := connectionError(errors.Join(err, waitErr)); lost != nil {
		s.keep(whyEnded)
		return lost
	}
	return errors.Join(err, s.deleteAndQuit(hard))
}

// connectionError returns err if it ended the POP3 session.
func connectionError(err error) error {
	var e *pop3.Error
	if errors.As(err, &e) {
		return err
	}
	return nil
}

func (s *session) login(ctx context.Context) (err error) {
	password, err := s.mailbox.Password(ctx)
	if err != nil {
		return err
	}
	if s.conn, err = pop3.Dial(ctx, s.mailbox.Server); err != nil {
		return err
	}
	if err := s.conn.Login(ctx, pop3.Credentials{Username: s.mailbox.Username, Password: password}); err != nil {
		return errors.Join(err, s.conn.Close())
	}
	s.source = pipeline.Source{
		Protocol: "pop3", Host: net.JoinHostPort(s.mailbox.Server.Host, strconv.Itoa(s.mailbox.Server.Port)), User: s.mailbox.Username, Session: s.id,
	}
	if state := s.conn.TLS(); state != nil {
		s.source.TLS = tls.VersionName(state.Version)
	}
	return nil
}

// list reads LIST and UIDL. A message that only LIST shows arrived between the
// two: it is left for the next poll, which will know its UIDL.
func (s *session) list(ctx context.Context) error {
	uidls, err := s.conn.UIDL(ctx)
	supported := !errors.Is(err, errors.ErrUnsupported)
	if err != nil && supported {
		return err
	}
	entries, err := s.conn.List(ctx)
	if err != nil {
		return err
	}
	byNumber, last := map[int]string{}, 0
	for _, u := range uidls {
		byNumber[u.Number] = u.UIDL
		last = max(last, u.Number)
	}
	s.at = make(map[int]int, len(entries))
	for _, e := range entries {
		if _, twice := s.at[e.Number]; twice {
			return fmt.Errorf("LIST at %s shows message %d twice: the listing cannot be trusted", s.source.Host, e.Number)
		}
		s.at[e.Number] = len(s.items)
		it := item{number: e.Number, listing: pipeline.Listing{UIDL: byNumber[e.Number], Size: e.Size}, fetch: true}
		o := outcome{why: whyEnded}
		if supported && e.Number > last {
			it.fetch, o.why = false, whyArriving
		}
		s.items, s.outcomes = append(s.items, it), append(s.outcomes, o)
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
	var ask []pipeline.Listing
	for i := range s.items {
		if l := s.items[i].listing; l.UIDL != "" && times[l.UIDL] == 1 {
			ask = append(ask, l)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	holdings, err := s.poller.bus.Known(ctx, s.mailbox.Name, ask)
	if err != nil {
		return err
	}
	held := make(map[pipeline.Listing]*pipeline.Holding, len(holdings))
	for i := range holdings {
		held[holdings[i].Listing] = &holdings[i] // the newest comes last
	}
	for i := range s.items {
		if h := held[s.items[i].listing]; h != nil && times[h.UIDL] == 1 {
			s.recognised(i, h)
		}
	}
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
		it.confirm = h.HeaderHash != ""
		it.fetch = !it.confirm
	}
}

// confirm reads the headers of messages that were archived before and may be
// deleted now. Where a header is not the archived one, or cannot be had, the
// message is fetched like a new one: servers reuse UIDLs.
func (s *session) confirm(ctx, hard context.Context) error {
	var numbers []int
	for i := range s.items {
		if s.items[i].confirm {
			numbers = append(numbers, s.items[i].number)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	return s.conn.RetrieveTop(hard, numbers, 0, func(m *pop3.Message) error {
		if ctx.Err() != nil {
			return errStopped
		}
		it := &s.items[s.at[m.Number]]
		it.fetch = true
		if m.Err != nil {
			return nil
		}
		hash, confirmable, err := pop3.HeaderHash(m.Body)
		if err == nil && confirmable && hash == it.holding.HeaderHash {
			it.fetch, it.delete = false, true
		}
		return nil // an error in reading ends the session by itself
	})
}

// fetch downloads and publishes. It goes on after a message that the server
// refuses, and stops when the archive takes no more.
func (s *session) fetch(ctx, hard context.Context) error {
	var numbers []int
	for i := range s.items {
		if s.items[i].fetch {
			numbers = append(numbers, s.items[i].number)
		}
	}
	done := 0
	err := s.conn.Retrieve(hard, numbers, func(m *pop3.Message) error {
		if err := s.halted(ctx); err != nil {
			return err
		}
		err := s.take(hard, m)
		done++
		s.progress("fetch", done, len(numbers))
		return err
	})
	if errors.Is(err, errStopped) || errors.Is(err, errRefused) {
		for i := range s.items {
			if o := &s.outcomes[i]; s.items[i].fetch && o.why == whyEnded {
				o.why = err.Error()
			}
		}
	}
	return err
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

// take publishes one message.
func (s *session) take(ctx context.Context, m *pop3.Message) error {
	i := s.at[m.Number]
	if m.Err != nil {
		s.outcomes[i] = outcome{why: m.Err.Error()}
		return nil
	}
	if s.peek == nil {
		s.peek = bufio.NewReader(nil)
	}
	s.peek.Reset(m.Body)
	if _, err := s.peek.Peek(1); err == io.EOF && s.items[i].listing.Size != 0 {
		s.outcomes[i] = outcome{why: whyEmpty}
		return nil
	}
	header := pop3.NewHeaderHasher()
	sent, err := s.mail.Publish(ctx, pipeline.Mail{
		Number: m.Number,
		Deposit: pipeline.Deposit{
			Mailbox: s.mailbox.Name, UIDL: s.items[i].listing.UIDL, ListedSize: s.items[i].listing.Size,
			Source: s.sourceOf(m.Number),
		},
		Finish: func(d *pipeline.Deposit) {
			d.Received = s.poller.opts.Now().UTC()
			if hash, confirmable := header.Sum(); confirmable {
				d.HeaderHash = hash
			}
		},
	}, io.TeeReader(s.peek, header))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.sent[m.Number] = sent
	s.mu.Unlock()
	s.report.Bytes += sent.Size
	s.outcomes[i] = outcome{why: whyNoReceipt}
	return nil
}

func (s *session) sourceOf(number int) pipeline.Source {
	source := s.source
	source.Number = number
	return source
}

func (s *session) progress(phase string, done, total int) {
	const every = 20 // messages; a bar needs no more
	if done%every == 0 || done == total {
		s.poller.bus.PublishProgress(pipeline.Progress{
			Mailbox: s.mailbox.Name, Session: s.id, Phase: phase, Done: done, Total: total, Bytes: s.report.Bytes,
		})
	}
}
