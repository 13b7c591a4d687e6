package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// damagesOf verifies a ledger that is opened read-only, damaged or not.
func damagesOf(t testing.TB, opt Options, verify VerifyOptions) ([]*Damage, VerifyResult) {
	t.Helper()
	opt.ReadOnly = true
	l, err := Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, l)
	var damages []*Damage
	verify.Report = func(d *Damage) {
		if !errors.Is(d, ErrDamaged) {
			t.Errorf("%v is not ErrDamaged", d)
		}
		damages = append(damages, d)
	}
	result, err := l.Verify(context.Background(), verify)
	if err != nil {
		t.Fatal(err)
	}
	if result.Damages != int64(len(damages)) {
		t.Errorf("%d damages were counted, %d reported", result.Damages, len(damages))
	}
	return damages, result
}

// places are what the damages hit, in short.
func places(damages []*Damage) (list []string) {
	for _, d := range damages {
		place := d.File
		if d.Index >= 0 {
			place += fmt.Sprintf(" %d+%d [%d+%d]", d.Index, d.Events, d.Offset, d.Length)
		}
		list = append(list, place)
	}
	return list
}

// pathOf returns where a file of the ledger or its keys is.
func pathOf(opt Options, name string) string {
	if name == keyName || name == pubName {
		return filepath.Join(opt.KeyDir, name)
	}
	return filepath.Join(opt.Dir, name)
}

// mixedLedger makes a closed ledger with lines of all kinds.
func mixedLedger(t testing.TB) (opt Options, files map[string]string) {
	t.Helper()
	l, opt := newLedger(t)
	for n := range 12 {
		mustAppend(t, l, eventSeries(8*n, 8*n+8)...)
	}
	if err := l.Erase(context.Background(), []int64{5, 90}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, Event{Type: TypeExport, Actor: "ä \"quoted\" \\ <&>", Details: strings.Repeat("long ", 8000)}, Event{Type: TypeVerify, Actor: "system"})
	mustClose(t, l)
	files = snapshotDir(t, opt.Dir)
	maps.Copy(files, snapshotDir(t, opt.KeyDir))
	return opt, files
}

// Every flipped bit in any file is reported, and nothing but the file, the event
// and the bytes that it is in.
func TestVerifyNamesEveryFlippedBit(t *testing.T) {
	t.Parallel()
	flips := 300
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		flips = 10_000
	}
	opt, files := mixedLedger(t)
	if err := os.Chmod(pathOf(opt, keyName), 0o600); err != nil {
		t.Fatal(err)
	}
	if damages, _ := damagesOf(t, opt, VerifyOptions{Deep: true}); damages != nil {
		t.Fatalf("a sound ledger: %v", damages)
	}
	names := slices.Sorted(maps.Keys(files))
	if len(names) != 6 {
		t.Fatalf("files are %v", names)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range flips {
		name := names[random.IntN(len(names))]
		at, bit := random.IntN(len(files[name])), random.IntN(8)
		data := []byte(files[name])
		data[at] ^= 1 << bit
		writeFile(t, pathOf(opt, name), string(data))
		damages, _ := damagesOf(t, opt, VerifyOptions{Deep: true})
		hit := false
		for _, d := range damages {
			whole := name == checkpointName || name == keyName || name == pubName
			hit = hit || whole && d.Index < 0 || d.Offset <= int64(at) && int64(at) < d.Offset+d.Length
			if d.File != name || d.Repairable != (name == hashesName) || !whole && d.Index < 0 {
				t.Errorf("reported as %v", d)
			}
		}
		if !hit || t.Failed() {
			t.Fatalf("bit %d of byte %d of %s: %q", bit, at, name, places(damages))
		}
		if err := openAndVerify(opt); name != hashesName && !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d of byte %d of %s: a ledger opened for writing says %v", bit, at, name, err)
		}
		writeFile(t, pathOf(opt, name), files[name])
		if name == hashesName {
			continue // it was derived again
		}
		for other, want := range files {
			if readFile(t, pathOf(opt, other)) != want {
				t.Fatalf("verifying changed %s", other)
			}
		}
	}
}

