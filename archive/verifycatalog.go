package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
)

const (
	// verifyRows is how many rows of the catalog are read at a time.
	verifyRows = 1000
	// maxUnread is after how many events that cannot be read the rest of a ledger is given up: each costs a search.
	maxUnread = 10_000
)

// readable calls fn with the events below size that can be read, and skip with the index of each that cannot.
func (s *Store) readable(ctx context.Context, from, size int64, fn func(ledger.Entry) error, skip func(index int64, err error)) error {
	for unread := 0; from < size && unread < maxUnread; unread++ {
		err := s.ledger.Read(ctx, from, func(e ledger.Entry) error {
			if e.Index >= size {
				return errEnough
			}
			from = e.Index + 1
			return fn(e)
		})
		if !errors.Is(err, ledger.ErrDamaged) {
			if errors.Is(err, errEnough) {
				err = nil
			}
			return err
		}
		skip(from, err)
		from++
	}
	return nil
}

var errEnough = errors.New("enough events")

// seen takes from the ledger what it knows of the volumes.
func (v *verification) seen(ctx context.Context) error {
	if v.store.ledger == nil {
		return nil
	}
	return v.store.readable(ctx, 0, v.size, func(e ledger.Entry) error {
		v.volumesOf(e)
		return nil
	}, func(int64, error) {}) // ledger reports it
}

func (v *verification) volumesOf(e ledger.Entry) {
	if deposits(e) {
		v.ends[e.Volume] = max(v.ends[e.Volume], e.End)
	}
	if n, sums := sealedFile(e); n != 0 {
		v.seals[n] = sums
	}
}

// events compares the catalog with the ledger, in both directions.
func (v *verification) events(ctx context.Context) error {
	s := v.store
	if s.ledger == nil || s.catalog == nil {
		return nil
	}
	rows := &depositRows{c: s.catalog, next: -1}
	unread := map[int64]bool{}
	err := s.readable(ctx, 0, v.size, func(e ledger.Entry) error {
		v.volumesOf(e)
		if e.Index%verifyRows == 0 {
			if err := v.progress("catalog", 0, 0); err != nil {
				return err
			}
		}
		if !deposits(e) || len(e.IDs) == 0 { // there are recovered parts without a message
			return nil
		}
		row, ok, err := v.rowOf(ctx, rows, e.Index, unread)
		if err != nil {
			return err
		}
		switch {
		case e.Details == nil: // erased, or damaged and reported as such
		case !ok:
			if buried, _, err := v.disposed(ctx, e.IDs[0]); err != nil || buried {
				return err
			}
			return v.stale(e.Index, e.IDs, "deposit of event %d is missing")
		case len(e.IDs) != 1 || row.ID != e.IDs[0] || !bytes.Equal(row.Record, e.Details):
			return v.stale(e.Index, e.IDs, "deposit of event %d is not what the ledger says")
		default:
			if d, err := detailsOf(row); err != nil || d.Volume == 0 {
				return v.stale(e.Index, e.IDs, "deposit of event %d has no place")
			}
		}
		return nil
	}, func(index int64, _ error) { unread[index] = true })
	if err != nil || s.ledger.Damage() != nil {
		return err // a damaged ledger shows only its beginning
	}
	_, _, err = v.rowOf(ctx, rows, v.size, unread)
	return err
}

// rowOf returns the row of an event, and reports those before it that have none.
func (v *verification) rowOf(ctx context.Context, rows *depositRows, index int64, unread map[int64]bool) (catalog.Held, bool, error) {
	for {
		row, ok, err := rows.peek(ctx)
		if err != nil || !ok || row.Index > index {
			return catalog.Held{}, false, err
		}
		if row.Index == v.size {
			return catalog.Held{}, false, nil // came after the verification had begun
		}
		rows.take()
		if row.Index == index {
			return row, true, nil
		}
		if !unread[row.Index] {
			if err := v.stale(row.Index, []string{row.ID}, "deposit of event %d is not in the ledger"); err != nil {
				return catalog.Held{}, false, err
			}
		}
	}
}

