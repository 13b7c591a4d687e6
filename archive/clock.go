package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/ledger"
)

// A BootClock is a clock that nobody can set: it counts from the start of the machine, also while that sleeps.
type BootClock struct {
	ID string        // of the boot
	Up time.Duration // since then
}

const (
	// stepTolerance is how far the clock may leave the boot clock, or an authority's time stamp, before that is a jump: a
	// correction by NTP is smaller, and retention counts in days.
	stepTolerance = time.Hour
	// gapTolerance is how far the clock may be from the last event where no boot clock can tell how much time has passed, as
	// after a restart of the machine.
	gapTolerance = 24 * time.Hour
)

// What the details of clock events say happened.
const (
	actJump    = "jump"    // the clock did
	actConfirm = "confirm" // somebody said that the clock is right
	actVouch   = "vouch"   // a time stamp of an authority agrees with the clock
)

// By what a jump was noticed.
const (
	kindStep  = "step"  // the boot clock: so much time has not passed
	kindGap   = "gap"   // the last event: nothing tells whether so much time has passed
	kindStamp = "stamp" // a time stamp of an authority
)

// clockDetails are the details of a clock event.
type clockDetails struct {
	Action string `json:"action"`
	Kind   string `json:"kind,omitempty"` // of a jump
	// From is what the clock should have read at a jump, To what it read. Of a time stamp From is the authority's time.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	Boot string    `json:"boot,omitempty"`   // id of the boot, if it is known
	Name string    `json:"anchor,omitempty"` // the authority of a time stamp
}

// A ClockJump is a jump of the clock that nobody has confirmed yet.
type ClockJump struct {
	Index int64     `json:"index"` // in the ledger, -1 if it is not recorded yet
	Kind  string    `json:"kind"`  // step, gap or stamp
	From  time.Time `json:"from"`  // what the clock should have read
	To    time.Time `json:"to"`    // what it read
}

// String says what happened and what to do.
func (j *ClockJump) String() string {
	from, to := j.From.UTC().Format(time.RFC3339), j.To.UTC().Format(time.RFC3339)
	what := ""
	switch j.Kind {
	case kindStep:
		what = fmt.Sprintf("the clock was set from %s to %s", from, to)
	case kindStamp:
		what = fmt.Sprintf("the clock read %s when a time-stamping authority said %s", to, from)
	default:
		what = fmt.Sprintf("the clock reads %s, and the event before is of %s", to, from)
	}
	return what + ": nothing is disposed of until an officer has looked at the clock and confirms that it is right now (postkeep retention clock --confirm)"
}

// clockState compares the wall clock with others.
type clockState struct {
	mu   sync.Mutex
	base clockBase // guarded by mu
	last time.Time // what the wall clock read when it was last looked at; guarded by mu
}

// A clockBase is a moment at which both clocks were read. A file keeps it: where that is lost, earlier events tell of a jump.
type clockBase struct {
	Boot string        `json:"boot"`
	Up   time.Duration `json:"up"`
	Wall time.Time     `json:"wall"`
}

// clockName is the file that keeps the base until the machine is started again.
const clockName = "clock.json"

// read returns the wall clock and the boot clock.
func (s *Store) readClocks() (wall time.Time, boot BootClock, known bool) {
	boot, known = s.opts.Boot()
	return s.opts.Now().Round(0).UTC(), boot, known
}

// jumped returns how the clock has jumped since it was looked at, nil if it has not.
func (s *Store) jumped() *clockDetails {
	wall, boot, known := s.readClocks()
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	base := s.clock.base
	d := &clockDetails{Action: actJump, To: wall, Boot: boot.ID}
	if known && boot.ID == base.Boot {
		d.Kind, d.From = kindStep, base.Wall.Add(boot.Up-base.Up)
		if wall.Sub(d.From).Abs() > stepTolerance {
			return d
		}
	} else if !s.clock.last.IsZero() {
		d.Kind, d.From = kindGap, s.clock.last
		if wall.Sub(d.From).Abs() > gapTolerance {
			return d
		}
	}
	s.clock.last = wall
	return nil
}

