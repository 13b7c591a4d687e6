package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
)

// What a hold has covered when it was evaluated it covers until it is released: another version may read a message in
// another way, and not find in it any more what was found. See docs/decisions/readings.md.

// coverKind is the kind of the catalog's records of what one hold has covered.
func coverKind(hold string) string { return orderCover + hold }

// covered returns what the hold has covered at any evaluation.
func (s *Store) covered(ctx context.Context, hold string) (idSet, error) {
	records, err := s.orders(ctx, coverKind(hold))
	if err != nil {
		return nil, err
	}
	var all []uint64
	for _, r := range records {
		var d holdDetails
		err := json.Unmarshal(r.Details, &d)
		if err == nil {
			var set idSet
			set, err = decodeIDSet(d.Set)
			all = append(all, set...)
		}
		if err != nil {
			return nil, fmt.Errorf("catalog: what hold %s covers: %w", hold, err)
		}
	}
	return newIDSet(all), nil
}

// idsOf returns the messages in a set that the archive has.
func (s *Store) idsOf(ctx context.Context, set idSet) ([]string, error) {
	var ids []string
	for _, p := range set {
		found, err := s.catalog.Prefix(ctx, prefixHex(p), 2) // more than two cannot be: see idSet
		if err != nil {
			return nil, err
		}
		ids = append(ids, found...)
	}
	return ids, nil
}

// EarlierCovered returns the messages that holds in force cover because they covered them earlier, and that are not among those
// for which found is true.
func (s *Store) EarlierCovered(ctx context.Context, found map[string]bool) ([]string, error) {
	holds, err := s.Holds(ctx, false)
	if err != nil {
		return nil, err
	}
	prefixes := make([]uint64, 0, len(found))
	for id := range found {
		prefixes = append(prefixes, prefixOf(id))
	}
	now := newIDSet(prefixes)
	var earlier idSet
	for i := range holds {
		set, err := s.covered(ctx, holds[i].ID)
		if err != nil {
			return nil, err
		}
		earlier = earlier.with(set.without(now))
	}
	return s.idsOf(ctx, earlier)
}

// firstHits is how many ids of an evaluation its event names: enough to look into it.
const firstHits = 100

// An evaluation is what a hold covers at one time.
type evaluation struct {
	hold    Hold
	details holdDetails
	fresh   idSet // what it has never covered before
}

// evaluate asks what a hold covers, and hands each id to fn: what the query finds now, and what it found earlier. Messages whose
// disposal is decided are not among them.
func (c *Compliance) evaluate(ctx context.Context, h Hold, purpose string, fn func(id string)) (*evaluation, error) {
	return c.evaluateBy(ctx, c.opts.Search.Each, h, purpose, fn)
}

// each is Searcher.Each, or what finds less.
type each func(ctx context.Context, query string, fn func(id string) error) error

