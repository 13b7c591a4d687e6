package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postkeep/postkeep/archive/disk"
)

// quick is the file system without the time that fsync takes; what fsync is
// needed for is tested with disktest.Recorder.
type quick struct{ disk.FS }

type quickFile struct{ disk.File }

func (quickFile) Sync() error { return nil }

func (quick) SyncDir(string) error { return nil }

func (q quick) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := q.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return quickFile{f}, nil
}

// optionsIn returns options for a ledger below dir whose clock ticks a second a commit.
func optionsIn(dir string) Options {
	var ticks atomic.Int64
	return Options{
		FS:  quick{disk.OS()},
		Dir: filepath.Join(dir, "ledger"), KeyDir: filepath.Join(dir, "keys"),
		Now: func() time.Time { return time.Date(2024, 3, 1, 12, 0, int(ticks.Add(1)), 0, time.UTC) },
	}
}

func mustCreate(t testing.TB, opt Options) {
	t.Helper()
	if err := Create(context.Background(), opt); err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, opt Options) *Log {
	t.Helper()
	l, err := Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, l) })
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func newLedger(t testing.TB) (*Log, Options) {
	t.Helper()
	opt := optionsIn(t.TempDir())
	mustCreate(t, opt)
	return mustOpen(t, opt), opt
}

