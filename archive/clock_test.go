package archive

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/retention"
)

// poll is an event that comes by itself.
func (d *desk) poll() {
	d.tb.Helper()
	if err := d.s.RecordPoll(d.tb.Context(), PollReport{Mailbox: "sales", Session: "s", Started: d.now}); err != nil {
		d.tb.Fatal(err)
	}
}

func (d *desk) clockJump() *ClockJump {
	d.tb.Helper()
	st, err := d.s.Status(d.tb.Context())
	if err != nil {
		d.tb.Fatal(err)
	}
	return st.Clock
}

// due is how many deposits a plan has; the clock is confirmed.
func (d *desk) due() int {
	d.tb.Helper()
	return d.plan().Due
}

func TestPollsDoNotMakeAClockRight(t *testing.T) {
	for name, boot := range map[string]bool{"boot clock": true, "earlier events": false} {
		t.Run(name, func(t *testing.T) {
			d := deskFor(t)
			o := d.options()
			if !boot {
				o.Boot = func() (BootClock, bool) { return BootClock{}, false }
			}
			d.reopen(o)
			m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
			d.put(m)
			d.rule(retention.Rule{Name: "ninety", Max: retention.Period{Days: 90}})
			right := d.now
			d.jump(d.now.AddDate(1, 0, 0))
			for range 3 {
				d.poll()
				d.now = d.now.Add(time.Minute)
			}
			d.reopen(o)
			if j := d.clockJump(); j == nil || !j.From.Equal(right) || j.Index < 0 {
				t.Errorf("status has the jump %+v", j)
			}
			if _, err := d.c.Plan(t.Context(), "olga", false); !errors.Is(err, ErrClock) {
				t.Errorf("plan: %v", err)
			}
			if _, _, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", false); !errors.Is(err, ErrClock) {
				t.Errorf("erase: %v", err)
			}
			o.RebuildCatalog = true
			d.reopen(o)
			o.RebuildCatalog = false
			if d.clockJump() == nil {
				t.Error("a rebuilt catalog does not know of the jump")
			}
			if err := d.c.ConfirmClock(t.Context(), "olga"); err != nil {
				t.Fatal(err)
			}
			if d.clockJump() != nil {
				t.Error("it is confirmed and still a problem")
			}
			if n := d.due(); n != 0 {
				t.Errorf("%d deposits of some minutes ago are due after 90 days", n)
			}
			for range 89 {
				d.now = d.now.Add(day - time.Minute)
				d.poll()
			}
			if n := d.due(); n != 0 {
				t.Errorf("%d deposits are due after 89 days", n)
			}
			d.now = d.now.Add(20 * time.Hour)
			d.poll()
			d.now = d.now.Add(20 * time.Hour)
			if n := d.due(); n != 1 {
				t.Errorf("%d deposits are due after 90 days, want 1", n)
			}
		})
	}
}

