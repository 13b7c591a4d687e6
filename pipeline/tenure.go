package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// A Term says when an archive said something: in which epoch, and how many events its ledger had at least. Both only grow, in
// this order, as long as nobody serves an older copy of the archive. The zero Term is of an archive without a Tenure.
type Term struct {
	Epoch  int64 `json:"epoch,omitempty"`
	Events int64 `json:"events,omitempty"`
}

// before reports whether t cannot come after u.
func (t Term) before(u Term) bool {
	return t.Epoch < u.Epoch || t.Epoch == u.Epoch && t.Events < u.Events
}

func (t Term) String() string { return fmt.Sprintf("epoch %d with %d events", t.Epoch, t.Events) }

// ErrStale means that what answered is not the archive of today: another copy has taken over, or an older one was restored.
var ErrStale = errors.New("the archive that answered has been taken over by another copy, or was put back from an older one")

// A Holder is a copy of the archive that wants to be served.
type Holder struct {
	// Epoch is the number in its ledger, at least 1.
	Epoch int64
	// Name tells the copy from others of the same epoch.
	Name string
	// Where is for people: host and directory.
	Where string
	// Boot is the machine's present run: a process of the same copy in the same run takes the tenure back at once, because the
	// lock of the data directory proves that the one before it is dead. "" is never the same.
	Boot string
	// Events is how many events its ledger has now.
	Events func() int64
	// TakeOver, if not nil, begins an epoch above the given one in the ledger, and returns its number. Without it a Holder
	// does not take over from another copy that has served since.
	TakeOver func(ctx context.Context, above int64, why string) (int64, error)
}

// A TenureError says who has the archive.
type TenureError struct {
	Where  string // the other: host and directory
	Epoch  int64  // of the other
	Reason string
}

func (e *TenureError) Error() string {
	return fmt.Sprintf("the archive was last served from %s, epoch %d: %s", e.Where, e.Epoch, e.Reason)
}

// tenureRecord is what is known of the shard's holder, in the stream of tenures. It stays when the holder goes: the next one
// must not know less.
type tenureRecord struct {
	Term
	Holder   string `json:"holder"`
	Where    string `json:"where"`
	Boot     string `json:"boot"`
	Process  string `json:"process"`
	Released bool   `json:"released,omitempty"`
}

// A Tenure is the right to serve a shard of the archive, alone. It is written again in the background, and before every
// receipt, each time on condition that nobody else has written it: whoever was paused while another took over finds out before
// it can promise anything.
type Tenure struct {
	bus    *Bus
	holder Holder

	mu     sync.Mutex // held while writing; guards what follows
	record tenureRecord
	seq    uint64 // of the record in the stream, 0 if there is none
	gone   error  // why the tenure has ended

	lost   chan struct{} // closed when gone is set
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Serve takes the bus's shard for the holder. It waits as long as it takes to see that a holder on another machine is dead. The error is a
// *TenureError where another copy has it, or had it since. The caller must Release the tenure.
func (b *Bus) Serve(ctx context.Context, h Holder) (*Tenure, error) {
	if h.Epoch < 1 || h.Name == "" {
		return nil, errors.New("serve the archive: it has not been claimed")
	}
	t := &Tenure{bus: b, holder: h, lost: make(chan struct{})}
	t.record = tenureRecord{
		Term: Term{Epoch: h.Epoch}, Holder: h.Name, Where: h.Where, Boot: h.Boot, Process: nuid.Next(),
	}
	if err := t.acquire(ctx); err != nil {
		return nil, fmt.Errorf("serve the archive: %w", err)
	}
	ctx, t.cancel = b.join(context.WithoutCancel(ctx))
	t.wg.Go(func() { t.keep(ctx) })
	return t, nil
}

// acquire takes the tenure, or says who has it.
func (t *Tenure) acquire(ctx context.Context) error {
	var watched uint64 // the record of a holder elsewhere, since when
	var since time.Time
	for {
		other, seq, err := t.bus.tenure(ctx)
		if err != nil {
			return err
		}
		refused := t.refused(other)
		switch {
		case refused != nil && t.holder.TakeOver == nil:
			return refused
		case refused != nil:
			if t.record.Epoch, err = t.holder.TakeOver(ctx, other.Epoch, refused.Error()); err != nil {
				return err
			}
		case !t.elsewhere(other), seq == watched && time.Since(since) >= t.bus.timing.tenureTTL:
			t.mu.Lock()
			t.seq = seq
			err = t.write(ctx, false)
			t.mu.Unlock()
			if !errors.Is(err, errRaced) {
				return err
			}
		case watched == 0:
			t.bus.log.Info("the archive may still be served by a process on another machine; waiting to see it renewed",
				"where", other.Where, "for", t.bus.timing.tenureTTL)
			watched, since = seq, time.Now()
		case seq != watched:
			alive := &TenureError{other.Where, other.Epoch, "a process there serves it now, in the same data directory or an exact copy of it: stop that first"}
			if t.holder.TakeOver == nil {
				return alive
			}
			if t.record.Epoch, err = t.holder.TakeOver(ctx, other.Epoch, alive.Error()); err != nil {
				return err
			}
		}
		if t.elsewhere(other) && !t.bus.wait(ctx, t.bus.timing.tenureTTL/20) {
			return context.Canceled
		}
	}
}

// refused is why the holder may not follow the one of the record, nil if it may.
func (t *Tenure) refused(other tenureRecord) error {
	me := t.record
	switch {
	case other.Epoch > me.Epoch, other.Epoch == me.Epoch && other.Epoch > 0 && other.Holder != me.Holder:
		return &TenureError{other.Where, other.Epoch, fmt.Sprintf("this copy, with epoch %d, may lack what was archived there", me.Epoch)}
	case other.Epoch == me.Epoch && other.Events > t.holder.Events():
		return &TenureError{other.Where, other.Epoch, fmt.Sprintf("its ledger had %d events and this one has %d, so that it was put back from an older copy",
			other.Events, t.holder.Events())}
	}
	return nil
}

// elsewhere reports whether the record may be of a process that is alive.
func (t *Tenure) elsewhere(other tenureRecord) bool {
	return other.Epoch == t.record.Epoch && !other.Released && (other.Boot == "" || other.Boot != t.record.Boot)
}

var errRaced = errors.New("somebody else has written the tenure")

// write replaces the record at seq, on condition that it is still the last. It is called with mu held.
func (t *Tenure) write(ctx context.Context, released bool) error {
	next := t.record
	next.Events, next.Released = t.holder.Events(), released
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.bus.timing.publish)
	defer cancel()
	ack, err := t.bus.js.PublishMsg(ctx, &nats.Msg{Subject: t.bus.tenureSubject(t.bus.opts.Shard), Data: data},
		jetstream.WithExpectLastSequencePerSubject(t.seq))
	if err == nil {
		t.record, t.seq = next, ack.Sequence
		return nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		return err
	}
	return errRaced
}

