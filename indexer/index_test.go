package indexer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer/query"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Bleve starts these when the program starts and never ends them.
		goleak.IgnoreAnyFunction("github.com/blevesearch/bleve_index_api.AnalysisWorker"))
}

// memory is an archive in memory. The ledger index of a deposit is its place
// in deposits.
type memory struct {
	mu        sync.Mutex
	messages  map[string]string
	deposits  []archive.Indexable // one mailbox each
	described map[string]archive.Summary
	opened    map[string]int
	broken    map[string]error
	full      error // of Describe
}

func newMemory() *memory {
	return &memory{messages: map[string]string{}, described: map[string]archive.Summary{}, opened: map[string]int{}, broken: map[string]error{}}
}

var received = time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)

// id returns an id of the right length, for a name of at most 10 letters.
func id(name string) string {
	return fmt.Sprintf("%064x", name)
}

// name is the reverse of id.
func name(id string) string {
	var b []byte
	if _, err := fmt.Sscanf(strings.TrimLeft(id, "0"), "%x", &b); err != nil {
		return id
	}
	return string(b)
}

// put deposits a message into a mailbox. Every deposit is a minute after the
// one before it.
func (a *memory) put(name, mailbox, message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.deposits)
	a.messages[id(name)] = strings.ReplaceAll(message, "\n", "\r\n")
	a.deposits = append(a.deposits, archive.Indexable{
		ID: id(name), Size: int64(len(message)), Received: received.Add(time.Duration(n) * time.Minute),
		Mailboxes: []string{mailbox}, Index: int64(n),
	})
}

func (a *memory) Since(_ context.Context, after int64, limit int) ([]archive.Indexable, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := map[string]int{}
	var out []archive.Indexable
	for _, d := range a.deposits[min(int(after+1), len(a.deposits)):min(int(after)+1+limit, len(a.deposits))] {
		if i, ok := at[d.ID]; ok {
			out[i].Index = d.Index
			continue
		}
		at[d.ID] = len(out)
		all := archive.Indexable{ID: d.ID, Size: d.Size, Index: d.Index, First: -1}
		for _, other := range a.deposits {
			if other.ID == d.ID {
				if all.First < 0 {
					all.First = other.Index
				}
				all.Mailboxes = append(all.Mailboxes, other.Mailboxes...)
				all.Deposits = append(all.Deposits, archive.Arrival{Mailbox: other.Mailboxes[0], Received: other.Received, Index: other.Index})
				if all.Received.IsZero() {
					all.Received = other.Received
				}
			}
		}
		out = append(out, all)
	}
	return out, nil
}

func (a *memory) OpenMessage(_ context.Context, id string) (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.broken[id]; err != nil {
		return nil, err
	}
	a.opened[id]++
	return io.NopCloser(strings.NewReader(a.messages[id])), nil
}

func (a *memory) Describe(_ context.Context, descriptions []archive.Description) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full != nil {
		return a.full
	}
	for _, d := range descriptions {
		a.described[d.ID] = d.Summary
	}
	return nil
}

func (a *memory) Undescribed(ctx context.Context, limit int) ([]archive.Indexable, error) {
	all, err := a.Since(ctx, -1, int(a.last()+1))
	a.mu.Lock()
	defer a.mu.Unlock()
	all = slices.DeleteFunc(all, func(i archive.Indexable) bool {
		_, ok := a.described[i.ID]
		return ok
	})
	return all[:min(limit, len(all))], err
}

// Live is everything that was put.
func (a *memory) Live(context.Context) (archive.Live, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	live := archive.Live{Last: int64(len(a.deposits)) - 1, Settled: true}
	for _, d := range a.deposits {
		live.Deposits.Add(d.Index, d.ID, d.Mailboxes[0])
	}
	return live, nil
}

func (a *memory) LastDeposit(context.Context) (int64, error) { return a.last(), nil }

func (a *memory) last() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(len(a.deposits)) - 1
}

// running is an index with its worker.
type running struct {
	*Index
	t    *testing.T
	a    *memory
	wake chan struct{}
	stop func()
}

