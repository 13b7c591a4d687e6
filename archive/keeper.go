package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

const (
	// repackRate in bytes of tar a second is how fast Maintain repacks: a fifth of a processor, or less. Mail
	// comes in slower in the long run.
	repackRate = 32 << 20
	// keeperPause is how long Maintain waits after what it could not do, such as for want of room.
	keeperPause = time.Hour
)

// fileDetails are the details of a seal or repack event: the file that the volume has from then on.
type fileDetails struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
	// Was is the SHA-256 of the file that is replaced. It may still be there: the event comes before the
	// new file gets its name.
	Was string `json:"was,omitempty"`
	// Reason is why it was written anew, "" if to be compressed better, or encrypted for others.
	Reason string `json:"reason,omitempty"`
}

func addFile(change *catalog.Change, e ledger.Entry) error {
	if e.Details == nil || string(e.Details) == "null" {
		return nil
	}
	var d fileDetails
	if err := json.Unmarshal(e.Details, &d); err != nil {
		return err
	}
	change.Files = append(change.Files, catalog.File{
		Volume: e.Volume, SHA256: d.SHA256, Bytes: d.Bytes, Was: d.Was, Packed: e.Type == ledger.TypeRepack && d.Reason == "",
	})
	return nil
}

// Maintain finishes sealed volumes in the background until ctx ends: it notes the SHA-256 of their files in the
// ledger, and compresses them again, better, at a modest rate. What an earlier run has left undone is done first.
// It returns soon after ctx ends, and then nothing but time is lost.
func (s *Store) Maintain(ctx context.Context) error {
	timer := time.NewTimer(keeperPause)
	defer timer.Stop()
	for {
		for _, v := range s.volumes.Volumes() {
			if !v.Sealed || ctx.Err() != nil || s.writable() != nil {
				continue
			}
			if err := s.maintain(ctx, v); err != nil && ctx.Err() == nil {
				s.opts.Logger.Error("sealed volume is not compressed again; trying later", "volume", v.Number, "error", err)
			}
		}
		timer.Reset(keeperPause)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Store) wakeKeeper() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// maintain does what is left to do for a sealed volume.
func (s *Store) maintain(ctx context.Context, v volume.Info) error {
	file, err := s.catalog.File(ctx, v.Number)
	if err == nil && file.SHA256 == "" {
		file, err = s.noteFile(ctx, v.Number)
	}
	if err != nil || file.Packed && file.Bytes == v.Bytes {
		return err
	}
	if v.Encrypted && (s.unreadable != nil || len(s.opts.Recipients) == 0) {
		return nil // not possible here
	}
	return s.repack(ctx, v.Number, systemActor, volume.RepackOptions{BytesPerSecond: repackRate})
}

// noteFile makes sure that the ledger knows the file of a sealed volume.
func (s *Store) noteFile(ctx context.Context, number uint32) (catalog.File, error) {
	if err := s.rewrites.lock(ctx); err != nil {
		return catalog.File{}, err
	}
	defer s.rewrites.unlock()
	return s.noteLocked(ctx, number)
}

// noteLocked is noteFile with rewrites held.
func (s *Store) noteLocked(ctx context.Context, number uint32) (catalog.File, error) {
	file, err := s.catalog.File(ctx, number)
	if err != nil || file.SHA256 != "" {
		return file, err
	}
	sum, size, err := s.volumes.HashFile(ctx, number)
	if err != nil {
		return file, err
	}
	if err := s.recordFile(ctx, ledger.TypeSeal, number, systemActor, fileDetails{SHA256: sum, Bytes: size}); err != nil {
		return file, err
	}
	return s.catalog.File(ctx, number)
}

// recordFile writes an event about the file of a volume to ledger and catalog. mu is not held.
func (s *Store) recordFile(ctx context.Context, t ledger.Type, number uint32, actor string, d fileDetails) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // what was begun is finished
	details, err := json.Marshal(d)
	if err == nil {
		err = s.noteClock(ctx)
	}
	if err != nil {
		return err
	}
	event := ledger.Event{Type: t, Actor: actor, Volume: number, Details: json.RawMessage(details)}
	index, err := s.ledger.Append(ctx, []ledger.Event{event})
	if err != nil {
		return s.breaks(fmt.Errorf("ledger: %w", err))
	}
	change := catalog.Change{Position: index + 1}
	if err := addFile(&change, ledger.Entry{Type: t, Volume: number, Details: details}); err != nil {
		return err
	}
	if err := s.catalog.Apply(ctx, change); err != nil {
		return s.breaks(err)
	}
	return nil
}

