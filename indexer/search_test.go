package indexer

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
)

// letter is a message as a test knows it, without asking the code under test.
type letter struct {
	id, sender, domain string
	date               time.Time
	size               int64
	topic              string
	pdf                bool
	root               string
	deposits           []archive.Arrival
}

var boxes = []string{"Sales", "support", "Ärger & Co"}

// letters fills an archive with n random messages in several generations.
func letters(t *testing.T, n int) (*running, []*letter) {
	a, random := newMemory(), rand.New(rand.NewPCG(1, 2))
	var all []*letter
	texts := map[*letter]string{}
	deposit := func(l *letter) {
		a.put(name(l.id), boxes[random.IntN(len(boxes))], texts[l])
		d := a.deposits[len(a.deposits)-1]
		l.deposits = append(l.deposits, archive.Arrival{Mailbox: d.Mailboxes[0], Received: d.Received})
	}
	for i := range n {
		l := &letter{
			id: id(fmt.Sprint("m", i)), sender: fmt.Sprint("person", random.IntN(9)), domain: fmt.Sprintf("d%d.example", random.IntN(5)),
			date:  time.Date(2019+random.IntN(4), time.Month(1+random.IntN(12)), 1+random.IntN(28), random.IntN(24), 0, 0, 0, time.UTC),
			topic: fmt.Sprint("topic", random.IntN(3)), pdf: random.IntN(3) == 0,
		}
		l.root = fmt.Sprintf("own%d@x", i)
		references := ""
		if i > 0 && random.IntN(2) == 0 {
			l.root = all[random.IntN(i)].root
			references = "References: <" + l.root + ">\n"
		}
		head := fmt.Sprintf("From: %s <%s@%s>\nDate: %s\nMessage-ID: <own%d@x>\n%sSubject: common %s\nMIME-Version: 1.0\n",
			l.sender, l.sender, l.domain, l.date.Format(time.RFC1123Z), i, references, l.topic)
		body := "Content-Type: text/plain\n\n" + l.topic + strings.Repeat(" filler", random.IntN(100)) + "\n"
		if l.pdf {
			head += "Content-Type: multipart/mixed; boundary=b\n\n--b\n"
			body += "--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=x.pdf\n\nx\n--b--\n"
		}
		texts[l] = head + body
		l.size = int64(len(texts[l]))
		all = append(all, l)
		deposit(l)
		if random.IntN(4) == 0 {
			deposit(all[random.IntN(len(all))])
		}
	}
	r := start(t, t.TempDir(), a, WorkerOptions{RollDocuments: 40, BatchMessages: 20}).catchUp().complete()
	if gens, err := r.Generations(); err != nil || len(gens) < 3 {
		t.Fatalf("%d generations, %v", len(gens), err)
	}
	return r, all
}

