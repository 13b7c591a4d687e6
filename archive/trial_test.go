package archive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
	"github.com/postkeep/postkeep/archive/ledger"
)

const (
	// trialSteps is the number of steps in a usual test run; POSTKEEP_STEPS in the environment is another.
	trialSteps = 250
	// trialLength is after how many steps at most another archive is begun.
	trialLength = 150
	// lookAtAll is after how many steps everything is compared, byte for byte.
	lookAtAll = 50
)

// TestWhateverOrderCommandsComeInNothingIsLost does at random what pollers, people and disks do, one after the other and at
// the same time, and compares the archive with a model after every step. A failure prints the seed of the archive and the
// step: with both in the environment the same is done again, up to there.
//
//	POSTKEEP_SEED=17 POSTKEEP_STEPS=93 go test -run TestWhateverOrder ./archive
func TestWhateverOrderCommandsComeInNothingIsLost(t *testing.T) {
	seed := fromEnv(t, "POSTKEEP_SEED", uint64(time.Now().UnixNano())%1e9)
	steps := int(fromEnv(t, "POSTKEEP_STEPS", trialSteps))
	t.Logf("%d steps, POSTKEEP_SEED=%d", steps, seed)
	did := map[string]int{}
	for ; steps > 0; seed++ {
		n := min(steps, 1+trialLength/2+int(seed%(trialLength/2)))
		steps -= n
		newTrial(t, seed, did).run(n)
	}
	t.Logf("%v", did)
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A trial is an archive to which things happen at random, on a disk that may fail, with a clock that may be wrong.
type trial struct {
	*testing.T
	seed uint64
	step int
	did  map[string]int // steps by name

	root     string
	dir      string
	cuts     int // of the power
	recorder *disktest.Recorder
	jitter   *jitterDisk
	options  Options
	jumps    bool // the clock does
	dual     bool

	s     *Store
	c     *Compliance
	index *sharedShelf

	fault     disktest.Fault // that the disk has ready
	countdown atomic.Int64   // operations until it strikes; 0 is never
	struck    atomic.Bool
	full      atomic.Bool // the disk has no room for mail
	truth     atomic.Int64
	offset    atomic.Int64 // of the clock
	unseen    bool         // more may have happened than the model has taken in

	mu      sync.Mutex // of what follows
	history []string
	m       *mailModel
	count   int // of names
	// doubtful means that the clock was set since an officer has confirmed it.
	doubtful bool
}

func newTrial(t *testing.T, seed uint64, did map[string]int) *trial {
	x := &trial{T: t, seed: seed, did: did, root: t.TempDir(), m: newMailModel()}
	x.truth.Store(received.UnixNano())
	rng := x.rng()
	x.jumps, x.dual = rng.IntN(2) == 0, rng.IntN(3) == 0
	x.m.dual = x.dual
	x.options = Options{
		VolumeBytes: 16 << (10 + rng.IntN(7)), Now: x.now, MinFree: 1 << 20,
		Boot: func() (BootClock, bool) {
			return BootClock{ID: fmt.Sprint("boot ", x.cuts), Up: x.trueTime().Sub(received)}, true
		},
		Free: func(string) (int64, error) {
			if x.full.Load() {
				return 0, nil
			}
			return 1 << 40, nil
		},
	}
	x.dir = filepath.Join(x.root, "data")
	if err := Create(t.Context(), x.dir, x.options); err != nil {
		t.Fatal(err)
	}
	x.index = &sharedShelf{shelf: &shelf{texts: map[string]string{}}}
	x.disk()
	x.open(rng)
	return x
}

// rng has the numbers of a step, so that no step depends on how the ones before it went.
func (x *trial) rng() *rand.Rand { return rand.New(rand.NewPCG(x.seed, uint64(x.step))) }

func (x *trial) now() time.Time { return time.Unix(0, x.truth.Load()+x.offset.Load()).UTC() }

func (x *trial) trueTime() time.Time { return time.Unix(0, x.truth.Load()).UTC() }

func (x *trial) run(steps int) {
	defer func() {
		for _, p := range x.m.plans {
			x.did["(deposits that went)"] += p.gone
		}
		x.did["(deposits)"] += len(x.m.deposits)
		x.c.Close()
		_ = x.s.Close()
		_ = os.RemoveAll(x.root) // there are many
	}()
	for x.step = 1; x.step <= steps; x.step++ {
		rng := x.rng()
		x.do(rng, pick(rng, trialKinds))
		x.look()
		if x.step%lookAtAll == 0 || x.step == steps {
			x.lookAtEverything(rng)
		}
	}
}

// do does a step and counts it.
func (x *trial) do(rng *rand.Rand, k trialKind) {
	x.mu.Lock()
	x.did[k.name]++
	x.mu.Unlock()
	k.do(x, rng)
}

// note adds to the history, which a failure prints the end of.
func (x *trial) note(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.history = append(x.history, fmt.Sprintf("%4d  ", x.step)+fmt.Sprintf(format, args...))
}

func (x *trial) problem(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.m.problem(format, args...)
}

// ack notes what a caller was told, for good.
func (x *trial) ack(what string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.m.acked[what] = fmt.Sprint("step ", x.step)
}

// name makes a new name.
func (x *trial) name(what string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count++
	return fmt.Sprint(what, " ", x.count)
}

// stop ends the test if anything is not as it has to be.
func (x *trial) stop() {
	x.Helper()
	if len(x.m.problems) == 0 {
		return
	}
	const shown = 40
	x.Fatalf("%s\n\nto repeat it: POSTKEEP_SEED=%d POSTKEEP_STEPS=%d\nclock off by %s, volumes of %d bytes, dual control %v; before that:\n%s",
		strings.Join(x.m.problems, "\n"), x.seed, x.step, time.Duration(x.offset.Load()), x.options.VolumeBytes, x.dual,
		strings.Join(x.history[max(0, len(x.history)-shown):], "\n"))
}

// must reports an error of something that has to work.
func (x *trial) must(what string, err error) bool {
	if err != nil {
		x.problem("%s: %v", what, err)
	}
	return err == nil
}

// worked reports whether something was done. What was refused for one of the reasons is all right, and so is
// everything once the disk has failed.
func (x *trial) worked(what string, err error, reasons ...error) bool {
	switch {
	case err == nil:
		return true
	case x.struck.Load():
	case x.full.Load() && errors.Is(err, ErrReadOnly):
	case x.unseen && (errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoOrder) || errors.Is(err, ErrOrder)):
	default:
		for _, reason := range reasons {
			if errors.Is(err, reason) {
				return false
			}
		}
		x.problem("%s: %v", what, err)
	}
	return false
}

