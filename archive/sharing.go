package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// sharing knows which bytes somebody else still needs when deposits go.
type sharing struct {
	store   *Store
	going   map[string]bool     // messages that go with their last deposit
	leaving map[int64]bool      // deposits
	users   map[string][]string // by part: messages that refer to it
	stay    map[string]*staying // by message
}

// staying is what the ledger says itself of a message when deposits have gone.
type staying struct {
	last depositDetails // that tells the place
	// repeat are deposits that lack what another tells, by the index of that.
	repeat map[int64][]int64
}

// bytesOf sets which bytes go with a deposit, and which stay of whose place nobody else knows. Those go that the catalog
// does not use now, because they were damaged and stored again, or will not use when the messages have gone.
func (h *sharing) bytesOf(ctx context.Context, one *candidate, d *doomed) error {
	row, ok, err := h.store.catalog.Message(ctx, one.ID)
	if err != nil {
		return err
	}
	if one.Volume == 0 {
		return fmt.Errorf("nobody can say where all bytes of message %s are, because the ledger's sidecar is damaged: "+
			"put back the newest copy of the ledger and run postkeep rebuild catalog", one.ID)
	}
	current := ok && row.Volume == one.Volume && row.Offset == one.Offset
	if h.going[one.ID] || !current {
		d.Blank = append(d.Blank, blank{one.Volume, one.Offset, one.ID})
	}
	if !h.going[one.ID] {
		left, err := h.staying(ctx, one.ID)
		if err != nil {
			return err
		}
		if current && (left.last.Volume != one.Volume || left.last.Offset != one.Offset) {
			d.Keep = &kept{Message: true, Volume: one.Volume, Offset: one.Offset}
			if d.Keep.Parts, err = h.store.partsOf(ctx, one.ID); err != nil { // where they are now
				return err
			}
		}
		if repeat := left.repeat[one.index]; len(repeat) > 0 {
			d.Retold = &retold{repeat, one.told()}
		}
	}
	for _, part := range one.Parts.rows() {
		now, ok, err := h.store.catalog.Part(ctx, part.ID)
		if err != nil {
			return err
		}
		needed := ""
		if ok && now == part {
			if needed, err = h.user(ctx, part.ID); err != nil {
				return err
			}
		}
		if needed == "" {
			d.Blank = append(d.Blank, blank{part.Volume, part.Offset, part.ID})
			continue
		}
		left, err := h.staying(ctx, needed)
		if err != nil {
			return err
		}
		if left.last.Parts[part.ID] != one.Parts[part.ID] && (d.Keep == nil || !d.Keep.Message) {
			if d.Keep == nil {
				d.Keep = &kept{Parts: partPlaces{}}
			}
			d.Keep.Parts.add(part)
		}
	}
	return nil
}

// user returns a message that stays and refers to a part, "" if there is none.
func (h *sharing) user(ctx context.Context, part string) (string, error) {
	users, ok := h.users[part]
	if !ok {
		var err error
		if users, err = h.store.catalog.Users(ctx, part); err != nil {
			return "", err
		}
		users = slices.DeleteFunc(users, func(id string) bool { return h.going[id] })
		h.users[part] = users[:min(1, len(users))]
	}
	if len(users) == 0 {
		return "", nil
	}
	return users[0], nil
}

// staying returns what stays of a message.
func (h *sharing) staying(ctx context.Context, id string) (*staying, error) {
	if left := h.stay[id]; left != nil {
		return left, nil
	}
	held, err := h.store.catalog.ByMessage(ctx, id)
	if err != nil {
		return nil, err
	}
	left := &staying{repeat: map[int64][]int64{}}
	for _, one := range held {
		if h.leaving[one.Index] {
			continue
		}
		d := depositDetails{ID: id}
		if err := json.Unmarshal(one.Record, &d); err != nil {
			return nil, fmt.Errorf("catalog: deposit %d: %w", one.Index, err)
		}
		if d.repeats() {
			left.repeat[one.Teller] = append(left.repeat[one.Teller], one.Index)
		} else {
			left.last = d
		}
	}
	h.stay[id] = left
	return left, nil
}
