package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
)

// smallLedger makes a closed ledger of three events in two commits and returns
// its files after each of them.
func smallLedger(t testing.TB) (opt Options, one, three map[string]string) {
	t.Helper()
	l, opt := newLedger(t)
	mustAppend(t, l, event(0))
	one = snapshotDir(t, opt.Dir)
	mustAppend(t, l, event(1), event(2))
	mustClose(t, l)
	return opt, one, snapshotDir(t, opt.Dir)
}

// checkSound opens the ledger, expects at least want events of the series, and goes on with it.
func checkSound(t testing.TB, opt Options, atLeast int64) *Log {
	t.Helper()
	l, err := Open(context.Background(), opt)
	if err != nil {
		t.Errorf("open: %v", err)
		return nil
	}
	defer mustClose(t, l)
	mustVerify(t, l)
	got := entries(t, l, 0)
	if int64(len(got)) < atLeast {
		t.Errorf("%d events are left of %d", len(got), atLeast)
	}
	for i, e := range got {
		checkEntry(t, e, int64(i), event(i))
	}
	if first := mustAppend(t, l, event(len(got))); first != int64(len(got)) {
		t.Errorf("appended as %d after %d events", first, len(got))
	}
	mustVerify(t, l)
	return l
}

// checkDamaged opens the ledger read-only: it is damaged, says so when verified,
// and shows nothing but the events that were there.
func checkDamaged(t testing.TB, opt Options, kind error) {
	t.Helper()
	before := snapshotDir(t, opt.Dir)
	if _, err := Open(context.Background(), opt); !errors.Is(err, kind) || !errors.Is(err, ErrDamaged) {
		t.Errorf("open of a damaged ledger: %v, want %v", err, kind)
	}
	opt.ReadOnly = true
	l, err := Open(context.Background(), opt)
	if err != nil {
		t.Errorf("open read-only: %v", err)
		return
	}
	defer mustClose(t, l)
	if !errors.Is(l.Damage(), kind) {
		t.Errorf("Damage is %v, want %v", l.Damage(), kind)
	}
	if err := l.VerifyAll(context.Background()); !errors.Is(err, ErrDamaged) {
		t.Errorf("VerifyAll of a damaged ledger: %v", err)
	}
	for i, e := range entries(t, l, 0) {
		if !e.Damaged {
			checkEntry(t, e, int64(i), event(i))
		}
	}
	for name, data := range snapshotDir(t, opt.Dir) {
		if data != before[name] && name != hashesName {
			t.Errorf("opening changed %s", name)
		}
	}
}

// offsets returns the offsets below n at which a test damages a file: all of
// them with POSTKEEP_TORTURE, else every fifth and the last ones.
func offsets(n int) []int {
	step := 5
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		step = 1
	}
	var list []int
	for at := range n {
		if at%step == 0 || at >= n-3 {
			list = append(list, at)
		}
	}
	return list
}

func TestTruncatedLedgerIsRecoveredOrRefused(t *testing.T) {
	t.Parallel()
	opt, one, three := smallLedger(t)
	with := func(files map[string]string, name, data string) map[string]string {
		out := map[string]string{}
		for k, v := range files {
			out[k] = v
		}
		out[name] = data
		return out
	}
	for name, data := range three {
		for _, size := range offsets(len(data)) {
			restoreDir(t, opt.Dir, with(three, name, data[:size]))
			switch name {
			case hashesName:
				checkSound(t, opt, 3)
			case checkpointName:
				checkDamaged(t, opt, ErrCheckpoint)
			default:
				checkDamaged(t, opt, ErrShort)
			}
			if t.Failed() {
				t.Fatalf("%s truncated to %d bytes of %d", name, size, len(data))
			}
		}
	}
	// As a crash leaves it: the second commit is beyond the checkpoint.
	crashed := with(three, checkpointName, one[checkpointName])
	for _, name := range []string{eventsName, detailsName, hashesName} {
		for _, size := range offsets(len(three[name]) + 1) {
			restoreDir(t, opt.Dir, with(crashed, name, three[name][:size]))
			complete := int64(strings.Count(three[name][:size], "\n"))
			switch {
			case name == hashesName:
				checkSound(t, opt, 3)
			case size < len(one[name]):
				checkDamaged(t, opt, ErrShort)
			case name == eventsName:
				checkSound(t, opt, complete)
			case complete < 3: // cannot come from a crash
				checkDamaged(t, opt, ErrDiverged)
			default:
				checkSound(t, opt, complete)
			}
			if t.Failed() {
				t.Fatalf("%s truncated to %d bytes of %d behind an old checkpoint", name, size, len(three[name]))
			}
		}
	}
}

