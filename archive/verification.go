package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// A verification is one run of Verify.
type verification struct {
	store   *Store
	o       VerifyOptions
	offline bool // nobody writes, and nothing was recovered
	limit   *rate.Limiter

	size  int64 // events that are compared with the catalog
	ends  map[uint32]int64
	seals map[uint32][]string // SHA-256 of the files of sealed volumes, as the ledger says
	spare string              // path of a catalog that was made for this verification

	staleIDs  map[string]bool // messages whose deposits are not in the catalog as the ledger says
	staleMore bool            // and there are more of them

	again bool // a file was replaced meanwhile, and some of the volume is looked at again
	// reported are the places in the volumes' files where damage was found.
	reported map[volume.Place]bool

	note   verifyNote
	kept   time.Time // when the note was written
	report VerifyReport

	done, total int64 // bytes, for the progress
}

func newVerification(s *Store, o VerifyOptions) *verification {
	limit := rate.NewLimiter(rate.Inf, rereadBytes)
	if o.BytesPerSecond > 0 {
		limit.SetLimit(rate.Limit(o.BytesPerSecond))
	}
	return &verification{
		store: s, o: o, limit: limit, ends: map[uint32]int64{}, seals: map[uint32][]string{}, reported: map[volume.Place]bool{}, staleIDs: map[string]bool{},
		report: VerifyReport{Started: s.opts.Now().UTC(), Deep: o.Deep, Volume: o.Volume, Scheduled: o.Scheduled},
	}
}

// maxWords in bytes is that of the text of a damage, which may quote what is damaged.
const maxWords = 1000

// damage counts what was found, and tells it.
func (v *verification) damage(d Damage) {
	if len(d.What) > maxWords {
		d.What = d.What[:maxWords] + " …"
	}
	if v.report.Resumed || v.again { // what is not resumed is found again
		for _, known := range v.report.Damage {
			if reflect.DeepEqual(known, d) {
				return
			}
		}
	}
	v.report.Damages++
	if d.Repairable {
		v.report.Repairable++
	}
	if len(v.report.Damage) < maxListed {
		v.report.Damage = append(v.report.Damage, d)
	}
	v.tell(d)
}

// settle waits until the writer has brought the catalog up to what the volumes hold.
func (v *verification) settle() {
	if !v.offline {
		v.store.settled()
	}
}

func (v *verification) tell(d Damage) {
	if v.o.Damage != nil {
		v.o.Damage(d)
	}
}

func (v *verification) noted(format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	for _, known := range v.report.Notes {
		if known == note {
			return
		}
	}
	v.report.Notes = append(v.report.Notes, note)
}

// progress tells how far it is, and notes that from time to time.
func (v *verification) progress(part string, number uint32, done int64) error {
	if v.o.Progress != nil {
		v.o.Progress(VerifyProgress{Part: part, Volume: number, Done: v.done + done, Total: v.total, Damages: v.report.Damages})
	}
	if v.store.opts.Now().Sub(v.kept) < progressEvery {
		return nil
	}
	return v.keep()
}

func (v *verification) run(ctx context.Context) (VerifyReport, error) {
	s := v.store
	if s.ledger != nil {
		v.report.Checkpoint = string(s.ledger.Checkpoint())
	}
	v.kept = s.opts.Now()
	err := v.resume()
	if err == nil {
		err = v.parts(ctx)
	}
	if err != nil {
		return v.report, errors.Join(fmt.Errorf("verify archive: %w", err), v.keep())
	}
	v.report.Finished = s.opts.Now().UTC()
	return v.report, v.forget()
}

