package indexer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// small makes generations of ten messages.
var small = WorkerOptions{RollDocuments: 10, BatchMessages: 5, BatchTextBytes: 1 << 20, Parsers: 2, Gather: time.Millisecond}

// numbered fills an archive with n messages, each with a word of its own; every
// fourth one is deposited again later on.
func numbered(a *memory, from, n int) {
	for i := from; i < from+n; i++ {
		a.put(fmt.Sprint("m", i), "box", fmt.Sprintf("Subject: common\n\nword%d shared\n", i))
		if i%4 == 3 {
			a.put(fmt.Sprint("m", i/2), fmt.Sprint("again", i/2), fmt.Sprintf("Subject: common\n\nword%d shared\n", i/2))
		}
	}
}

// whole checks that each of n numbered messages is found once, where it was put last.
func (r *running) whole(n int) {
	r.t.Helper()
	res, err := r.Search(r.t.Context(), Request{Query: "shared", Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	if res.Total != uint64(n) || len(res.Hits) != n || res.Partial {
		r.t.Fatalf("%d of %d messages are found, %d in the list, partial: %q", res.Total, n, len(res.Hits), res.PartialReason)
	}
	for i := range n {
		want := fmt.Sprint("m", i)
		if got := r.find(fmt.Sprint("word", i)); got != want {
			r.t.Errorf("word%d finds %q", i, got)
		}
	}
	for i := 3; i < n; i += 4 {
		if got, want := r.find(fmt.Sprint("mailbox:again", i/2)), fmt.Sprint("m", i/2); got != want {
			r.t.Errorf("mailbox:again%d finds %q", i/2, got)
		}
	}
}

func TestIndexRollsAndUpdatesGoToTheGenerationThatHasTheMessage(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 42)
	r := start(t, dir, a, small).catchUp().complete()
	r.whole(42)
	gens, err := r.Generations()
	if err != nil {
		t.Fatal(err)
	}
	var docs uint64
	for i, g := range gens {
		docs += g.Documents
		if i < len(gens)-1 && (g.Documents < 10 || g.Documents > 15) {
			t.Errorf("generation %d has %d documents", i, g.Documents)
		}
	}
	if len(gens) < 4 || docs != 42 || r.Count() != 42 {
		t.Errorf("%d documents in %d generations: %+v", docs, len(gens), gens)
	}
	numbered(a, 42, 30)
	r.catchUp().whole(72)
	r.stop()
	start(t, dir, a, small).catchUp().whole(72)
}

func TestIndexGoesOnFromEveryStateThatACrashLeaves(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 60)
	x, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// The directory is copied in the midst of every batch: what is there then is
	// what a killed process leaves.
	steps := 0
	var copies []string
	w := &builder{Worker: NewWorker(x, a, nil, small)}
	err = w.run(t.Context(), listing{after: -1, upTo: open, keep: w.wanted}, func(ctx context.Context, part batch) error {
		for i, step := range []func() error{
			func() error { return x.commit(ctx, batch{entries: part.entries, position: part.position - 1}) }, // as if only the older ones were done
			func() error { return x.commit(ctx, part) },
			func() error { return x.roll(small.RollDocuments) },
		} {
			if i == 2 && !part.whole {
				continue
			}
			if err := step(); err != nil {
				return err
			}
			if steps++; steps%4 == 0 {
				dead, err := copied(t, dir)
				if err != nil {
					return err
				}
				copies = append(copies, dead)
			}
		}
		return nil
	})
	if err != nil || steps < 20 {
		t.Errorf("%d steps: %v", steps, err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	for _, dead := range copies {
		r := start(t, dead, a, small).catchUp().complete()
		r.whole(60)
		r.stop()
	}
}

// copied copies an index that is open: again, where Bleve removes a merged file meanwhile.
func copied(t *testing.T, dir string) (dead string, err error) {
	for range 20 {
		dead = t.TempDir()
		if err = os.CopyFS(dead, os.DirFS(dir)); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return dead, err
}

func TestDamagedGenerationIsRebuiltAloneWhileTheOthersAnswer(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 42)
	start(t, dir, a, small).catchUp().complete().stop()
	overwrite(t, filepath.Join(dir, "gen-000002", bleveDir, "store", "root.bolt"))
	clear(a.opened)

	x, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	res, err := x.Search(t.Context(), Request{Query: "shared"})
	if err != nil || !res.Partial || !strings.Contains(res.PartialReason, "being rebuilt") || res.Total < 25 || res.Total > 32 {
		t.Errorf("before the rebuild: %+v, %v", res, err)
	}
	if last := a.last(); x.Position() >= last {
		t.Errorf("position %d of %d with a part missing", x.Position(), last)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, a, small).catchUp()
	r.whole(42)
	if len(a.opened) > 20 {
		t.Errorf("%d messages were read again for one generation", len(a.opened))
	}
	if got := list(t, dir); !strings.Contains(got, "gen-000002.damaged") {
		t.Errorf("directories: %s", got)
	}
}

func TestFailedGenerationIsRebuiltWhileTheOthersAnswer(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 42)
	r := start(t, dir, a, small).catchUp().complete()
	asyncErrors.report(fmt.Errorf("merger panicked"), filepath.Join(dir, "gen-000001", bleveDir, "store"))
	r.until(func() bool { return !strings.Contains(" "+list(t, dir)+" ", " gen-000001 ") })
	r.catchUp().whole(42)
}

// until waits for a condition that the worker brings about.
func (r *running) until(done func() bool) {
	r.t.Helper()
	timeout := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			r.t.Fatal("it did not happen")
		}
	}
}

