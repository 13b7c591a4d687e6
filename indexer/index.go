// Package indexer finds archived messages: it reads, parses and indexes what
// the archive has taken in, and answers queries.
//
// The index is derived data. A Worker keeps it complete up to a ledger index,
// which is stored with the documents in the same batch, so that a crash
// repeats work and never loses any.
//
// It consists of generations, each for the messages whose first deposit has a
// ledger index in its range. Only the newest one grows; the older ones change
// when a message is deposited again. A generation that cannot be opened, or that
// fails, is moved aside and built again from the archive while the others answer;
// until that is done searches say that they are partial.
//
// Bleve does the searching, behind a mapping of our own: documents are built
// field by field from words that package words finds. docs/formats/index.md
// describes the files.
package indexer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

var (
	// ErrUnusable means that a generation has failed and waits for the worker to
	// build it again.
	ErrUnusable = errors.New("a part of the search index has failed and will be rebuilt")
	// ErrLacking means that the index cannot name all messages that a query fits.
	ErrLacking = errors.New("a part of the search index is being rebuilt; try again when it is complete (postkeep status says so)")
	// ErrClosed means that the Index was closed.
	ErrClosed = errors.New("search index is closed")
	// ErrLocked means that another process has the index open.
	ErrLocked = errors.New("search index is in use by another process")
)

// Options are what an Index needs.
type Options struct {
	// Dir is the directory of the index, made if missing. It must be there for
	// the index alone.
	Dir string
	// Location is the time zone whose days queries mean; nil is time.Local.
	Location *time.Location
	// Now tells the time for queries like 30d; nil is time.Now.
	Now func() time.Time
	// Held returns the ids of the messages that holds keep from disposal, for
	// is:held. With nil such a query is ErrNoHolds.
	Held func(ctx context.Context) ([]string, error)
	// ReadOnly opens an index that is there, with no Worker, and changes nothing in Dir, such as on a medium that cannot be written to.
	ReadOnly bool
	// Logger hears of failures; nil discards.
	Logger *slog.Logger
}

// Index is the search index of an archive. Its methods are safe for concurrent
// use.
type Index struct {
	opts     Options
	eachPage int // less in tests

	// mu is held for reading by whoever uses slots, for writing to change them,
	// which nobody but the worker does between Open and Close.
	mu    sync.RWMutex
	slots []*slot // nil after Close

	columns columnPool

	// moved is closed and replaced whenever the position moves.
	movedMu sync.Mutex
	moved   chan struct{}
	urgent  chan struct{} // told when somebody waits; has room for one

	failures failures // of the worker
	doubts   doubts

	work     chan struct{} // told when there is something to build; has room for one
	requests chan *request
}

