package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/parts"
	"github.com/postkeep/postkeep/archive/volume"
)

// lostMeta is where the catalog notes deposits whose details in the ledger's
// sidecar are damaged, until they have been read from the volumes again.
const lostMeta = "lost"

// lostDeposit is a deposit of which only the leaf can be read.
type lostDeposit struct {
	Index  int64  `json:"index"`
	Volume uint32 `json:"volume"`
	End    int64  `json:"end"` // of its entry in the volume
}

// noteLost adds the deposits to those that are noted.
func (s *Store) noteLost(ctx context.Context, change *catalog.Change, lost []lostDeposit) error {
	noted, err := s.notedLost(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(append(noted, lost...))
	if err != nil {
		return err
	}
	change.Meta[lostMeta] = string(data)
	return nil
}

func (s *Store) notedLost(ctx context.Context) (lost []lostDeposit, err error) {
	noted, err := s.catalog.Meta(ctx, lostMeta)
	if err != nil || noted == "" {
		return nil, err
	}
	return lost, json.Unmarshal([]byte(noted), &lost)
}

// refill reads lost deposits from the volumes: what the sidecar says of a
// deposit stands in its entry, too. One that cannot be found stays noted; the message of which it told is found.
func (s *Store) refill(ctx context.Context) error {
	lost, err := s.notedLost(ctx)
	if err != nil || len(lost) == 0 {
		return err
	}
	want := map[volume.Place]int64{} // by the end of the entry
	for _, l := range lost {
		want[volume.Place{Volume: l.Volume, Offset: l.End}] = l.Index
	}
	change := s.newChange()
	change.Late = true
	if change.Position, err = s.catalog.Position(ctx); err != nil { // the ledger may have grown since
		return err
	}
	err = s.volumes.Scan(ctx, volume.Place{}, func(e volume.Entry, body io.Reader) error {
		at := volume.Place{Volume: e.Volume, Offset: e.End}
		index, ok := want[at]
		if !ok || e.Kind != volume.KindDeposit {
			return nil
		}
		record, err := io.ReadAll(io.LimitReader(body, volume.MaxDepositBytes))
		if err != nil {
			return err
		}
		d := depositDetails{ID: e.ID}
		if err := json.Unmarshal(record, &d); err != nil {
			return fmt.Errorf("deposit at %s: %w", e.Place, err)
		}
		delete(want, at)
		change.Deposits = append(change.Deposits, d.row(index, record))
		later, err := s.toldAfter(ctx, e.ID, index)
		if err == nil && !later {
			change.Messages = append(change.Messages, d.message())
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read lost deposits from the volumes: %w", err)
	}
	s.opts.Logger.Warn("the ledger's sidecar is damaged: deposits were read from the volumes",
		"read", len(lost)-len(want), "not_found", len(want))
	var rest []lostDeposit
	for _, l := range lost {
		if _, missing := want[volume.Place{Volume: l.Volume, Offset: l.End}]; missing {
			rest = append(rest, l)
		}
	}
	data, err := json.Marshal(rest)
	if err != nil {
		return err
	}
	change.Meta[lostMeta] = string(data)
	if err := s.catalog.Apply(ctx, change); err != nil {
		return err
	}
	return s.findMessages(ctx)
}

// findMessages looks for the messages of which only deposits are left that do not say where they are.
func (s *Store) findMessages(ctx context.Context) error {
	rows, err := s.catalog.Places(ctx, 0, 0, 1, maxUnread)
	if err != nil || len(rows) == 0 {
		return err
	}
	want := map[string]bool{}
	for _, m := range rows {
		want[m.ID] = true
	}
	change := s.newChange()
	if change.Position, err = s.catalog.Position(ctx); err != nil {
		return err
	}
	near := &adoption{store: s, parts: map[string]adoptedPart{}} // parts are before their recipe
	err = s.volumes.Scan(ctx, volume.Place{}, func(e volume.Entry, body io.Reader) error {
		switch {
		case e.Kind == volume.KindPart:
			near.parts[e.ID] = adoptedPart{Part: catalog.Part{ID: e.ID, Volume: e.Volume, Offset: e.Offset, Size: e.Size}}
		case (e.Kind == volume.KindMessage || e.Kind == volume.KindRecipe) && want[e.ID]:
			d := depositDetails{ID: e.ID, Volume: e.Volume, Offset: e.Offset}
			if e.Kind == volume.KindRecipe {
				_, refs, err := parts.References(body)
				if err == nil {
					d.Parts, err = near.resolve(ctx, refs)
				}
				if err != nil {
					return err
				}
			}
			return s.found(ctx, &change, &d)
		case e.Kind != volume.KindDeposit:
			clear(near.parts)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for messages in the volumes: %w", err)
	}
	return s.catalog.Apply(ctx, change)
}

// found takes in where a message is, for all its deposits that nobody tells of it.
func (s *Store) found(ctx context.Context, change *catalog.Change, d *depositDetails) error {
	held, err := s.catalog.ByMessage(ctx, d.ID)
	if err != nil {
		return err
	}
	var r catalog.Retold
	if r.Told, err = json.Marshal(d.told()); err != nil {
		return err
	}
	for _, h := range held {
		if h.Told == nil {
			r.Deposits = append(r.Deposits, h.Index)
		}
	}
	change.Messages = append(change.Messages, d.message())
	change.Retold = append(change.Retold, r)
	return nil
}

// toldAfter reports whether a deposit behind an index tells where a message is.
func (s *Store) toldAfter(ctx context.Context, id string, index int64) (bool, error) {
	held, err := s.catalog.ByMessage(ctx, id)
	for _, h := range held {
		if err != nil || h.Index <= index || h.Teller >= 0 {
			continue
		}
		var d depositDetails
		if d, err = detailsOf(h); err == nil && d.Volume != 0 {
			return true, nil
		}
	}
	return false, err
}
