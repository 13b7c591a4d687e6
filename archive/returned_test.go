package archive

import (
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/retention"
)

const erasedText = "Subject: smith\r\n\r\nerasedtoken"

// erased is a desk whose mailbox sales a message was erased from.
func erased(t *testing.T) (*desk, Delivery) {
	t.Helper()
	d := deskFor(t)
	m := delivery("sales", "1", erasedText)
	d.put(m)
	if _, out, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", true); err != nil || out.Messages != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	d.now = d.now.Add(time.Hour)
	return d, m
}

// relisted is the same message under another UIDL and size.
func relisted(mailbox, uidl string) Delivery {
	m := delivery(mailbox, uidl, erasedText)
	m.ListedSize += 17
	return m
}

func TestAnErasedMessageStaysOutUnderAnotherListing(t *testing.T) {
	d, m := erased(t)
	other := relisted("sales", "after the migration")
	for range 2 { // also when the catalog is made anew
		r := d.put(other)[0]
		if !r.Known || !r.Disposed || r.Stored || len(d.live(m.ID)) != 0 || d.inVolumes("erasedtoken") {
			t.Fatalf("it came back: %+v", r)
		}
		known, err := d.s.Known(t.Context(), "sales", []Listing{{other.UIDL, other.ListedSize}})
		if err != nil || len(known) != 1 || !known[0].Disposed || known[0].ID != m.ID {
			t.Errorf("the next poll downloads it again: %+v, %v", known, err)
		}
		o := d.options()
		o.RebuildCatalog = true
		d.reopen(o)
		other = relisted("sales", "after the migration")
	}
	without := relisted("sales", "")
	if r := d.put(without)[0]; !r.Disposed || len(d.live(m.ID)) != 0 {
		t.Errorf("without a UIDL it came back: %+v", r)
	}
	if graves, err := d.s.Tombstones(t.Context(), m.ID); err != nil || len(graves) != 1 {
		t.Errorf("tombstones %+v, %v", graves, err)
	}
	if names := d.inFiles("after the migration"); len(names) > 0 {
		t.Errorf("the UIDL is in %v", names)
	}
}

func TestAnErasedMessageIsArchivedAndFlaggedInAnotherMailbox(t *testing.T) {
	d, m := erased(t)
	r := d.put(relisted("legal", "7"))[0]
	live := d.live(m.ID)
	if r.Disposed || len(live) != 1 || live[0].Mailbox != "legal" || live[0].Returned == "" {
		t.Fatalf("%+v, live %+v", r, live)
	}
	all, err := d.s.Since(t.Context(), -1, 10)
	if err != nil || len(all) != 1 || !all[0].Returned {
		t.Errorf("the index gets %+v, %v", all, err)
	}
	if r := d.put(relisted("sales", "8"))[0]; !r.Disposed || len(d.live(m.ID)) != 1 {
		t.Errorf("with it it came back to the mailbox that it was erased from: %+v", r)
	}
}

func TestAnErasedMessageIsArchivedUnderAHoldPlacedSince(t *testing.T) {
	for name, h := range map[string]hold.Hold{
		"query":   {Name: "matter", Reason: "r", Query: "smith"},
		"mailbox": {Name: "matter", Reason: "r", Custodians: []string{"sales"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, m := erased(t)
			d.hold(h)
			if known, err := d.s.Known(t.Context(), "sales", []Listing{{"1", m.ListedSize}}); err != nil || len(known) != 0 {
				t.Errorf("what is held now is not downloaded: %+v, %v", known, err)
			}
			r := d.put(delivery("sales", "1", erasedText))[0]
			if live := d.live(m.ID); r.Disposed || len(live) != 1 || live[0].Returned == "" {
				t.Fatalf("%+v, live %+v", r, live)
			}
		})
	}
	d, m := erased(t)
	d.hold(hold.Hold{Name: "matter", Reason: "r", Custodians: []string{"legal"}})
	if r := d.put(relisted("sales", "2"))[0]; !r.Disposed || len(d.live(m.ID)) != 0 {
		t.Errorf("a hold on another mailbox brings it back: %+v", r)
	}
}

func TestWhatARuleDisposedOfStaysOutWhileItIsInForce(t *testing.T) {
	d := deskFor(t)
	m := delivery("sales", "1", erasedText)
	d.put(m)
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	d.apply(d.plan())
	if r := d.put(relisted("sales", "2"))[0]; !r.Disposed || len(d.live(m.ID)) != 0 {
		t.Errorf("it came back, to be disposed of again: %+v", r)
	}
	if err := d.c.RemoveRule(t.Context(), "five", "olga"); err != nil {
		t.Fatal(err)
	}
	if r := d.put(relisted("sales", "3"))[0]; r.Disposed || len(d.live(m.ID)) != 1 {
		t.Errorf("without the rule it is not archived: %+v", r)
	}
}
