package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// A rule by query says what people looked at when they made it. Where another version reads messages in another way it may find
// others; these wait until an officer has confirmed them. See docs/decisions/readings.md.

// unknownPosition is behind all deposits: nothing is known of how they were read before.
const unknownPosition = math.MaxInt64

// ruleReading is what a rule by query found before the index went over to a reading.
type ruleReading struct {
	// reading is the one that the index went over to, "" if none of this is known.
	reading string
	// position is the ledger index up to which deposits were read in another way before, -1 if none was.
	position int64
	// known is what the rule found among them, and what was confirmed since.
	known idSet
	// settled means that there is no difference.
	settled bool
}

// concerns reports whether a deposit was read in another way before, and nobody has said yet that the rule finds the same.
func (r *ruleReading) concerns(deposit int64) bool { return !r.settled && deposit <= r.position }

func readingKind(rule string) string { return orderReading + rule }

// A RuleDifference is what a rule finds in another way since messages are read in another way. Until it is confirmed nothing of it is
// disposed of by the rule.
type RuleDifference struct {
	Rule string `json:"rule"`
	// Added are messages that it finds now and did not find before, Dropped those that it does not find any more.
	Added   []string `json:"added"`
	Dropped []string `json:"dropped"`
}

// reading returns what is known of a rule for the reading of now.
func (s *Store) reading(ctx context.Context, r *Rule, now string) (*ruleReading, error) {
	state, err := s.lastReading(ctx, r)
	if err == nil && state.reading != now { // nobody has noted what it found before
		return &ruleReading{reading: state.reading, position: unknownPosition}, nil
	}
	return state, err
}

// lastReading returns what is known of a rule for the last reading that was noted.
func (s *Store) lastReading(ctx context.Context, r *Rule) (*ruleReading, error) {
	state := &ruleReading{reading: r.reading, position: -1, settled: true}
	records, err := s.orders(ctx, readingKind(r.id()))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(records, func(a, b keyed) int { return cmp.Compare(a.Index, b.Index) })
	for _, record := range records {
		var d policyDetails
		err := json.Unmarshal(record.Details, &d)
		if err == nil && d.Reading != nil {
			err = state.apply(d.Reading)
		}
		if err != nil {
			return nil, fmt.Errorf("catalog: reading of rule %q: %w", r.Name, err)
		}
	}
	return state, nil
}

func (r *ruleReading) apply(d *readingDetails) error {
	if d.Begins {
		*r = ruleReading{reading: d.Reading, position: d.Position}
	}
	set, err := decodeIDSet(d.Set)
	r.known = r.known.with(set)
	var added, dropped []uint64
	for _, id := range d.Added {
		added = append(added, prefixOf(id))
	}
	for _, id := range d.Dropped {
		dropped = append(dropped, prefixOf(id))
	}
	r.known = r.known.with(newIDSet(added)).without(newIDSet(dropped))
	r.settled = r.settled || d.Settled
	return err
}

// readingDetails are what the events about readings say.
type readingDetails struct {
	Reading  string `json:"reading"`
	Begins   bool   `json:"begins,omitempty"` // what was said of earlier readings counts no more
	Position int64  `json:"position,omitempty"`
	Set      []byte `json:"set,omitempty"` // an idSet of messages that were found before
	// Added and Dropped were confirmed.
	Added   []string `json:"added,omitempty"`
	Dropped []string `json:"dropped,omitempty"`
	Settled bool     `json:"settled,omitempty"`
}

// indexed is Search.Each, over what is in the index whether that is all or not.
func (c *Compliance) indexed(ctx context.Context, query string, fn func(id string) error) error {
	if c.opts.Indexed == nil {
		return c.opts.Search.Each(ctx, query, fn)
	}
	return c.opts.Indexed(ctx, query, fn)
}

// Pin records what holds cover and rules find by the index as it is. It is called before the index begins to read messages in
// another way, and may be called again.
func (c *Compliance) Pin(ctx context.Context) error {
	if err := c.pinHolds(ctx); err != nil {
		return err
	}
	return c.pinRules(ctx, true)
}

// pinRules notes for each rule by query that the index goes over to this program's reading. before says that it has not begun to: what
// is found counts as what was found before. Else nothing is known of it but what was noted earlier.
func (c *Compliance) pinRules(ctx context.Context, before bool) error {
	s := c.store
	if c.opts.Reading == "" {
		return nil
	}
	c.pinning.Lock()
	defer c.pinning.Unlock()
	// The index begins to read in another way when all rules were noted.
	before = before || !c.reread()
	rules, err := s.Rules(ctx)
	if err != nil {
		return err
	}
	position, err := c.readSoFar(ctx, before)
	if err != nil {
		return err
	}
	for i := range rules {
		r := &rules[i]
		if r.Query == "" {
			continue
		}
		state, err := s.reading(ctx, r, c.opts.Reading)
		if err != nil {
			return err
		}
		if state.reading == c.opts.Reading {
			continue
		}
		var known idSet
		if before {
			if known, err = c.foundBefore(ctx, r); err != nil {
				if ctx.Err() != nil {
					return err
				}
				s.opts.Logger.Error("what a rule finds cannot be told before the index is rebuilt", "rule", r.Name, "error", err)
			}
		}
		if err := c.recordReading(ctx, r, known, position); err != nil {
			return err
		}
	}
	return nil
}

