package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/postkeep/postkeep/archive/catalog"
)

// tellEvery is how many deposits of a message come to one that tells where its bytes are: so many depend on
// one line of the ledger, and are named by an intent that disposes of that.
const tellEvery = 256

// told is what a deposit says that belongs to its message. A further deposit, of which it is the same, says nothing of it: without a
// volume it is as the last deposit before it that says it.
type told struct {
	HeaderHash string     `json:"header_hash,omitempty"`
	Volume     uint32     `json:"volume,omitempty"`
	Offset     int64      `json:"offset,omitempty"`
	Parts      partPlaces `json:"parts,omitempty"`
}

// retold are deposits that said nothing of it, and from then on say so.
type retold struct {
	Deposits []int64 `json:"deposits"` // ledger indexes
	told
}

func (t *told) same(u told) bool {
	return t.HeaderHash == u.HeaderHash && t.Volume == u.Volume && t.Offset == u.Offset && maps.Equal(t.Parts, u.Parts)
}

func (d *depositDetails) told() told { return told{d.HeaderHash, d.Volume, d.Offset, d.Parts} }

func (d *depositDetails) tell(t told) {
	d.HeaderHash, d.Volume, d.Offset, d.Parts = t.HeaderHash, t.Volume, t.Offset, t.Parts
}

// repeats says whether what is told stands in a deposit before.
func (d *depositDetails) repeats() bool { return d.Volume == 0 }

// detailsOf returns what the archive knows of a deposit. Its Volume is 0 if the deposit that tells of the place
// cannot be read any more.
func detailsOf(h catalog.Held) (depositDetails, error) {
	d := depositDetails{ID: h.ID}
	err := json.Unmarshal(h.Record, &d)
	if err == nil && d.repeats() && h.Told != nil {
		var t told
		err = json.Unmarshal(h.Told, &t)
		d.tell(t)
	}
	if err != nil {
		return d, fmt.Errorf("catalog: deposit %d: %w", h.Index, err)
	}
	return d, nil
}

// eachDeposit hands over the deposits of a message, in the order of the ledger.
func (s *Store) eachDeposit(ctx context.Context, id string, fn func(catalog.Held, depositDetails)) error {
	held, err := s.catalog.ByMessage(ctx, id)
	if err != nil {
		return err
	}
	for _, h := range held {
		d, err := detailsOf(h)
		if err != nil {
			return err
		}
		fn(h, d)
	}
	return nil
}