func mustAppend(t testing.TB, l *Log, events ...Event) int64 {
	t.Helper()
	first, err := l.Append(context.Background(), events)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func mustVerify(t testing.TB, l *Log) {
	t.Helper()
	if err := l.VerifyAll(context.Background()); err != nil {
		t.Error(err)
	}
}

func entries(t testing.TB, l *Log, from int64) []Entry {
	t.Helper()
	var all []Entry
	if err := l.Read(context.Background(), from, func(e Entry) error {
		all = append(all, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// event returns the n-th of a series of different events.
func event(n int) Event {
	return Event{
		Type: TypeDeposit, Actor: fmt.Sprintf("poller-%d", n), IDs: []string{fmt.Sprintf("%08x", n)},
		Volume: uint32(n + 1), End: int64(n) * 512, Details: map[string]any{"mailbox": "sales", "uidl": fmt.Sprintf("<%d & more>", n)},
	}
}

func eventSeries(from, to int) []Event {
	var events []Event
	for n := from; n < to; n++ {
		events = append(events, event(n))
	}
	return events
}

// checkEntry compares an entry with the event that it was made of.
func checkEntry(t testing.TB, got Entry, index int64, want Event) {
	t.Helper()
	details, err := encode(want.Details)
	if err != nil {
		t.Fatal(err)
	}
	if got.Index != index || got.Type != want.Type || got.Actor != want.Actor || !slices.Equal(got.IDs, want.IDs) ||
		got.Volume != want.Volume || got.End != want.End || string(got.Details) != string(details) || got.Erased || got.Damaged {
		t.Errorf("event %d is %+v, want %+v", index, got, want)
	}
}

func TestEventsComeBackAsTheyWereAppended(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		sub, err := os.MkdirTemp(dir, "")
		if err != nil {
			rt.Fatal(err)
		}
		opt := optionsIn(sub)
		mustCreate(t, opt)
		l := mustOpen(t, opt)
		var want []Event
		gen := rapid.Custom(func(rt *rapid.T) Event {
			return Event{
				Type:  rapid.SampledFrom([]Type{TypeDeposit, TypeView, TypeDisposalIntent}).Draw(rt, "type"),
				Actor: rapid.String().Draw(rt, "actor"), IDs: rapid.SliceOfN(rapid.String(), 0, 3).Draw(rt, "ids"),
				Volume: rapid.Uint32().Draw(rt, "volume"), End: rapid.Int64().Draw(rt, "end"),
				Details: rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.String(), func(s string) any { return s }),
					rapid.Map(rapid.SliceOf(rapid.Float64()), func(f []float64) any { return f })).Draw(rt, "details"),
			}
		})
		for range rapid.IntRange(0, 4).Draw(rt, "commits") {
			batch := rapid.SliceOfN(gen, 0, 5).Draw(rt, "batch")
			if first := mustAppend(t, l, batch...); first != int64(len(want)) {
				rt.Fatalf("first index %d, want %d", first, len(want))
			}
			want = append(want, batch...)
			if rapid.Bool().Draw(rt, "reopen") {
				mustClose(t, l)
				l = mustOpen(t, opt)
			}
		}
		got := entries(t, l, 0)
		if len(got) != len(want) || l.Size() != int64(len(want)) {
			rt.Fatalf("%d events and size %d, want %d", len(got), l.Size(), len(want))
		}
		for i, e := range want {
			checkEntry(t, got[i], int64(i), e)
			one, err := l.Entry(context.Background(), int64(i))
			if err != nil || !reflect.DeepEqual(one, got[i]) {
				rt.Fatalf("Entry(%d) = %+v, %v, want %+v", i, one, err, got[i])
			}
		}
		mustVerify(t, l)
		mustClose(t, l)
	})
}

// Bisection must find every line whatever the lengths, a long line in the middle included.
func TestEntryFindsEventsAmongLinesOfAllLengths(t *testing.T) {
	l, _ := newLedger(t)
	var batch []Event
	for n := range 600 {
		e := event(n)
		switch {
		case n == 300:
			e.IDs = []string{strings.Repeat("i", MaxLeaf-1024)}
			e.Details = strings.Repeat("d", MaxDetails-2)
		case n%7 == 0:
			e.Details = strings.Repeat("x", 100*n)
		}
		batch = append(batch, e)
	}
	mustAppend(t, l, batch...)
	for n := range batch {
		got, err := l.Entry(context.Background(), int64(n))
		if err != nil {
			t.Fatal(err)
		}
		checkEntry(t, got, int64(n), batch[n])
	}
	for _, from := range []int64{0, 299, 300, 301, 599, 600, 1000} {
		if got := entries(t, l, from); int64(len(got)) != max(0, 600-from) || len(got) > 0 && got[0].Index != from {
			t.Errorf("Read from %d gave %d events", from, len(got))
		}
	}
}

func TestUnknownIndexIsErrNoEvent(t *testing.T) {
	l, _ := newLedger(t)
	mustAppend(t, l, event(0))
	for _, index := range []int64{-1, 1, 99} {
		if _, err := l.Entry(context.Background(), index); !errors.Is(err, ErrNoEvent) {
			t.Errorf("Entry(%d): %v", index, err)
		}
	}
}

func TestReadStopsAtTheErrorOfTheCallback(t *testing.T) {
	l, _ := newLedger(t)
	mustAppend(t, l, eventSeries(0, 5)...)
	stop, seen := errors.New("stop"), 0
	err := l.Read(context.Background(), 1, func(Entry) error {
		if seen++; seen == 2 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || seen != 2 {
		t.Errorf("Read returned %v after %d events", err, seen)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Read(ctx, 0, func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Read with a cancelled context: %v", err)
	}
	if _, err := l.Append(ctx, eventSeries(5, 6)); !errors.Is(err, context.Canceled) || l.Size() != 5 {
		t.Errorf("Append with a cancelled context: %v", err)
	}
	if err := l.VerifyAll(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("VerifyAll with a cancelled context: %v", err)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	opt := optionsIn(t.TempDir())
	readings := []int{100, 40, 130, 130, 20, 131}
	want := []int{100, 100, 130, 130, 130, 131}
	at := func(s int) time.Time { return time.Date(2024, 1, 1, 0, 0, s, 5, time.UTC) }
	next := 0
	opt.Now = func() time.Time { next++; return at(readings[next-1]).In(time.FixedZone("", 3600)) }
	mustCreate(t, opt)
	for n := range readings { // opened again each time: the last time is in the file
		l := mustOpen(t, opt)
		mustAppend(t, l, event(n))
		if !l.Last().Equal(at(want[n])) {
			t.Errorf("after event %d Last is %v", n, l.Last())
		}
		mustClose(t, l)
	}
	l := mustOpen(t, opt)
	if !l.Last().Equal(at(want[5])) {
		t.Errorf("Last is %v", l.Last())
	}
	for i, e := range entries(t, l, 0) {
		if !e.Time.Equal(at(want[i])) || e.Time.Location() != time.UTC {
			t.Errorf("event %d is of %v, want %v", i, e.Time, at(want[i]))
		}
	}
}

func TestClockThatGoesBackIsLoggedOnce(t *testing.T) {
	opt := optionsIn(t.TempDir())
	var logged strings.Builder
	opt.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	var seconds int
	opt.Now = func() time.Time { return time.Date(2024, 1, 1, 0, 0, seconds, 0, time.UTC) }
	mustCreate(t, opt)
	l := mustOpen(t, opt)
	for n, step := range []struct{ seconds, warnings int }{{30, 0}, {29, 0}, {20, 1}, {25, 1}, {31, 1}, {20, 2}} {
		seconds = step.seconds
		mustAppend(t, l, event(n))
		if got := strings.Count(logged.String(), "clock is behind"); got != step.warnings {
			t.Errorf("at %d s: %d warnings, want %d", step.seconds, got, step.warnings)
		}
	}
}

func TestClockOutsideOfTheFormatIsRefused(t *testing.T) {
	l, opt := newLedger(t)
	l.opt.Now = func() time.Time { return time.Date(12024, 1, 1, 0, 0, 0, 0, time.UTC) }
	if _, err := l.Append(context.Background(), eventSeries(0, 1)); err == nil {
		t.Fatal("an event of the year 12024 was recorded")
	}
	l.opt.Now = opt.Now
	mustAppend(t, l, event(0)) // and that has not broken the ledger
}

func TestInvalidEventsAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	l, _ := newLedger(t)
	for name, e := range map[string]Event{
		"no type":             {},
		"type with a quote":   {Type: `a"b`},
		"long type":           {Type: Type(strings.Repeat("a", maxType+1))},
		"large details":       {Type: TypeView, Details: strings.Repeat("x", MaxDetails)},
		"many ids":            {Type: TypeView, IDs: make([]string, MaxLeaf/3)},
		"details not JSON":    {Type: TypeView, Details: json.RawMessage(`{"a"`)},
		"details not UTF-8":   {Type: TypeView, Details: json.RawMessage("\"\xff\"")},
		"details unencodable": {Type: TypeView, Details: func() {}},
	} {
		if _, err := l.Append(context.Background(), []Event{event(0), e}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l.Size() != 0 {
		t.Errorf("%d events were written", l.Size())
	}
	if first := mustAppend(t, l, event(0)); first != 0 {
		t.Errorf("the next event has index %d", first)
	}
}

func TestFailingSaltIsAnError(t *testing.T) {
	l, _ := newLedger(t)
	l.opt.Rand = strings.NewReader("short")
	if _, err := l.Append(context.Background(), eventSeries(0, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("append without randomness: %v", err)
	}
}

func TestConcurrentAppendsAndReadsAreConsistent(t *testing.T) {
	l, opt := newLedger(t)
	const writers, commits = 8, 25
	var wg sync.WaitGroup
	var owner sync.Map // index to actor
	for w := range writers {
		wg.Go(func() {
			for c := range commits {
				actor := fmt.Sprintf("%d/%d", w, c)
				first, err := l.Append(context.Background(), []Event{{Type: TypeView, Actor: actor}, {Type: TypeSearch, Actor: actor}})
				if err != nil {
					t.Error(err)
					return
				}
				owner.Store(first, actor)
				owner.Store(first+1, actor)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for l.Size() < 2*writers*commits && !t.Failed() {
				size, seen := l.Size(), int64(0)
				if err := l.Read(context.Background(), 0, func(e Entry) error { seen++; return nil }); err != nil {
					t.Error(err)
				}
				if seen < size {
					t.Errorf("read %d events of %d", seen, size)
				}
			}
		})
	}
	wg.Go(func() { mustVerify(t, l) })
	wg.Wait()
	mustClose(t, l)
	l = mustOpen(t, opt)
	for _, e := range entries(t, l, 0) {
		if actor, _ := owner.Load(e.Index); actor != e.Actor {
			t.Errorf("event %d is of %s, its index was returned to %v", e.Index, e.Actor, actor)
		}
	}
	if l.Size() != 2*writers*commits {
		t.Errorf("%d events", l.Size())
	}
	mustVerify(t, l)
}

// syncFS counts the fsyncs of files, and calls before, if set, at the start of each.
type syncFS struct {
	disk.FS
	syncs  atomic.Int64
	before func()
}

type syncFile struct {
	disk.File
	fsys *syncFS
}

func (s *syncFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return syncFile{f, s}, nil
}

func (f syncFile) Sync() error {
	f.fsys.syncs.Add(1)
	if f.fsys.before != nil {
		f.fsys.before()
	}
	return f.File.Sync()
}

// All who wait while one commits are committed together, by one more commit.
func TestConcurrentAppendsShareACommit(t *testing.T) {
	const callers = 50
	fsys := &syncFS{FS: quick{disk.OS()}}
	opt := optionsIn(t.TempDir())
	opt.FS = fsys
	mustCreate(t, opt)
	l := mustOpen(t, opt)
	var first sync.Once
	queued := func() bool {
		l.queueMu.Lock()
		defer l.queueMu.Unlock()
		return len(l.queue) == callers-1
	}
	writing := make(chan struct{})
	fsys.before = func() {
		first.Do(func() {
			close(writing)
			for !queued() {
				runtime.Gosched()
			}
		})
	}
	before := fsys.syncs.Load()
	var wg sync.WaitGroup
	var seen sync.Map
	for n := range callers {
		wg.Go(func() {
			if n > 0 { // the others come while the first one is being written
				<-writing
			}
			index, err := l.Append(context.Background(), []Event{event(n)})
			if _, twice := seen.LoadOrStore(index, n); err != nil || twice {
				t.Errorf("index %d, %v", index, err)
			}
		})
	}
	wg.Wait()
	// A commit syncs details, events and checkpoint.
	if syncs := fsys.syncs.Load() - before; syncs != 6 || l.Size() != callers {
		t.Errorf("%d events took %d fsyncs, want 2 commits of 3", l.Size(), syncs)
	}
	mustVerify(t, l)
}

func TestCreateRefusesWhatIsThere(t *testing.T) {
	ctx := context.Background()
	l, opt := newLedger(t)
	mustAppend(t, l, event(0))
	refused := func(what string) {
		t.Helper()
		if err := Create(ctx, opt); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create over %s: %v", what, err)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	refused("a ledger")
	remove(filepath.Join(opt.Dir, checkpointName))
	refused("a ledger without checkpoint")
	remove(filepath.Join(opt.Dir, eventsName))
	refused("a sidecar")
	if err := os.RemoveAll(opt.Dir); err != nil {
		t.Fatal(err)
	}
	refused("a key without ledger")
}

func TestKeyIsPrivateAndBelongsToTheLedger(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, event(0))
	mustClose(t, l)
	info, err := os.Stat(filepath.Join(opt.KeyDir, keyName))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != disk.SealedPerm && runtime.GOOS != "windows" {
		t.Errorf("mode of the key is %o", mode)
	}
	other := optionsIn(t.TempDir())
	mustCreate(t, other)
	mixed := opt
	mixed.KeyDir = other.KeyDir
	if _, err := Open(context.Background(), mixed); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("opened with another ledger's keys: %v", err)
	}
	pub, err := os.ReadFile(filepath.Join(other.KeyDir, pubName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(opt.KeyDir, pubName), pub, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), opt); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("opened with a private key that is not that of the public one: %v", err)
	}
}

func TestOpenOfNothingIsErrNotExist(t *testing.T) {
	if _, err := Open(context.Background(), optionsIn(t.TempDir())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened nothing: %v", err)
	}
}

func TestReadOnlyNeedsNoPrivateKeyAndChangesNothing(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 3)...)
	mustClose(t, l)
	for _, name := range []string{filepath.Join(opt.KeyDir, keyName), filepath.Join(opt.Dir, hashesName)} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshotDir(t, opt.Dir)
	opt.ReadOnly = true
	l = mustOpen(t, opt)
	if _, err := l.Append(context.Background(), eventSeries(0, 1)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("appended to a read-only ledger: %v", err)
	}
	if len(entries(t, l, 0)) != 3 || l.Damage() != nil {
		t.Errorf("read %d events, damage %v", len(entries(t, l, 0)), l.Damage())
	}
	mustClose(t, l)
	if after := snapshotDir(t, opt.Dir); !reflect.DeepEqual(before, after) {
		t.Error("a read-only ledger was changed on disk")
	}
}

func TestClosedLedgerRefusesAppend(t *testing.T) {
	l, _ := newLedger(t)
	mustClose(t, l)
	mustClose(t, l)
	if _, err := l.Append(context.Background(), eventSeries(0, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestErasedDetailsLeaveTheLedgerSound(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 3)...)
	mustClose(t, l)
	name := filepath.Join(opt.Dir, detailsName)
	lines := strings.SplitAfter(readFile(t, name), "\n")
	erased := `{"index":1,"erased":true}`
	lines[1] = erased + strings.Repeat(" ", len(lines[1])-len(erased)-1) + "\n"
	writeFile(t, name, strings.Join(lines, ""))

	l = mustOpen(t, opt)
	mustVerify(t, l)
	for i, e := range entries(t, l, 0) {
		if e.Erased != (i == 1) || (e.Details == nil) != (i == 1) || e.Damaged {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	mustAppend(t, l, event(3))
	mustVerify(t, l)
}

// A sidecar that lost or garbled lines loses those details and no others.
func TestDamagedDetailsAreMarkedAndReadingGoesOn(t *testing.T) {
	damage := map[string]func([]string) []string{
		"line lost":           func(s []string) []string { return slices.Delete(s, 2, 3) },
		"line garbled":        func(s []string) []string { s[2] = "garbage\n"; return s },
		"half overwritten":    func(s []string) []string { s[2] = s[2][:20] + "   " + s[2][23:]; return s },
		"details of another":  func(s []string) []string { s[2] = strings.Replace(s[3], ":3,", ":2,", 1); return s },
		"newline overwritten": func(s []string) []string { s[1], s[2] = s[1][:len(s[1])-1]+" "+s[2], ""; return s },
	}
	for name, work := range damage {
		l, opt := newLedger(t)
		mustAppend(t, l, eventSeries(0, 5)...)
		file := filepath.Join(opt.Dir, detailsName)
		writeFile(t, file, strings.Join(work(strings.SplitAfter(readFile(t, file), "\n")), ""))
		mustClose(t, l)
		l = mustOpen(t, opt)
		for i, e := range entries(t, l, 0) {
			want := i == 2 || i == 1 && name == "newline overwritten"
			if e.Damaged != want || (e.Details == nil) != want {
				t.Errorf("%s: event %d: %+v", name, i, e)
			}
			one, err := l.Entry(context.Background(), int64(i))
			if err != nil || one.Damaged != want {
				t.Errorf("%s: Entry(%d): %+v, %v", name, i, one, err)
			}
		}
		err := l.VerifyAll(context.Background())
		var d *Damage
		if !errors.Is(err, ErrDiverged) || !errors.As(err, &d) || d.File != detailsName {
			t.Errorf("%s: VerifyAll: %v", name, err)
		}
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func writeFile(t testing.TB, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), disk.FilePerm); err != nil {
		t.Fatal(err)
	}
}

// snapshotDir returns the content of the files in a directory.
func snapshotDir(t testing.TB, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range list {
		files[e.Name()] = readFile(t, filepath.Join(dir, e.Name()))
	}
	return files
}

// restoreDir makes the files of a directory what snapshotDir returned.
func restoreDir(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	now := snapshotDir(t, dir)
	for name, data := range files {
		if old, ok := now[name]; !ok || old != data {
			writeFile(t, filepath.Join(dir, name), data)
		}
		delete(now, name)
	}
	for name := range now {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// seededRand is a source of salts that gives the same in every run.
func seededRand() io.Reader { return rand.NewChaCha8([32]byte{1}) }