func TestMissingFileIsDamage(t *testing.T) {
	for name, kind := range map[string]error{eventsName: ErrShort, detailsName: ErrShort, checkpointName: ErrCheckpoint} {
		opt, _, _ := smallLedger(t)
		if err := os.Remove(filepath.Join(opt.Dir, name)); err != nil {
			t.Fatal(err)
		}
		checkDamaged(t, opt, kind)
	}
}

func TestGarbageBeyondTheCheckpointIsCut(t *testing.T) {
	opt, one, three := smallLedger(t)
	for name, tail := range map[string]string{
		"zeros": strings.Repeat("\x00", 5000), "lines": "a\nb\n\n", "a half": "{\"index\":1,", "long": strings.Repeat("x", maxLine+10),
		"another index": strings.SplitAfter(three[eventsName], "\n")[0],
		"hole":          strings.Repeat("\x00", 300) + three[eventsName][len(one[eventsName])+300:],
	} {
		restoreDir(t, opt.Dir, one)
		writeFile(t, filepath.Join(opt.Dir, eventsName), one[eventsName]+tail)
		writeFile(t, filepath.Join(opt.Dir, detailsName), one[detailsName]+tail)
		l := checkSound(t, opt, 1)
		if l == nil || l.Size() != 2 {
			t.Fatalf("%s: not recovered", name)
		}
		if r := l.Recovery(); r.CutEvents != int64(len(tail)) || r.CutDetails != int64(len(tail)) || r.Signed != 0 {
			t.Errorf("%s: recovery %+v", name, r)
		}
	}
}

func TestLedgerPutBackFromAnOlderCopyIsShort(t *testing.T) {
	opt, one, three := smallLedger(t)
	one[checkpointName] = three[checkpointName]
	restoreDir(t, opt.Dir, one)
	checkDamaged(t, opt, ErrShort)
}

// Every bit flip is found: by Open where it looks, else by VerifyAll.
func TestBitFlipsAreDetected(t *testing.T) {
	t.Parallel()
	opt, _, three := smallLedger(t)
	for name, data := range three {
		for _, at := range offsets(len(data)) {
			flipped := []byte(data)
			flipped[at] ^= 1 << (at % 8)
			restoreDir(t, opt.Dir, three)
			writeFile(t, filepath.Join(opt.Dir, name), string(flipped))
			ro := opt
			ro.ReadOnly = true
			l, err := Open(context.Background(), ro)
			if err != nil {
				t.Fatalf("%s byte %d: open read-only: %v", name, at, err)
			}
			if err := l.VerifyAll(context.Background()); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s byte %d: VerifyAll: %v", name, at, err)
			}
			mustClose(t, l)
			if name == hashesName {
				checkSound(t, opt, 3)
				continue
			}
			l, err = Open(context.Background(), opt)
			if err == nil {
				err = l.VerifyAll(context.Background())
				mustClose(t, l)
			}
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s byte %d: not found: %v", name, at, err)
			}
		}
	}
}

func TestVerifyAllNamesWhatIsDamaged(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 20)...)
	whole := snapshotDir(t, opt.Dir)
	for _, c := range []struct {
		file     string
		old, new string
		index    int64
	}{
		{eventsName, "poller-7", "poller-8", 7},
		{detailsName, "<7 & more>", "<8 & more>", 7},
		{hashesName, whole[hashesName][storedIndex(0, 7)*32:][:32], strings.Repeat("x", 32), 7},
	} {
		name := filepath.Join(opt.Dir, c.file)
		writeFile(t, name, strings.Replace(whole[c.file], c.old, c.new, 1))
		err := l.VerifyAll(context.Background())
		var d *Damage
		if !errors.As(err, &d) || d.File != c.file || d.Index != c.index {
			t.Errorf("event %d in %s: VerifyAll: %v", c.index, c.file, err)
		}
		writeFile(t, name, whole[c.file])
		mustVerify(t, l)
	}
	writeFile(t, filepath.Join(opt.Dir, checkpointName), "x")
	if err := l.VerifyAll(context.Background()); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("VerifyAll without checkpoint: %v", err)
	}
}