// repack writes a sealed volume anew: better compressed, and if it is encrypted, for the recipients of today.
func (s *Store) repack(ctx context.Context, number uint32, actor string, o volume.RepackOptions) error {
	if err := s.rewrites.lock(ctx); err != nil {
		return err
	}
	defer s.rewrites.unlock()
	file, err := s.catalog.File(ctx, number)
	if err != nil {
		return err
	}
	sum, size, err := s.volumes.HashFile(ctx, number)
	if err != nil {
		return err
	}
	if sum != file.SHA256 && sum != file.Was {
		return fmt.Errorf("volume %d has SHA-256 %s, the ledger says %s: run postkeep verify", number, sum, file.SHA256)
	}
	if err := s.room(size); err != nil {
		return err
	}
	o.Before = func(r volume.Rewritten) error {
		return s.recordFile(ctx, ledger.TypeRepack, number, actor, fileDetails{SHA256: r.SHA256, Bytes: r.Bytes, Was: sum})
	}
	r, err := s.volumes.Repack(ctx, number, o)
	if errors.Is(err, volume.ErrBroken) {
		return s.breaks(err)
	}
	if err == nil {
		s.opts.Logger.Info("volume is compressed again", "volume", number, "bytes", r.Bytes, "was", r.Was)
	}
	return err
}

// redacted is the reason of a repack event whose volume lost entries.
const redacted = "redacted"

// redactVolume blanks out entries of a sealed volume, with an event in the ledger. mu is not held.
func (s *Store) redactVolume(ctx context.Context, number uint32, targets []volume.Target) (volume.Rewritten, error) {
	if err := s.rewrites.lock(ctx); err != nil {
		return volume.Rewritten{}, err
	}
	defer s.rewrites.unlock()
	if _, err := s.noteLocked(ctx, number); err != nil {
		return volume.Rewritten{}, err
	}
	was, _, err := s.volumes.HashFile(ctx, number) // which the ledger need not know: a volume may be damaged
	if err != nil {
		return volume.Rewritten{}, err
	}
	r, err := s.volumes.Redact(ctx, number, targets, func(r volume.Rewritten) error {
		return s.recordFile(ctx, ledger.TypeRepack, number, systemActor,
			fileDetails{SHA256: r.SHA256, Bytes: r.Bytes, Was: was, Reason: redacted})
	})
	if errors.Is(err, volume.ErrBroken) {
		err = s.breaks(err)
	}
	return r, err
}

// Seal finishes the volume that is being written, before it has its size; the next message begins another.
func (s *Store) Seal(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	committed, err := s.volumes.Seal(ctx)
	if err != nil {
		return s.breaks(fmt.Errorf("volume: %w", err))
	}
	if committed.Sealed != 0 {
		s.wakeKeeper()
	}
	return nil
}

// RepackOptions are the options of Repack.
type RepackOptions struct {
	Actor string // who asked for it, for the ledger; "" is the archive itself
	// Encrypted leaves out volumes that are not encrypted: they stay as they are.
	Encrypted bool
	// Done is called after each volume, if it is not nil.
	Done func(volume.Info)
}

// Repack writes sealed volumes anew, each with an event in the ledger: they are compressed better than they were written, and
// those that are encrypted are encrypted for Options.Recipients. What was done when an error comes stays so.
func (s *Store) Repack(ctx context.Context, o RepackOptions) error {
	if o.Actor == "" {
		o.Actor = systemActor
	}
	for _, v := range s.volumes.Volumes() {
		if !v.Sealed || o.Encrypted && !v.Encrypted {
			continue
		}
		_, err := s.noteFile(ctx, v.Number)
		if err == nil {
			err = s.repack(ctx, v.Number, o.Actor, volume.RepackOptions{})
		}
		if err != nil {
			return err
		}
		if o.Done != nil {
			o.Done(v)
		}
	}
	return nil
}
