package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/parts"
	"github.com/postkeep/postkeep/archive/volume"
)

// An item is a message of a batch, made ready without the writer's lock.
type item struct {
	was    volume.Place // where the archive had it when it was looked up, zero if it had not
	held   bool         // it had, and its copy was read and is whole; then there is no body
	id     string
	size   int64 // octets
	body   io.ReaderAt
	found  *parts.Pieces
	pieces []uint64        // their fingerprints
	shared map[uint64]bool // of them, those that others have too
	// split is how the message is stored in parts, nil when it is stored whole.
	split *parts.Message
}

// prepare reads the bodies that the archive may need, and takes them apart. It may be called again: what is
// ready stays.
func (p *put) prepare(ctx context.Context) error {
	had, err := p.lookUp(ctx)
	if err != nil {
		return err
	}
	for i := range p.batch {
		d := &p.batch[i]
		if p.refused[i] != "" || p.items[d.ID] != nil {
			continue
		}
		row, ok := had[d.ID]
		it, err := p.ready(ctx, d, row, ok)
		var (
			mismatch *volume.MismatchError
			body     bodyError
		)
		switch {
		case errors.As(err, &mismatch):
			p.refused[i] = err.Error()
		case errors.As(err, &body):
			return &DeliveryError{N: i, Err: body.error}
		case err != nil:
			return fmt.Errorf("message %s: %w", d.ID, err)
		default:
			p.items[d.ID] = it
			p.order = append(p.order, it)
		}
	}
	return p.takeApart(ctx)
}

// lookUp returns those messages that the archive has and that are not ready yet. It refuses what can never be archived.
func (p *put) lookUp(ctx context.Context) (map[string]catalog.Row, error) {
	var ids []string
	for i := range p.batch {
		d := &p.batch[i]
		if p.refused[i] == "" {
			p.refused[i] = d.invalid()
		}
		if p.refused[i] == "" && p.items[d.ID] == nil {
			ids = append(ids, d.ID)
		}
	}
	return p.store.catalog.Messages(ctx, ids)
}

// ready makes one message ready, which the archive has or not.
func (p *put) ready(ctx context.Context, d *Delivery, row catalog.Row, had bool) (it *item, err error) {
	it = &item{was: volume.Place{Volume: row.Volume, Offset: row.Offset}, id: d.ID, size: d.Size}
	if had {
		// What a receipt refers to has to be there still: the caller deletes the message elsewhere.
		damaged, err := p.store.Damaged(ctx, []string{d.ID})
		if err != nil {
			return nil, err
		}
		if it.held = len(damaged) == 0; it.held {
			return it, nil
		}
	}
	it.body, err = p.spool.add(ctx, d)
	return it, err
}

// takeApart takes the messages apart that are ready. Whether somebody else has a piece is asked about all pieces at once.
func (p *put) takeApart(ctx context.Context) error {
	fresh := slices.DeleteFunc(slices.Clone(p.order), func(it *item) bool { return it.body == nil || it.found != nil })
	err := side(fresh, func(it *item) (err error) {
		it.found, err = parts.Examine(ctx, it.body, it.size, it.id, parts.Options{})
		return err
	})
	if err != nil {
		return err
	}
	var prints []uint64
	for _, it := range fresh {
		it.pieces = it.found.Fingerprints()
		prints = append(prints, it.pieces...)
	}
	p.flown = append(p.flown, p.store.flying.takeOff(fresh)...)
	seen, err := p.store.catalog.Seen(ctx, prints)
	if err != nil {
		return err
	}
	for _, it := range fresh {
		it.pieces = slices.DeleteFunc(it.pieces, func(piece uint64) bool {
			it.shared[piece] = it.shared[piece] || seen[piece]
			return it.shared[piece]
		})
	}
	err = side(fresh, func(it *item) (err error) {
		it.split, err = it.found.Split(func(piece uint64) bool { return it.shared[piece] })
		return err
	})
	if err != nil {
		return err
	}
	return p.lookForWorn(ctx, fresh)
}

// side does something for all items, on all processors.
func side(items []*item, do func(*item) error) error {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, it := range items {
		group.Go(func() error { return do(it) })
	}
	return group.Wait()
}

// lookForWorn looks which parts of the items the archive has, and cannot read any more.
func (p *put) lookForWorn(ctx context.Context, items []*item) error {
	rows, err := p.store.catalog.PartsByID(ctx, partIDs(items))
	if err != nil {
		return err
	}
	for id, row := range rows {
		if p.worn[id], err = p.store.worn(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// partIDs lists the parts of items.
func partIDs(items []*item) []string {
	var ids []string
	for _, it := range items {
		if it.split != nil {
			for _, part := range it.split.Parts {
				ids = append(ids, part.SHA256)
			}
		}
	}
	return ids
}

// worn reports whether the archive cannot read the part any more.
func (s *Store) worn(ctx context.Context, row catalog.Part) (bool, error) {
	id := row.ID
	body, err := s.openPart(ctx, row)
	if err == nil {
		h := sha256.New()
		_, err = io.Copy(h, body)
		if err = errors.Join(err, body.Close()); err == nil && hex.EncodeToString(h.Sum(nil)) != id {
			err = ErrDamaged
		}
	}
	err = s.opaque(ctx, err, volume.Place{Volume: row.Volume, Offset: row.Offset})
	if err != nil && !gone(err) {
		return false, fmt.Errorf("read part %s again: %w", id, err)
	}
	if err != nil {
		s.opts.Logger.Error("part of archived messages is damaged", "sha256", id, "error", err)
	}
	return err != nil, nil
}

// openPart opens the bytes of a part.
func (s *Store) openPart(ctx context.Context, row catalog.Part) (io.ReadCloser, error) {
	e, body, err := s.volumes.Open(ctx, volume.Place{Volume: row.Volume, Offset: row.Offset})
	if err != nil {
		return nil, err
	}
	if e.Kind != volume.KindPart || e.ID != row.ID {
		return nil, errors.Join(fmt.Errorf("%w: %s in volume %d where part %s should be", ErrDamaged, e.Name, row.Volume, row.ID), body.Close())
	}
	return body, nil
}