// disk makes the disk under the archive, which counts as durable as it is.
func (x *trial) disk() {
	var err error
	if x.recorder, err = disktest.NewRecorder(disk.OS(), x.dir); err != nil {
		x.Fatal(err)
	}
	x.jitter = &jitterDisk{FS: x.recorder, passed: make(chan struct{})}
}

// open opens the archive, which also has to work when the power is cut meanwhile, and finishes what was interrupted.
func (x *trial) open(rng *rand.Rand, more ...func(*Options)) {
	for {
		o := x.options
		x.fault = disktest.Fault{At: 1, Mode: disktest.Mode(rng.IntN(3)), Bytes: rng.IntN(300), Crash: rng.IntN(2) == 0,
			Only: func(disktest.Op) bool {
				return x.countdown.Load() > 0 && x.countdown.Add(-1) == 0 && !x.struck.Swap(true)
			}}
		o.FS = fullDisk{disktest.NewFaulty(x.jitter, x.fault)}
		for _, set := range more {
			set(&o)
		}
		x.struck.Store(false)
		x.countdown.Store(0)
		if x.fault.Crash && x.step > 0 && rng.IntN(5) == 0 {
			x.countdown.Store(1 + rng.Int64N(20))
		}
		err := x.openWith(o)
		if x.countdown.Store(0); !x.struck.Load() {
			x.must("open", err)
			if err == nil && !x.full.Load() {
				x.must("open for writing", x.s.ReadOnly())
			}
			break
		}
		x.note("the power goes while the archive is opened: %v", err)
		x.powerCut(rng)
		more = nil
	}
	x.stop()
}

func (x *trial) openWith(o Options) error {
	s, err := Open(x.Context(), x.dir, o)
	if err != nil {
		return err
	}
	x.s = s
	x.index.take(s)
	x.c = NewCompliance(x.Context(), s, ComplianceOptions{
		Search: x.index, Negates: negates, Purge: []Purger{x.index.Purge}, DualControl: x.dual,
	})
	return x.c.Resume(x.Context())
}

func (x *trial) close() {
	if x.s != nil {
		x.c.Close()
		if err := x.s.Close(); !x.struck.Load() {
			x.must("close", err)
		}
		x.s = nil
	}
}