func TestAClockThatSays2020MakesNoMailDue(t *testing.T) {
	d := deskFor(t)
	right := d.now
	d.put(delivery("sales", "1", "Subject: before\r\n\r\nx"))
	d.jump(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	d.put(delivery("sales", "2", "Subject: meanwhile\r\n\r\nx"))
	d.now = d.now.Add(2 * day)
	d.reopen(d.options())
	d.put(delivery("sales", "3", "Subject: later\r\n\r\nx"))
	d.jump(right.Add(2 * day))
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	if n := d.due(); n != 0 {
		t.Errorf("%d deposits are due after two days", n)
	}
	d.now = d.now.Add(3 * day)
	if n := d.due(); n != 2 {
		t.Errorf("%d deposits are due after five days, want 2: the last one is of the day before yesterday", n)
	}
	d.now = d.now.Add(2 * day)
	if n := d.due(); n != 3 {
		t.Errorf("%d deposits are due after seven days, want 3", n)
	}
}

func TestAnArchiveWhoseFirstClockWasWrong(t *testing.T) {
	d := deskFor(t)
	start := d.now
	d.jump(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	d.poll()
	d.put(delivery("sales", "1", "Subject: smith\r\n\r\nx"))
	o := d.options()
	d.close()
	d.jump(start.Add(time.Hour)) // and the machine is started again
	o.Boot = func() (BootClock, bool) { return BootClock{ID: "next", Up: d.now.Sub(start)}, true }
	d.open(o)
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	if n := d.due(); n != 0 {
		t.Errorf("%d deposits are due after an hour", n)
	}
	d.now = d.now.Add(5 * day)
	if n := d.due(); n != 1 {
		t.Errorf("%d deposits are due after five days, want 1", n)
	}
}

func TestAFutureLedgerAgesByTheClockThatIsRightAgain(t *testing.T) {
	d := deskFor(t)
	right := d.now
	d.put(delivery("sales", "1", "Subject: before\r\n\r\nx"))
	d.jump(right.AddDate(1, 0, 0))
	d.put(delivery("sales", "2", "Subject: meanwhile\r\n\r\nx"))
	d.jump(right.Add(time.Minute))
	d.put(delivery("sales", "3", "Subject: later\r\n\r\nx"))
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	if _, err := d.c.Plan(t.Context(), "olga", false); !errors.Is(err, ErrClock) {
		t.Errorf("plan: %v", err)
	}
	if n := d.due(); n != 0 {
		t.Errorf("%d deposits are due at once", n)
	}
	d.now = d.now.Add(5 * day)
	p := d.plan()
	if p.Due != 2 {
		t.Errorf("%d deposits are due after five days, want those of before and later: the ledger's time stands still, the clock does not", p.Due)
	}
	if err := d.s.ledger.VerifyAll(t.Context()); err != nil {
		t.Errorf("ledger: %v", err)
	}
}

func TestASuspendIsNoJump(t *testing.T) {
	d := deskFor(t)
	d.put(delivery("sales", "1", "Subject: smith\r\n\r\nx"))
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.now = d.now.Add(6 * day) // and so does the boot clock
	d.reopen(d.options())
	if d.clockJump() != nil {
		t.Error("a suspend is a jump")
	}
	if p, err := d.c.Plan(t.Context(), "olga", false); err != nil || p.Due != 1 {
		t.Errorf("plan %+v, %v", p, err)
	}
}

func TestAStopOfTheMachineCountsOnceBothSidesAreVouchedFor(t *testing.T) {
	for name, confirm := range map[string]bool{"confirmed": true, "not confirmed": false} {
		t.Run(name, func(t *testing.T) {
			d := deskFor(t)
			d.put(delivery("sales", "1", "Subject: smith\r\n\r\nx"))
			if confirm {
				if err := d.c.ConfirmClock(t.Context(), "olga"); err != nil {
					t.Fatal(err)
				}
			}
			d.rule(retention.Rule{Name: "five", Max: fiveDays})
			o := d.options()
			o.Boot = func() (BootClock, bool) { return BootClock{ID: "next", Up: time.Hour}, true }
			d.close()
			d.now = d.now.Add(6 * day)
			d.open(o)
			if _, err := d.c.Plan(t.Context(), "olga", false); !errors.Is(err, ErrClock) {
				t.Errorf("plan: %v", err)
			}
			if n := d.due(); (n == 1) != confirm {
				t.Errorf("%d deposits are due", n)
			}
		})
	}
}

func TestATimeStampContradictsTheClock(t *testing.T) {
	d := deskFor(t)
	anchor := func(signed time.Time) {
		t.Helper()
		if err := d.s.RecordAnchor(t.Context(), AnchorRecord{Anchor: "tsa", Time: d.now, Signed: signed}); err != nil {
			t.Fatal(err)
		}
	}
	anchor(d.now.Add(time.Second))
	if d.clockJump() != nil {
		t.Error("a time stamp that agrees is a problem")
	}
	anchor(d.now.AddDate(-1, 0, 0))
	if j := d.clockJump(); j == nil || !strings.Contains(j.String(), "authority") {
		t.Errorf("status has %v", j)
	}
	if _, err := d.c.Plan(t.Context(), "olga", false); !errors.Is(err, ErrClock) {
		t.Errorf("plan: %v", err)
	}
	if err := d.c.ConfirmClock(t.Context(), "olga"); err != nil {
		t.Fatal(err)
	}
	size := d.s.ledger.Size()
	anchor(d.now.AddDate(-1, 0, 0))
	if d.clockJump() != nil || d.s.ledger.Size() != size+1 {
		t.Error("the same contradiction is reported again after it was confirmed")
	}
}
