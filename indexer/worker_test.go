package indexer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/mailparse"
)

func TestMessageInTwoMailboxesIsOneHitWithBoth(t *testing.T) {
	a := sample()
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	message := strings.ReplaceAll(a.messages[id("alice")], "\r\n", "\n")
	a.put("alice", "archive", message)
	r.catchUp()
	r.want(map[string]string{
		"jumps":                          "alice",
		"mailbox:archive":                "alice",
		"mailbox:sales jumps":            "alice",
		"mailbox:sales":                  "alice bob",
		"-mailbox:archive mailbox:sales": "bob",
	})
	if r.Count() != 5 {
		t.Errorf("%d documents", r.Count())
	}
	res, err := r.Search(t.Context(), Request{Query: "jumps"})
	if err != nil || !res.Hits[0].Received.Equal(received) {
		t.Errorf("received is not that of the first deposit: %+v, %v", res, err)
	}
}

func TestWorkerStopsAndGoesOnAnywhere(t *testing.T) {
	dir, a := t.TempDir(), newMemory()
	var want []string
	for round := range 5 {
		for i := range 40 {
			// Every tenth message is deposited again: its new index is far behind its first.
			a.put(fmt.Sprint("r", round, "m", i), "box", fmt.Sprintf("Subject: s\n\nround%d number%d\n", round, i))
			if i%10 == 0 {
				a.put(fmt.Sprint("r0m", i), fmt.Sprint("again", round), fmt.Sprintf("Subject: s\n\nround0 number%d\n", i))
			}
			want = append(want, fmt.Sprint("r", round, "m", i))
		}
		// Tiny batches, so that listings are cut.
		start(t, dir, a, WorkerOptions{BatchMessages: 7, BatchTextBytes: 40, Parsers: 3}).catchUp().stop()
	}
	x, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var got []string
	if err := x.Each(t.Context(), "*", nil, func(id string) error { got = append(got, name(id)); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d messages in the index, want %d", len(got), len(want))
	}
	for round := range 5 {
		if res, err := x.Search(t.Context(), Request{Query: fmt.Sprint("mailbox:again", round)}); err != nil || res.Total != 4 {
			t.Errorf("round %d: %+v, %v", round, res, err)
		}
	}
}

func TestUnreadableMessageIsFoundByWhatIsKnown(t *testing.T) {
	a := sample()
	a.broken[id("bob")] = errors.New("volume 3: damaged")
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"is:partial":    "bob",
		"mailbox:sales": "alice bob",
		"quick":         "alice",
		"received:2024": "alice bob broken carol kanji",
	})
	if s := a.described[id("bob")]; !slices.Equal(s.Flags, []string{mailparse.FlagPartial, mailparse.FlagUnclear}) {
		t.Errorf("summary %+v", s)
	}
}

// torn is an archive whose messages end in an error.
type torn struct{ *memory }

func (a torn) OpenMessage(ctx context.Context, id string) (io.ReadCloser, error) {
	body, err := a.memory.OpenMessage(ctx, id)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(body, failing{}), body}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("checksum of the frame is wrong") }

func TestTornMessageIsIndexedAsFarAsItGoes(t *testing.T) {
	a := sample()
	w := NewWorker(&Index{opts: Options{Location: time.UTC}}, torn{a}, nil, WorkerOptions{})
	items, err := a.Since(t.Context(), -1, 1)
	if err != nil {
		t.Fatal(err)
	}
	e := w.read(t.Context(), items[0])
	if e.summary.Subject != "Quarterly report" || !slices.Contains(e.summary.Flags, mailparse.FlagPartial) || !strings.Contains(e.text, "quick brown") {
		t.Errorf("%+v", e.summary)
	}
}