func TestRebuildReplacesEveryGenerationWhileSearchesGoOn(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 42)
	r := start(t, dir, a, small).catchUp().complete()
	before := list(t, dir)
	done := make(chan error, 1)
	go func() { done <- r.Rebuild(t.Context()) }()
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		r.whole(42)
	}
	numbered(a, 42, 10)
	r.catchUp().whole(52)
	for _, name := range strings.Fields(before) {
		if strings.HasPrefix(name, generationPrefix) && strings.Contains(list(t, dir)+" ", name+" ") {
			t.Errorf("%s is still there: %s", name, list(t, dir))
		}
	}
}

func TestGenerationOfAnOlderAnalysisAnswersUntilItIsRebuilt(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 42)
	start(t, dir, a, small).catchUp().complete().stop()
	for _, name := range []string{"gen-000001", "gen-000003"} {
		data, err := json.Marshal(manifest{Format: formatVersion, Mapping: mappingVersion - 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, generationFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	(&running{Index: x, t: t, a: a}).whole(42)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, a, small)
	r.until(func() bool {
		l := list(t, dir)
		return !strings.Contains(l, "gen-000001") && !strings.Contains(l, "gen-000003")
	})
	r.whole(42)
	r.stop()
	for _, m := range manifests(t, dir) {
		if m.Mapping != mappingVersion {
			t.Errorf("mapping %d is left", m.Mapping)
		}
	}
}

func manifests(t *testing.T, dir string) (all []manifest) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, generationPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		m, err := readManifest(d)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// holding returns the files under dir with a word in them, also where it is
// in a zstd frame or in the names of Bleve's dictionaries.
func holding(t *testing.T, dir, word string) (files []string) {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	// A segment that is merged away meanwhile is gone, and the new one may not have been seen: look again.
	err = fs.ErrNotExist
	for errors.Is(err, fs.ErrNotExist) && t.Context().Err() == nil {
		files, err = readHolding(dir, word, dec)
	}
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readHolding(dir, word string, dec *zstd.Decoder) (files []string, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if filepath.Base(name) == snippetsName {
			if data, err = dec.DecodeAll(data, nil); err != nil {
				return err
			}
		}
		if bytes.Contains(data, []byte(word)) {
			files = append(files, name)
		}
		return nil
	})
	return files, err
}

