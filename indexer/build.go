package indexer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/postkeep/postkeep/archive"
)

// maxRequests is how many callers of Rebuild and Purge are waited for at a time;
// more wait for these.
const maxRequests = 16

// request is a call of Rebuild or Purge, for the worker to serve.
type request struct {
	ids  []string // to purge; nil to rebuild everything
	upTo int64    // last deposit that is purged
	done chan error
	// begun says that the slots are marked.
	begun bool
}

// Rebuild builds every generation anew from the archive, one after the other,
// and returns when the last one has been replaced. Searches go on meanwhile, and
// find what was indexed before. A Worker has to run; when ctx ends, or the
// process, it goes on with the rebuild all the same, as it does after ErrStalled.
func (x *Index) Rebuild(ctx context.Context) error {
	err := x.ask(ctx, &request{})
	if err == nil {
		x.doubts.once.Store(false)
		x.Distrust()
	}
	return err
}

// Purge removes messages so that nothing of them is left in any file of the
// index: they are not found from the start, and every generation that had one
// of them is written anew from the archive without it, because words of deleted
// documents survive merging. The archive need not have forgotten the messages
// yet; deposits that it takes in later are indexed again. A Worker has to run.
//
// When Purge returns nil the directory of the index is clean and synced. When ctx
// ends, or the process, the worker goes on; calling Purge again waits for it.
func (x *Index) Purge(ctx context.Context, ids []string) error {
	return x.PurgeUpTo(ctx, ids, math.MaxInt64)
}

// PurgeUpTo is Purge for the deposits of the messages up to a ledger index. Messages that have later ones are
// indexed again; with -1 all are, as the archive has them now.
func (x *Index) PurgeUpTo(ctx context.Context, ids []string, upTo int64) error {
	if len(ids) == 0 {
		return nil
	}
	return x.ask(ctx, &request{ids: ids, upTo: upTo})
}