// Confirm writes the tenure again, and returns what the archive can promise now. An error that is not ErrStale may go away.
func (t *Tenure) Confirm(ctx context.Context) (Term, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone != nil {
		return Term{}, t.gone
	}
	err := t.write(ctx, false)
	for range maxRewrites {
		if !errors.Is(err, errRaced) {
			break
		}
		err = t.rewrite(ctx)
	}
	return t.record.Term, err
}

// maxRewrites is for acknowledgements that got lost, and streams that begin anew.
const maxRewrites = 3

// rewrite finds out who has written: the tenure itself, whose acknowledgement got lost; nobody, for the stream was lost and has begun
// anew; or another holder. It is called with mu held.
func (t *Tenure) rewrite(ctx context.Context) error {
	other, seq, err := t.bus.tenure(ctx)
	if err != nil {
		return err
	}
	if other.Epoch > t.record.Epoch || other.Epoch == t.record.Epoch && other.Process != t.record.Process {
		t.end(fmt.Errorf("%w: %w", ErrStale, &TenureError{other.Where, other.Epoch,
			"this process stops; postkeep run --take-over would take the archive back, without what was archived there since"}))
		return t.gone
	}
	t.seq = seq
	return t.write(ctx, false)
}

// end is called with mu held.
func (t *Tenure) end(why error) {
	t.gone = why
	close(t.lost)
	t.bus.log.Error("the archive is not served any more", "error", why)
}

// ended is why the tenure is over, nil if it is not.
func (t *Tenure) ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// Term is the last one that was confirmed.
func (t *Tenure) Term() Term {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.record.Term
}

// Run returns with an error when the tenure is lost, and with nil when ctx ends.
func (t *Tenure) Run(ctx context.Context) error {
	select {
	case <-t.lost:
		return t.ended()
	case <-ctx.Done():
		return nil
	}
}

// keep writes the tenure again until ctx ends.
func (t *Tenure) keep(ctx context.Context) {
	for t.bus.wait(ctx, t.bus.timing.tenureTTL/4) {
		_, err := t.Confirm(ctx)
		if errors.Is(err, ErrStale) {
			return
		}
		if err != nil && ctx.Err() == nil {
			t.bus.log.Warn("tenure not renewed, trying again", "error", err)
		}
	}
}