// start opens the index in dir and runs a worker until stop or the end of the
// test.
func start(t *testing.T, dir string, a *memory, opts WorkerOptions) *running {
	t.Helper()
	x, err := Open(t.Context(), Options{Dir: dir, Location: time.UTC, Now: func() time.Time { return received }})
	if err != nil {
		t.Fatal(err)
	}
	if opts.Extractor == nil {
		opts.Extractor = noText{} // Off is for those that ask for it
	}
	r := &running{Index: x, t: t, a: a, wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewWorker(x, a, r.wake, opts).Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, x.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// catchUp waits until everything in the archive is in the index.
func (r *running) catchUp() *running {
	r.t.Helper()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Wait(ctx, r.a.last()); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// complete waits until the index knows that it is complete.
func (r *running) complete() *running {
	r.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		s, moved, err := r.current()
		if err != nil {
			r.t.Fatal(err)
		}
		if s.Complete {
			return r
		}
		select {
		case <-moved:
		case <-timeout:
			r.t.Fatal("the index did not become complete")
		}
	}
}

// rebuilt waits until no part is of another reading or to be built anew.
func (r *running) rebuilt() {
	r.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		_, moved, err := r.current()
		if err != nil {
			r.t.Fatal(err)
		}
		pending := false
		if err := r.use(func(slots []*slot) error {
			for _, s := range slots {
				pending = pending || s.rebuild || s.gen.state.Load().Unread
			}
			return nil
		}); err != nil {
			r.t.Fatal(err)
		}
		if !pending {
			return
		}
		select {
		case <-moved:
		case <-timeout:
			r.t.Fatal("the index was not rebuilt")
		}
	}
}

// find returns the names of the messages that q finds, by name.
func (r *running) find(q string) string {
	r.t.Helper()
	res, err := r.Search(r.t.Context(), Request{Query: q})
	if err != nil {
		r.t.Fatalf("search %s: %v", q, err)
	}
	var names []string
	for _, h := range res.Hits {
		names = append(names, name(h.ID))
	}
	if res.Total != uint64(len(names)) {
		r.t.Errorf("search %s: total %d of %d hits", q, res.Total, len(names))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (r *running) want(table map[string]string) {
	r.t.Helper()
	for q, want := range table {
		if got := r.find(q); got != want {
			r.t.Errorf("%s finds %q, want %q", q, got, want)
		}
	}
}

func mail(from, to, date, subject, body string) string {
	return "From: " + from + "\nTo: " + to + "\nDate: " + date + "\nSubject: " + subject +
		"\nMessage-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@Mail.Example>\n" +
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" + body + "\n"
}

const withAttachment = `From: Carol <carol@sub.example.org>
To: "Doe, John" <john.doe@example.com>, team@example.com
Cc: dave@example.net
Bcc: secret@example.net
Date: Fri, 1 Mar 2024 00:30:00 +0200
Subject: Photos
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain; charset=utf-8

see the files
--b
Content-Type: application/pdf; name="Annual-Report 2023.pdf"
Content-Disposition: attachment; filename="Annual-Report 2023.pdf"
Content-Transfer-Encoding: base64

JVBERg==
--b
Content-Type: text/plain; name=notes.txt
Content-Disposition: attachment; filename=notes.txt

pineapple
--b--
`

// sample fills an archive with mail for searching.
func sample() *memory {
	a := newMemory()
	a.put("alice", "sales", mail("Alice Liddell <alice@example.com>", "bob@example.org", "Thu, 29 Feb 2024 23:30:00 +0000",
		"Quarterly report", "The quick brown fox jumps.\nVersion v2.6.3 was released, ask foo@bar.com."))
	a.put("bob", "sales", mail("bob@example.org", "alice@example.com", "Mon, 15 Apr 2024 08:00:00 +0000",
		"Re: Quarterly report", "A brown quick fox. Größe und Übung, naïve café."))
	a.put("carol", "support", withAttachment)
	a.put("kanji", "support", mail("=?utf-8?B?55Sw5Lit?= <tanaka@example.co.jp>", "bob@example.org", "Tue, 01 Jan 2019 00:00:00 +0900",
		"=?utf-8?B?5p2x5Lqs6YO9?=", "東京都は日本の首都です。 大阪 test"))
	a.put("broken", "Support Team", "no header at all\n\nzebra")
	return a
}

func TestSearchFindsWhatTheLanguageSays(t *testing.T) {
	r := start(t, t.TempDir(), sample(), WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"*":                                     "alice bob broken carol kanji",
		"quick":                                 "alice bob",
		"QUICK fox":                             "alice bob",
		`"quick brown"`:                         "alice",
		`"brown quick"`:                         "bob",
		"quick -jumps":                          "bob",
		"nosuchword -jumps":                     "",
		"nosuch* -jumps":                        "",
		"-quick":                                "broken carol kanji",
		"NOT (quick OR zebra)":                  "carol kanji",
		"jumps OR zebra":                        "alice broken",
		"quick OR -quick":                       "alice bob broken carol kanji",
		"(jumps OR zebra) brown":                "alice",
		"ju* OR z?bra":                          "alice broken",
		"*umps":                                 "alice",
		"grosse UBUNG":                          "bob",
		"Größe":                                 "bob",
		"naive cafe":                            "bob",
		"v2.6.3":                                "alice",
		"v2.6*":                                 "alice",
		"v3.6.2":                                "",
		"foo@bar.com":                           "alice",
		"bar@foo.com":                           "",
		"foo@bar.c?m":                           "alice",
		"subject:report":                        "alice bob",
		"subject:fox":                           "",
		`subject:"re quarterly"`:                "bob",
		"body:fox":                              "alice bob",
		"body:report":                           "",
		"filename:report":                       "carol",
		"report":                                "alice bob carol",
		`"report 2023"`:                         "carol",
		"filename:*.pdf":                        "carol",
		"filename:*.doc":                        "",
		`filename:"annual-report 2023.pdf"`:     "carol",
		"attachment:pineapple":                  "carol",
		"attachment:notes":                      "carol",
		"pineapple":                             "carol",
		"has:attachment":                        "carol",
		"-has:attachment":                       "alice bob broken kanji",
		"is:malformed zebra":                    "broken",
		"zebra":                                 "broken",
		"mailbox:sales":                         "alice bob",
		"mailbox:SUPPORT":                       "carol kanji",
		`mailbox:"support team"`:                "broken",
		"mailbox:supp*":                         "broken carol kanji",
		"msgid:Quarterly.report@mail.example":   "alice",
		"msgid:<quarterly.report@mail.example>": "alice",
		"msgid:*report@mail.example":            "alice bob",
		"size:>600":                             "carol",
		"size:<=600":                            "alice bob broken kanji",
		"size:<1k size:>=300":                   "alice bob carol kanji",
	})
}

func TestAddressesAreFoundByEveryPartOfThem(t *testing.T) {
	r := start(t, t.TempDir(), sample(), WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"from:alice":               "alice",
		"from:liddell":             "alice",
		`from:"alice liddell"`:     "alice",
		`from:"liddell alice"`:     "",
		"from:Alice@Example.COM":   "alice",
		"from:alice@example":       "",
		"from:<alice@example.com>": "alice",
		"from:@example.com":        "alice",
		"from:example.com":         "alice",
		"from:ali*":                "alice",
		"from:*@example.com":       "alice",
		"from:example.org":         "bob carol",
		"from:sub.example.org":     "carol",
		"from:sub":                 "carol",
		"from:example":             "alice bob carol kanji",
		"from:example.co":          "",
		"to:john.doe":              "carol",
		"to:john":                  "carol",
		`to:"john doe"`:            "carol",
		`to:"doe, john"`:           "carol",
		`to:"example.com team"`:    "",
		"to:john.doe@example.com":  "carol",
		"cc:dave bcc:secret":       "carol",
		"to:dave":                  "",
		"participant:dave":         "carol",
		"participant:alice":        "alice bob",
		"dave":                     "carol",
		"secret@example.net":       "carol",
		"from:(bob OR tanaka)":     "bob kanji",
		"from:田中":                  "kanji",
	})
}

func TestDatesAreDaysOfTheTimeZone(t *testing.T) {
	a := sample()
	dir := t.TempDir()
	start(t, dir, a, WorkerOptions{}).catchUp().stop()
	for zone, table := range map[*time.Location]map[string]string{
		time.UTC: {
			"date:2024-02-29":             "alice carol", // carol's is 22:30 UTC
			"date:2024-03-01":             "",
			"date:2024-02":                "alice carol",
			"date:2024":                   "alice bob broken carol", // broken has no date but that of receipt
			"date:2018":                   "kanji",
			"date:2024-03-01..2024-04-15": "bob",
			"date:..2019":                 "kanji",
			"before:2024-02-29":           "kanji",
			"after:2024-04-15":            "bob broken",
			"date:2024 -date:2024-02":     "bob broken",
			"date:7w":                     "bob broken",
			"date:46d..":                  "broken",
			"before:7w":                   "alice carol kanji",
			"received:2024-06-01":         "alice bob broken carol kanji",
			"received:2024-05":            "",
		},
		time.FixedZone("", 2*60*60): {
			"date:2024-02-29": "",
			"date:2024-03-01": "alice carol",
		},
		time.FixedZone("", 9*60*60): {
			"date:2018": "",
			"date:2019": "kanji",
		},
		time.FixedZone("", 13*60*60): {
			"received:2024-06-01": "",
			"received:2024-06-02": "alice bob broken carol kanji",
		},
	} {
		x, err := Open(t.Context(), Options{Dir: dir, Location: zone, Now: func() time.Time { return received }})
		if err != nil {
			t.Fatal(err)
		}
		(&running{Index: x, t: t}).want(table)
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCJKTextIsFoundWithoutSpaces(t *testing.T) {
	r := start(t, t.TempDir(), sample(), WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"東京":         "kanji",
		"京都":         "kanji", // by characters, not by meaning
		"東京都":        "kanji",
		"首都":         "kanji",
		"日本の首都":      "kanji",
		"日本首都":       "",
		"本":          "kanji",
		"阪":          "kanji",
		"鉄":          "",
		`"大阪 test"`:  "kanji",
		`"阪 test"`:   "kanji",
		`"大 test"`:   "",
		"subject:東京": "kanji",
	})
}

func TestSortOrdersPagesAndDates(t *testing.T) {
	a := newMemory()
	a.put("older", "m", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "one", "word word word"))
	a.put("newer", "m", mail("a@x", "b@x", "Tue, 2 Jan 2024 10:00:00 +0000", "two", "filler filler filler word"))
	a.put("undated", "m", "From: a@x\nSubject: word word\n\nword\n")
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp().complete()
	for sort, want := range map[Sort]string{
		"":            "undated newer older",
		SortNewest:    "undated newer older",
		SortOldest:    "older newer undated",
		SortRelevance: "undated older newer",
	} {
		var got []string
		for offset := range 3 {
			res, err := r.Search(t.Context(), Request{Query: "word", Sort: sort, Limit: 1, Offset: offset})
			if err != nil {
				t.Fatal(err)
			}
			if res.Total != 3 || len(res.Hits) != 1 || res.Partial {
				t.Fatalf("%s: %+v", sort, res)
			}
			got = append(got, name(res.Hits[0].ID))
			if (res.Hits[0].Score > 0) != (sort == SortRelevance) {
				t.Errorf("%s: score %v", sort, res.Hits[0].Score)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("sort %q: %s, want %s", sort, s, want)
		}
	}
	res, err := r.Search(t.Context(), Request{Query: "from:a", Sort: SortOldest})
	if err != nil {
		t.Fatal(err)
	}
	if d := res.Hits[0].Date; !d.Equal(time.Date(2024, 1, 1, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("date %s", d)
	}
	if h := res.Hits[2]; !h.Date.Equal(h.Received) || !h.Received.Equal(received.Add(2*time.Minute)) {
		t.Errorf("undated: %+v", h)
	}
}

func TestSearchRefusesWhatItCannotDo(t *testing.T) {
	a := newMemory()
	var words strings.Builder
	for i := range maxExpansions {
		fmt.Fprintf(&words, "w%05d ", i)
	}
	words.WriteString("wx")
	a.put("many", "m", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "s", words.String()))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()

	var tooMany *TooManyExpansionsError
	if _, err := r.Search(t.Context(), Request{Query: "w*"}); !errors.As(err, &tooMany) || tooMany.Words != maxExpansions+1 {
		t.Errorf("w*: %v", err)
	}
	if _, err := r.Search(t.Context(), Request{Query: "w0*.w1*"}); !errors.As(err, &tooMany) || tooMany.Limit != maxPhraseExpansions {
		t.Errorf("w0*.w1*: %v", err)
	}
	if _, err := r.Search(t.Context(), Request{Query: "body:(" + strings.Repeat("w??* -wx OR ", 4) + "w000*)"}); !errors.As(err, &tooMany) || tooMany.Limit != maxQueryExpansions {
		t.Errorf("many wildcards: %v", err)
	}
	started := time.Now()
	if _, err := r.Search(t.Context(), Request{Query: patterns(900)}); !errors.As(err, &tooMany) || !tooMany.LookedAt || tooMany.Limit != maxQueryLookups {
		t.Errorf("patterns for nothing: %v", err)
	} else if d := time.Since(started); d > 20*time.Second { // a second on a quiet machine
		t.Errorf("patterns for nothing are refused after %v", d)
	}
	if _, err := r.Explain(t.Context(), patterns(900)); !errors.As(err, &tooMany) || !tooMany.LookedAt {
		t.Errorf("explain patterns for nothing: %v", err)
	}
	if got := r.find("w0000*"); got != "many" {
		t.Errorf("w0000* finds %q", got)
	}
	var syntax *query.Error
	if _, err := r.Search(t.Context(), Request{Query: "a ("}); !errors.As(err, &syntax) || syntax.Column != 4 {
		t.Errorf("a (: %v", err)
	}
	for _, bad := range []Request{{Query: "a", Limit: -1}, {Query: "a", Limit: MaxLimit + 1}, {Query: "a", Offset: -1}, {Query: "a", Offset: MaxOffset + 1}, {Query: "a", Sort: "colour"}, {Query: "a", After: "x"}} {
		if _, err := r.Search(t.Context(), bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Search(ctx, Request{Query: "w00000"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled search: %v", err)
	}
}

// patterns makes a query of n patterns that no word fits.
func patterns(n int) string {
	b := []byte("body:(")
	for i := range n {
		b = fmt.Appendf(b, "*q%dq* ", i)
	}
	return string(b) + ")"
}

func TestEachYieldsEveryHitInTheOrderOfReceipt(t *testing.T) {
	a := newMemory()
	const n = 50
	for i := range n {
		a.put(fmt.Sprint("m", i), "box", "Subject: x\n\nhello\n")
	}
	a.put("other", "box", "Subject: x\n\nbye\n")
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	r.eachPage = 7
	i := 0
	err := r.Each(t.Context(), "hello", nil, func(got string) error {
		if want := fmt.Sprint("m", i); name(got) != want {
			t.Fatalf("number %d is %s", i, name(got))
		}
		i++
		return nil
	})
	if err != nil || i != n {
		t.Errorf("%d ids, want %d: %v", i, n, err)
	}
	stop := errors.New("enough")
	if err := r.Each(t.Context(), "*", nil, func(string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Each returns %v, want the error of fn", err)
	}
	if r.Count() != n+1 {
		t.Errorf("Count is %d", r.Count())
	}
}

func TestIndexIsAsItWasAfterReopening(t *testing.T) {
	dir, a := t.TempDir(), sample()
	r := start(t, dir, a, WorkerOptions{}).catchUp().complete()
	r.stop()
	for i := range a.opened {
		delete(a.opened, i)
	}
	a.put("late", "sales", mail("eve@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "late", "quick"))

	x, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if p := x.Position(); p != 4 {
		t.Errorf("position %d, want 4", p)
	}
	if res, err := x.Search(t.Context(), Request{Query: "quick"}); err != nil || res.Total != 2 || res.Partial {
		t.Errorf("%+v, %v", res, err)
	}
	if err := errors.Join(x.Close(), x.Close()); err != nil {
		t.Error(err)
	}
	if _, err := x.Search(t.Context(), Request{Query: "quick"}); !errors.Is(err, ErrClosed) {
		t.Errorf("search in a closed index: %v", err)
	}

	r = start(t, dir, a, WorkerOptions{}).catchUp()
	r.want(map[string]string{"quick": "alice bob late"})
	if len(a.opened) != 1 {
		t.Errorf("read again: %v", a.opened)
	}
}

func TestSecondProcessIsToldThatTheIndexIsInUse(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the lock")
	}
	dir := t.TempDir()
	start(t, dir, newMemory(), WorkerOptions{})
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "gen-000001", generationFile)); err != nil {
		t.Errorf("the index was moved: %v", err)
	}
}

func TestDamagedIndexIsRebuilt(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, gen string){
		"bolt": func(t *testing.T, gen string) {
			overwrite(t, filepath.Join(gen, bleveDir, "store", "root.bolt"))
		},
		"meta":       func(t *testing.T, gen string) { remove(t, filepath.Join(gen, bleveDir, "index_meta.json")) },
		"generation": func(t *testing.T, gen string) { overwrite(t, filepath.Join(gen, generationFile)) },
		"segments": func(t *testing.T, gen string) {
			files, err := filepath.Glob(filepath.Join(gen, bleveDir, "store", "*.zap"))
			if err != nil || len(files) == 0 {
				t.Fatal("no segments", err)
			}
			for _, f := range files {
				if err := os.Truncate(f, 10); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, a := t.TempDir(), sample()
			start(t, dir, a, WorkerOptions{}).catchUp().complete().stop()
			damage(t, filepath.Join(dir, "gen-000001"))

			x, err := Open(t.Context(), Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			res, err := x.Search(t.Context(), Request{Query: "quick"})
			if err != nil || !res.Partial || res.PartialReason == "" || x.Position() != -1 {
				t.Errorf("before the rebuild: %+v, position %d, %v", res, x.Position(), err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			r := start(t, dir, a, WorkerOptions{}).catchUp().complete()
			r.want(map[string]string{"quick": "alice bob"})
			if res, err := r.Search(t.Context(), Request{Query: "quick"}); err != nil || res.Partial {
				t.Errorf("after the rebuild: %+v, %v", res, err)
			}
			if got := list(t, dir); got != "gen-000001.damaged gen-000002 index.json" {
				t.Errorf("directories: %s", got)
			}
		})
	}
}

func TestIndexOfAnotherVersionAndHalfMadeOneGo(t *testing.T) {
	dir, a := t.TempDir(), sample()
	start(t, dir, a, WorkerOptions{}).catchUp().stop()
	file := filepath.Join(dir, "gen-000001", generationFile)
	if err := os.WriteFile(file, []byte(`{"format":1,"mapping":999}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "gen-000000", bleveDir), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, dir, a, WorkerOptions{}).catchUp().want(map[string]string{"zebra": "broken"})
	if got := list(t, dir); got != "gen-000001 index.json" {
		t.Errorf("directories: %s", got)
	}
	if m, err := readManifest(filepath.Join(dir, "gen-000001")); err != nil || m.Mapping != mappingVersion {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestFailedIndexIsRebuiltWhileRunning(t *testing.T) {
	dir, a := t.TempDir(), sample()
	r := start(t, dir, a, WorkerOptions{}).catchUp().complete()
	failed := r.slots[0].gen
	// What Bleve does when one of its goroutines dies.
	asyncErrors.report(errors.New("panic: for the test"), failed.storePath())
	a.put("late", "sales", mail("eve@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "late", "quick"))
	r.catchUp().complete().want(map[string]string{"quick": "alice bob late"})
	if got := list(t, dir); got != "gen-000001.damaged gen-000002 index.json" {
		t.Errorf("directories: %s", got)
	}
}

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func overwrite(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, bytes.Repeat([]byte("damage"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestAddressesAreFoundByWhatStandsBesideThemAndByEitherSpellingOfTheirDomains(t *testing.T) {
	a := newMemory()
	a.put("group", "m", "From: x@example.com (Robert Tables)\nTo: The Team: a@example.com, Bob (deputy) <b@example.com>;\nCc: Nobody:;\nSubject: first one\nSubject: second thing\n\ntext\n")
	a.put("ascii", "m", "From: Ann <ann@mail.xn--mnchen-3ya.de>\nTo: =?utf-8?q?xn--?= <b@xn--a>\n\ntext\n")
	a.put("utf8", "m", "From: Ann <ann@mail.münchen.de>\n\ntext\n")
	start(t, t.TempDir(), a, WorkerOptions{}).catchUp().want(map[string]string{
		"to:team": "group", "to:deputy": "group", "cc:nobody": "group", "from:team": "", "participant:nobody": "group", "from:tables": "group",
		"subject:second": "group", `subject:"one second"`: "", "subject:first": "group", "rcpt:deputy": "group",
		"from:münchen.de": "ascii utf8", "from:xn--mnchen-3ya.de": "ascii utf8", "from:ann@mail.münchen.de": "ascii utf8",
		"from:ann@mail.xn--mnchen-3ya.de": "ascii utf8", "from:@mail.Munchen.de": "ascii utf8", "from:*@*.münchen.de": "ascii utf8", "to:xn--a": "ascii",
	})
}