func openAndVerify(opt Options) error {
	l, err := Open(context.Background(), opt)
	if err != nil {
		return err
	}
	return errors.Join(l.VerifyAll(context.Background()), l.Close())
}

func TestVerifyGoesOnBehindDamage(t *testing.T) {
	opt, _, _ := smallLedger(t)
	l := mustOpen(t, opt)
	mustAppend(t, l, eventSeries(3, 10)...)
	mustClose(t, l)
	whole := snapshotDir(t, opt.Dir)
	var at [2][11]int // offsets of the lines of events and details
	for i, name := range []string{eventsName, detailsName} {
		for n, line := range strings.SplitAfter(whole[name], "\n")[:10] {
			at[i][n+1] = at[i][n] + len(line)
		}
	}
	ev, de := at[0], at[1]
	events, details := whole[eventsName], whole[detailsName]
	place := func(file string, index, events, from, to int) string {
		return fmt.Sprintf("%s %d+%d [%d+%d]", file, index, events, from, to-from)
	}
	var allHashes []string
	for n := range 10 {
		for at := hashAt(0, int64(n)); at < hashAt(0, int64(n+1)); at += tlog.HashSize {
			allHashes = append(allHashes, place(hashesName, n, 1, at, at+tlog.HashSize))
		}
	}
	for _, c := range []struct {
		what  string
		files map[string]string
		want  []string
	}{
		{"nothing", nil, nil},
		{"a line is missing", map[string]string{eventsName: events[:ev[4]] + events[ev[5]:]}, []string{place(eventsName, 4, 1, ev[4], ev[4])}},
		{
			"three lines are zeros",
			map[string]string{eventsName: events[:ev[4]+20] + strings.Repeat("\x00", ev[6]-ev[4]) + events[ev[6]+20:]},
			[]string{place(eventsName, 4, 1, ev[4], ev[7]), place(eventsName, 5, 2, ev[7], ev[7])}, // the head of 4 is there
		},
		{
			"an index is larger",
			map[string]string{eventsName: strings.Replace(events, `{"index":4,`, `{"index":7,`, 1)},
			[]string{place(eventsName, 4, 1, ev[4], ev[5])},
		},
		{
			"a line is there twice",
			map[string]string{eventsName: events[:ev[5]] + events[ev[4]:]},
			[]string{place(eventsName, 5, 0, ev[5], 2*ev[5]-ev[4])},
		},
		{
			"garbage is in between, longer than any line",
			map[string]string{eventsName: events[:ev[5]] + strings.Repeat("x", 3*maxLine) + "\n" + events[ev[5]:]},
			[]string{place(eventsName, 5, 0, ev[5], ev[5]+3*maxLine+1)},
		},
		{
			"the first and the last line are altered",
			map[string]string{eventsName: strings.NewReplacer("poller-0", "poller+0", "poller-9", "poller+9").Replace(events)},
			[]string{place(eventsName, 0, 1, 0, ev[1]), place(eventsName, 9, 1, ev[9], ev[10])},
		},
		{"the end is missing", map[string]string{eventsName: events[:ev[7]]}, []string{place(eventsName, 7, 3, ev[7], ev[7])}},
		{"the end is torn", map[string]string{eventsName: events[:ev[9]-7]}, []string{place(eventsName, 8, 2, ev[8], ev[9]-7)}},
		{"everything is missing", map[string]string{eventsName: ""}, []string{place(eventsName, 0, 10, 0, 0)}},
		{
			"lines of the sidecar are missing",
			map[string]string{detailsName: details[:de[2]] + details[de[4]:]},
			[]string{place(detailsName, 2, 1, de[2], de[2]), place(detailsName, 3, 1, de[2], de[2])},
		},
		{
			"an index of the sidecar is larger",
			map[string]string{detailsName: strings.Replace(details, `{"index":2,`, `{"index":7,`, 1)},
			[]string{place(detailsName, 2, 1, de[2], de[3])},
		},
		{
			"garbage is in the sidecar",
			map[string]string{detailsName: details[:de[2]] + "garbage\n" + details[de[2]:]},
			[]string{place(detailsName, 2, 0, de[2], de[2]+8)},
		},
		{
			"an event and its stored hash",
			map[string]string{eventsName: strings.Replace(events, "poller-4", "poller+4", 1), hashesName: alter(whole[hashesName], 0, 4)},
			[]string{place(eventsName, 4, 1, ev[4], ev[5])},
		},
		{
			"an event and the stored hash of another",
			map[string]string{eventsName: strings.Replace(events, "poller-9", "poller+9", 1), hashesName: alter(whole[hashesName], 0, 4)},
			[]string{place(hashesName, 4, 1, hashAt(0, 4), hashAt(0, 4)+32), place(eventsName, 9, 1, ev[9], ev[10])},
		},
		{"all stored hashes", map[string]string{hashesName: strings.Repeat("\x00", len(whole[hashesName]))}, allHashes},
		{"the stored hashes end", map[string]string{hashesName: whole[hashesName][:100]}, []string{place(hashesName, 3, 1, 96, 96)}},
		{
			"the stored hashes end within that of the last event, and that", // which of them nothing tells any more
			map[string]string{hashesName: whole[hashesName][:len(whole[hashesName])-1], eventsName: strings.Replace(events, "poller-9", "poller+9", 1)},
			[]string{place(hashesName, 9, 1, hashAt(0, 9), hashAt(0, 9)), eventsName},
		},
		{
			"the stored hashes are lost, and an event", // which of them nothing tells any more
			map[string]string{hashesName: "", eventsName: strings.Replace(events, "poller-4", "poller+4", 1)},
			[]string{place(hashesName, 0, 1, 0, 0), eventsName},
		},
		{
			"the checkpoint, and an event",
			map[string]string{checkpointName: "x", eventsName: strings.Replace(events, "poller-4", "poller+4", 1)},
			[]string{checkpointName, place(eventsName, 4, 1, ev[4], ev[5])},
		},
	} {
		files := maps.Clone(whole)
		maps.Copy(files, c.files)
		restoreDir(t, opt.Dir, files)
		damages, result := damagesOf(t, opt, VerifyOptions{Deep: true})
		if got := places(damages); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%q, want\n%q", c.what, got, c.want)
		}
		for _, d := range damages {
			if text := d.Error(); !strings.HasPrefix(text, d.File+": ") || strings.Contains(text, "%!") {
				t.Errorf("%s: %s", c.what, text)
			}
		}
		if want := result.Next == 10 || strings.HasPrefix(c.what, "the end") || c.what == "everything is missing"; !want {
			t.Errorf("%s: verified up to %d", c.what, result.Next)
		}
	}
}

