package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/parts"
	"github.com/postkeep/postkeep/archive/volume"
)

// An adoption takes into the ledger what the volumes hold beyond what it knows.
type adoption struct {
	store  *Store
	events []ledger.Event
	before *depositDetails // the message whose deposit should come next
	end    int64           // of its entry
	parts  map[string]adoptedPart
	used   map[string]bool // parts that a recipe refers to
}

type adoptedPart struct {
	catalog.Part
	end int64 // of its entry
}

// adopt takes into ledger and catalog what the volumes hold beyond what the
// ledger knows: a crash between the two fsyncs, or a ledger put back from an
// older copy.
func (s *Store) adopt(ctx context.Context) error {
	a := &adoption{store: s, parts: map[string]adoptedPart{}, used: map[string]bool{}}
	err := s.volumes.Unknown(ctx, func(e volume.Entry, body io.Reader) error {
		if err := a.entry(ctx, e, body); err != nil {
			return fmt.Errorf("adopt %s in volume %d: %w", e.Name, e.Volume, err)
		}
		if len(a.events) < replayBatch {
			return nil
		}
		return a.flush(ctx)
	})
	if err == nil {
		a.orphan()
		a.unused()
		err = a.flush(ctx)
	}
	if errors.Is(err, volume.ErrNoIdentity) {
		s.readOnly = fmt.Errorf("a crash has left messages in the volumes that the ledger does not know yet, and taking them in needs the key, once: %w", err)
		s.opts.Logger.Error("archive is read-only", "dir", s.dir, "reason", s.readOnly)
		return nil
	}
	var damage *volume.DamageError
	if errors.As(err, &damage) {
		s.readOnly = fmt.Errorf("the volumes hold messages that the ledger does not know, and they are damaged (postkeep verify --deep says where): %w", err)
		s.opts.Logger.Error("archive is read-only", "dir", s.dir, "reason", s.readOnly)
		return nil
	}
	if err != nil || s.adopted == 0 {
		return err
	}
	s.opts.Logger.Warn("adopted what the volumes hold beyond the ledger", "entries", s.adopted)
	return s.replay(ctx)
}

func (a *adoption) flush(ctx context.Context) error {
	if len(a.events) == 0 {
		return nil
	}
	a.store.adopted += len(a.events)
	if err := a.store.markReturned(ctx, a.events); err != nil {
		return err
	}
	_, err := a.store.ledger.Append(ctx, a.events)
	a.events = a.events[:0]
	return err
}

func (a *adoption) entry(ctx context.Context, e volume.Entry, body io.Reader) error {
	if a.before != nil && e.ID != a.before.ID {
		a.orphan()
	}
	switch e.Kind {
	case volume.KindPart:
		a.parts[e.ID] = adoptedPart{catalog.Part{ID: e.ID, Volume: e.Volume, Offset: e.Offset, Size: e.Size}, e.End}
	case volume.KindMessage:
		a.message(e, e.Size, nil)
	case volume.KindRecipe:
		size, refs, err := parts.References(body)
		if err != nil {
			return err
		}
		stored, err := a.resolve(ctx, refs)
		if err != nil {
			return err
		}
		a.message(e, size, stored)
	case volume.KindDeposit:
		details := depositDetails{ID: e.ID}
		if err := json.NewDecoder(body).Decode(&details); err != nil {
			return err
		}
		if details.repeats() {
			a.orphan() // the one that told where it is was redacted
		}
		a.before = nil
		a.use(details.Parts)
		a.events = append(a.events, recoveredEvent(e.Volume, e.End, details))
	}
	return nil
}

// recoveredMailbox stands for the mailbox of a message whose deposit was lost
// in a crash: nobody knows it until the server lists the message again.
const recoveredMailbox = "(recovered)"

// message remembers a message of so many octets until its deposit comes.
func (a *adoption) message(e volume.Entry, size int64, stored partPlaces) {
	a.use(stored)
	a.before, a.end = &depositDetails{
		Deposit: Deposit{Mailbox: recoveredMailbox, Received: e.ModTime, Source: Source{Protocol: "recovery"}},
		ID:      e.ID, Size: size, Volume: e.Volume, Offset: e.Offset, Parts: stored,
	}, e.End
}

// orphan adopts a message without a deposit.
func (a *adoption) orphan() {
	if a.before != nil {
		a.events = append(a.events, recoveredEvent(a.before.Volume, a.end, *a.before))
		a.before = nil
	}
}

// unused adopts parts without a recipe: the next message that has one needs not store it again, and
// disposal knows where they are.
func (a *adoption) unused() {
	for _, id := range slices.Sorted(maps.Keys(a.parts)) {
		if p := a.parts[id]; !a.used[id] {
			places := partPlaces{}
			places.add(p.Part)
			a.events = append(a.events, ledger.Event{
				Type: ledger.TypeRecovered, Actor: systemActor, Volume: p.Volume, End: p.end,
				Details: partDetails{Parts: places},
			})
		}
	}
}

func (a *adoption) use(stored partPlaces) {
	for id := range stored {
		a.used[id] = true
	}
}

// resolve says where the parts of a recipe are: before it, or in the catalog.
func (a *adoption) resolve(ctx context.Context, refs []parts.Part) (partPlaces, error) {
	places := partPlaces{}
	for _, ref := range refs {
		p, ok := a.parts[ref.SHA256]
		row := p.Part
		if !ok {
			var err error
			if row, ok, err = a.store.catalog.Part(ctx, ref.SHA256); err != nil {
				return nil, err
			}
		}
		if ok {
			places.add(row)
		}
	}
	return places, nil
}

// partDetails is what a recovered event says of parts without a recipe.
type partDetails struct {
	Parts partPlaces `json:"parts"`
}

// recoveredEvent is the event that adopts a deposit.
func recoveredEvent(number uint32, end int64, details depositDetails) ledger.Event {
	return ledger.Event{
		Type: ledger.TypeRecovered, Actor: systemActor, IDs: []string{details.ID},
		Volume: number, End: end, Details: details,
	}
}
