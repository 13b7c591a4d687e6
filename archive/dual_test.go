package archive

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/retention"
)

func dualDesk(t *testing.T) *desk {
	t.Helper()
	d := deskFor(t)
	d.dual = true
	d.reopen(d.options())
	return d
}

func TestAPlanKeepsTheRuleUnderWhichItWasMade(t *testing.T) {
	d := dualDesk(t)
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	p := d.plan()
	if !p.Dual {
		t.Errorf("plan %+v", p)
	}
	d.dual = false // somebody has edited the configuration
	d.reopen(d.options())
	if _, err := d.c.Apply(t.Context(), p.ID, "olga", false); !errors.Is(err, ErrApproval) || len(d.live(m.ID)) != 1 {
		t.Fatalf("applied by one person once dual control was edited away: %v", err)
	}
	if _, err := d.c.Approve(withAccount(t.Context()), p.ID, "olga"); !errors.Is(err, ErrApproval) {
		t.Errorf("approved by who has made it: %v", err)
	}
	if _, err := d.c.Approve(withAccount(t.Context()), p.ID, "paul"); err != nil {
		t.Fatal(err)
	}
	if out := d.apply(p); out.Messages != 1 {
		t.Errorf("%+v", out)
	}
}

// TestHoldsAndRulesKeepTheControlUnderWhichTheyWerePutInForce: the configuration belongs to one person.
func TestHoldsAndRulesKeepTheControlUnderWhichTheyWerePutInForce(t *testing.T) {
	d := dualDesk(t)
	d.hold(hold.Hold{Name: "matter", Query: "smith"})
	d.rule(retention.Rule{Name: "books", Query: "smith", Min: tenDays})
	d.dual = false // somebody has edited the configuration
	d.reopen(d.options())
	d.hold(hold.Hold{Name: "later", Query: "smith"})
	h, err := d.c.ReleaseHold(t.Context(), "matter", "settled", "olga")
	if err != nil || h.Pending == "" || !h.Released.IsZero() {
		t.Errorf("released by one person: %+v, %v", h, err)
	}
	if err := d.c.RemoveRule(t.Context(), "books", "olga"); err != nil {
		t.Fatal(err)
	}
	if rules, err := d.s.Rules(t.Context()); err != nil || len(rules) != 1 {
		t.Errorf("removed by one person: %+v, %v", rules, err)
	}
	if h, err := d.c.ReleaseHold(t.Context(), "later", "settled", "olga"); err != nil || h.Released.IsZero() {
		t.Errorf("one that never was under dual control: %+v, %v", h, err)
	}
	for range 2 {
		if err := agree(t.Context(), d.s, d.c, "paul"); err != nil {
			t.Fatal(err)
		}
	}
	holds, err := d.s.Holds(t.Context(), false)
	rules, rulesErr := d.s.Rules(t.Context())
	if err := errors.Join(err, rulesErr); err != nil || len(holds)+len(rules) > 0 {
		t.Errorf("after the approvals: %+v, %+v, %v", holds, rules, err)
	}
}