// openClock takes up what is known of the clock. The catalog is open.
func (s *Store) openClock(ctx context.Context) error {
	saved, err := os.ReadFile(filepath.Join(s.dir, clockName))
	s.clock.mu.Lock()
	s.clock.last = s.ledger.LastClock()
	if err != nil || json.Unmarshal(saved, &s.clock.base) != nil { // earlier events tell of a jump
		s.clock.base = clockBase{}
	}
	s.clock.mu.Unlock()
	if s.unsigned != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.noteClock(ctx); err != nil {
		return err
	}
	s.rebase()
	return nil
}

// rebase begins to compare with the boot clock anew where the machine was started since. It is called with mu held.
func (s *Store) rebase() {
	wall, boot, known := s.readClocks()
	s.clock.mu.Lock()
	same := !known || s.clock.base.Boot == boot.ID
	if !same {
		s.clock.base = clockBase{boot.ID, boot.Up, wall}
	}
	s.clock.mu.Unlock()
	if !same {
		s.keepClock()
	}
}

// keepClock saves the base as far as that is possible: without it earlier events tell of a jump, less exactly.
func (s *Store) keepClock() {
	if err := s.saveClock(); err != nil { // the disk may be full
		s.opts.Logger.Warn("what the clocks read is not kept for the next start", "file", clockName, "error", err)
	}
}

// saveClock writes the base to its file.
func (s *Store) saveClock() error {
	s.clock.mu.Lock()
	data, err := json.Marshal(s.clock.base)
	s.clock.mu.Unlock()
	if err != nil {
		return err
	}
	return disk.WriteFile(s.opts.FS, filepath.Join(s.dir, clockName), append(data, '\n'), disk.FilePerm)
}

// noteClock writes to the ledger that the clock has jumped, if it has: before anything gets a time of it. It is called
// with mu held.
func (s *Store) noteClock(ctx context.Context) error {
	d := s.jumped()
	if d == nil || s.unsigned != nil {
		return nil
	}
	s.opts.Logger.Error("the clock has jumped", "from", d.From, "to", d.To, "noticed by", d.Kind)
	if _, err := s.commitEvents(ctx, ledger.Event{Type: ledger.TypeClock, Actor: systemActor, Details: d}); err != nil {
		return err
	}
	_, boot, known := s.readClocks()
	s.clock.mu.Lock()
	s.clock.last = d.To
	s.clock.base = clockBase{}
	if known {
		s.clock.base = clockBase{boot.ID, boot.Up, d.To}
	}
	s.clock.mu.Unlock()
	s.keepClock()
	return nil
}

// checkClock refuses to go by a clock that has jumped, which would end all periods, until somebody has confirmed it. It is called with mu
// held.
func (s *Store) checkClock(ctx context.Context, confirmed bool, actor string) error {
	if err := s.noteClock(ctx); err != nil {
		return err
	}
	t, err := s.timeline(ctx)
	if err != nil {
		return err
	}
	switch {
	case confirmed:
		return s.confirmClock(ctx, t, actor)
	case t.pending != nil:
		return fmt.Errorf("%w: %s", ErrClock, t.pending)
	}
	return nil
}

// lookAtClock is checkClock without mu held.
func (s *Store) lookAtClock(ctx context.Context, confirmed bool, actor string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.whole(); err != nil {
		return err
	}
	if s.unsigned != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, s.unsigned)
	}
	return s.checkClock(ctx, confirmed, actor)
}

// confirmClock records that somebody vouches for the clock. It is called with mu held.
func (s *Store) confirmClock(ctx context.Context, t *timeline, actor string) error {
	if t.pending == nil && t.segments[len(t.segments)-1].confirmed {
		return nil
	}
	wall, boot, _ := s.readClocks()
	_, err := s.commitEvents(ctx, ledger.Event{Type: ledger.TypeClock, Actor: actor,
		Details: clockDetails{Action: actConfirm, To: wall, Boot: boot.ID}})
	return err
}

// ConfirmClock records that somebody has looked at the clock and says that it is right.
func (c *Compliance) ConfirmClock(ctx context.Context, actor string) error {
	return c.store.lookAtClock(ctx, true, actor)
}

// ClockJump returns the last jump of the clock if nobody has confirmed it yet, else nil.
func (s *Store) ClockJump(ctx context.Context) (*ClockJump, error) {
	if d := s.jumped(); d != nil {
		return &ClockJump{Index: -1, Kind: d.Kind, From: d.From, To: d.To}, nil
	}
	t, err := s.timeline(ctx)
	if err != nil {
		return nil, err
	}
	return t.pending, nil
}

