package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// doneDetails are the details of the event that ends a disposal.
type doneDetails struct {
	Plan     string         `json:"plan"`
	Deposits int            `json:"deposits"`
	Volumes  []volumeRecord `json:"volumes"`
}

// A volumeRecord is the state of a volume after it was written anew.
type volumeRecord struct {
	Volume uint32 `json:"volume"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// carryOut does everything that the intents of a plan ask for, and writes that it is done. It may be done again
// from any point on.
func (c *Compliance) carryOut(ctx context.Context, plan string) error {
	s := c.store
	deposits, err := s.doomedBy(ctx, plan)
	if err != nil {
		return err
	}
	done := doneDetails{Plan: plan, Deposits: len(deposits), Volumes: []volumeRecord{}}
	if done.Volumes, err = s.redact(ctx, deposits); err != nil {
		return err
	}
	var indexes []int64
	for _, d := range deposits {
		indexes = append(indexes, d.Index)
	}
	if err := s.ledger.Erase(ctx, indexes); err != nil {
		if errors.Is(err, ledger.ErrBroken) {
			return s.breaks(err)
		}
		return fmt.Errorf("erase details in the ledger: %w", err)
	}
	if err := c.purge(ctx, deposits); err != nil {
		return err
	}
	if err := errors.Join(s.emptyQuarantine(), s.scrub(ctx)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.enact(ctx, ledger.Event{Type: ledger.TypeDisposalDone, Actor: systemActor, Details: done})
	return err
}

// doomedBy returns the deposits that the intents of a plan dispose of.
func (s *Store) doomedBy(ctx context.Context, plan string) ([]doomed, error) {
	intents, err := s.intents(ctx)
	if err != nil {
		return nil, err
	}
	var out []doomed
	for _, i := range intents {
		if i.plan != plan {
			continue
		}
		e, err := s.ledger.Entry(ctx, i.index)
		if err != nil {
			return nil, err
		}
		var d intentDetails
		if err := json.Unmarshal(e.Details, &d); err != nil {
			return nil, fmt.Errorf("details of ledger event %d, which has to be carried out: %w", i.index, err)
		}
		out = append(out, d.Deposits...)
	}
	return out, nil
}

// purge removes the messages from everything else that has copies.
func (c *Compliance) purge(ctx context.Context, deposits []doomed) error {
	var gone, fewer []string
	last := int64(-1)
	seen := map[string]bool{}
	for _, d := range deposits {
		last = max(last, d.Index)
		if seen[d.ID] {
			continue
		}
		seen[d.ID] = true
		_, there, err := c.store.catalog.Message(ctx, d.ID)
		if err != nil {
			return err
		}
		if there {
			fewer = append(fewer, d.ID)
		} else {
			gone = append(gone, d.ID)
		}
	}
	for _, purge := range c.opts.Purge {
		if err := errors.Join(purge(ctx, gone, last), purge(ctx, fewer, -1)); err != nil {
			return err
		}
	}
	return nil
}

// redact blanks out the entries of the deposits, and the bytes that go with them: each volume is written anew once.
func (s *Store) redact(ctx context.Context, deposits []doomed) ([]volumeRecord, error) {
	targets := map[uint32][]volume.Target{}
	ends := map[uint32]map[int64]string{} // of entries that are looked for: their messages
	for _, d := range deposits {
		e, body, err := s.volumes.Open(ctx, volume.Place{Volume: d.Volume, Offset: volume.EntryOffset(d.End, d.Bytes)})
		if err == nil {
			err = body.Close()
		}
		switch {
		case errors.Is(err, volume.ErrRedacted):
		case err == nil && e.Kind == volume.KindDeposit && e.ID == d.ID && e.End == d.End:
			targets[d.Volume] = append(targets[d.Volume], volume.Target{Offset: e.Offset, ID: d.ID})
		default:
			if ends[d.Volume] == nil {
				ends[d.Volume] = map[int64]string{}
			}
			ends[d.Volume][d.End] = d.ID
		}
		for _, b := range d.Blank {
			targets[b.Volume] = append(targets[b.Volume], volume.Target{Offset: b.Offset, ID: b.ID})
		}
	}
	out := []volumeRecord{}
	for _, info := range s.volumes.Volumes() {
		list, err := s.entriesAt(ctx, info.Number, ends[info.Number])
		if err != nil {
			return nil, err
		}
		if list = append(list, targets[info.Number]...); len(list) == 0 {
			continue
		}
		if err := s.finishVolume(ctx, info); err != nil {
			return nil, err
		}
		r, err := s.redactVolume(ctx, info.Number, list)
		if err != nil {
			return nil, err
		}
		out = append(out, volumeRecord{Volume: info.Number, SHA256: r.SHA256, Bytes: r.Bytes})
	}
	return out, nil
}

// entriesAt finds the records of deposits by where they end, which is what the ledger knows of them: those that are not
// laid out as this version does, and those of messages that were recovered without one. What is redacted already is not among
// them.
func (s *Store) entriesAt(ctx context.Context, number uint32, ends map[int64]string) ([]volume.Target, error) {
	left := len(ends)
	if left == 0 {
		return nil, nil
	}
	var out []volume.Target
	err := s.volumes.Scan(ctx, volume.Place{Volume: number}, func(e volume.Entry, _ io.Reader) error {
		if e.Volume != number {
			return errEnough
		}
		id, wanted := ends[e.End]
		if !wanted {
			return nil
		}
		// A message that was recovered without its deposit ends there itself.
		if e.Kind == volume.KindDeposit && e.ID == id {
			out = append(out, volume.Target{Offset: e.Offset, ID: id})
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, fmt.Errorf("find deposits in volume %d: %w", number, err)
	}
	return out, nil
}

// finishVolume seals a volume that is being written: only a sealed one is written anew.
func (s *Store) finishVolume(ctx context.Context, v volume.Info) error {
	if v.Sealed {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	sealed, err := s.volumes.Seal(ctx)
	if err != nil {
		return s.breaks(fmt.Errorf("volume: %w", err))
	}
	if sealed.Sealed != 0 {
		s.wakeKeeper()
	}
	return nil
}

// emptyQuarantine removes what recovery has cut off volumes: it was never receipted, and
// may be of a message that was delivered again. Whole messages are for people to look at first.
func (s *Store) emptyQuarantine() error {
	dir := filepath.Join(s.dir, quarantineName)
	entries, err := s.opts.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("empty the quarantine: %w", err)
	}
	if err := s.setAside(); err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.opts.FS.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("empty the quarantine: %w", err)
		}
	}
	return s.opts.FS.SyncDir(dir)
}

// scrub removes from the catalog's file what was deleted in it.
func (s *Store) scrub(ctx context.Context) error {
	s.rebuild.Lock() // what is being made anew may have taken it in before
	defer s.rebuild.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.whole(); err != nil {
		return err
	}
	return s.catalog.Scrub(ctx)
}

// Resume finishes disposals that were interrupted. The index has to be at work. It is called once the archive
// was opened.
func (c *Compliance) Resume(ctx context.Context) error {
	pending, err := c.store.Interrupted(ctx)
	if err != nil {
		return err
	}
	ctx, release, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer release()
	var errs []error
	if err := c.findLate(ctx); err != nil {
		errs = append(errs, fmt.Errorf("find out what holds came too late for: %w", err))
	}
	for _, plan := range slices.Compact(pending) {
		c.store.opts.Logger.Warn("finishing an interrupted disposal", "plan", plan)
		if err := c.carryOut(ctx, plan); err != nil {
			errs = append(errs, fmt.Errorf("finish the disposal of plan %s: %w", plan, err))
		}
	}
	return errors.Join(append(errs, c.certify(ctx))...)
}

// begin waits until no other disposal is carried out. The context that it returns ends with Close, and not with that
// of the one who asked: what is final is carried out.
func (c *Compliance) begin(ctx context.Context) (context.Context, func(), error) {
	select {
	case c.disposing <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, nil, fs.ErrClosed
	}
	if c.ctx.Err() != nil {
		<-c.disposing
		return nil, nil, fs.ErrClosed
	}
	return c.ctx, func() { <-c.disposing }, nil
}

// Apply disposes of what a plan lists, as far as it is still due and not held now, and returns when nothing is left of it.
// After an error that is not about the plan the disposal may be final and is finished by Resume.
func (c *Compliance) Apply(ctx context.Context, id, actor string, clockConfirmed bool) (Disposal, error) {
	work, release, err := c.begin(ctx)
	if err != nil {
		return Disposal{}, err
	}
	defer release()
	return c.apply(ctx, work, id, actor, clockConfirmed)
}

func (c *Compliance) apply(ctx, work context.Context, id, actor string, clockConfirmed bool) (Disposal, error) {
	if err := c.store.recounted(ctx); err != nil {
		return Disposal{}, err
	}
	d, err := c.settle(ctx, id, actor, clockConfirmed)
	if err != nil {
		return Disposal{}, err
	}
	if err := c.carryOut(work, id); err != nil {
		return *d, fmt.Errorf("the disposal is decided and will be finished when the archive is opened again: %w", err)
	}
	d.Certificate = c.store.certificateName(id)
	return *d, c.certify(work)
}

// settle checks everything under the writer's lock, and decides.
func (c *Compliance) settle(ctx context.Context, id, actor string, clockConfirmed bool) (*Disposal, error) {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writable(); err != nil {
		return nil, err
	}
	p, err := s.Plan(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := c.approved(&p); err != nil {
		return nil, err
	}
	if err := s.checkClock(ctx, clockConfirmed, actor); err != nil {
		return nil, err
	}
	return c.decide(ctx, &p, actor)
}

// Erase disposes of a message for the sake of somebody who may ask for it. It returns ErrHeld or ErrTooYoung with the
// reason when it has to be kept. With dual control it makes a plan that waits for approval, and disposes of nothing.
func (c *Compliance) Erase(ctx context.Context, id, reason, actor string, clockConfirmed bool) (Plan, Disposal, error) {
	s := c.store
	if reason == "" || len(reason) > maxReasonBytes {
		return Plan{}, Disposal{}, fmt.Errorf("%w: an erasure needs a reason of at most %d bytes", ErrOrder, maxReasonBytes)
	}
	if err := s.lookAtClock(ctx, clockConfirmed, actor); err != nil {
		return Plan{}, Disposal{}, err
	}
	work, release, err := c.begin(ctx)
	if err != nil {
		return Plan{}, Disposal{}, err
	}
	defer release()
	if err := c.completeNow(ctx); err != nil {
		return Plan{}, Disposal{}, err
	}
	cs, err := s.ofMessages(ctx, id)
	if err != nil {
		return Plan{}, Disposal{}, err
	}
	if len(cs.list) == 0 {
		return Plan{}, Disposal{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	evaluations, err := c.erasable(ctx, cs)
	if err != nil {
		return Plan{}, Disposal{}, err
	}
	item := planItem{}
	for _, one := range cs.list {
		item.Deposits = append(item.Deposits, one.index)
	}
	p, err := c.keepPlan(ctx, &planDetails{Kind: Erasure, Reason: reason, Items: []planItem{item}, ClockConfirmed: clockConfirmed}, evaluations, actor)
	if err != nil || c.dual(&p) {
		return p, Disposal{}, err
	}
	d, err := c.apply(ctx, work, p.ID, actor, clockConfirmed)
	return p, d, err
}