// holders returns what of the index knows a word: files, and dictionaries.
func (r *running) holders(word string) []string {
	r.t.Helper()
	found := holding(r.t, r.opts.Dir, word)
	for _, s := range r.slots {
		reader, err := s.gen.reader()
		if err != nil {
			r.t.Fatal(err)
		}
		for _, field := range []string{fieldBody, fieldSubject, fieldMessageID, "_id"} {
			dict, err := reader.FieldDict(field)
			if err != nil {
				r.t.Fatal(err)
			}
			for e, err := dict.Next(); e != nil; e, err = dict.Next() {
				if err != nil {
					r.t.Fatal(err)
				}
				if strings.Contains(e.Term, word) {
					found = append(found, s.gen.dir+" "+field)
				}
			}
			if err := dict.Close(); err != nil {
				r.t.Fatal(err)
			}
		}
		if err := reader.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	return found
}

func TestPurgeLeavesNothingInAnyFile(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 15)
	a.put("secret", "box", mail("x@example.com", "y@example.com", "Mon, 1 Jan 2024 10:00:00 +0000", "canarysubject", "canarybody shared"))
	numbered(a, 15, 20)
	a.put("secret", "other", mail("x@example.com", "y@example.com", "Mon, 1 Jan 2024 10:00:00 +0000", "canarysubject", "canarybody shared"))
	a.put("late", "box", mail("x@example.com", "y@example.com", "Mon, 1 Jan 2024 10:00:00 +0000", "canarylate", "canarybody shared"))
	r := start(t, dir, a, small).catchUp().complete()
	words := []string{"canarysubject", "canarybody", id("secret"), "canarylate", id("late")}
	for _, w := range words {
		if len(r.holders(w)) == 0 {
			t.Fatalf("%s is not there in the first place", w)
		}
	}
	if got := r.find("canarybody"); got != "late secret" {
		t.Fatalf("canarybody finds %s", got)
	}
	// The archive still lists them, and cannot read them any more.
	a.broken[id("secret")], a.broken[id("late")] = fs.ErrNotExist, fs.ErrNotExist
	if err := r.Purge(t.Context(), []string{id("secret"), id("late"), id("never")}); err != nil {
		t.Fatal(err)
	}
	for _, w := range words {
		if where := r.holders(w); len(where) > 0 {
			t.Errorf("%s is left in %v", w, where)
		}
	}
	r.want(map[string]string{"canarybody": "", "mailbox:other": "", "is:partial": ""})
	numbered(a, 35, 10)
	r.catchUp().whole(45)

	// What is deposited anew after that is found again.
	delete(a.broken, id("secret"))
	a.mu.Lock()
	a.deposits = slices.Clone(a.deposits)
	for i := range a.deposits {
		if a.deposits[i].ID == id("secret") || a.deposits[i].ID == id("late") {
			a.deposits[i].ID = id("gone")
		}
	}
	a.messages[id("gone")] = ""
	a.mu.Unlock()
	a.put("secret", "box", mail("x@example.com", "y@example.com", "Mon, 1 Jan 2024 10:00:00 +0000", "canarysubject", "canarybody"))
	r.catchUp().want(map[string]string{"canarybody": "secret"})
}

func TestInterruptedPurgeIsFinishedByTheNextProcess(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	numbered(a, 0, 30)
	start(t, dir, a, small).catchUp().complete().stop()
	x, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// As far as it gets without a rebuild.
	if err := x.markPurged(t.Context(), []string{id("m5")}); err != nil {
		t.Fatal(err)
	}
	if res, err := x.Search(t.Context(), Request{Query: "word5"}); err != nil || res.Total != 0 {
		t.Errorf("a message to be purged is found: %+v, %v", res, err)
	}
	if len(holding(t, dir, "word5")) == 0 {
		t.Error("deleting alone removes the words: then there is nothing to test")
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	for i := range a.deposits { // the archive has forgotten it
		if a.deposits[i].ID == id("m5") {
			a.deposits[i].ID = id("m4")
		}
	}
	a.mu.Unlock()
	r := start(t, dir, a, small)
	if err := r.Purge(t.Context(), []string{id("m5")}); err != nil {
		t.Fatal(err)
	}
	if where := append(r.holders("word5"), r.holders(id("m5"))...); len(where) > 0 {
		t.Errorf("left in %v", where)
	}
}

func TestDamagedListOfGenerationsMeansARebuild(t *testing.T) {
	for _, content := range []string{"", "{", `{"format":2}`, `{"format":2,"slots":[{"first":0,"last":-1,"dir":"../x"}]}`,
		`{"format":2,"slots":[{"first":0,"last":9,"dir":"gen-000001"},{"first":11,"last":-1,"dir":"gen-000002"}]}`} {
		dir, a := t.TempDir(), newMemory()
		numbered(a, 0, 25)
		start(t, dir, a, small).catchUp().complete().stop()
		if err := os.WriteFile(filepath.Join(dir, slotsFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		start(t, dir, a, small).catchUp().complete().whole(25)
	}
}

func TestMergedGenerationIsOneSegmentWithEverything(t *testing.T) {
	a := newMemory()
	numbered(a, 0, 42)
	r := start(t, t.TempDir(), a, WorkerOptions{RollDocuments: 40, BatchMessages: 4}).catchUp().complete()
	closed := r.slots[0].gen
	closed.mergeDown(t.Context()) // which gives up where the worker is at it already
	r.until(func() bool { return closed.segments() == 1 })
	r.whole(42)
}
