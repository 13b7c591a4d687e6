package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/ledger"
)

// A Hold is a legal hold, and what became of it.
type Hold struct {
	ID string `json:"id"`
	hold.Hold
	Placed   time.Time `json:"placed"`
	PlacedBy string    `json:"placed_by"`
	// Released is zero while it is in force.
	Released      time.Time `json:"released,omitzero"`
	ReleasedBy    string    `json:"released_by,omitempty"`
	ReleaseReason string    `json:"release_reason,omitempty"`
	// Pending is the change by which somebody has asked for its release, which another one has to approve.
	Pending string `json:"pending,omitempty"`
	// Evaluated is when it was last asked what it covers, and Hits how many messages that was, of which Earlier are covered
	// because they were at an earlier evaluation, and are not found by its terms any more.
	Evaluated time.Time `json:"evaluated,omitzero"`
	Hits      int64     `json:"hits"`
	Earlier   int64     `json:"earlier,omitempty"`
	// Late are the messages that it came too late for; PlaceHold and EvaluateHold fill it in.
	Late []LateMessage `json:"late,omitempty"`
	// Unreadable means that the details of its event are damaged. Nothing is known but ID, Placed and PlacedBy, and
	// where it was evaluated later that, with the whole question as Query. Else the event may as well be a release or an
	// evaluation of another hold.
	Unreadable bool `json:"unreadable,omitempty"`

	dual bool // it was placed under dual control
}

// maxHolds bounds the queries that a disposal asks under the writer's lock.
const maxHolds = 1000

// Holds lists the holds in force, oldest first, and with all also those that were released.
func (s *Store) Holds(ctx context.Context, all bool) ([]Hold, error) {
	var kinds [3]map[string]order
	placed, err := s.orders(ctx, orderHold)
	for i, kind := range []string{orderRelease, orderEvaluation} {
		if err != nil {
			return nil, err
		}
		var list []keyed
		list, err = s.orders(ctx, kind)
		kinds[i] = map[string]order{}
		for _, k := range list {
			kinds[i][k.Key] = k.order
		}
	}
	if err != nil {
		return nil, err
	}
	out := []Hold{}
	for _, p := range placed {
		h, err := holdOf(p, kinds[0][p.Key], kinds[1][p.Key])
		if err != nil {
			return nil, err
		}
		if all || h.Released.IsZero() {
			out = append(out, h)
		}
	}
	return out, nil
}

func holdOf(placed keyed, release, evaluation order) (Hold, error) {
	h := Hold{ID: placed.Key, Placed: placed.Time, PlacedBy: placed.Actor}
	var d holdDetails
	if err := json.Unmarshal(placed.Details, &d); err != nil || d.Hold == nil {
		return h, fmt.Errorf("catalog: hold %s: %w", placed.Key, err)
	}
	h.Hold, h.dual = *d.Hold, d.Dual
	if release.Details != nil {
		if err := json.Unmarshal(release.Details, &d); err != nil {
			return h, err
		}
		h.Released, h.ReleasedBy, h.ReleaseReason = release.Time, release.Actor, d.Reason
	}
	if evaluation.Details != nil {
		if err := json.Unmarshal(evaluation.Details, &d); err != nil {
			return h, err
		}
		h.Evaluated, h.Hits, h.Earlier = evaluation.Time, d.Hits+d.Earlier, d.Earlier
	}
	return h, nil
}

// UnreadableHolds lists events about holds that cannot be read any more, oldest first.
func (s *Store) UnreadableHolds(ctx context.Context) ([]Hold, error) {
	lost, err := s.UnreadableOrders(ctx)
	if err != nil {
		return nil, err
	}
	var out []Hold
	for _, o := range lost {
		if o.Type != string(ledger.TypeHold) {
			continue
		}
		h := Hold{ID: idOf(holdLetter, o.Index), Placed: o.Time, PlacedBy: o.Actor, Unreadable: true}
		evaluation, ok, err := s.order(ctx, orderEvaluation, h.ID)
		if err != nil {
			return nil, err
		}
		var d holdDetails
		if ok && json.Unmarshal(evaluation.Details, &d) == nil {
			h.Evaluated, h.Hits, h.Query = evaluation.Time, d.Hits, d.Terms
		}
		out = append(out, h)
	}
	return out, nil
}

// HeldTerms returns a query for each hold in force; what any of them finds is held.
func (s *Store) HeldTerms(ctx context.Context) ([]string, error) {
	if err := s.OrdersKnown(ctx); err != nil {
		return nil, err
	}
	holds, err := s.Holds(ctx, false)
	terms := make([]string, len(holds))
	for i := range holds {
		terms[i] = holds[i].Terms()
	}
	return terms, err
}

// hold finds the hold in force that has the name or id.
func (s *Store) hold(ctx context.Context, name string) (Hold, error) {
	holds, err := s.Holds(ctx, false)
	if err != nil {
		return Hold{}, err
	}
	for _, h := range holds {
		if h.Name == name || h.ID == name {
			return h, nil
		}
	}
	if err := s.OrdersKnown(ctx); err != nil {
		return Hold{}, fmt.Errorf("hold %q: %w", name, err)
	}
	return Hold{}, fmt.Errorf("hold %q: %w that is in force", name, ErrNoOrder)
}