func (v *verification) parts(ctx context.Context) error {
	v.measure()
	steps := []func(context.Context) error{v.ledger, v.checkpoints, v.events, v.catalog, v.live, v.volumes}
	if v.o.Volume != 0 {
		steps = []func(context.Context) error{v.seen, v.volumes}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measure adds up what a deep verification reads.
func (v *verification) measure() {
	if v.o.Volume == 0 {
		for _, name := range []string{"events.jsonl", "details.jsonl"} {
			if info, err := v.store.opts.FS.Stat(filepath.Join(v.store.dir, ledgerName, name)); err == nil {
				v.total += info.Size() // what is missing is reported elsewhere
			}
		}
	}
	for _, info := range v.infos() {
		v.total += info.Bytes
	}
}

// infos lists the volumes to verify.
func (v *verification) infos() []volume.Info {
	if v.store.volumes == nil {
		return nil
	}
	var out []volume.Info
	for _, info := range v.store.volumes.Volumes() {
		if v.o.Volume == 0 || info.Number == v.o.Volume {
			out = append(out, info)
		}
	}
	return out
}

// ledger verifies the ledger by itself.
func (v *verification) ledger(ctx context.Context) error {
	l := v.store.ledger
	if l == nil {
		return nil
	}
	var failed error
	r, err := l.Verify(ctx, ledger.VerifyOptions{
		Deep: v.o.Deep, From: v.note.Ledger, BytesPerSecond: v.o.BytesPerSecond,
		Erasable: func(t ledger.Type) bool { return t == ledger.TypeDeposit || t == ledger.TypeRecovered },
		Progress: func(r ledger.VerifyResult) {
			v.note.Ledger = r.Next
			failed = errors.Join(failed, v.progress("ledger", 0, r.Bytes))
		},
		Report: func(d *ledger.Damage) { failed = errors.Join(failed, v.ledgerDamage(ctx, d)) },
	})
	v.note.Ledger = r.Next
	v.report.Events = max(r.Size, 0)
	v.report.Bytes += r.Bytes
	v.done += r.Bytes
	return errors.Join(err, failed)
}

// ledgerDamage reports damage of the ledger with the messages whose deposits are hit.
func (v *verification) ledgerDamage(ctx context.Context, d *ledger.Damage) error {
	dir := ledgerName
	if d.File == "ledger.key" || d.File == "ledger.pub" {
		dir = keysName
	}
	out := Damage{File: filepath.ToSlash(filepath.Join(dir, d.File)), Offset: d.Offset, Bytes: d.Length, Repairable: d.Repairable, What: d.Err.Error()}
	switch {
	case d.Events > 1:
		out.What = fmt.Sprintf("events %d to %d: %v", d.Index, d.Index+d.Events-1, d.Err)
	case d.Index >= 0:
		out.What = fmt.Sprintf("event %d: %v", d.Index, d.Err)
	}
	if d.Index >= 0 && d.Events > 0 && v.store.catalog != nil {
		held, err := v.store.catalog.ByIndex(ctx, d.Index-1, maxNamed)
		if err != nil {
			return err
		}
		for _, h := range held {
			if h.Index < d.Index+d.Events && !slices.Contains(out.Messages, h.ID) {
				out.Messages = append(out.Messages, h.ID)
			}
		}
	}
	v.damage(out)
	return nil
}

// checkpoints compares the ledger with those that were kept elsewhere.
func (v *verification) checkpoints(ctx context.Context) error {
	check := func(ctx context.Context, saved []byte) error {
		if v.store.ledger == nil {
			return errors.New("the ledger that it is of cannot be read")
		}
		return v.store.ledger.CheckAgainst(ctx, saved)
	}
	for _, c := range v.o.Checkpoints {
		err := check(ctx, c.Note)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			v.damage(Damage{File: c.Name, What: fmt.Sprintf("the ledger does not continue this earlier checkpoint: %v", err)})
			continue
		}
		v.report.Checkpoints++
	}
	for _, a := range v.o.Anchors {
		n, err := a.Verify(ctx, check)
		v.report.Checkpoints += n
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			v.damage(Damage{File: a.Name, What: fmt.Sprintf("anchored checkpoints: %v", err)})
		}
	}
	return nil
}

