package archive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// A candidate is a deposit that may be disposed of.
type candidate struct {
	depositDetails
	index    int64
	archived time.Time // of the ledger
	counts   time.Time // from when its periods count: archived, or later where the clock has jumped
	in       uint32    // volume of its entry
	end      int64     // of its entry
	bytes    int64     // of its record in the entry
	date     time.Time // of the Date header, zero if there is none
	unread   bool      // nobody has parsed it yet
	facts    []retention.Fact
}

// candidates are what a question is asked about, by message.
type candidates struct {
	list []*candidate // by index
	byID map[string][]*candidate
}

func newCandidates(list []*candidate) *candidates {
	cs := &candidates{list: list, byID: make(map[string][]*candidate, len(list))}
	for _, c := range list {
		cs.byID[c.ID] = append(cs.byID[c.ID], c)
	}
	return cs
}

// drop removes the deposits of the messages.
func (cs *candidates) drop(ids map[string]bool) (dropped int) {
	kept := cs.list[:0]
	for _, c := range cs.list {
		if ids[c.ID] {
			delete(cs.byID, c.ID)
			dropped++
			continue
		}
		kept = append(kept, c)
	}
	cs.list = kept
	return dropped
}

// window returns the deposits with indexes above after, at most limit and none above last.
func (s *Store) window(ctx context.Context, after, last int64, limit int) (*candidates, error) {
	held, err := s.catalog.ByIndex(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	var list []*candidate
	for _, h := range held {
		if h.Index > last {
			break
		}
		d, err := detailsOf(h)
		if err != nil {
			return nil, err
		}
		list = append(list, &candidate{depositDetails: d, index: h.Index, bytes: int64(len(h.Record))})
	}
	return newCandidates(list), s.date(ctx, list)
}

// ofMessages returns the deposits of messages.
func (s *Store) ofMessages(ctx context.Context, ids ...string) (*candidates, error) {
	var list []*candidate
	for _, id := range ids {
		if err := s.eachDeposit(ctx, id, func(h catalog.Held, d depositDetails) {
			list = append(list, &candidate{depositDetails: d, index: h.Index, bytes: int64(len(h.Record))})
		}); err != nil {
			return nil, err
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].index < list[j].index })
	return newCandidates(list), s.date(ctx, list)
}

// sparse is the number of ledger events between two deposits from which on it is quicker to look for the next
// than to read on.
const sparse = 1000