// powerCut leaves what is durable, in another directory, often with the catalog, which may be newer than the ledger's end but
// never knows what the ledger does not.
func (x *trial) powerCut(rng *rand.Rand) {
	x.close()
	x.cuts++
	was := x.dir
	x.dir = filepath.Join(x.root, fmt.Sprint("data", x.cuts))
	if err := x.recorder.CrashImage(x.dir); err != nil {
		x.Fatal(err)
	}
	if rng.IntN(4) > 0 {
		for _, name := range []string{catalogName, catalogName + "-wal", catalogName + "-shm"} {
			data, err := os.ReadFile(filepath.Join(was, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(x.dir, name), data, 0o600)
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				x.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(was); err != nil {
		x.Fatal(err)
	}
	x.disk()
	x.m.restart()
}

// look is what holds after every step, and costs little.
func (x *trial) look() {
	ctx := x.Context()
	x.must("read the ledger", x.s.ledger.Read(ctx, x.m.size, func(e ledger.Entry) error { return x.m.take(e, x.trueTime()) }))
	if lost := x.m.lost(); len(lost) > 0 {
		x.problem("said and not in the ledger: %v", lost)
	}
	boxes, messages := x.m.live()
	found, err := x.s.Mailboxes(ctx)
	x.must("mailboxes", err)
	for _, b := range found {
		if boxes[b.Name] != b.Deposits {
			x.problem("mailbox %s has %d deposits, not %d", b.Name, b.Deposits, boxes[b.Name])
		}
		delete(boxes, b.Name)
	}
	if len(boxes) > 0 {
		x.problem("mailboxes are missing: %v", boxes)
	}
	x.s.mu.Lock()
	_, err = x.s.agree(ctx)
	x.s.mu.Unlock()
	x.must("catalog and ledger", err)
	status, err := x.s.Status(ctx)
	if x.must("status", err) && status.Messages != int64(len(messages)) {
		x.problem("%d messages, not %d", status.Messages, len(messages))
	}
	x.lookAtOrders(ctx)
	x.stop()
}

func (x *trial) lookAtOrders(ctx context.Context) {
	holds, err := x.s.Holds(ctx, false)
	x.must("holds", err)
	names := make([]string, len(holds))
	for i, h := range holds {
		names[i] = h.Name
	}
	x.same("holds", names, inForce(x.m.holds))
	rules, err := x.s.Rules(ctx)
	x.must("rules", err)
	names = make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.Name
	}
	x.same("rules", names, inForce(x.m.rules))
}

// fullDisk says of every error that was injected that there is no room, for those who tell errors apart.
type fullDisk struct{ *disktest.Faulty }

func (f fullDisk) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	file, err := f.Faulty.OpenFile(name, flag, perm)
	if err != nil {
		return nil, noRoom(err)
	}
	return fullFile{file}, nil
}

type fullFile struct{ disk.File }

func (f fullFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, noRoom(err)
}

func (f fullFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, noRoom(err)
}

func (f fullFile) Sync() error { return noRoom(f.File.Sync()) }

func noRoom(err error) error {
	if errors.Is(err, disktest.ErrInjected) {
		return errors.Join(err, syscall.ENOSPC)
	}
	return err
}

// A jitterDisk lets operations wait for others now and then, so that what is done at the same time falls together in more
// ways than it would by itself.
type jitterDisk struct {
	disk.FS
	on     atomic.Bool
	count  atomic.Uint64
	passed chan struct{}
}

func (j *jitterDisk) pause() {
	if !j.on.Load() {
		return
	}
	select {
	case j.passed <- struct{}{}:
	default:
	}
	const every, longest = 5, 3 * time.Millisecond // another five operations, as a rule
	n := j.count.Add(1)
	if n*0x9e3779b97f4a7c15>>32%every != 0 {
		return
	}
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for range 1 + n%16 {
		select {
		case <-j.passed:
		case <-timer.C:
			return
		}
	}
}

func (j *jitterDisk) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	f, err := j.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	j.pause()
	return jitterFile{f, j}, nil
}

type jitterFile struct {
	disk.File
	j *jitterDisk
}

func (f jitterFile) ReadAt(p []byte, off int64) (int, error) {
	defer f.j.pause()
	return f.File.ReadAt(p, off)
}

func (f jitterFile) Write(p []byte) (int, error) {
	defer f.j.pause()
	return f.File.Write(p)
}

func (f jitterFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.j.pause()
	return f.File.WriteAt(p, off)
}

func (f jitterFile) Sync() error {
	defer f.j.pause()
	return f.File.Sync()
}