// open opens everything for reading only, and reports what cannot be opened.
func (v *verification) open(ctx context.Context) error {
	s := v.store
	opts := ledgerOptions(s.dir, &s.opts)
	opts.ReadOnly = true
	var err error
	if s.ledger, err = ledger.Open(ctx, opts); err != nil {
		if ctx.Err() != nil || errors.Is(err, ledger.ErrNewer) {
			return err
		}
		s.ledger = nil
		v.damage(Damage{File: ledgerName, What: err.Error()})
	} else {
		v.size = s.ledger.Size()
	}
	if err := v.openCatalog(ctx); err != nil {
		return err
	}
	if err := v.seen(ctx); err != nil {
		return err
	}
	known := v.ends
	if s.ledger == nil && s.catalog != nil {
		if known, err = s.catalog.Ends(ctx); err != nil {
			return err
		}
		v.ends = known
	}
	s.volumes, err = volume.OpenSet(ctx, volume.Options{
		FS: s.opts.FS, Dir: filepath.Join(s.dir, volumesName), ReadOnly: true, Identities: s.opts.Identities, Logger: s.opts.Logger,
		Sealed: v.sealed(),
	}, known)
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, volume.ErrNewer) { // which says nothing about damage
			return err
		}
		s.volumes = nil
		v.damage(Damage{File: volumesName, What: err.Error()})
		return nil
	}
	for _, name := range s.volumes.Foreign() {
		v.noted("%s is %v", volumeFile(name), volume.ErrForeign)
	}
	if v.spare != "" {
		return s.refill(ctx)
	}
	return nil
}

// sealed are the volumes that the ledger knows to be sealed.
func (v *verification) sealed() map[uint32]bool {
	sealed := make(map[uint32]bool, len(v.seals))
	for number := range v.seals {
		sealed[number] = true
	}
	return sealed
}

// openCatalog opens the catalog if it is complete, else it makes a spare one from the ledger, so that damage can
// be given the names of messages.
func (v *verification) openCatalog(ctx context.Context) error {
	s := v.store
	path := filepath.Join(s.dir, catalogName)
	_, err := s.opts.FS.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err == nil {
		err = v.usableCatalog(ctx, path)
	}
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case missing:
		v.noted("there is no catalog: it is made anew when the archive is opened")
	case errors.Is(err, errBehind):
		v.noted("%v", err)
	case errors.Is(err, ErrOlderLedger):
		v.damage(Damage{File: filepath.ToSlash(filepath.Join(ledgerName, "events.jsonl")), What: s.older(ctx).Error()})
	default:
		v.damage(Damage{File: catalogName, Repairable: true, What: fmt.Sprintf("%v: it is made anew when the archive is opened", err)})
	}
	if s.catalog != nil {
		if err := s.catalog.Close(); err != nil {
			return err
		}
		s.catalog = nil
	}
	if s.ledger == nil {
		return nil
	}
	dir, err := s.workDir()
	if err != nil {
		return err
	}
	v.spare = filepath.Join(dir, spareName)
	if err := removeCatalog(v.spare); err != nil {
		return err
	}
	if s.catalog, err = catalog.Open(ctx, v.spare); err != nil {
		return err
	}
	return s.replay(ctx)
}

// usableCatalog opens the catalog as it is, and says why it is of no use.
func (v *verification) usableCatalog(ctx context.Context, path string) (err error) {
	s := v.store
	if s.medium != nil && s.ledger != nil {
		if s.mediumCatalog(ctx, path) {
			return nil
		}
		if path, err = s.copyCatalog(path); err != nil {
			return err
		}
	}
	if s.catalog, err = catalog.Open(ctx, path); err != nil || s.ledger == nil || s.ledger.Damage() != nil {
		return err // it knows more than a damaged ledger
	}
	if err := errors.Join(s.older(ctx), s.catalogFits(ctx)); err != nil {
		return err
	}
	position, err := s.catalog.Position(ctx)
	if err != nil {
		return err
	}
	return s.readable(ctx, position, v.size, func(e ledger.Entry) error {
		if deposits(e) || e.Type == ledger.TypeDisposalIntent {
			return errBehind
		}
		return nil
	}, func(int64, error) {})
}

// spareName is the catalog of a verification that finds none.
const spareName = "verify.db"

var errBehind = errors.New("the catalog lacks the newest events: it takes them in when the archive is opened")

func (v *verification) dropSpare() error {
	if v.spare == "" {
		return nil
	}
	return removeCatalog(v.spare)
}