func TestVerifyNamesTheInnerNodeThatIsWrong(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 600)...)
	mustClose(t, l)
	whole := readFile(t, pathOf(opt, hashesName))
	for _, c := range []struct {
		level   int
		n, leaf int64
	}{{4, 0, 15}, {4, 36, 591}, {8, 1, 511}} {
		writeFile(t, pathOf(opt, hashesName), alter(whole, c.level, c.n))
		damages, _ := damagesOf(t, opt, VerifyOptions{})
		want := fmt.Sprintf("%s %d+1 [%d+32]", hashesName, c.leaf, hashAt(c.level, c.n))
		if got := places(damages); len(got) != 1 || got[0] != want {
			t.Errorf("node %d of level %d: %q, want %s", c.n, c.level, got, want)
		}
	}
}

// The stored hash of the last event is there, and that of the node above it torn.
func TestVerifyNamesTheLastEventByItsStoredHash(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 16)...)
	mustClose(t, l)
	hashes, events := readFile(t, pathOf(opt, hashesName)), readFile(t, pathOf(opt, eventsName))
	writeFile(t, pathOf(opt, hashesName), hashes[:len(hashes)-1])
	writeFile(t, pathOf(opt, eventsName), strings.Replace(events, "poller-15", "poller+15", 1))
	from := strings.LastIndex(strings.TrimSuffix(events, "\n"), "\n") + 1
	want := []string{
		fmt.Sprintf("%s 15+1 [%d+%d]", eventsName, from, len(events)-from), fmt.Sprintf("%s 15+1 [%d+0]", hashesName, hashAt(0, 15)),
	}
	if damages, _ := damagesOf(t, opt, VerifyOptions{}); !reflect.DeepEqual(places(damages), want) {
		t.Errorf("%q, want %q", places(damages), want)
	}
}

