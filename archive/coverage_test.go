package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
	"github.com/postkeep/postkeep/indexer/query"
)

// lingering is an index in which messages that are being disposed of are still found, as in the real one until they are purged.
type lingering struct {
	*shelf
	texts map[string]string
}

func (x *lingering) Each(ctx context.Context, q string, fn func(id string) error) error {
	node, err := query.Parse(q)
	if err != nil {
		return err
	}
	for id, text := range x.texts {
		if matches(node, text, Indexable{ID: id, Mailboxes: []string{"sales"}}) {
			if err := fn(id); err != nil {
				return err
			}
		}
	}
	return x.shelf.Each(ctx, q, fn)
}

// TestAHoldSaysWhatItCameTooLateFor: a hold that is placed while a disposal is carried out names what it would have covered, and does
// not count it.
func TestAHoldSaysWhatItCameTooLateFor(t *testing.T) {
	for _, purged := range []bool{false, true} {
		t.Run(fmt.Sprint("purged from the index ", purged), func(t *testing.T) {
			d := deskFor(t)
			late := delivery("sales", "1", "Subject: smith one\r\n\r\nx")
			other := delivery("sales", "2", "Subject: jones\r\n\r\nx")
			d.put(late, other)
			d.now = d.now.Add(11 * day)
			kept := delivery("sales", "3", "Subject: smith two\r\n\r\nx")
			d.put(kept)
			d.rule(retention.Rule{Name: "ten", Mailbox: "sales", Max: tenDays})
			p := d.plan()
			if p.Due != 2 {
				t.Fatalf("plan %+v", p)
			}
			x := &lingering{shelf: d.index, texts: map[string]string{}}
			if !purged {
				x.texts[late.ID], x.texts[other.ID] = "Subject: smith one", "Subject: jones"
			}
			var placed Hold
			d.c.Close()
			d.c = NewCompliance(t.Context(), d.s, ComplianceOptions{Search: x, Negates: negates, Purge: []Purger{
				func(ctx context.Context, ids []string, upTo int64) (err error) {
					if placed.ID == "" {
						placed, err = d.c.PlaceHold(ctx, hold.Hold{Name: "matter", Reason: "r", Query: "smith"}, "olga")
						if err == nil {
							placed, err = d.c.EvaluateHold(ctx, "matter", "olga", func(string) {})
						}
					}
					clear(x.texts)
					return errors.Join(err, d.index.Purge(ctx, ids, upTo))
				},
			}})
			if out := d.apply(p); out.Deposits != 2 {
				t.Fatalf("disposal %+v", out)
			}
			if placed.Hits != 1 {
				t.Errorf("the hold covers %d messages, want 1", placed.Hits)
			}
			want := []LateMessage{{ID: late.ID, Plan: p.ID}}
			if purged { // nobody can tell any more
				want = []LateMessage{{late.ID, p.ID, true}, {other.ID, p.ID, true}}
				slices.SortFunc(want, func(a, b LateMessage) int { return strings.Compare(a.ID, b.ID) })
			}
			for range 2 { // also as the ledger tells it
				if got, err := d.s.Late(t.Context(), placed.ID); err != nil || !slices.Equal(got, want) || !slices.Equal(placed.Late, want) {
					t.Errorf("too late for %+v and %+v, want %+v; %v", placed.Late, got, want, err)
				}
				o := d.options()
				o.RebuildCatalog = true
				d.reopen(o)
			}
			named := false
			if err := d.s.ledger.Read(t.Context(), 0, func(e ledger.Entry) error {
				named = named || e.Type == ledger.TypeHold && slices.Contains(e.IDs, late.ID)
				return nil
			}); err != nil || !named {
				t.Errorf("no event of a hold names the message: %v", err)
			}
		})
	}
}

