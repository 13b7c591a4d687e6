package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/setsum"
)

// A Searcher finds messages for holds and rules. The index is one.
type Searcher interface {
	// Each calls fn with the id of every message that the query finds, in the order in which they
	// were received, until fn returns an error, which it returns. It fails when it cannot look through all messages up to
	// Position.
	Each(ctx context.Context, query string, fn func(id string) error) error
	// Position is the ledger index up to which it has every deposit, -1 if it has none.
	Position() int64
	// Deposits is the sum of the deposits that it has. Up to Position these are all.
	Deposits() setsum.Sum
	// Distrust has it compared with the archive, and made anew if it has other deposits.
	Distrust()
}

// A Purger removes messages from something that was derived from them, or that they passed through, so that nothing
// of them is left on the disk. The messages lost all their deposits up to a ledger index, and may have later ones; with -1 they lost
// some, and what is derived of them has to be made anew. Purging again is no error.
type Purger func(ctx context.Context, ids []string, upTo int64) error

// ComplianceOptions are what a Compliance needs.
type ComplianceOptions struct {
	// Search is required.
	Search Searcher
	// Negates tells whether a query is one that can be understood, and whether it finds messages for what is
	// not in them. Required.
	Negates func(query string) (bool, error)
	// Reading names the way in which this program reads messages for Search; it changes whenever the same message may be
	// found in another way. "" leaves out all that depends on it.
	Reading string
	// Reread reports whether everything in Search was read in this way. nil is always.
	Reread func() bool
	// Indexed is Search.Each without the error where not everything is there. nil is Search.Each.
	Indexed func(ctx context.Context, query string, fn func(id string) error) error
	// Purge is everything else that holds copies of messages.
	Purge []Purger
	// DualControl wants the approval of a second person before anything is disposed of.
	DualControl bool
}

// Compliance is what is held, how long mail is kept, and its disposal. It is safe for concurrent
// use.
type Compliance struct {
	store *Store
	opts  ComplianceOptions

	pinning   sync.Mutex    // held while it is noted what rules find
	disposing chan struct{} // held, by sending to it, by the one who carries out a disposal
	ctx       context.Context
	stop      context.CancelFunc
	closing   sync.Once
}

// NewCompliance returns a Compliance of s. The caller closes it before s.
func NewCompliance(ctx context.Context, s *Store, opts ComplianceOptions) *Compliance {
	c := &Compliance{store: s, opts: opts, disposing: make(chan struct{}, 1)}
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	return c
}

// Close interrupts a disposal that is being carried out, which Resume finishes later, and waits
// until it has stopped. It is idempotent.
func (c *Compliance) Close() {
	c.closing.Do(func() {
		c.stop()
		c.disposing <- struct{}{} // and nobody begins another one
	})
}

var (
	// ErrHeld means that a legal hold forbids it. It beats everything else.
	ErrHeld = errors.New("under a legal hold")
	// ErrTooYoung means that a minimum period is not over.
	ErrTooYoung = errors.New("has to be kept")
	// ErrIncomplete means that the index does not have everything yet, so that nobody can say what is held.
	ErrIncomplete = errors.New("the index is not complete, nobody can say what is held: try again when it is")
	// ErrUnreadable means that an order about holds or retention cannot be read any more.
	ErrUnreadable = errors.New("holds and retention")
	// ErrClock means that the clock has jumped and nobody has confirmed it since.
	ErrClock = errors.New("the clock may be wrong")
	// ErrApproval means that somebody has to approve, or may not.
	ErrApproval = errors.New("not approved")
	// ErrNoOrder means that there is no hold, rule or plan of that name.
	ErrNoOrder = errors.New("there is none")
	// ErrOrder means that a hold, rule or plan cannot be what was asked for; the text says why.
	ErrOrder = errors.New("refused")
)

// complete returns an error unless everything that was ordered is known, the catalog has the deposits that the ledger says, and the index
// has every one. It is called with mu held, and while that is held it stays so.
func (c *Compliance) complete(ctx context.Context) error {
	live, err := c.store.agreed(ctx)
	if err := errors.Join(c.store.OrdersKnown(ctx), c.store.setAside(), err, c.store.accounted(ctx)); err != nil {
		return err
	}
	last, err := c.store.catalog.LastDeposit(ctx)
	if err != nil {
		return err
	}
	if at := c.opts.Search.Position(); at < last {
		return fmt.Errorf("%w (it is at ledger index %d of %d)", ErrIncomplete, at, last)
	}
	has := c.opts.Search.Deposits()
	if live == nil || has == live.All() {
		return nil
	}
	pending, err := c.store.Interrupted(ctx)
	switch {
	case err != nil:
		return err
	case len(pending) > 0: // the catalog forgets first
		return fmt.Errorf("%w (plan %s is being applied, or was interrupted)", ErrIncomplete, pending[0])
	}
	c.opts.Search.Distrust()
	return fmt.Errorf("%w: the search index does not have the deposits that the ledger says, it has %d and should have %d: it is rebuilt (or: postkeep rebuild index)",
		ErrDisagree, has.N, live.All().N)
}

// completeNow is complete without mu: what comes later may change it.
func (c *Compliance) completeNow(ctx context.Context) error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	return c.complete(ctx)
}

// check returns an error for a query that cannot be understood.
func (c *Compliance) check(query string) (negates bool, err error) {
	if query == "" {
		return false, nil
	}
	return c.opts.Negates(query)
}

// unsearchable collects, of the wanted messages, those of which not all can be searched.
func (c *Compliance) unsearchable(ctx context.Context, wanted func(id string) bool) (map[string]bool, error) {
	found := map[string]bool{}
	err := c.opts.Search.Each(ctx, hold.Unsearchable, func(id string) error {
		if wanted(id) {
			found[id] = true
		}
		return nil
	})
	return found, err
}