// Stored hashes that were not fsynced may be anything after a power cut.
func TestStoredHashesAreDerivedAgain(t *testing.T) {
	t.Parallel()
	l, opt := newLedger(t)
	n := hashSync + 500
	batch := slices.Repeat([]Event{{Type: TypeView}}, n/2)
	mustAppend(t, l, batch...)
	mustAppend(t, l, batch...)
	mustClose(t, l)
	name := filepath.Join(opt.Dir, hashesName)
	whole := readFile(t, name)
	synced := int(storedCount(hashSync) * tlog.HashSize)
	for what, data := range map[string]string{
		"missing": "", "tail lost": whole[:synced+100], "more lost": whole[:synced-100], "too long": whole + "more",
		"hole in the tail":   whole[:synced+64] + strings.Repeat("\x00", 64) + whole[synced+128:],
		"edge of the synced": whole[:synced-32] + strings.Repeat("\x00", 32) + whole[synced:],
	} {
		writeFile(t, name, data)
		l := mustOpen(t, opt)
		if readFile(t, name) != whole {
			t.Errorf("%s: the stored hashes were not restored", what)
		}
		mustClose(t, l)
	}
	mustVerify(t, mustOpen(t, opt))
}

// A scenario creates a ledger on fsys, commits twice, and returns the options
// and how many events were acknowledged.
func scenario(fsys disk.FS, opt Options) (acked int64, err error) {
	opt.FS = fsys
	ctx := context.Background()
	if err := Create(ctx, opt); err != nil {
		return 0, err
	}
	l, err := Open(ctx, opt)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for n := range 3 {
		if _, err := l.Append(ctx, eventSeries(2*n, 2*n+2)); err != nil {
			if _, again := l.Append(ctx, eventSeries(0, 1)); !errors.Is(again, ErrBroken) {
				return acked, fmt.Errorf("append after %w: %w", err, again)
			}
			if l.Size() != acked {
				return acked, fmt.Errorf("%d events are shown of which %d were acknowledged", l.Size(), acked)
			}
			return acked, err
		}
		acked = l.Size()
	}
	return acked, nil
}

func newRecorder(t testing.TB) (*disktest.Recorder, Options) {
	t.Helper()
	root := t.TempDir()
	rec, err := disktest.NewRecorder(disk.OS(), root)
	if err != nil {
		t.Fatal(err)
	}
	return rec, optionsIn(root)
}

// moved returns the options for an image of the disk.
func moved(opt Options, dir string) Options {
	opt.Dir, opt.KeyDir, opt.FS = filepath.Join(dir, "ledger"), filepath.Join(dir, "keys"), quick{disk.OS()}
	return opt
}

// checkImage opens what a power cut leaves. Where Create did not get to its end, it is repeated.
func checkImage(t testing.TB, rec *disktest.Recorder, opt Options, acked int64) {
	t.Helper()
	dir := t.TempDir()
	if err := rec.CrashImage(dir); err != nil {
		t.Fatal(err)
	}
	opt = moved(opt, dir)
	if _, err := os.Stat(filepath.Join(opt.Dir, checkpointName)); err != nil && acked == 0 {
		if err := Create(context.Background(), opt); err != nil {
			t.Errorf("create again: %v", err)
			return
		}
	}
	checkSound(t, opt, acked)
}