// TestAHoldSaysWhatItCameTooLateForAlsoAfterAStop: the program ends when the hold is in force, and nothing else of it is recorded.
func TestAHoldSaysWhatItCameTooLateForAlsoAfterAStop(t *testing.T) {
	d := deskFor(t)
	late := delivery("sales", "1", "Subject: smith one\r\n\r\nx")
	other := delivery("sales", "2", "Subject: jones\r\n\r\nx")
	d.put(late, other)
	d.now = d.now.Add(11 * day)
	d.rule(retention.Rule{Name: "ten", Mailbox: "sales", Max: tenDays})
	d.hold(hold.Hold{Name: "before", Query: "nobody"})
	if _, err := d.c.settle(t.Context(), d.plan().ID, "olga", true); err != nil {
		t.Fatal(err)
	}
	after, _, err := d.c.place(t.Context(), hold.Hold{Name: "after", Reason: "r", Query: "smith"}, "olga")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // once
		d.reopen(d.options())
	}
	before, err := d.s.hold(t.Context(), "before")
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.s.Late(t.Context(), after.ID)
	if err != nil || len(got) != 2 || !slices.ContainsFunc(got, func(l LateMessage) bool { return l.ID == late.ID && l.InDoubt }) {
		t.Errorf("too late for %+v, %v, want both, in doubt: the index has lost them", got, err)
	}
	if got, err := d.s.Late(t.Context(), before.ID); err != nil || len(got) > 0 {
		t.Errorf("the hold that was asked before it was decided: %+v, %v", got, err)
	}
}

// TestAnotherReadingNeverShrinksAHold: what it has covered it covers until it is released, whatever is found later.
func TestAnotherReadingNeverShrinksAHold(t *testing.T) {
	d := deskFor(t)
	once, still := delivery("sales", "1", "Subject: smith one\r\n\r\nx"), delivery("sales", "2", "Subject: smith two\r\n\r\nx")
	d.put(once, still)
	d.hold(hold.Hold{Name: "matter", Query: "smith"})
	if err := d.c.Pin(t.Context()); err != nil { // as the index worker does before it reads in another way
		t.Fatal(err)
	}
	d.index.texts[once.ID] = "another reading"
	d.rule(retention.Rule{Name: "all", Max: tenDays})
	d.now = d.now.Add(11 * day)
	for range 2 { // also as the ledger tells it
		if _, _, err := d.c.Erase(t.Context(), once.ID, "a request", "olga", true); !errors.Is(err, ErrHeld) {
			t.Errorf("erasure of what was covered: %v", err)
		}
		if p := d.plan(); p.Due != 0 || p.Held != 2 {
			t.Errorf("plan %+v", p)
		}
		var ids []string
		h, err := d.c.EvaluateHold(t.Context(), "matter", "olga", func(id string) { ids = append(ids, id) })
		if err != nil || h.Hits != 2 || h.Earlier != 1 || len(ids) != 2 {
			t.Errorf("covers %v, %+v, %v", ids, h, err)
		}
		if earlier, err := d.s.EarlierCovered(t.Context(), map[string]bool{still.ID: true}); err != nil || !slices.Equal(earlier, []string{once.ID}) {
			t.Errorf("covered earlier: %v, %v", earlier, err)
		}
		if by, err := d.c.Covering(t.Context(), once.ID); err != nil || len(by) != 1 {
			t.Errorf("covering %v, %v", by, err)
		}
		o := d.options()
		o.RebuildCatalog = true
		d.reopen(o)
		d.index.texts[once.ID] = "another reading"
	}
	if _, err := d.c.ReleaseHold(t.Context(), "matter", "settled", "olga"); err != nil {
		t.Fatal(err)
	}
	if p := d.plan(); p.Due != 2 {
		t.Errorf("plan after the release: %+v", p)
	}
}

// read makes the desk's Compliance one of a program that reads in a way of its own.
func (d *desk) read(reading string, reread *bool) {
	d.c.Close()
	d.c = NewCompliance(d.tb.Context(), d.s, ComplianceOptions{
		Search: d.index, Negates: negates, Purge: []Purger{d.index.Purge}, Reading: reading, Reread: func() bool { return *reread },
	})
}

