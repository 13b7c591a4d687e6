package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/volume"
)

// maxHeldRows is how many deposits are kept: those of a newsletter come between those of other mail.
const maxHeldRows = 20_000

// deposit compares the record of a deposit with the one of the catalog, which is that of the ledger.
func (c *volumeCheck) deposit(ctx context.Context, e volume.Entry) error {
	found, same, err := c.sameDeposit(ctx, e)
	if err == nil && !found {
		c.v.settle()
		delete(c.held, e.ID)
		found, same, err = c.sameDeposit(ctx, e)
	}
	if err != nil || same {
		return err
	}
	if gone, err := c.gone(ctx, e); err != nil || gone {
		return err
	}
	if !found {
		if _, underWay, err := c.v.disposed(ctx, e.ID); err != nil || underWay {
			return err
		}
	}
	what := "is not what the ledger says"
	if !found {
		what = "is in the volume, but not in the catalog: postkeep rebuild catalog"
	}
	c.v.damage(Damage{File: c.file(), Messages: []string{e.ID}, Repairable: !found,
		What: fmt.Sprintf("record %d of the deposits, at offset %d of the tar stream, %s", e.N, e.Offset, what)})
	return nil
}

func (c *volumeCheck) sameDeposit(ctx context.Context, e volume.Entry) (found, same bool, err error) {
	held, ok := c.held[e.ID]
	if !ok {
		if held, err = c.deposits(ctx, e.ID); err != nil {
			return false, false, err
		}
	}
	h, found := held[e.N]
	if !found {
		return false, false, nil
	}
	if sum := sha256.Sum256(h.Record); hex.EncodeToString(sum[:]) == e.SHA256 {
		return true, true, nil
	}
	// The ledger may have it in another spelling of the same JSON.
	d := depositDetails{ID: e.ID}
	if err := json.Unmarshal(h.Record, &d); err != nil {
		return true, false, fmt.Errorf("catalog: deposit %d: %w", h.Index, err)
	}
	same, err = c.sameRecord(ctx, e, d)
	return true, same, err
}

// deposits reads those of a message.
func (c *volumeCheck) deposits(ctx context.Context, id string) (map[int]catalog.Held, error) {
	rows, err := c.v.store.catalog.ByMessage(ctx, id)
	if err != nil {
		return nil, err
	}
	held := make(map[int]catalog.Held, len(rows))
	for _, h := range rows {
		d, err := detailsOf(h)
		if err != nil {
			return nil, err
		}
		held[d.N] = h
	}
	if c.rowN += len(rows); c.held == nil || c.rowN > maxHeldRows {
		c.held, c.rowN = map[string]map[int]catalog.Held{}, len(rows)
	}
	c.held[id] = held
	return held, nil
}

// sameRecord reads the record of a deposit. One that is damaged counts as the same: the damage is reported as such.
func (c *volumeCheck) sameRecord(ctx context.Context, e volume.Entry, want depositDetails) (bool, error) {
	_, body, err := c.v.store.volumes.Open(ctx, e.Place)
	if err != nil {
		return true, ctx.Err()
	}
	var got depositDetails
	err = json.NewDecoder(body).Decode(&got)
	if err := errors.Join(ctx.Err(), body.Close()); err != nil {
		return false, err
	}
	if !got.Received.Equal(want.Received) {
		return err != nil, nil
	}
	got.Received, got.ID = want.Received, want.ID // which is in the name of the entry
	return err != nil || reflect.DeepEqual(got, want), nil
}
