package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/parts"
	"github.com/postkeep/postkeep/archive/volume"
)

// An item is a message of a batch, made ready without the writer's lock.
type item struct {
	had  bool // the archive had it when it was looked up
	held bool // and its copy was read and is whole; then there is no body
	id   string
	size int64 // octets
	body io.ReaderAt
	// apart means that it is taken apart, or was.
	apart bool
	// split is how the message is stored in parts, nil when it is stored whole.
	split  *parts.Message
	pieces []uint64 // fingerprints of what may become parts when it comes again
}

// prepare reads the bodies that the archive may need, and takes them apart. It may be called again: what is
// ready stays.
func (p *put) prepare(ctx context.Context) error {
	for i := range p.batch {
		d := &p.batch[i]
		if p.refused[i] == "" {
			p.refused[i] = d.invalid()
		}
		if p.refused[i] != "" || p.items[d.ID] != nil {
			continue
		}
		it, err := p.ready(ctx, d)
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
		}
	}
	return p.takeApart(ctx)
}

// takeApart takes the messages apart that are ready, on all processors: it is a third of the work of Put, and what
// comes behind it is done one after the other.
func (p *put) takeApart(ctx context.Context) error {
	var group errgroup.Group // ctx is not the group's: parts are read with it later
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range p.batch {
		if it := p.items[p.batch[i].ID]; it != nil && it.body != nil && !it.apart {
			it.apart = true
			group.Go(func() error { return p.split(ctx, it) })
		}
	}
	return group.Wait()
}

// ready makes one message ready.
func (p *put) ready(ctx context.Context, d *Delivery) (*item, error) {
	it := &item{}
	var err error
	if _, it.had, err = p.store.catalog.Message(ctx, d.ID); err != nil {
		return nil, err
	}
	if it.had {
		// What a receipt refers to has to be there still: the caller deletes the message elsewhere.
		damaged, err := p.store.Damaged(ctx, []string{d.ID})
		if err != nil {
			return nil, err
		}
		if it.held = len(damaged) == 0; it.held {
			return it, nil
		}
	}
	it.id, it.size = d.ID, d.Size
	it.body, err = p.spool.add(ctx, d)
	return it, err
}

// split takes one message apart. ctx is also that of reading its parts later.
func (p *put) split(ctx context.Context, it *item) (err error) {
	it.split, err = parts.Split(ctx, it.body, it.size, it.id, parts.Options{
		Shared: func(piece uint64) (bool, error) { return p.shared(ctx, it, piece) },
	})
	if err != nil || it.split == nil {
		return err
	}
	for _, part := range it.split.Parts {
		p.mu.Lock()
		_, looked := p.worn[part.SHA256]
		p.mu.Unlock()
		if looked {
			continue
		}
		worn, err := p.store.worn(ctx, part.SHA256)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.worn[part.SHA256] = worn
		p.mu.Unlock()
	}
	return nil
}

// shared reports whether another message has the piece: then it becomes a part.
func (p *put) shared(ctx context.Context, it *item, piece uint64) (bool, error) {
	p.mu.Lock()
	first := p.seen[piece]
	if first == nil {
		p.seen[piece] = it
	}
	p.mu.Unlock()
	if first != nil && first != it {
		return true, nil
	}
	if ok, err := p.store.catalog.Seen(ctx, piece); ok || err != nil {
		return ok, err
	}
	it.pieces = append(it.pieces, piece)
	return false, nil
}

// worn reports whether the archive has the part but cannot read it any more.
func (s *Store) worn(ctx context.Context, id string) (bool, error) {
	row, ok, err := s.catalog.Part(ctx, id)
	if err != nil || !ok {
		return false, err
	}
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