// foundBefore returns what a rule finds by the index as it is, without what waits for a confirmation still.
func (c *Compliance) foundBefore(ctx context.Context, r *Rule) (idSet, error) {
	earlier, err := c.store.lastReading(ctx, r)
	if err != nil {
		return nil, err
	}
	var found []uint64
	err = c.indexed(ctx, r.Query, func(id string) error {
		if !earlier.settled && !earlier.known.has(id) {
			first, err := c.store.firstDeposit(ctx, id)
			if err != nil || earlier.concerns(first) {
				return err
			}
		}
		found = append(found, prefixOf(id))
		return nil
	})
	return newIDSet(found), err
}

// firstDeposit is the ledger index of a message's first deposit that is there, -1 if there is none.
func (s *Store) firstDeposit(ctx context.Context, id string) (int64, error) {
	first := int64(-1)
	held, err := s.catalog.ByMessage(ctx, id)
	for _, h := range held {
		if first < 0 || h.Index < first {
			first = h.Index
		}
	}
	return first, err
}

// reread reports whether everything in the index was read in the way of now.
func (c *Compliance) reread() bool { return c.opts.Reread == nil || c.opts.Reread() }

// readSoFar is the ledger index up to which deposits may have been read in another way.
func (c *Compliance) readSoFar(ctx context.Context, before bool) (int64, error) {
	last, err := c.store.catalog.LastDeposit(ctx)
	if err != nil || !before {
		return last, err
	}
	// Where a part of the index is missing, nothing is known of what it had.
	whole := c.opts.Search.Each(ctx, "id:00000000", func(string) error { return nil }) == nil
	if whole {
		last = min(last, c.opts.Search.Position())
	}
	return last, ctx.Err()
}

func (c *Compliance) recordReading(ctx context.Context, r *Rule, known idSet, position int64) error {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	event := func(d readingDetails) ledger.Event {
		return ledger.Event{Type: ledger.TypePolicy, Actor: systemActor, Details: policyDetails{Action: actReading, Of: r.id(), Reading: &d}}
	}
	events := []ledger.Event{event(readingDetails{Reading: c.opts.Reading, Begins: true, Position: position})}
	for chunk := range slices.Chunk(known, setChunk) {
		events = append(events, event(readingDetails{Reading: c.opts.Reading, Set: chunk.encode()}))
	}
	_, err := s.enact(ctx, events...)
	return err
}