func (c *Compliance) evaluateBy(ctx context.Context, search each, h Hold, purpose string, fn func(id string)) (*evaluation, error) {
	s := c.store
	before, err := s.covered(ctx, h.ID)
	if err != nil {
		return nil, err
	}
	going, err := s.going(ctx)
	if err != nil {
		return nil, err
	}
	e := &evaluation{hold: h}
	e.details = holdDetails{Action: actEvaluate, Of: h.ID, Terms: h.Terms(), For: purpose}
	sum := sha256.New()
	var hits []uint64
	err = search(ctx, e.details.Terms, func(id string) error {
		if _, ok := going[id]; ok {
			return nil
		}
		if e.details.Hits++; e.details.Hits <= firstHits {
			e.details.First = append(e.details.First, id)
		}
		hits = append(hits, prefixOf(id))
		_, err := io.WriteString(sum, id+"\n")
		fn(id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("evaluate hold %q: %w", h.Name, err)
	}
	e.details.SHA256 = hex.EncodeToString(sum.Sum(nil))
	now := newIDSet(hits)
	e.fresh = now.without(before)
	earlier, err := s.idsOf(ctx, before.without(now))
	if err != nil {
		return nil, err
	}
	for _, id := range earlier {
		e.details.Earlier++
		fn(id)
	}
	return e, nil
}

// events are those of the evaluation, and of what is covered from now on.
func (e *evaluation) events(actor string) []ledger.Event {
	out := []ledger.Event{{Type: ledger.TypeHold, Actor: actor, Details: e.details}}
	for chunk := range slices.Chunk(e.fresh, setChunk) {
		out = append(out, ledger.Event{Type: ledger.TypeHold, Actor: actor,
			Details: holdDetails{Action: actCover, Of: e.hold.ID, Set: chunk.encode()}})
	}
	return out
}

// A LateMessage is one that a hold came too late for: its disposal was decided before the hold was placed, and carried out
// afterwards.
type LateMessage struct {
	ID   string `json:"id"`
	Plan string `json:"plan"`
	// InDoubt means that its text was gone already, so that nobody can say whether the hold would have covered it.
	InDoubt bool `json:"in_doubt,omitempty"`
}

// lateChunk is how many ids an event about late messages names, as intents do.
const lateChunk = maxIntentDeposits

func lateKind(hold string) string { return orderLate + hold }

// going returns the messages that are about to go, with the plans by which they do: no deposit of them is left.
func (s *Store) going(ctx context.Context) (map[string]string, error) {
	pending, err := s.Interrupted(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, plan := range pending {
		deposits, err := s.doomedBy(ctx, plan)
		if err != nil {
			return nil, err
		}
		for _, d := range deposits {
			if _, seen := out[d.ID]; seen {
				continue
			}
			if _, there, err := s.catalog.Message(ctx, d.ID); err != nil {
				return nil, err
			} else if !there {
				out[d.ID] = plan
			}
		}
	}
	return out, nil
}

// tooLate finds out which of the messages that were about to go when the hold was placed it would have covered.
func (c *Compliance) tooLate(ctx context.Context, h Hold, going map[string]string) []LateMessage {
	if len(going) == 0 {
		return nil
	}
	covered, present := map[string]bool{}, map[string]bool{}
	err := c.opts.Search.Each(ctx, h.Terms(), func(id string) error {
		covered[id] = covered[id] || going[id] != ""
		return nil
	})
	if err == nil {
		err = c.opts.Search.Each(ctx, "*", func(id string) error {
			present[id] = present[id] || going[id] != ""
			return nil
		})
	}
	if err != nil {
		clear(present) // all that is not known to be covered is in doubt
	}
	var late []LateMessage
	for id, plan := range going {
		if covered[id] || !present[id] {
			late = append(late, LateMessage{ID: id, Plan: plan, InDoubt: !covered[id]})
		}
	}
	slices.SortFunc(late, func(a, b LateMessage) int { return strings.Compare(a.ID, b.ID) })
	return late
}

// recordLate writes what a hold came too late for.
func (s *Store) recordLate(ctx context.Context, h Hold, late []LateMessage, actor string) error {
	var events []ledger.Event
	for chunk := range slices.Chunk(late, lateChunk) {
		ids := make([]string, len(chunk))
		for i, l := range chunk {
			ids[i] = l.ID
		}
		events = append(events, ledger.Event{Type: ledger.TypeHold, Actor: actor, IDs: ids, Details: holdDetails{Action: actLate, Of: h.ID, Late: chunk}})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.enact(ctx, events...)
	return err
}

// findLate records what holds came too late for, where the program ended before PlaceHold had done so. It is called before
// interrupted disposals are finished.
func (c *Compliance) findLate(ctx context.Context) error {
	s := c.store
	going, err := s.going(ctx)
	if err != nil || len(going) == 0 {
		return err
	}
	intents, err := s.intents(ctx)
	if err != nil {
		return err
	}
	placed, err := s.orders(ctx, orderHold)
	if err != nil {
		return err
	}
	holds, err := s.Holds(ctx, false)
	if err != nil {
		return err
	}
	for i := range holds {
		at := slices.IndexFunc(placed, func(k keyed) bool { return k.Key == holds[i].ID })
		missed := maps.Clone(going)
		maps.DeleteFunc(missed, func(_, plan string) bool { // decided after the hold, which was asked then
			return !slices.ContainsFunc(intents, func(one intent) bool { return one.plan == plan && one.index < placed[at].Index })
		})
		known, err := s.Late(ctx, holds[i].ID)
		if err != nil {
			return err
		}
		for _, l := range known {
			delete(missed, l.ID)
		}
		if late := c.tooLate(ctx, holds[i], missed); len(late) > 0 {
			if err := s.recordLate(ctx, holds[i], late, systemActor); err != nil {
				return err
			}
		}
	}
	return nil
}

// Late lists what the hold with the id came too late for.
func (s *Store) Late(ctx context.Context, hold string) ([]LateMessage, error) {
	records, err := s.orders(ctx, lateKind(hold))
	if err != nil {
		return nil, err
	}
	var out []LateMessage
	for _, r := range records {
		var d holdDetails
		if err := json.Unmarshal(r.Details, &d); err != nil {
			return nil, fmt.Errorf("catalog: hold %s: %w", hold, err)
		}
		out = append(out, d.Late...)
	}
	return out, nil
}

// keepOf keeps an event of a hold or a rule among those of its kind.
func keepOf(change *catalog.Change, e ledger.Entry, kind string) error {
	return keep(change, e, kind, strconv.FormatInt(e.Index, 10))
}

// pinHolds records what holds cover by the index as it is. It is called before the index begins to read messages in another
// way.
func (c *Compliance) pinHolds(ctx context.Context) error {
	s := c.store
	holds, err := s.Holds(ctx, false)
	if err != nil {
		return err
	}
	for _, h := range holds {
		e, err := c.evaluateBy(ctx, c.indexed, h, "another reading", func(string) {})
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, ErrReadOnly) {
				return err
			}
			// Nothing is disposed of as long as a hold cannot be evaluated.
			s.opts.Logger.Error("what a hold covers cannot be told before the index is rebuilt", "hold", h.Name, "error", err)
			continue
		}
		if len(e.fresh) == 0 {
			continue
		}
		s.mu.Lock()
		_, err = s.enact(ctx, e.events(systemActor)...)
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