// PlaceHold puts a hold into force. It counts before it is evaluated, and whatever the state of the index. A disposal that was
// decided before goes on: Late says what of it the hold would have covered, which is recorded, too.
func (c *Compliance) PlaceHold(ctx context.Context, h hold.Hold, actor string) (Hold, error) {
	placed, going, err := c.place(ctx, h, actor)
	if err != nil {
		return Hold{}, err
	}
	ctx = context.WithoutCancel(ctx) // it is in force
	if placed.Late = c.tooLate(ctx, placed, going); len(placed.Late) > 0 {
		if err := c.store.recordLate(ctx, placed, placed.Late, actor); err != nil {
			return placed, fmt.Errorf("the hold is in force; what it came too late for cannot be recorded: %w", err)
		}
	}
	return placed, nil
}

// place puts a hold into force. It returns what was about to be disposed of at that moment.
func (c *Compliance) place(ctx context.Context, h hold.Hold, actor string) (Hold, map[string]string, error) {
	if err := h.Validate(); err != nil {
		return Hold{}, nil, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	if _, err := c.check(h.Query); err != nil {
		return Hold{}, nil, err
	}
	if _, err := c.check(h.Terms()); err != nil {
		return Hold{}, nil, fmt.Errorf("%w: with custodians and days the query becomes too large: %w", ErrOrder, err)
	}
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	holds, err := s.Holds(ctx, false)
	if err != nil {
		return Hold{}, nil, err
	}
	for _, other := range holds {
		if other.Name == h.Name || other.ID == h.Name {
			return Hold{}, nil, fmt.Errorf("%w: there is a hold %q in force already", ErrOrder, h.Name)
		}
	}
	if len(holds) >= maxHolds {
		return Hold{}, nil, fmt.Errorf("%w: %d holds are in force, more are not taken", ErrOrder, maxHolds)
	}
	if _, err := s.enact(ctx, ledger.Event{Type: ledger.TypeHold, Actor: actor, Details: holdDetails{Action: actPlace, Hold: &h, Dual: c.opts.DualControl}}); err != nil {
		return Hold{}, nil, err
	}
	placed, err := s.hold(ctx, h.Name)
	if err != nil {
		return Hold{}, nil, err
	}
	going, err := s.going(ctx)
	return placed, going, err
}

// ReleaseHold ends the hold that has the name or id. With dual control, or if it was placed under it, it asks for that: the hold stays
// in force, with a Pending change.
func (c *Compliance) ReleaseHold(ctx context.Context, name, reason, actor string) (Hold, error) {
	if reason == "" || len(reason) > hold.MaxReasonBytes {
		return Hold{}, fmt.Errorf("%w: a release needs a reason of at most %d bytes", ErrOrder, hold.MaxReasonBytes)
	}
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.hold(ctx, name)
	if err != nil {
		return Hold{}, err
	}
	if c.opts.DualControl || h.dual {
		asked, err := c.request(ctx, &changeDetails{Kind: ChangeRelease, Of: h.ID, Name: h.Name, Reason: reason}, actor)
		if err == nil {
			h.Pending = asked.ID
		}
		return h, err
	}
	first, err := s.enact(ctx, ledger.Event{Type: ledger.TypeHold, Actor: actor, Details: holdDetails{Action: actRelease, Of: h.ID, Reason: reason}})
	if err != nil {
		return Hold{}, err
	}
	e, err := s.ledger.Entry(ctx, first)
	h.Released, h.ReleasedBy, h.ReleaseReason = e.Time, actor, reason
	return h, err
}

// Covering lists the holds that cover a message, oldest first, also those that were released. With an error some may be missing.
func (c *Compliance) Covering(ctx context.Context, id string) ([]Hold, error) {
	holds, err := c.store.Holds(ctx, true)
	if err != nil {
		return nil, err
	}
	covering := []Hold{}
	for _, h := range holds {
		earlier, err := c.store.covered(ctx, h.ID)
		if err != nil {
			return nil, err
		}
		covered := earlier.has(id)
		if err := c.opts.Search.Each(ctx, "("+h.Terms()+") id:"+id, func(string) error { covered = true; return nil }); err != nil {
			return nil, fmt.Errorf("hold %q: %w", h.Name, err)
		}
		if covered {
			covering = append(covering, h)
		}
	}
	return covering, c.store.OrdersKnown(ctx)
}

// EvaluateHold asks what the hold that has the name or id covers now, hands each id to fn, and records it.
func (c *Compliance) EvaluateHold(ctx context.Context, name, actor string, fn func(id string)) (Hold, error) {
	s := c.store
	h, err := s.hold(ctx, name)
	if err != nil {
		return Hold{}, err
	}
	if err := c.completeNow(ctx); err != nil {
		return h, err
	}
	e, err := c.evaluate(ctx, h, "show", fn)
	if err != nil {
		return h, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.enact(ctx, e.events(actor)...); err != nil {
		return h, err
	}
	if h, err = s.hold(ctx, name); err != nil {
		return h, err
	}
	h.Late, err = s.Late(ctx, h.ID)
	return h, err
}
