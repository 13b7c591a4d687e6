package archive

import (
	"context"
	"errors"

	"github.com/postkeep/postkeep/archive/volume"
)

// Unreadable returns why messages can be put but not read: volumes are encrypted, or will be, and the identity for that is
// not among Options.Identities. It is nil if all can be read.
func (s *Store) Unreadable() error { return s.unreadable }

// findUnreadable sets unreadable.
func (s *Store) findUnreadable(ctx context.Context) error {
	err := s.volumes.Locked(ctx)
	if errors.Is(err, volume.ErrNoIdentity) {
		s.unreadable = err
		return nil
	}
	return err
}

// opaque replaces the error of reading something encrypted without its key: what can be said then is whether its bytes are
// those that were written, by their checksums.
func (s *Store) opaque(ctx context.Context, err error, places ...volume.Place) error {
	if !errors.Is(err, volume.ErrNoIdentity) {
		return err
	}
	for _, p := range places {
		if err := s.volumes.Check(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// places are those of a message and of its parts.
func (s *Store) places(ctx context.Context, id string) ([]volume.Place, error) {
	row, ok, err := s.catalog.Message(ctx, id)
	if err != nil || !ok {
		return nil, err
	}
	rows, err := s.catalog.PartsOf(ctx, id)
	places := []volume.Place{{Volume: row.Volume, Offset: row.Offset}}
	for _, r := range rows {
		places = append(places, volume.Place{Volume: r.Volume, Offset: r.Offset})
	}
	return places, err
}