// compareStamp compares the clock with what an authority has just signed. It is called with mu held.
func (s *Store) compareStamp(ctx context.Context, name string, signed time.Time) error {
	if err := s.noteClock(ctx); err != nil {
		return err
	}
	t, err := s.timeline(ctx)
	if err != nil {
		return err
	}
	wall := s.opts.Now().Round(0).UTC()
	d := clockDetails{Action: actVouch, From: signed.UTC(), To: wall, Name: name}
	off := wall.Sub(signed)
	if off.Abs() > stepTolerance {
		d.Action, d.Kind = actJump, kindStamp
		if t.stamped && (t.off-off).Abs() <= stepTolerance { // that is known, or was confirmed
			return nil
		}
	} else if t.segments[len(t.segments)-1].stamped {
		return nil
	}
	_, err = s.commitEvents(ctx, ledger.Event{Type: ledger.TypeClock, Actor: systemActor, Details: d})
	return err
}

// addClock keeps what a clock event says.
func addClock(change *catalog.Change, e ledger.Entry) error {
	return keep(change, e, orderClock, strconv.FormatInt(e.Index, 10))
}

// A timeline says how far the times in the ledger can be believed: it is cut into segments where the clock has jumped.
type timeline struct {
	segments []clockSegment
	pending  *ClockJump // not confirmed
	stamped  bool       // the last time stamp contradicts the clock, by
	off      time.Duration
}

// A clockSegment is what the ledger has from one jump to the next.
type clockSegment struct {
	first     int64         // ledger index of the jump that it begins with, -1 for the first segment
	by        time.Duration // how far the clock has jumped there
	kind      string
	confirmed bool // somebody confirmed the clock while it lasted
	stamped   bool // a time stamp of an authority agreed with the clock
	behind    time.Duration
}

// timeline reads the clock events.
func (s *Store) timeline(ctx context.Context) (*timeline, error) {
	records, err := s.orders(ctx, orderClock)
	if err != nil {
		return nil, err
	}
	t := &timeline{segments: []clockSegment{{first: -1}}}
	for _, r := range records {
		var d clockDetails
		if err := json.Unmarshal(r.Details, &d); err != nil {
			return nil, fmt.Errorf("catalog: clock event %d: %w", r.Index, err)
		}
		t.add(r.Index, &d)
	}
	for k := len(t.segments) - 2; k >= 0; k-- {
		t.segments[k].behind = t.segments[k+1].behind + t.lost(k+1)
	}
	return t, nil
}

func (t *timeline) add(index int64, d *clockDetails) {
	current := &t.segments[len(t.segments)-1]
	switch d.Action {
	case actConfirm:
		t.pending, current.confirmed = nil, true
	case actVouch:
		current.stamped, t.stamped = true, false
	case actJump:
		t.pending = &ClockJump{Index: index, Kind: d.Kind, From: d.From, To: d.To}
		if d.Kind == kindStamp {
			current.stamped, current.confirmed, t.stamped, t.off = false, false, true, d.To.Sub(d.From)
			return
		}
		t.segments = append(t.segments, clockSegment{first: index, by: d.To.Sub(d.From), kind: d.Kind})
	}
}

// lost is how much of the jump that segment m begins with is time of which nothing trusted says that it has passed.
func (t *timeline) lost(m int) time.Duration {
	before, after := &t.segments[m-1], &t.segments[m]
	sure := before.stamped && after.stamped
	if after.kind == kindGap && after.by > 0 { // both readings may be right
		sure = (before.stamped || before.confirmed) && (after.stamped || after.confirmed)
	}
	if sure {
		return 0
	}
	return after.by
}

// archived returns the time from which the periods of a deposit count: what the clock read, later by all jumps since by
// which it, or the clock that they led to, may have been wrong.
func (t *timeline) archived(e *ledger.Entry) time.Time {
	behind := t.segments[0].behind
	for k := len(t.segments) - 1; k > 0; k-- {
		if e.Index > t.segments[k].first {
			behind = t.segments[k].behind
			break
		}
	}
	return e.Clock.Add(max(0, behind))
}

// setBack reports whether the clock ever was: then a deposit may count from before the time of its event.
func (t *timeline) setBack() bool {
	return slices.ContainsFunc(t.segments, func(s clockSegment) bool { return s.by < 0 })
}