// date sets when the deposits, which are in the order of their indexes, were archived.
func (s *Store) date(ctx context.Context, list []*candidate) error {
	t, err := s.timeline(ctx)
	if err != nil {
		return err
	}
	for len(list) > 0 {
		next := list[0].index
		err := s.ledger.Read(ctx, next, func(e ledger.Entry) error {
			if e.Index == list[0].index {
				list[0].archived, list[0].in, list[0].end = e.Time, e.Volume, e.End
				list[0].counts = t.archived(&e)
				list = list[1:]
			}
			if len(list) == 0 || list[0].index > e.Index+sparse {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if len(list) > 0 && list[0].index == next {
			return fmt.Errorf("the catalog has a deposit %d that the ledger does not have", next)
		}
	}
	return nil
}

// unsureOf is how much could not be read of what rules by query are about.
func (c *Compliance) unsureOf(ctx context.Context, rules []retention.Rule, cs *candidates) (map[string]bool, error) {
	for _, r := range rules {
		if r.Query != "" {
			return c.unsearchable(ctx, func(id string) bool { return cs.byID[id] != nil })
		}
	}
	return nil, nil
}

// establish finds out what there is to know about the rules and the candidates.
func (c *Compliance) establish(ctx context.Context, rules []retention.Rule, cs *candidates) error {
	unsure, err := c.unsureOf(ctx, rules, cs)
	if err != nil {
		return err
	}
	readings, err := c.readings(ctx, rules)
	if err != nil {
		return err
	}
	for _, one := range cs.list {
		one.facts = make([]retention.Fact, len(rules))
	}
	for i, r := range rules {
		if r.Basis == retention.Date {
			if err := c.store.readDates(ctx, cs); err != nil {
				return err
			}
		}
		matches := func(one *candidate) bool { return r.Mailbox == "" || r.Mailbox == one.Mailbox }
		for _, one := range cs.list {
			f := &one.facts[i]
			f.Begin = one.counts
			if r.Basis == retention.Date && !one.date.IsZero() {
				f.Begin = one.date
			}
			f.Match = r.Query == "" && matches(one)
			// Without its date, too, nobody can say when a message is due.
			f.Unsure = matches(one) && (r.Query != "" && unsure[one.ID] || r.Basis == retention.Date && one.unread)
		}
		if r.Query == "" {
			continue
		}
		if err := c.opts.Search.Each(ctx, r.Query, func(id string) error {
			for _, one := range cs.byID[id] {
				one.facts[i].Match = matches(one)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
		if readings[i] == nil {
			continue
		}
		for _, one := range cs.list {
			if matches(one) && readings[i].concerns(one.index) {
				one.facts[i].Before(readings[i].known.has(one.ID))
			}
		}
	}
	return nil
}

// readDates reads what the Date headers say, once.
func (s *Store) readDates(ctx context.Context, cs *candidates) error {
	for _, list := range cs.byID {
		if !list[0].date.IsZero() || list[0].unread {
			continue
		}
		m, err := s.Message(ctx, list[0].ID)
		if err != nil {
			return err
		}
		for _, one := range list {
			one.date, one.unread = m.Summary.Date, m.Summary.Parser == 0
		}
	}
	return nil
}

// lastDue returns a ledger index behind which no deposit can be due: the ledger's time never goes back, and where the clock
// was never set back no deposit counts from before it.
func (s *Store) lastDue(ctx context.Context, rules []retention.Rule, now time.Time) (int64, error) {
	t, err := s.timeline(ctx)
	if err != nil || t.setBack() {
		return math.MaxInt64, err
	}
	last, maxima := int64(-1), false
	for _, r := range rules {
		if r.Max.IsZero() {
			continue
		}
		maxima = true
		if r.Basis == retention.Date {
			return math.MaxInt64, nil
		}
		var err error
		first := sort.Search(int(s.ledger.Size()), func(i int) bool {
			e, readErr := s.ledger.Entry(ctx, int64(i))
			err = errors.Join(err, readErr)
			return r.Max.After(e.Time).After(now)
		})
		if err != nil {
			return 0, err
		}
		last = max(last, int64(first)-1)
	}
	if !maxima {
		return -1, nil
	}
	return last, nil
}

// held evaluates all holds and returns which of the candidates' messages they cover.
func (c *Compliance) held(ctx context.Context, cs *candidates, purpose string) (map[string]bool, []*evaluation, error) {
	holds, err := c.store.Holds(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	ids := map[string]bool{}
	var evaluations []*evaluation
	for _, h := range holds {
		e, err := c.evaluate(ctx, h, purpose, func(id string) {
			if cs.byID[id] != nil {
				ids[id] = true
			}
		})
		if err != nil {
			return nil, nil, err
		}
		evaluations = append(evaluations, e)
	}
	return ids, evaluations, nil
}

// heldBy names the holds that cover a message.
func (c *Compliance) heldBy(ctx context.Context, id, purpose string) (names []string, _ []*evaluation, _ error) {
	holds, err := c.store.Holds(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	var evaluations []*evaluation
	for _, h := range holds {
		covers := false
		e, err := c.evaluate(ctx, h, purpose, func(hit string) { covers = covers || hit == id })
		if err != nil {
			return nil, nil, err
		}
		if evaluations = append(evaluations, e); covers {
			names = append(names, h.Name)
		}
	}
	return names, evaluations, nil
}