func (x *Index) ask(ctx context.Context, r *request) error {
	if err := x.use(func([]*slot) error { return nil }); err != nil {
		return err
	}
	r.done = make(chan error, 1)
	failed := x.failures.count()
	select {
	case x.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	x.stir()
	for {
		_, moved, err := x.current()
		if err != nil {
			return err
		}
		if err := x.failures.since(failed); err != nil {
			return err
		}
		select {
		case err := <-r.done:
			return err
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the search index goes on with it: %w", ctx.Err())
		}
	}
}

// digest is an id as it is kept in memory by the thousand.
type digest [sha256.Size]byte

func digestOf(id string) (d digest) {
	if _, err := hex.Decode(d[:], []byte(id[:min(len(id), 2*len(d))])); err != nil {
		return digest{} // no id
	}
	return d
}

// builder does what the worker is asked to do besides indexing new messages.
type builder struct {
	*Worker
	waiting []*request
	// purged are the messages of the last Purge, and the last ledger index of the
	// archive at that time: what is not later must not be indexed again.
	purged  map[digest]int64
	merging atomic.Bool // while a closed generation is merged down
}

// mostSegments is how many segments a closed generation may have: it is merged down to one
// when it is closed, and updates add some.
const mostSegments = 4

// tidy has one closed generation merged down meanwhile, if there is one that needs it.
func (b *builder) tidy(ctx context.Context) {
	if b.merging.Load() {
		return
	}
	for _, s := range b.index.slots {
		if s.last == open || s.rebuild || s.lacking() || s.gen.tidied || s.gen.segments() <= mostSegments {
			continue
		}
		s.gen.tidied = true
		b.merging.Store(true)
		b.merges.Go(func() {
			s.gen.mergeDown(ctx)
			b.merging.Store(false)
			b.index.stir()
		})
		return
	}
}

// unwanted reports whether a message has been purged since its last deposit.
func (b *builder) unwanted(item archive.Indexable) bool {
	last, ok := b.purged[digestOf(item.ID)]
	return ok && max(item.Index, item.Last) <= last
}

func (b *builder) wanted(item archive.Indexable) bool { return !b.unwanted(item) }

// serve takes in new requests, and answers those that are done.
func (b *builder) serve(ctx context.Context) error {
	for more := true; more; {
		select {
		case r := <-b.index.requests:
			b.waiting = append(b.waiting, r)
		default:
			more = false
		}
	}
	for _, r := range b.waiting {
		if r.begun {
			continue
		}
		var err error
		if r.ids == nil {
			err = b.index.markAll()
		} else {
			err = b.forget(ctx, r.ids, r.upTo)
		}
		if err != nil {
			return err
		}
		r.begun = true
	}
	return b.answer()
}

func (b *builder) answer() error {
	var purging, building bool
	for _, s := range b.index.slots {
		purging = purging || s.purge
		building = building || s.rebuild || s.lacking()
	}
	var err error
	b.waiting = slices.DeleteFunc(b.waiting, func(r *request) bool {
		if err != nil || !r.begun || purging || building && r.ids == nil {
			return false
		}
		if err = b.index.sweep(r.ids != nil); err != nil {
			return false
		}
		r.done <- nil
		return true
	})
	return err
}

// forget marks what has to be written anew without the messages, and takes them out
// of what is found.
func (b *builder) forget(ctx context.Context, ids []string, upTo int64) error {
	last, err := b.archive.LastDeposit(ctx)
	if err != nil {
		return err
	}
	if b.purged == nil || !slices.ContainsFunc(b.waiting, func(r *request) bool { return r.begun && r.ids != nil }) {
		b.purged = make(map[digest]int64, len(ids)) // the archive has forgotten the earlier ones
	}
	for _, id := range ids {
		b.purged[digestOf(id)] = min(last, upTo)
	}
	return b.index.markPurged(ctx, ids)
}

// markAll asks for a rebuild of every slot, but for those that are being built already.
func (x *Index) markAll() error {
	slots := make([]*slot, len(x.slots))
	for i, s := range x.slots {
		marked := *s
		marked.rebuild = s.rebuild || !s.gen.born || !s.lacking()
		slots[i] = &marked
	}
	return x.set(slots)
}

// markUnread asks for a rebuild of the slots with messages whose attachments were not read while they were not to be.
func (x *Index) markUnread() error {
	slots := slices.Clone(x.slots)
	found := false
	for i, s := range slots {
		if s.rebuild || !s.gen.state.Load().Unread {
			continue
		}
		marked := *s
		marked.rebuild, found = true, true
		slots[i] = &marked
	}
	if !found {
		return nil
	}
	return x.set(slots)
}

// markPurged asks for a rebuild of the slots that hold one of the messages. The
// mark is on disk before the messages are deleted, which would hide where they were.
func (x *Index) markPurged(ctx context.Context, ids []string) error {
	slots := slices.Clone(x.slots)
	var dropped []*generation
	held := map[*generation][]string{}
	for i, s := range slots {
		marked := *s
		for _, g := range s.generations() {
			in, err := g.holds(ids)
			if err != nil {
				return err
			}
			if len(in) == 0 {
				continue
			}
			marked.purge, marked.rebuild = true, true
			if g == s.gen {
				held[g] = in
			}
		}
		if marked.purge && s.next != nil {
			dropped = append(dropped, s.next) // begun with the messages
			marked.next = nil
		}
		slots[i] = &marked
	}
	if err := x.set(slots); err != nil {
		return err
	}
	for _, g := range dropped {
		if err := errors.Join(g.close(), x.remove(g.dir)); err != nil {
			return err
		}
	}
	for g, in := range held {
		if err := g.delete(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

// unfinished returns the slot to build next, nil if there is none: what must
// not be there comes first, then what cannot be found.
func (x *Index) unfinished() *slot {
	for _, wanted := range []func(*slot) bool{
		func(s *slot) bool { return s.purge },
		func(s *slot) bool { return s.last != open && s.lacking() },
		func(s *slot) bool { return s.rebuild },
	} {
		for _, s := range slices.Backward(x.slots) { // people look for what is new
			if wanted(s) {
				return s
			}
		}
	}
	return nil
}

// buildListings is how many listings of the archive one step of a rebuild takes:
// some ten thousand messages, after which new ones have their turn.
const buildListings = 5

// build goes on with what is unfinished, for a while. It reports whether there
// was anything.
func (b *builder) build(ctx context.Context) (bool, error) {
	s := b.index.unfinished()
	if s == nil {
		return false, nil
	}
	g := s.gen
	if s.rebuild {
		if s.next == nil {
			next, err := b.index.create(s.first)
			if err != nil {
				return true, err
			}
			with := *s
			with.next = next
			if err := b.index.swap(s, &with); err != nil {
				return true, errors.Join(err, next.close(), b.index.remove(next.dir))
			}
			s = &with
		}
		g = s.next
	}
	if g.state.Load().Position < s.target() {
		if err := b.fill(ctx, s, g); err != nil {
			return true, err
		}
	}
	if g.state.Load().Position < s.target() || g == s.gen {
		return true, nil
	}
	return true, b.finish(ctx, s)
}

// fill adds to g what it lacks of the slot.
func (b *builder) fill(ctx context.Context, s *slot, g *generation) error {
	upTo := s.target()
	l := listing{after: g.state.Load().Position, upTo: upTo, most: buildListings, keep: func(item archive.Indexable) bool {
		return item.First >= s.first && item.First <= s.last && !b.unwanted(item)
	}}
	return b.run(ctx, l, func(ctx context.Context, part batch) error {
		if err := b.describeEntries(ctx, part.entries); err != nil {
			return err
		}
		next := *g.state.Load()
		next.Position = max(next.Position, part.position)
		if part.complete {
			next.Position = max(next.Position, upTo)
		}
		err := b.index.use(func([]*slot) error { return g.commit(ctx, part.entries, next) })
		if err == nil {
			b.index.notify()
		}
		return err
	})
}

// finish puts the slot's next generation in the place of the one that answers.
func (b *builder) finish(ctx context.Context, s *slot) error {
	state := *s.next.state.Load()
	state.Complete = s.gen.state.Load().Complete
	if err := s.next.commit(ctx, nil, state); err != nil {
		return err
	}
	done := slot{first: s.first, last: s.last, gen: s.next}
	if err := b.index.swap(s, &done); err != nil {
		return err
	}
	old := s.gen
	if err := old.close(); err != nil {
		b.opts.Logger.Warn("closing a replaced part of the search index", "index", old.dir, "error", err)
	}
	err := b.index.remove(old.dir)
	b.index.notify()
	return err
}

// swap replaces a slot.
func (x *Index) swap(old, s *slot) error {
	slots := slices.Clone(x.slots)
	slots[slices.Index(slots, old)] = s
	return x.set(slots)
}

// repair begins failed generations anew.
func (x *Index) repair() error {
	for _, s := range slices.Clone(x.slots) {
		if s.next != nil && s.next.usable() != nil {
			without := *s
			without.next = nil
			if err := x.abandon(s, &without, s.next); err != nil {
				return err
			}
			s = &without
		}
		if s.gen.usable() == nil {
			continue
		}
		g, err := x.create(s.first)
		if err != nil {
			return err
		}
		// What was to be purged went with the failed one, or goes with it when it is swept.
		if err := x.abandon(s, &slot{first: s.first, last: s.last, gen: g, next: s.next, rebuild: s.rebuild, purge: s.purge}, s.gen); err != nil {
			return errors.Join(err, g.close())
		}
	}
	return nil
}

// abandon replaces a slot by one without the failed generation g.
func (x *Index) abandon(old, s *slot, g *generation) error {
	if err := x.swap(old, s); err != nil {
		return err
	}
	if err := g.close(); err != nil {
		x.opts.Logger.Warn("closing a failed part of the search index", "index", g.dir, "error", err)
	}
	return x.discard(g.dir)
}