// hashAt is where the file has the hash of a node.
func hashAt(level int, n int64) int { return int(storedIndex(level, n)) * tlog.HashSize }

func alter(hashes string, level int, n int64) string {
	at := hashAt(level, n)
	return hashes[:at] + "altered" + hashes[at+7:]
}

func TestVerifyWithoutDeepLeavesTheDetailsAlone(t *testing.T) {
	opt, files := mixedLedger(t)
	writeFile(t, pathOf(opt, detailsName), strings.Replace(files[detailsName], "<7 & more>", "<8 & more>", 1))
	if damages, result := damagesOf(t, opt, VerifyOptions{}); damages != nil || result.Next != 98 {
		t.Errorf("%v, %+v", damages, result)
	}
	if damages, _ := damagesOf(t, opt, VerifyOptions{Deep: true}); len(damages) != 1 || damages[0].Index != 7 {
		t.Errorf("deep: %v", damages)
	}
}

func TestVerificationGoesOnWhereItWasInterrupted(t *testing.T) {
	opt := optionsIn(t.TempDir())
	mustCreate(t, opt)
	l := mustOpen(t, opt)
	mustAppend(t, l, eventSeries(0, 2000)...)
	ctx, cancel := context.WithCancel(context.Background())
	seen := 0
	result, err := l.Verify(ctx, VerifyOptions{Deep: true, Progress: func(p VerifyResult) {
		if seen++; seen == 2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || result.Next == 0 || result.Next >= 2000 || result.Bytes == 0 || result.Size != 2000 {
		t.Fatalf("%+v, %v", result, err)
	}
	mustAppend(t, l, event(2000))
	name := filepath.Join(opt.Dir, eventsName)
	whole := readFile(t, name)
	for event, found := range map[int64]bool{result.Next - 1: false, result.Next: true, 1999: true, 2000: true} {
		writeFile(t, name, strings.Replace(whole, fmt.Sprintf(`poller-%d"`, event), fmt.Sprintf(`Poller-%d"`, event), 1))
		damages, again := damagesOf(t, opt, VerifyOptions{Deep: true, From: result.Next})
		if again.From != result.Next || again.Next != 2001 || (len(damages) == 1 && damages[0].Index == event) != found {
			t.Errorf("event %d altered, from %d: %v, %+v", event, result.Next, places(damages), again)
		}
	}
	writeFile(t, name, whole)
	// Nothing is taken over from an earlier run whose ground is no longer signed.
	hashes := filepath.Join(opt.Dir, hashesName)
	writeFile(t, hashes, alter(readFile(t, hashes), (bits.Len64(uint64(result.Next))-1)/storedLevels*storedLevels, 0))
	if damages, again := damagesOf(t, opt, VerifyOptions{From: result.Next}); again.From != 0 || len(damages) != 1 {
		t.Errorf("%v, %+v", places(damages), again)
	}
	for _, from := range []int64{-1, 2001, 9999} {
		if _, again := damagesOf(t, opt, VerifyOptions{From: from}); again.From != 0 {
			t.Errorf("from %d: %+v", from, again)
		}
	}
}

func TestVerificationKeepsTheRate(t *testing.T) {
	l, _ := newLedger(t)
	mustAppend(t, l, eventSeries(0, 1000)...)
	start := time.Now()
	result, err := l.Verify(context.Background(), VerifyOptions{Deep: true, BytesPerSecond: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	// The first paceSize bytes are free.
	if want := time.Duration(result.Bytes-2*paceSize) * time.Second / (1 << 20); want < 100*time.Millisecond || time.Since(start) < want {
		t.Errorf("%d bytes took %v, not %v", result.Bytes, time.Since(start), want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := l.Verify(ctx, VerifyOptions{BytesPerSecond: 1}); err == nil {
		t.Error("a slow verification cannot be interrupted")
	}
}

func TestVerifyOfARunningLedgerLooksAtWhatWasThere(t *testing.T) {
	l, _ := newLedger(t)
	mustAppend(t, l, eventSeries(0, 3)...)
	var last VerifyResult
	result, err := l.Verify(context.Background(), VerifyOptions{Deep: true, Progress: func(p VerifyResult) {
		last = p
		mustAppend(t, l, event(3))
	}})
	if err != nil || result.Next != 3 || result.Damages != 0 || result.Size != 3 || last != result {
		t.Errorf("%+v, %v", result, err)
	}
	mustClose(t, l)
	if _, err := l.Verify(context.Background(), VerifyOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("verify after close: %v", err)
	}
}

// scanLeaf is only a faster parseLeaf.
func TestScanAgreesWithParse(t *testing.T) {
	_, files := mixedLedger(t)
	lines := strings.Split(strings.TrimSuffix(files[eventsName], "\n"), "\n")
	for n, line := range lines {
		want, err := parseLeaf([]byte(line), int64(n))
		got, gotErr := scanLeaf([]byte(line), int64(n))
		if err != nil || gotErr != nil || got.Index != want.Index || !got.Time.Equal(want.Time) || got.DetailsHash != want.DetailsHash {
			t.Errorf("event %d: %+v, %v", n, got, gotErr)
		}
		for _, bad := range []string{
			line + " ", line[:len(line)-1], strings.Replace(line, `"actor":"`, `"actor":`, 1), strings.Replace(line, "T12:", "T25:", 1),
			strings.Replace(line, `"type":"`, `"type":"A`, 1), strings.Replace(line, `"details":"`, `"details":"g`, 1), "",
		} {
			_, err := parseLeaf([]byte(bad), int64(n))
			if _, gotErr := scanLeaf([]byte(bad), int64(n)); (err == nil) != (gotErr == nil) {
				t.Errorf("%q: %v, %v", bad, err, gotErr)
			}
		}
	}
}

func TestSavedCheckpointFindsRollBackAndDivergence(t *testing.T) {
	ctx := context.Background()
	l, opt := newLedger(t)
	var older map[string]string
	var checkpoints [][]byte
	for n := range 9 {
		mustAppend(t, l, event(n))
		checkpoints = append(checkpoints, l.Checkpoint())
		if n == 4 {
			older = snapshotDir(t, opt.Dir)
		}
	}
	for i, saved := range checkpoints {
		if err := l.CheckAgainst(ctx, saved); err != nil {
			t.Errorf("checkpoint of %d: %v", i+1, err)
		}
	}
	mustClose(t, l)
	whole := snapshotDir(t, opt.Dir)
	check := func(what string, files map[string]string, saved []byte, want error) {
		t.Helper()
		restoreDir(t, opt.Dir, files)
		ro := opt
		ro.ReadOnly = true
		l := mustOpen(t, ro)
		defer mustClose(t, l)
		if err := l.CheckAgainst(ctx, saved); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	with := func(name, data string) map[string]string {
		files := maps.Clone(whole)
		files[name] = data
		return files
	}
	check("rolled back with its checkpoint", older, checkpoints[8], ErrShort)
	check("rolled back to just that", older, checkpoints[4], nil)
	check("stored hashes lost", with(hashesName, ""), checkpoints[6], nil)
	check("checkpoint lost", with(checkpointName, ""), checkpoints[6], nil)
	truncated := with(eventsName, strings.Join(strings.SplitAfter(whole[eventsName], "\n")[:5], ""))
	truncated[checkpointName] = ""
	check("truncated, checkpoint lost", truncated, checkpoints[6], ErrShort)
	check("not a checkpoint", whole, []byte("x"), ErrCheckpoint)

	// The key signs another history.
	for name := range whole {
		if err := os.Remove(filepath.Join(opt.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{eventsName, detailsName, hashesName} {
		writeFile(t, filepath.Join(opt.Dir, name), "")
	}
	mustCreate(t, opt)
	l = mustOpen(t, opt)
	mustAppend(t, l, eventSeries(1, 12)...)
	mustVerify(t, l)
	if err := l.CheckAgainst(ctx, checkpoints[8]); !errors.Is(err, ErrDiverged) {
		t.Errorf("another history: %v", err)
	}
	other, _ := newLedger(t)
	if err := other.CheckAgainst(ctx, checkpoints[8]); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("another ledger: %v", err)
	}
}
