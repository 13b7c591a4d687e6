package archive

import (
	"context"
	"slices"
)

// sharing knows which bytes somebody else still needs when deposits go.
type sharing struct {
	store   *Store
	going   map[string]bool     // messages that go with their last deposit
	leaving map[int64]bool      // deposits
	users   map[string][]string // by part: messages that refer to it
}

// bytesOf sets which bytes go with a deposit, and which stay of whose place nobody else knows. Those go that the catalog
// does not use now, because they were damaged and stored again, or will not use when the messages have gone.
func (h *sharing) bytesOf(ctx context.Context, one *candidate, d *doomed) error {
	row, ok, err := h.store.catalog.Message(ctx, one.ID)
	if err != nil {
		return err
	}
	current := ok && row.Volume == one.Volume && row.Offset == one.Offset
	if h.going[one.ID] || !current {
		d.Blank = append(d.Blank, blank{one.Volume, one.Offset, one.ID})
	} else if left, err := h.newest(ctx, one.ID); err != nil {
		return err
	} else if left.Volume != one.Volume || left.Offset != one.Offset {
		d.Keep = &kept{Message: true, Volume: one.Volume, Offset: one.Offset, Parts: one.Parts}
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
		left, err := h.newest(ctx, needed)
		if err != nil {
			return err
		}
		if left.Parts[part.ID] != one.Parts[part.ID] && (d.Keep == nil || !d.Keep.Message) {
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

// newest returns what the last deposit of a message that stays says.
func (h *sharing) newest(ctx context.Context, id string) (depositDetails, error) {
	held, err := h.store.catalog.ByMessage(ctx, id)
	if err != nil {
		return depositDetails{}, err
	}
	for i := len(held) - 1; i >= 0; i-- {
		if !h.leaving[held[i].Index] {
			return detailsOf(held[i])
		}
	}
	return depositDetails{}, nil
}