// pages returns everything that a request finds, page by page.
func pages(t *testing.T, r *running, req Request) (ids []string) {
	t.Helper()
	for {
		res, err := r.Search(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range res.Hits {
			ids = append(ids, h.ID)
		}
		if req.After = res.Next; res.Next == "" {
			return ids
		}
		if len(ids) > 10_000 {
			t.Fatal("paging does not end")
		}
	}
}

func TestPagesByCursorAreThoseByOffsetInEveryOrder(t *testing.T) {
	r, all := letters(t, 130)
	for _, s := range Sorts() {
		for _, q := range []string{"common", "topic1", "topic1 OR filler"} {
			var byOffset []string
			res, err := r.Search(t.Context(), Request{Query: q, Sort: s, Limit: MaxLimit})
			if err != nil {
				t.Fatal(err)
			}
			for offset := 0; offset < int(res.Total); offset += 7 {
				page, err := r.Search(t.Context(), Request{Query: q, Sort: s, Limit: 7, Offset: offset})
				if err != nil || page.Total != res.Total {
					t.Fatal(page, err)
				}
				for _, h := range page.Hits {
					byOffset = append(byOffset, h.ID)
				}
			}
			var whole []string
			for _, h := range res.Hits {
				whole = append(whole, h.ID)
			}
			if byCursor := pages(t, r, Request{Query: q, Sort: s, Limit: 7}); !slices.Equal(byCursor, whole) || !slices.Equal(byOffset, whole) {
				t.Errorf("%s sorted by %s: %d by cursor, %d by offset, %d at once", q, s, len(byCursor), len(byOffset), len(whole))
			}
		}
	}
	byID := map[string]*letter{}
	for _, l := range all {
		byID[l.id] = l
	}
	for s, less := range map[Sort]func(a, b *letter) int{
		SortNewest:     func(a, b *letter) int { return b.date.Compare(a.date) },
		SortOldest:     func(a, b *letter) int { return a.date.Compare(b.date) },
		SortLastIn:     func(a, b *letter) int { return b.deposits[0].Received.Compare(a.deposits[0].Received) },
		SortReceived:   func(a, b *letter) int { return a.deposits[0].Received.Compare(b.deposits[0].Received) },
		SortLargest:    func(a, b *letter) int { return cmp.Compare(b.size, a.size) },
		SortSmallest:   func(a, b *letter) int { return cmp.Compare(a.size, b.size) },
		SortSender:     func(a, b *letter) int { return strings.Compare(a.sender, b.sender) },
		SortSenderDown: func(a, b *letter) int { return strings.Compare(b.sender, a.sender) },
	} {
		ids := pages(t, r, Request{Query: "common", Sort: s, Limit: 13})
		if len(ids) != len(all) || !slices.IsSortedFunc(ids, func(a, b string) int { return less(byID[a], byID[b]) }) {
			t.Errorf("sorted by %s: %d ids, or not in order", s, len(ids))
		}
	}
}

func TestCursorOfAnotherOrderIsRefused(t *testing.T) {
	r, _ := letters(t, 90)
	res, err := r.Search(t.Context(), Request{Query: "common", Limit: 5})
	if err != nil || res.Next == "" {
		t.Fatal(res, err)
	}
	var refused *RequestError
	if _, err := r.Search(t.Context(), Request{Query: "common", Sort: SortSender, After: res.Next}); !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
}

// expected counts facets and threads by looking at each letter.
func expected(all []*letter, wanted func(*letter) bool, box func(archive.Arrival) bool) (total, threads int, facets map[Facet]map[string]uint64) {
	facets = map[Facet]map[string]uint64{}
	for _, f := range Facets() {
		facets[f] = map[string]uint64{}
	}
	roots := map[string]bool{}
	for _, l := range all {
		in := map[string]bool{}
		for _, d := range l.deposits {
			if box(d) {
				in[d.Mailbox] = true
			}
		}
		if len(in) == 0 || !wanted(l) {
			continue
		}
		total++
		roots[l.root] = true
		for b := range in {
			facets[FacetMailbox][b]++
		}
		facets[FacetDomain][l.domain]++
		facets[FacetYear][l.date.Format("2006")]++
		facets[FacetMonth][l.date.Format("2006-01")]++
		if l.pdf {
			facets[FacetFileType]["pdf"]++
			facets[FacetFlag]["attachment"]++
		}
	}
	return total, len(roots), facets
}

func counted(res *Result) map[Facet]map[string]uint64 {
	out := map[Facet]map[string]uint64{}
	for f, values := range res.Facets {
		out[f] = map[string]uint64{}
		for _, v := range values {
			out[f][v.Value] = v.Count
		}
	}
	return out
}

func everywhere(archive.Arrival) bool { return true }

func TestFacetsAreThoseOfBruteForce(t *testing.T) {
	r, all := letters(t, 130)
	for q, wanted := range map[string]func(*letter) bool{
		"common":         func(*letter) bool { return true },
		"topic1":         func(l *letter) bool { return l.topic == "topic1" },
		"has:attachment": func(l *letter) bool { return l.pdf },
		"date:2020":      func(l *letter) bool { return l.date.Year() == 2020 },
		"nothing":        func(*letter) bool { return false },
	} {
		total, threads, want := expected(all, wanted, everywhere)
		res, err := r.Search(t.Context(), Request{Query: q, Facets: Facets(), FacetLimit: 100, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if got := counted(res); res.Total != uint64(total) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: total %d, want %d\ngot  %v\nwant %v", q, res.Total, total, got, want)
		}
		res, err = r.Search(t.Context(), Request{Query: q, Threads: true, Facets: []Facet{FacetYear}})
		if err != nil || res.Total != uint64(threads) {
			t.Errorf("%s: %d threads, want %d: %v", q, res.Total, threads, err)
		}
		if hits := pages(t, r, Request{Query: q, Threads: true, Limit: 4}); len(hits) != threads {
			t.Errorf("%s: %d threads on all pages, want %d", q, len(hits), threads)
		}
	}
	res, err := r.Search(t.Context(), Request{Query: "common", Facets: []Facet{FacetDomain}, FacetLimit: 2})
	if err != nil || len(res.Facets[FacetDomain]) != 2 || res.Facets[FacetDomain][0].Count < res.Facets[FacetDomain][1].Count {
		t.Errorf("%+v, %v", res.Facets, err)
	}
}

func TestNothingOutsideOfAScopeIsSeen(t *testing.T) {
	r, all := letters(t, 130)
	byID := map[string]*letter{}
	for _, l := range all {
		byID[l.id] = l
	}
	middle := received.Add(70 * time.Minute)
	for i, scope := range []*Scope{
		{},
		{Mailboxes: []string{"nowhere"}},
		{Mailboxes: []string{"sales"}}, // the name is Sales
		{Mailboxes: []string{"Sales"}},
		{Mailboxes: []string{"support", "Ärger & Co"}},
		{Mailboxes: []string{"support"}, From: middle},
		{Mailboxes: []string{"support"}, To: middle},
		{Mailboxes: []string{"Sales"}, From: middle, To: middle.Add(20 * time.Minute)},
		{Mailboxes: []string{"Sales"}, From: middle.Add(time.Millisecond), To: middle.Add(20*time.Minute + time.Millisecond)},
	} {
		sees := func(d archive.Arrival) bool {
			return slices.Contains(scope.Mailboxes, d.Mailbox) && !d.Received.Before(scope.From) && (scope.To.IsZero() || d.Received.Before(scope.To))
		}
		inside := func(id string) bool { return slices.ContainsFunc(byID[id].deposits, sees) }
		for q, wanted := range map[string]func(*letter) bool{
			"common":              func(*letter) bool { return true },
			"-topic1":             func(l *letter) bool { return l.topic != "topic1" },
			"-mailbox:sales":      nil,
			"mailbox:s*":          nil,
			"mailbox:/sa.*|ä.*/":  nil,
			"thread:" + all[0].id: nil,
		} {
			res, err := r.Search(t.Context(), Request{Query: q, Scope: scope, Facets: Facets(), FacetLimit: 100, Limit: MaxLimit})
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			for _, h := range res.Hits {
				if !inside(h.ID) {
					t.Errorf("scope %d: %s finds %s", i, q, name(h.ID))
				}
			}
			for _, v := range res.Facets[FacetMailbox] {
				if !slices.Contains(scope.Mailboxes, v.Value) {
					t.Errorf("scope %d: %s counts mailbox %s", i, q, v.Value)
				}
			}
			if wanted == nil {
				continue
			}
			total, _, want := expected(all, wanted, sees)
			// A deposit in the second of a bound may be left out, never added.
			if got := counted(res); res.Total > uint64(total) || i < 8 && (res.Total != uint64(total) || !reflect.DeepEqual(got, want)) {
				t.Errorf("scope %d: %s: total %d, want %d\ngot  %v\nwant %v", i, q, res.Total, total, got, want)
			}
			if ids := pages(t, r, Request{Query: q, Scope: scope, Limit: 5}); len(ids) != len(res.Hits) {
				t.Errorf("scope %d: %s: %d on pages, %d at once", i, q, len(ids), len(res.Hits))
			}
			each := 0
			if err := r.Each(t.Context(), q, scope, func(id string) error {
				if each++; !inside(id) {
					t.Errorf("scope %d: Each of %s yields %s", i, q, name(id))
				}
				return nil
			}); err != nil || each != len(res.Hits) {
				t.Errorf("scope %d: Each of %s: %d ids, want %d: %v", i, q, each, len(res.Hits), err)
			}
		}
	}
}

func TestMailboxQueryDoesNotTellWhereElseAMessageIs(t *testing.T) {
	a := newMemory()
	a.put("both", "mine", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "s", "hello"))
	a.put("both", "secret", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "s", "hello"))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	scope := &Scope{Mailboxes: []string{"mine"}}
	for q, want := range map[string]uint64{
		"hello": 1, "mailbox:mine": 1, "mailbox:m*": 1, "mailbox:secret": 0, "mailbox:s*": 0, "mailbox:/sec.*/": 0, "hello -mailbox:secret": 1,
	} {
		if res, err := r.Search(t.Context(), Request{Query: q, Scope: scope}); err != nil || res.Total != want {
			t.Errorf("%s: %+v, want %d: %v", q, res, want, err)
		}
	}
}