func TestEveryFaultLeavesASoundLedger(t *testing.T) {
	t.Parallel()
	for _, mode := range []disktest.Mode{disktest.Fail, disktest.FailPersisted, disktest.Torn} {
		for _, crash := range []bool{false, true} {
			for k := 1; ; k++ {
				rec, opt := newRecorder(t)
				faulty := disktest.NewFaulty(rec, disktest.Fault{At: k, Mode: mode, Bytes: 37 * k, Crash: crash})
				acked, err := scenario(faulty, opt)
				op, fired := faulty.Fired()
				if !fired {
					if acked != 6 || k < 40 {
						t.Fatalf("%d events in %d operations without a fault, %v", acked, k-1, err)
					}
					break
				}
				if !errors.Is(err, disktest.ErrInjected) {
					t.Errorf("the fault is reported as %v", err)
				}
				checkImage(t, rec, opt, acked)
				// The process starts again without a power cut; then the power is cut.
				if acked > 0 {
					again := opt
					again.FS = rec
					if l := checkSound(t, again, acked); l != nil {
						checkImage(t, rec, opt, l.Size())
					}
				}
				if t.Failed() {
					t.Fatalf("%v of operation %d, %v, crash %v, %d acknowledged", mode, k, op, crash, acked)
				}
			}
		}
	}
}

// reporter collects failures, so that a test can expect them.
type reporter struct {
	testing.TB
	failed bool
}

func (r *reporter) Helper()               {}
func (r *reporter) Error(...any)          { r.failed = true }
func (r *reporter) Errorf(string, ...any) { r.failed = true }

// What an Append has acknowledged is on disk, under a durable checkpoint; and
// without any one of the fsyncs this test would fail.
func TestEveryFsyncIsNeeded(t *testing.T) {
	run := func(ignore func(disktest.Op) bool) (rec *disktest.Recorder, failed bool) {
		rec, opt := newRecorder(t)
		rec.Ignore = ignore
		acked, err := scenario(rec, opt)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := rec.CrashImage(dir); err != nil {
			t.Fatal(err)
		}
		l, err := Open(context.Background(), moved(opt, dir))
		if err != nil {
			return rec, true
		}
		defer mustClose(t, l)
		r := &reporter{TB: t}
		mustVerify(r, l)
		return rec, r.failed || l.Size() != acked || l.Recovery() != Recovery{}
	}
	rec, failed := run(nil)
	if failed {
		t.Fatal("acknowledged events do not survive a power cut")
	}
	seen := map[disktest.Op]bool{}
	for _, op := range rec.Ops() {
		if op.Kind != disktest.Sync && op.Kind != disktest.SyncDir || seen[op] {
			continue
		}
		seen[op] = true
		if _, failed := run(func(o disktest.Op) bool { return o == op }); !failed {
			t.Errorf("nothing is lost without %v", op)
		}
	}
	if len(seen) != 8 {
		t.Errorf("fsyncs of %v", seen)
	}
}

// After a failed fsync the page cache may hold what the disk does not, marked
// as written: it must be written again before it is signed.
func TestUnsignedEventsAreWrittenAgainBeforeTheyAreSigned(t *testing.T) {
	rec, opt := newRecorder(t)
	isEventSync := func(op disktest.Op) bool {
		return op.Kind == disktest.Sync && filepath.Base(op.Path) == eventsName
	}
	acked, err := scenario(disktest.NewFaulty(rec, disktest.Fault{At: 2, Only: isEventSync}), opt)
	if !errors.Is(err, disktest.ErrInjected) || acked != 2 {
		t.Fatalf("%d acknowledged, %v", acked, err)
	}
	before := len(rec.Ops())
	opt.FS = rec
	l := mustOpen(t, opt)
	if l.Size() != 4 || l.Recovery().Signed != 2 {
		t.Fatalf("%d events, recovery %+v", l.Size(), l.Recovery())
	}
	var kinds []string
	for _, op := range rec.Ops()[before:] {
		if name := filepath.Base(op.Path); name != hashesName {
			kinds = append(kinds, string(op.Kind)+" "+name)
		}
	}
	want := []string{
		"write details.jsonl", "sync details.jsonl", "write events.jsonl", "sync events.jsonl",
		"create checkpoint.tmp", "write checkpoint.tmp", "sync checkpoint.tmp", "rename checkpoint.tmp", "syncdir ledger",
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("recovery did %q, want %q", kinds, want)
	}
}