// TestAnotherReadingNeverWidensARule: what a rule finds since messages are read in another way waits until it is confirmed by id, and
// what it does not find any more is not disposed of, and kept, as before.
func TestAnotherReadingNeverWidensARule(t *testing.T) {
	for _, noted := range []bool{true, false} {
		t.Run(fmt.Sprint("noted before ", noted), func(t *testing.T) {
			d := deskFor(t)
			ctx, reread := t.Context(), true
			same, added, dropped := delivery("sales", "1", "Subject: news\r\n\r\nx"), delivery("sales", "2", "Subject: offer\r\n\r\nx"), delivery("sales", "3", "Subject: news too\r\n\r\nx")
			invoice := delivery("sales", "4", "Subject: invoice news\r\n\r\nx")
			d.put(same, added, dropped, invoice)
			d.read("one", &reread)
			d.rule(retention.Rule{Name: "news", Query: "news", Max: tenDays})
			d.rule(retention.Rule{Name: "books", Query: "invoice", Min: retention.Period{Days: 1000}})

			reread = false
			d.read("two", &reread)
			if noted {
				if err := d.c.Pin(ctx); err != nil {
					t.Fatal(err)
				}
			}
			d.index.texts[added.ID], d.index.texts[dropped.ID], d.index.texts[invoice.ID] = "news", "nothing", "news"
			reread = true
			d.now = d.now.Add(day)
			d.put(delivery("sales", "5", "Subject: news of later\r\n\r\nx"))
			d.now = d.now.Add(12 * day)
			p := d.plan()
			due, waiting := 2, 3 // same and the later one; the others
			if !noted {
				due, waiting = 0, 4 // nothing is known of what was found before
			}
			if p.Due != due || p.Waiting != waiting {
				t.Fatalf("plan %+v, want %d due and %d waiting", p, due, waiting)
			}
			changes, err := d.c.Differences(ctx)
			if err != nil || len(d.c.Unconfirmed(ctx)) == 0 || changes[0].Rule != "news" || !slices.Contains(changes[0].Added, added.ID) {
				t.Fatalf("changes %+v, %v", changes, err)
			}
			if noted && (!slices.Equal(changes[0].Added, []string{added.ID}) || !slices.Equal(changes[0].Dropped, []string{dropped.ID}) ||
				!slices.Equal(changes[1].Dropped, []string{invoice.ID})) {
				t.Fatalf("changes %+v", changes)
			}
			if _, err := d.c.ConfirmDifference(ctx, "news", []string{strings.Repeat("0", 64)}, "olga"); !errors.Is(err, ErrOrder) {
				t.Errorf("another message is confirmed: %v", err)
			}
			for range 2 { // also as the ledger tells it
				o := d.options()
				o.RebuildCatalog = true
				d.reopen(o)
				d.read("two", &reread)
			}
			left, err := d.c.ConfirmDifference(ctx, "news", []string{added.ID}, "olga")
			if err != nil || slices.Contains(left.Added, added.ID) {
				t.Fatalf("left %+v, %v", left, err)
			}
			if p := d.plan(); p.Due != due+1 {
				t.Errorf("plan after a confirmation: %+v", p)
			}
			for _, change := range must(d.c.Differences(ctx))(t) {
				if _, err := d.c.ConfirmDifference(ctx, change.Rule, append(change.Added, change.Dropped...), "olga"); err != nil {
					t.Fatal(err)
				}
			}
			if changes, err := d.c.Differences(ctx); err != nil || len(changes) > 0 {
				t.Errorf("changes %+v, %v", changes, err)
			}
			if p := d.plan(); p.Waiting != 0 {
				t.Errorf("plan when all is confirmed: %+v", p)
			}
		})
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}
