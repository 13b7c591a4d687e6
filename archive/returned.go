package archive

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// What was erased may be delivered again: the server still has it, and lists it under another UIDL or size after a migration. It stays
// out of the mailboxes that it was erased from. In another mailbox, or where a hold was placed since that may cover it, it is
// archived, and its deposit says that it was erased. The same goes for what a rule disposed of, as long as the rule is in force.

// keptOut are the details of the event that remembers how a server lists a message that stays out, so that it is not
// downloaded at every poll.
type keptOut struct {
	Deposit int64  `json:"deposit"` // ledger index of the deposit that was disposed of
	Listing string `json:"listing"` // hex of listingHash
}

// returning says what becomes of a delivery whose message was disposed of before: it stays out because of the tombstone, or is archived
// again after the plan that disposed of it. Both are empty for any other.
func (s *Store) returning(ctx context.Context, key depositKey) (grave *Tombstone, after string, err error) {
	graves, err := s.Tombstones(ctx, key.id)
	if err != nil {
		return nil, "", err
	}
	for i := range graves {
		t := &graves[i]
		if t.Mailbox == key.mailbox && (grave == nil || !t.Disposed.Before(grave.Disposed)) {
			grave = t
		}
		if t.Kind == Erasure || t.Mailbox == key.mailbox {
			after = t.Plan
		}
	}
	if grave == nil {
		return nil, after, nil
	}
	out, err := s.staysOut(ctx, grave, key)
	if err != nil || !out {
		return nil, after, err
	}
	return grave, "", nil
}

// staysOut reports whether what a tombstone is of is not archived again in its mailbox. What a server has listed ever since does not come
// back because a rule was removed.
func (s *Store) staysOut(ctx context.Context, t *Tombstone, key depositKey) (bool, error) {
	held, err := s.heldSince(ctx, t)
	if err != nil || held {
		return false, err
	}
	listed, err := s.disposed(ctx, key)
	if err != nil || listed != nil || t.Kind == Erasure {
		return true, err
	}
	rules, err := s.plainRules(ctx)
	return slices.ContainsFunc(rules, func(r retention.Rule) bool { return r.Name == t.Rule }), err
}

// heldSince reports whether a hold that was placed after a disposal may cover what comes back. What the message says is not
// asked for: in doubt it is kept, and can be erased again when the hold does not cover it.
func (s *Store) heldSince(ctx context.Context, t *Tombstone) (bool, error) {
	if lost, err := s.UnreadableOrders(ctx); err != nil || len(lost) > 0 {
		return true, err // nobody can say what is held
	}
	holds, err := s.Holds(ctx, false)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(holds, func(h Hold) bool {
		return !h.Placed.Before(t.Disposed) && mayCover(&h.Hold, t.Mailbox)
	}), nil
}

// without leaves out the tombstones of what a hold that was placed since may cover: it is archived again.
func (s *Store) without(ctx context.Context, graves []Tombstone) ([]Tombstone, error) {
	var out []Tombstone
	for i := range graves {
		held, err := s.heldSince(ctx, &graves[i])
		if err != nil {
			return nil, err
		}
		if !held {
			out = append(out, graves[i])
		}
	}
	return out, nil
}

// mayCover reports whether a hold may cover a message of the mailbox: only a custodian that is another mailbox, with a name that is no
// address, rules that out.
func mayCover(h *hold.Hold, mailbox string) bool {
	if len(h.Custodians) == 0 {
		return true
	}
	return slices.ContainsFunc(h.Custodians, func(c string) bool { return c == mailbox || strings.Contains(c, "@") })
}

// keptOutEvent remembers how a server lists what stays out, nil if that is known or the server gives no UIDL.
func (s *Store) keptOutEvent(ctx context.Context, key depositKey, grave *Tombstone) (*ledger.Event, error) {
	listed, err := s.disposed(ctx, key)
	if err != nil || listed != nil || key.uidl == "" {
		return nil, err
	}
	return &ledger.Event{Type: ledger.TypePolicy, Actor: systemActor, IDs: []string{key.id}, Details: policyDetails{Action: actKeepOut, Of: grave.Plan,
		KeptOut: &keptOut{Deposit: grave.Index, Listing: hex.EncodeToString(listingHash(key.mailbox, key.uidl, key.listed))}}}, nil
}

// addKeptOut makes the tombstone known under another listing.
func addKeptOut(change *catalog.Change, e ledger.Entry, k *keptOut) error {
	if k == nil || len(e.IDs) != 1 {
		return fmt.Errorf("ledger event %d: it does not say what stays out", e.Index)
	}
	listing, err := hex.DecodeString(k.Listing)
	if err != nil {
		return err
	}
	change.Aliases = append(change.Aliases, catalog.Alias{Index: e.Index, Of: k.Deposit, Listing: listing})
	return nil
}

// markReturned says so in the details of deposits that recovery adopts, of messages that were disposed of before.
func (s *Store) markReturned(ctx context.Context, events []ledger.Event) error {
	for i := range events {
		d, ok := events[i].Details.(depositDetails)
		if !ok {
			continue
		}
		graves, err := s.Tombstones(ctx, d.ID)
		if err != nil {
			return err
		}
		for _, t := range graves {
			if t.Kind == Erasure || t.Mailbox == d.Mailbox {
				d.Returned = t.Plan
			}
		}
		events[i].Details = d
	}
	return nil
}

// tombstonesOf decodes what the catalog has.
func tombstonesOf(rows []catalog.Tombstone) ([]Tombstone, error) {
	out := make([]Tombstone, 0, len(rows))
	for _, r := range rows {
		var t Tombstone
		if err := json.Unmarshal(r.Record, &t); err != nil {
			return nil, fmt.Errorf("catalog: tombstone %d: %w", r.Index, err)
		}
		out = append(out, t)
	}
	return out, nil
}