func TestSummariesReachTheArchive(t *testing.T) {
	a := sample()
	start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	want := archive.Summary{
		Parser:      mailparse.Version,
		Date:        time.Date(2024, 2, 29, 22, 30, 0, 0, time.UTC),
		From:        "Carol <carol@sub.example.org>",
		To:          `"Doe, John" <john.doe@example.com>, team@example.com`,
		Cc:          "dave@example.net",
		Subject:     "Photos",
		Attachments: []string{"Annual-Report 2023.pdf", "notes.txt"},
	}
	got := a.described[id("carol")]
	got.Flags = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// flaky fails the first calls of Since and Describe.
type flaky struct {
	*memory
	failures chan error
}

func (a flaky) Since(ctx context.Context, after int64, limit int) ([]archive.Indexable, error) {
	select {
	case err := <-a.failures:
		return nil, err
	default:
		return a.memory.Since(ctx, after, limit)
	}
}

func TestSummariesThatTheArchiveLostAreMadeAgain(t *testing.T) {
	dir, a := t.TempDir(), sample()
	start(t, dir, a, WorkerOptions{}).catchUp().stop()
	want := a.described
	a.described = map[string]archive.Summary{}
	r := start(t, dir, a, WorkerOptions{BatchMessages: 2})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for described := 0; described < len(want); {
		select {
		case <-tick.C:
			a.mu.Lock()
			described = len(a.described)
			a.mu.Unlock()
		case <-time.After(30 * time.Second):
			t.Fatal("not described again")
		}
	}
	r.stop()
	if !reflect.DeepEqual(a.described, want) {
		t.Errorf("described %+v, want %+v", a.described, want)
	}
}

func TestWorkerTriesAgainAfterAFailure(t *testing.T) {
	x, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	a := flaky{sample(), make(chan error, 1)}
	a.failures <- errors.New("catalog is locked")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewWorker(x, a, nil, WorkerOptions{}).Run(ctx) }()
	if err := x.Wait(t.Context(), a.last()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := x.Wait(ctx, 1000); !errors.Is(err, ctx.Err()) {
		t.Errorf("Wait with a cancelled context: %v", err)
	}
}

func TestRunEndsWhenTheIndexIsClosed(t *testing.T) {
	x, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := NewWorker(x, newMemory(), nil, WorkerOptions{}).Run(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Run: %v", err)
	}
	if err := x.Wait(t.Context(), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
}

func TestSearchGoesOnWhileMessagesAreIndexed(t *testing.T) {
	a := newMemory()
	for i := range 200 {
		a.put(fmt.Sprint("m", i), "box", "Subject: s\n\nhello\n")
	}
	r := start(t, t.TempDir(), a, WorkerOptions{BatchMessages: 10})
	var last uint64
	for r.Position() < a.last() {
		res, err := r.Search(t.Context(), Request{Query: "hello"})
		if err != nil {
			t.Fatal(err)
		}
		if res.Total < last {
			t.Fatalf("%d hits after %d", res.Total, last)
		}
		last = res.Total
	}
	if got, err := r.Search(t.Context(), Request{Query: "hello", Limit: 1}); err != nil || got.Total != 200 {
		t.Errorf("%+v, %v", got, err)
	}
}

// only is the directory of the only generation.
func (r *running) only() string {
	r.t.Helper()
	all, err := r.Generations()
	if err != nil || len(all) != 1 {
		r.t.Fatal(all, err)
	}
	return all[0].Dir
}

// TestNothingIsReadInAnotherWayUnannounced: what holds and rules find is noted by the index as it was, and as long as that fails it stays
// so.
func TestNothingIsReadInAnotherWayUnannounced(t *testing.T) {
	dir, a := t.TempDir(), sample()
	r := start(t, dir, a, WorkerOptions{}).complete()
	made := filepath.Join(dir, r.only())
	r.stop()
	data, err := json.Marshal(manifest{formatVersion, mappingVersion - 1, received})
	if err == nil {
		err = os.WriteFile(filepath.Join(made, generationFile), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	failures, found := 2, []string{}
	called := make(chan struct{}, 10)
	opts := WorkerOptions{Interval: time.Millisecond}
	opts.Rereading = func(ctx context.Context) error {
		defer func() { called <- struct{}{} }()
		if failures--; failures >= 0 {
			return errors.New("the ledger is busy")
		}
		names, err := filepath.Glob(filepath.Join(dir, generationPrefix+"*"))
		if err != nil || len(names) != 1 || names[0] != made {
			t.Errorf("generations %v, %v", names, err)
		}
		found = append(found, "once")
		return nil
	}
	r = start(t, dir, a, opts)
	for range 3 {
		<-called
	}
	r.rebuilt()
	if now := r.only(); len(found) != 1 || now == filepath.Base(made) {
		t.Errorf("announced %d times, generation %s", len(found), now)
	}
	r.stop()
	r = start(t, dir, a, WorkerOptions{Rereading: func(context.Context) error { t.Error("announced without need"); return nil }}).complete()
	r.stop()
}

// TestAReadOnlyArchiveKeepsItsIndex: where nobody can note what is found, nothing is read in another way.
func TestAReadOnlyArchiveKeepsItsIndex(t *testing.T) {
	dir, a := t.TempDir(), sample()
	r := start(t, dir, a, WorkerOptions{}).complete()
	made := filepath.Join(dir, r.only())
	r.stop()
	data, err := json.Marshal(manifest{formatVersion, mappingVersion - 1, received})
	if err == nil {
		err = os.WriteFile(filepath.Join(made, generationFile), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.put("later", "box", mail("a@x.example", "b@x.example", "Mon, 1 Jan 2024 10:00:00 +0000", "later", "text"))
	r = start(t, dir, a, WorkerOptions{Rereading: func(context.Context) error { return archive.ErrReadOnly }}).catchUp()
	defer r.stop()
	if got := r.find("subject:later"); got != "later" || r.only() != filepath.Base(made) {
		t.Errorf("found %q in %s", got, r.only())
	}
}