func TestOnlyPeopleWithAccountsApprove(t *testing.T) {
	d := dualDesk(t)
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	ctx := WithLogin(t.Context(), Login{How: "socket"})
	p, _, err := d.c.Erase(ctx, m.ID, "a request", "root", false)
	if err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(time.Hour)
	for name, l := range map[string]Login{
		"nothing known":                  {},
		"socket":                         {How: "socket"},
		"token":                          {How: "token", Account: true, Created: d.now.AddDate(-1, 0, 0)},
		"an account made after the plan": {How: "password", Account: true, Interactive: true, Created: d.now},
	} {
		if _, err := d.c.Approve(WithLogin(t.Context(), l), p.ID, "bob"); !errors.Is(err, ErrApproval) {
			t.Errorf("approved by %s: %v", name, err)
		}
	}
	l := Login{How: "password and code", Account: true, Interactive: true, Created: d.now.AddDate(-1, 0, 0)}
	if _, err := d.c.Approve(WithLogin(t.Context(), l), p.ID, "paul"); !errors.Is(err, ErrApproval) {
		t.Errorf("approved by somebody of whom nobody knows who has set the credentials: %v", err)
	}
	l.Apart = func(a Asked) error {
		if a.By != "root" || a.Login != "socket" || !a.At.Equal(p.Made) {
			t.Errorf("asked about %+v", a)
		}
		return nil
	}
	if _, err := d.c.Approve(WithLogin(t.Context(), l), p.ID, "paul"); err != nil {
		t.Fatal(err)
	}
	out, err := d.c.Apply(ctx, p.ID, "root", false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.s.Certificate(t.Context(), p.ID)
	if err != nil || c.Made.By != "root" || c.Made.Login != "socket" || c.Approved == nil || c.Approved.By != "paul" || c.Approved.Login != "password and code" || c.Decided.Login != "socket" {
		t.Errorf("certificate %+v, %v", c, err)
	}
	if page, err := os.ReadFile(out.Certificate + ".html"); err != nil || !strings.Contains(string(page), "paul (password and code)") {
		t.Errorf("the page does not say how they logged in: %v", err)
	}
}

func TestAReleaseAndARemovalTakeTwoPeople(t *testing.T) {
	d := dualDesk(t)
	d.hold(hold.Hold{Name: "matter", Query: "smith"})
	d.rule(retention.Rule{Name: "books", Query: "smith", Min: tenDays})
	inForce := func(holds, rules int) {
		t.Helper()
		h, err := d.s.Holds(t.Context(), false)
		if err != nil || len(h) != holds {
			t.Errorf("%d holds in force, want %d (%v)", len(h), holds, err)
		}
		r, err := d.s.Rules(t.Context())
		if err != nil || len(r) != rules {
			t.Errorf("%d rules in force, want %d (%v)", len(r), rules, err)
		}
	}
	h, err := d.c.ReleaseHold(t.Context(), "matter", "settled", "olga")
	if err != nil || h.Pending == "" || !h.Released.IsZero() {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := d.c.RemoveRule(t.Context(), "books", "olga"); err != nil {
		t.Fatal(err)
	}
	inForce(1, 1)
	if _, err := d.c.ReleaseHold(t.Context(), "matter", "settled", "olga"); !errors.Is(err, ErrOrder) {
		t.Errorf("asked for twice: %v", err)
	}
	if _, err := d.c.ApproveChange(withAccount(t.Context()), h.Pending, "olga"); !errors.Is(err, ErrApproval) {
		t.Errorf("approved by who has asked for it: %v", err)
	}
	if _, err := d.c.ApproveChange(t.Context(), h.Pending, "paul"); !errors.Is(err, ErrApproval) {
		t.Errorf("approved without an account: %v", err)
	}
	d.dual = false // what was asked for still takes two
	o := d.options()
	o.RebuildCatalog = true
	d.reopen(o)
	inForce(1, 1)
	removal, err := d.s.Pending(t.Context(), ChangeRemove)
	if err != nil || removal["books"] == "" {
		t.Fatalf("pending %v, %v", removal, err)
	}
	if c, err := d.c.RejectChange(withAccount(t.Context()), removal["books"], "paul"); err != nil || c.State != ChangeRejected {
		t.Errorf("rejected: %+v, %v", c, err)
	}
	if _, err := d.c.ApproveChange(withAccount(t.Context()), removal["books"], "paul"); !errors.Is(err, ErrNoOrder) {
		t.Errorf("a rejected change was approved: %v", err)
	}
	c, err := d.c.ApproveChange(withAccount(t.Context()), h.Pending, "paul")
	if err != nil || c.State != ChangeApproved || c.By != "olga" || c.Decision.By != "paul" || c.Decision.Login != "password" {
		t.Errorf("%+v, %v", c, err)
	}
	inForce(0, 1)
}