const report = `From: journal@x
Subject: original
Message-ID: <%s@journal>
Content-Type: multipart/mixed; boundary=b
X-MS-Journal-Report:

--b
Content-Type: text/plain

Sender: alice@example.com
Subject: original
Message-Id: <original@example.com>
To: %s

--b
Content-Type: message/rfc822

From: alice@example.com
To: list@example.com
Date: Mon, 1 Jan 2024 10:00:00 +0000
Subject: original
Message-ID: <original@example.com>

reported text
--b--
`

func TestJournalReportsOfOneMessageAreOneHit(t *testing.T) {
	a := newMemory()
	for i, rcpt := range []string{"bob@example.com", "carol@example.com", "dave@example.com"} {
		a.put(fmt.Sprint("r", i), "journal", fmt.Sprintf(report, rcpt, rcpt))
		for j := range 12 { // in generations of their own
			a.put(fmt.Sprint("f", i, j), "box", "Subject: f\n\nfiller reported\n")
		}
	}
	r := start(t, t.TempDir(), a, small).catchUp()
	r.want(map[string]string{"rcpt:bob": "r0", "rcpt:dave": "r2", `"reported text"`: "r2"})
	res, err := r.Search(t.Context(), Request{Query: "reported", Facets: []Facet{FacetMailbox, FacetFlag}})
	want := map[Facet]map[string]uint64{FacetMailbox: {"box": 36, "journal": 1}, FacetFlag: {"journal": 1}}
	if got := counted(res); err != nil || res.Total != 37 || got[FacetMailbox]["journal"] != 1 || !reflect.DeepEqual(got[FacetMailbox], want[FacetMailbox]) {
		t.Errorf("total %d, facets %v, %v", res.Total, got, err)
	}
	if ids := pages(t, r, Request{Query: "reported", Limit: 5}); len(ids) != 37 {
		t.Errorf("%d hits on all pages", len(ids))
	}
	if res, err := r.Search(t.Context(), Request{Query: `"reported text"`, Apart: true}); err != nil || res.Total != 3 {
		t.Errorf("apart: %+v, %v", res, err)
	}
	each := 0
	if err := r.Each(t.Context(), `"reported text"`, nil, func(string) error { each++; return nil }); err != nil || each != 3 {
		t.Errorf("each yields %d reports, %v", each, err)
	}
}