// disposed says whether deposits of a message were disposed of, and whether that is still under way: the catalog forgets them first.
func (v *verification) disposed(ctx context.Context, id string) (buried, underWay bool, err error) {
	graves, err := v.store.Tombstones(ctx, id)
	for _, g := range graves {
		_, done, orderErr := v.store.order(ctx, orderDone, g.Plan)
		buried, underWay, err = true, underWay || !done, errors.Join(err, orderErr)
	}
	if underWay {
		v.noted("a disposal is under way, or was interrupted: it is finished when the archive is opened")
	}
	return buried, underWay, err
}

// depositRows walks through the deposits of the catalog.
type depositRows struct {
	c    *catalog.Catalog
	next int64 // index of the last one that was read
	page []catalog.Held
	end  bool
}

func (r *depositRows) peek(ctx context.Context) (catalog.Held, bool, error) {
	if len(r.page) == 0 && !r.end {
		var err error
		if r.page, err = r.c.ByIndex(ctx, r.next, verifyRows); err != nil {
			return catalog.Held{}, false, err
		}
		if r.end = len(r.page) == 0; !r.end {
			r.next = r.page[len(r.page)-1].Index
		}
	}
	if len(r.page) == 0 {
		return catalog.Held{}, false, nil
	}
	return r.page[0], true, nil
}

func (r *depositRows) take() { r.page = r.page[1:] }

// placeRows walks through the places of a volume's messages.
type placeRows struct {
	c        *catalog.Catalog
	volume   uint32
	from, to int64 // offsets of those that were not taken yet
	page     []catalog.Message
	end      bool
}

func (r *placeRows) peek(ctx context.Context) (catalog.Message, bool, error) {
	if len(r.page) == 0 && !r.end {
		var err error
		if r.page, err = r.c.Places(ctx, r.volume, r.from, r.to, verifyRows); err != nil {
			return catalog.Message{}, false, err
		}
		r.end = len(r.page) == 0
	}
	if len(r.page) == 0 {
		return catalog.Message{}, false, nil
	}
	return r.page[0], true, nil
}

func (r *placeRows) take() {
	r.from = r.page[0].Offset + 1
	r.page = r.page[1:]
}

// catalog verifies the file of the catalog, and that its places are in the volumes.
func (v *verification) catalog(ctx context.Context) error {
	s := v.store
	if s.catalog == nil {
		return nil
	}
	if v.spare == "" {
		err := s.catalog.Check(ctx, v.o.Deep)
		if err == nil {
			err = s.catalog.Recount(ctx) // events has compared the rows with the ledger
		}
		if err != nil && !catalog.Damaged(err) {
			return err
		}
		if err != nil {
			v.damage(Damage{File: catalogName, Repairable: true, What: fmt.Sprintf("%v: postkeep rebuild catalog", err)})
		}
	}
	if s.volumes == nil {
		return nil
	}
	ends := map[uint32]int64{}
	for _, info := range s.volumes.Volumes() {
		ends[info.Number] = info.End
	}
	outside, err := s.catalog.Outside(ctx, ends, maxNamed+1)
	if err != nil || len(outside) == 0 {
		return err
	}
	for _, m := range outside {
		// A short volume is reported with it.
		if end, there := ends[m.Volume]; !there || end >= v.ends[m.Volume] {
			v.damage(Damage{File: catalogName, Messages: []string{m.ID}, Repairable: there,
				What: fmt.Sprintf("message is said to be in volume %d at offset %d of its tar stream, which ends before", m.Volume, m.Offset)})
		}
	}
	return nil
}

// volumeFile is the name of a volume's file, relative to the data directory.
func volumeFile(name string) string { return path.Join(volumesName, name) }

// sealedFile returns the volume whose file an event has finished or written anew, and the SHA-256 that it has since. After an
// event about a file that has not got its name yet it may be the one before, too.
func sealedFile(e ledger.Entry) (number uint32, sums []string) {
	switch e.Type {
	case ledger.TypeSeal, ledger.TypeRepack:
	default:
		return 0, nil
	}
	var d fileDetails
	if json.Unmarshal(e.Details, &d) != nil || d.SHA256 == "" { // they are damaged or erased
		return e.Volume, nil
	}
	sums = []string{d.SHA256}
	if d.Was != "" {
		sums = append(sums, d.Was)
	}
	return e.Volume, sums
}