// Open opens the index in opts.Dir, or makes an empty one if there is none, or
// none that this version can read. A damaged generation is kept with the suffix .damaged and
// begun anew; the others answer. ctx bounds nothing but the start.
func Open(ctx context.Context, opts Options) (*Index, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.Location == nil {
		opts.Location = time.Local
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if !opts.ReadOnly {
		if err := os.MkdirAll(opts.Dir, disk.DirPerm); err != nil {
			return nil, fmt.Errorf("open search index: %w", err)
		}
	}
	x := &Index{opts: opts, eachPage: eachPage, moved: make(chan struct{}), urgent: make(chan struct{}, 1),
		work: make(chan struct{}, 1), requests: make(chan *request, maxRequests)}
	x.doubts.asked.Store(true) // compared with the archive as soon as it has everything
	if err := x.load(); err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// use calls f with the slots, none of which is closed or changed meanwhile.
func (x *Index) use(f func([]*slot) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.slots == nil {
		return ErrClosed
	}
	return f(x.slots)
}

// set replaces the slots, on disk first.
func (x *Index) set(slots []*slot) error {
	if err := x.save(slots); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.slots = slots
	return nil
}

// stir wakes the worker because there is something to build.
func (x *Index) stir() {
	select {
	case x.work <- struct{}{}:
	default:
	}
}

// notify tells those who wait that something has moved.
func (x *Index) notify() {
	x.movedMu.Lock()
	defer x.movedMu.Unlock()
	close(x.moved)
	x.moved = make(chan struct{})
}

// commit puts entries into the generations that they belong to and moves the
// position: that of the newest one, last, so that a crash repeats everything.
func (x *Index) commit(ctx context.Context, b batch) error {
	err := x.use(func(slots []*slot) error {
		parts := map[*slot][]*entry{}
		for _, e := range b.entries {
			s := slotOf(slots, e.item.First)
			parts[s] = append(parts[s], e)
		}
		newest := slots[len(slots)-1]
		for _, s := range slots {
			if s == newest || len(parts[s]) == 0 {
				continue
			}
			for _, g := range s.generations() {
				if err := g.commit(ctx, parts[s], *g.state.Load()); err != nil {
					return err
				}
			}
		}
		next := *newest.gen.state.Load()
		next.Position = max(next.Position, b.position)
		next.Complete = next.Complete || b.complete
		return newest.gen.commit(ctx, parts[newest], next)
	})
	if err == nil {
		x.notify()
	}
	return err
}

// roll closes the newest generation and begins another one if it has most
// documents or more. The position must be such that everything up to it is done.
func (x *Index) roll(most int) error {
	newest := x.slots[len(x.slots)-1]
	docs, err := newest.gen.bleve.DocCount()
	if err != nil || docs < uint64(most) {
		return err
	}
	s := *newest.gen.state.Load()
	g, err := x.create(s.Position + 1)
	if err != nil {
		return err
	}
	g.state.Store(&state{Position: s.Position, Complete: s.Complete})
	closed := *newest
	closed.last = s.Position
	slots := append(slices.Clone(x.slots[:len(x.slots)-1]), &closed, &slot{first: s.Position + 1, last: open, gen: g})
	if err := x.set(slots); err != nil {
		return errors.Join(err, g.close(), os.RemoveAll(g.dir))
	}
	return nil
}

// current returns the state of the newest generation, and a channel that is
// closed when anything changes.
func (x *Index) current() (state, <-chan struct{}, error) {
	x.movedMu.Lock()
	moved := x.moved
	x.movedMu.Unlock()
	var s state
	err := x.use(func(slots []*slot) error {
		s = *slots[len(slots)-1].gen.state.Load()
		return nil
	})
	return s, moved, err
}

// complete returns the ledger index up to which everything is in the index, and
// a channel that is closed when that may have changed.
func (x *Index) complete() (position int64, moved <-chan struct{}, err error) {
	newest, moved, err := x.current()
	if err != nil {
		return -1, moved, err
	}
	position = newest.Position
	err = x.use(func(slots []*slot) error {
		for _, s := range slots {
			switch {
			case s.gen.usable() != nil:
				position = min(position, s.first-1)
			case s.last != open && s.lacking():
				position = min(position, s.gen.state.Load().Position)
			}
		}
		return nil
	})
	return position, moved, err
}

// Position returns the ledger index up to which the index is complete, -1 if
// it is empty or closed.
func (x *Index) Position() int64 {
	p, _, err := x.complete()
	if err != nil {
		return -1
	}
	return p
}

// Wait returns when the index is complete up to the ledger index position, or ErrStalled when it gets no further. A
// Worker has to run meanwhile.
func (x *Index) Wait(ctx context.Context, position int64) error {
	failed := x.failures.count()
	x.stir() // a worker that pauses after a failure tries again for whoever waits
	for {
		at, moved, err := x.complete()
		if err != nil || at >= position {
			return err
		}
		if err := x.failures.since(failed); err != nil {
			return fmt.Errorf("wait for the search index to reach %d, it is at %d: %w", position, at, err)
		}
		select {
		case x.urgent <- struct{}{}:
		default:
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for the search index to reach %d, it is at %d: %w", position, at, ctx.Err())
		}
	}
}

// Stalled returns a function for whoever waits for what the worker does beside the index, such as the summaries of messages: it
// returns ErrStalled when the worker gets no further from now on.
func (x *Index) Stalled() func() error {
	failed := x.failures.count()
	x.stir() // as above
	return func() error { return x.failures.since(failed) }
}

// Count returns the number of messages in the index, 0 if it is closed.
func (x *Index) Count() (docs uint64) {
	_ = x.use(func(slots []*slot) error { // there is nothing to count in a closed index
		for _, s := range slots {
			if n, err := s.gen.bleve.DocCount(); err == nil {
				docs += n
			}
		}
		return nil
	})
	return docs
}

// Generation is the state of one part of the index.
type Generation struct {
	Dir       string    `json:"dir"`
	Documents uint64    `json:"documents"`
	Bytes     int64     `json:"bytes"`
	From      time.Time `json:"from,omitzero"` // bounds of the time received
	To        time.Time `json:"to,omitzero"`
	// Lacking says that messages may be missing; Rebuilding that another one will
	// take its place.
	Lacking    bool `json:"lacking,omitempty"`
	Rebuilding bool `json:"rebuilding,omitempty"`
}

// Generations lists the parts of the index, oldest first.
func (x *Index) Generations() ([]Generation, error) {
	var out []Generation
	err := x.use(func(slots []*slot) error {
		for _, s := range slots {
			st := s.gen.state.Load()
			g := Generation{Dir: filepath.Base(s.gen.dir), From: st.From, To: st.To, Lacking: s.lacking(), Rebuilding: s.rebuild}
			var err error
			if g.Documents, err = s.gen.bleve.DocCount(); err != nil {
				return err
			}
			if g.Bytes, err = s.gen.size(); err != nil {
				return err
			}
			out = append(out, g)
		}
		return nil
	})
	return out, err
}

// Close closes the index. Stop the worker before. Close is idempotent.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.slots == nil {
		return nil
	}
	var errs []error
	for _, s := range x.slots {
		for _, g := range s.generations() {
			errs = append(errs, g.close())
		}
	}
	x.slots = nil
	x.notify() // whoever waits finds the index closed
	return errors.Join(errs...)
}