func TestThreadIsWholeWhereverItsMessagesAreAndInWhateverOrderTheyCame(t *testing.T) {
	a := newMemory()
	put := func(name, own, more string) {
		a.put(name, "box", "Subject: s\nMessage-ID: <"+own+"@x>\n"+more+"\nhello\n")
		for j := range 11 {
			a.put(name+fmt.Sprint(j), "other", "Subject: f\n\nfiller\n")
		}
	}
	put("c", "c", "References: <b@x>\n") // its client cut the first reference
	put("b", "b", "In-Reply-To: <a@x>\n")
	put("a", "a", "")
	put("z", "z", "References: <y@x>\n")
	r := start(t, t.TempDir(), a, small).catchUp()
	for _, of := range []string{"a", "b", "c"} {
		res, err := r.Thread(t.Context(), id(of), nil)
		if err != nil || res.Total != 3 {
			t.Errorf("thread of %s: %+v, %v", of, res, err)
		}
	}
	if res, err := r.Thread(t.Context(), id("a"), &Scope{Mailboxes: []string{"other"}}); err != nil || res.Total != 0 {
		t.Errorf("a thread outside of the scope: %+v, %v", res, err)
	}
}

func TestReceivedMeansTheDepositsOfTheScope(t *testing.T) {
	a := newMemory()
	for i, box := range []string{"secret", "mine", "secret"} { // in June, August, October
		a.put("both", box, mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "s", "hello"))
		a.deposits[i].Received = received.AddDate(0, 2*i, 0)
	}
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	for q, want := range map[string][2]uint64{ // of everybody, of the scope
		"received:2024-06": {1, 0}, "received:2024-08": {1, 1}, "received:2024-10": {1, 0}, "received:2024-07": {0, 0},
		"hello -received:2024-10": {0, 1}, "received:2024": {1, 1}, "received:2024-09..": {1, 0}, "hello (received:2024-06 OR received:2024-08)": {1, 1},
	} {
		for i, scope := range []*Scope{nil, {Mailboxes: []string{"mine"}}} {
			res, err := r.Search(t.Context(), Request{Query: q, Scope: scope})
			if err != nil || res.Total != want[i] {
				t.Errorf("%s in scope %v: %+v, want %d: %v", q, scope, res, want[i], err)
			}
			if i == 1 && res != nil && res.Total == 1 && !res.Hits[0].Received.Equal(received.AddDate(0, 2, 0)) {
				t.Errorf("%s: received %s, want the time of the deposit in the scope", q, res.Hits[0].Received)
			}
		}
	}
}
