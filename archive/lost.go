package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/postkeep/postkeep/archive/catalog"
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
// deposit stands in its entry, too. One that cannot be found stays noted.
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
	change.Position = s.ledger.Size()
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
		change.Messages = append(change.Messages, d.message())
		change.Deposits = append(change.Deposits, d.row(index, record))
		return nil
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
	return s.catalog.Apply(ctx, change)
}