// readings returns what is known of the rules' readings, nil for those that are not by query.
func (c *Compliance) readings(ctx context.Context, rules []retention.Rule) ([]*ruleReading, error) {
	out := make([]*ruleReading, len(rules))
	if c.opts.Reading == "" {
		return out, nil
	}
	all, err := c.store.Rules(ctx)
	if err != nil {
		return nil, err
	}
	for i := range rules {
		at := slices.IndexFunc(all, func(r Rule) bool { return r.Name == rules[i].Name })
		if rules[i].Query == "" || at < 0 {
			continue
		}
		if out[i], err = c.store.reading(ctx, &all[at], c.opts.Reading); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Differences lists what rules find in another way since messages are read in another way, and nobody has confirmed. Rules without a
// difference are settled on the way, as far as the index has been rebuilt.
func (c *Compliance) Differences(ctx context.Context) ([]RuleDifference, error) {
	if c.opts.Reading == "" {
		return nil, nil
	}
	rules, err := c.store.Rules(ctx)
	if err != nil {
		return nil, err
	}
	var out []RuleDifference
	for i := range rules {
		change, err := c.difference(ctx, &rules[i])
		if err != nil {
			return nil, err
		}
		if change != nil {
			out = append(out, *change)
		}
	}
	return out, nil
}

// RuleDifferences is Differences of one rule.
func (c *Compliance) RuleDifferences(ctx context.Context, name string) (RuleDifference, error) {
	none := RuleDifference{Rule: name, Added: []string{}, Dropped: []string{}}
	r, err := c.store.rule(ctx, name)
	if err != nil || c.opts.Reading == "" {
		return none, err
	}
	if change, err := c.difference(ctx, &r); err != nil || change != nil {
		return *cmp.Or(change, &none), err
	}
	return none, nil
}

func (c *Compliance) difference(ctx context.Context, r *Rule) (*RuleDifference, error) {
	s := c.store
	if r.Query == "" {
		return nil, nil
	}
	state, err := s.reading(ctx, r, c.opts.Reading)
	if err != nil || state.settled {
		return nil, err
	}
	out := &RuleDifference{Rule: r.Name, Added: []string{}, Dropped: []string{}}
	var found []uint64
	if err := c.opts.Search.Each(ctx, r.Query, func(id string) error {
		found = append(found, prefixOf(id))
		if state.known.has(id) {
			return nil
		}
		first, err := s.firstDeposit(ctx, id)
		if err == nil && first >= 0 && state.concerns(first) {
			out.Added = append(out.Added, id)
		}
		return err
	}); err != nil {
		return nil, fmt.Errorf("rule %q: %w", r.Name, err)
	}
	if out.Dropped, err = s.idsOf(ctx, state.known.without(newIDSet(found))); err != nil {
		return nil, err
	}
	if len(out.Added)+len(out.Dropped) > 0 {
		return out, nil
	}
	return nil, c.settleReading(ctx, r, state)
}

// settleReading notes that a rule finds what it found before, once all of the index is read in the new way.
func (c *Compliance) settleReading(ctx context.Context, r *Rule, state *ruleReading) error {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if state.reading != c.opts.Reading || !c.reread() || c.complete(ctx) != nil || s.writable() != nil {
		return nil
	}
	_, err := s.enact(ctx, ledger.Event{Type: ledger.TypePolicy, Actor: systemActor,
		Details: policyDetails{Action: actReading, Of: r.id(), Reading: &readingDetails{Reading: state.reading, Settled: true}}})
	return err
}

// ConfirmDifference says that a rule is meant for the messages that it finds in another way since messages are read in another way:
// each is named by its id, and is one of those that Differences lists. It returns what is left.
func (c *Compliance) ConfirmDifference(ctx context.Context, name string, ids []string, actor string) (RuleDifference, error) {
	s := c.store
	none := RuleDifference{Rule: name, Added: []string{}, Dropped: []string{}}
	r, err := s.rule(ctx, name)
	if err != nil {
		return none, err
	}
	if err := c.complete(ctx); err != nil {
		return none, err
	}
	if err := c.pinRules(ctx, false); err != nil {
		return none, err
	}
	change, err := c.difference(ctx, &r)
	if err != nil {
		return none, err
	}
	if change == nil {
		change = &none
	}
	events, err := c.confirmations(&r, change, ids, actor)
	if err != nil {
		return *change, err
	}
	if len(events) == 0 {
		return *change, fmt.Errorf("%w: name the messages by their ids", ErrOrder)
	}
	s.mu.Lock()
	_, err = s.enact(ctx, events...)
	s.mu.Unlock()
	if err != nil {
		return *change, err
	}
	left, err := c.difference(ctx, &r)
	if err != nil || left == nil {
		return none, err
	}
	return *left, nil
}

// confirmations are the events that confirm messages of a change.
func (c *Compliance) confirmations(r *Rule, change *RuleDifference, ids []string, actor string) (events []ledger.Event, _ error) {
	added := map[string]bool{}
	for _, id := range change.Added {
		added[id] = true
	}
	for _, id := range change.Dropped {
		added[id] = false
	}
	for chunk := range slices.Chunk(ids, lateChunk) {
		d := readingDetails{Reading: c.opts.Reading}
		for _, id := range chunk {
			isAdded, ok := added[id]
			switch {
			case !ok:
				return nil, fmt.Errorf("%w: message %s is not among those that rule %q finds in another way", ErrOrder, id, r.Name)
			case isAdded:
				d.Added = append(d.Added, id)
			default:
				d.Dropped = append(d.Dropped, id)
			}
		}
		events = append(events, ledger.Event{Type: ledger.TypePolicy, Actor: actor, IDs: chunk, Details: policyDetails{Action: actReading, Of: r.id(), Reading: &d}})
	}
	return events, nil
}

// Unconfirmed says in words which rules wait for ConfirmDifference.
func (c *Compliance) Unconfirmed(ctx context.Context) []string {
	if c.complete(ctx) != nil {
		return nil // nothing is disposed of, and others say why
	}
	changes, err := c.Differences(ctx)
	if err != nil {
		return []string{"retention rules: " + err.Error()}
	}
	var out []string
	for _, change := range changes {
		var parts []string
		if n := len(change.Added); n > 0 {
			parts = append(parts, fmt.Sprintf("finds %d messages that it did not find", n))
		}
		if n := len(change.Dropped); n > 0 {
			parts = append(parts, fmt.Sprintf("no longer finds %d", n))
		}
		out = append(out, fmt.Sprintf("retention rule %q %s before messages were read in another way; nothing of that is disposed of until it is confirmed: "+
			"postkeep retention policy differences %q", change.Rule, strings.Join(parts, ", and "), change.Rule))
	}
	return out
}