// Release ends the tenure, so that another process need not wait. It may be called again.
func (t *Tenure) Release(ctx context.Context) error {
	t.cancel()
	t.wg.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone != nil {
		return nil
	}
	err := t.write(ctx, true)
	t.gone = errors.New("the tenure was released")
	if err != nil && !errors.Is(err, errRaced) { // somebody else has it already
		return fmt.Errorf("release tenure: %w", err)
	}
	return nil
}

// errUnserved means that the archive cannot promise anything now.
var errUnserved = errors.New("the archive cannot give receipts")

// stopped is an error when the tenure is over.
func (a *Archiver) stopped() error {
	if a.held == nil {
		return nil
	}
	if err := a.held.ended(); err != nil {
		return fmt.Errorf("%w: %w", errUnserved, err)
	}
	return nil
}

// confirm returns what the archive can promise now.
func (a *Archiver) confirm(ctx context.Context) (Term, error) {
	if a.held == nil {
		return Term{}, nil
	}
	var term Term
	err := a.bus.settled(ctx, func() (err error) {
		term, err = a.held.Confirm(ctx)
		return err
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnserved, err)
	}
	return term, err
}

// lastTerm is the last one that was confirmed.
func (a *Archiver) lastTerm() Term {
	if a.held == nil {
		return Term{}
	}
	return a.held.Term()
}

// tenure reads the record of the shard, and its sequence; zeros if there is none. The stream's leader answers, so that nobody is told
// what was true before.
func (b *Bus) tenure(ctx context.Context) (r tenureRecord, seq uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.timing.publish)
	defer cancel()
	msg, err := b.tenures.GetLastMsgForSubject(ctx, b.tenureSubject(b.opts.Shard))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return r, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(msg.Data, &r)
	}
	if err != nil {
		return r, 0, fmt.Errorf("read who serves the archive: %w", err)
	}
	return r, msg.Sequence, nil
}

// Valid returns ErrStale (wrapped) unless the archive that spoke in that term is still the one that is served. It is asked for
// right before messages are deleted on a server.
func (b *Bus) Valid(ctx context.Context, t Term) error {
	if t == (Term{}) {
		return nil
	}
	if newest := b.terms.get(); newest.Epoch == t.Epoch {
		t = newest // receipts have said more since
	}
	r, _, err := b.tenure(ctx)
	if err != nil {
		return err
	}
	if r.Epoch != t.Epoch || r.Term.before(t) {
		return fmt.Errorf("%w: it spoke in %s, and now %s has %s", ErrStale, t, r.Where, r.Term)
	}
	return nil
}

// terms is the newest Term that the process has heard of.
type terms struct {
	mu     sync.Mutex
	newest Term // guarded by mu
}

func (t *terms) get() Term {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest
}

// admit takes in the term of an answer. Whoever has asked when floor had been heard of cannot be answered with less, and nobody in an older epoch than
// any that was heard of.
func (t *terms) admit(got, floor Term) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if got.before(floor) || got.Epoch < t.newest.Epoch {
		return fmt.Errorf("%w: it answers in %s after %s was heard of", ErrStale, got, t.newest)
	}
	if t.newest.before(got) {
		t.newest = got
	}
	return nil
}

// Headers of receipts and answers: which archive speaks, and when.
const (
	headerIdentity = "Postkeep-Identity"
	headerShard    = "Postkeep-Shard"
	headerEpoch    = "Postkeep-Epoch"
	headerEvents   = "Postkeep-Events"
)

// speaks is the header of what the archive worker of the bus's shard says in a term.
func (b *Bus) speaks(t Term) nats.Header {
	h := nats.Header{headerShard: {b.opts.Shard}}
	if b.opts.Identity != "" {
		h.Set(headerIdentity, b.opts.Identity)
	}
	if t != (Term{}) {
		h.Set(headerEpoch, strconv.FormatInt(t.Epoch, 10))
		h.Set(headerEvents, strconv.FormatInt(t.Events, 10))
	}
	return h
}

// heard checks the header of a receipt or an answer to what was asked when floor had been heard of.
func (b *Bus) heard(h nats.Header, floor Term) (Term, error) {
	if id := h.Get(headerIdentity); id != b.opts.Identity {
		return Term{}, fmt.Errorf("the archive of another installation answers (identity %q)", id)
	}
	t, err := termOf(h)
	if err == nil {
		err = b.terms.admit(t, floor)
	}
	return t, err
}

// termOf reads the headers; an archive without a tenure sends none.
func termOf(h nats.Header) (t Term, err error) {
	if h.Get(headerEpoch) == "" {
		return t, nil
	}
	if t.Epoch, err = strconv.ParseInt(h.Get(headerEpoch), 10, 64); err == nil {
		t.Events, err = strconv.ParseInt(h.Get(headerEvents), 10, 64)
	}
	return t, err
}
