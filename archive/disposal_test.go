package archive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/disk/disktest"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/retention"
)

func deskFor(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	t.Cleanup(func() { d.sound() })
	return d
}

// sound closes the archive. Whatever was disposed of, a verification has nothing to say.
func (d *desk) sound() {
	d.tb.Helper()
	sameTotals(d.tb, d.s)
	r, err := d.s.Verify(context.Background(), VerifyOptions{Deep: true})
	if err != nil || r.Damages > 0 {
		d.tb.Errorf("open archive: %+v, %v", r.Damage, err)
	}
	d.close()
	for range 2 { // with its catalog, and without
		r, err := VerifyDir(context.Background(), d.dir, Options{}, VerifyOptions{Deep: true})
		if err != nil || r.Damages > 0 {
			d.tb.Errorf("closed archive: %+v, %v", r.Damage, err)
		}
		if err := removeCatalog(filepath.Join(d.dir, catalogName)); err != nil {
			d.tb.Error(err)
		}
	}
}

func (d *desk) rule(r retention.Rule) {
	d.tb.Helper()
	if _, err := d.c.AddRule(d.tb.Context(), r, "olga"); err != nil {
		d.tb.Fatal(err)
	}
}

func (d *desk) hold(h hold.Hold) {
	d.tb.Helper()
	h.Reason = "a reason"
	if _, err := d.c.PlaceHold(d.tb.Context(), h, "olga"); err != nil {
		d.tb.Fatal(err)
	}
}

func (d *desk) plan() Plan {
	d.tb.Helper()
	p, err := d.c.Plan(d.tb.Context(), "olga", true)
	if err != nil {
		d.tb.Fatal(err)
	}
	return p
}

func (d *desk) apply(p Plan) Disposal {
	d.tb.Helper()
	out, err := d.c.Apply(d.tb.Context(), p.ID, "olga", true)
	if err != nil {
		d.tb.Fatal(err)
	}
	return out
}

const day = 24 * time.Hour

var (
	tenDays  = retention.Period{Days: 10}
	fiveDays = retention.Period{Days: 5}
)

func TestWhatIsDueGoesAndTheRestStays(t *testing.T) {
	d := deskFor(t)
	old, young, kept := delivery("sales", "uidl-old", "Subject: oldtoken\r\n\r\nx"), delivery("sales", "2", "Subject: youngtoken\r\n\r\nx"), delivery("legal", "1", "Subject: legaltoken\r\n\r\nx")
	d.put(old, kept)
	before := d.s.ledger.Checkpoint()
	d.now = d.now.Add(9 * day)
	d.put(young)
	d.rule(retention.Rule{Name: "ten", Mailbox: "sales", Max: tenDays})
	if p := d.plan(); p.Due != 0 || p.ID != "" {
		t.Fatalf("due after nine days: %+v", p)
	}
	d.now = d.now.Add(day)
	p := d.plan()
	if p.Due != 1 || p.Held != 0 || p.Rules[0].Rule != "ten" {
		t.Fatalf("plan %+v", p)
	}
	out := d.apply(p)
	if out.Deposits != 1 || out.Messages != 1 || out.Bytes != old.Size {
		t.Errorf("disposal %+v", out)
	}
	for range 2 { // also as the ledger tells it
		if _, err := d.s.OpenMessage(t.Context(), old.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("the message can still be opened: %v", err)
		}
		if got := content(t, d.s, young.ID) + content(t, d.s, kept.ID); !strings.Contains(got, "youngtoken") || !strings.Contains(got, "legaltoken") {
			t.Errorf("what was not due is %q", got)
		}
		graves, err := d.s.Tombstones(t.Context(), old.ID)
		if err != nil || len(graves) != 1 || graves[0].Plan != p.ID || graves[0].Rule != "ten" || graves[0].By != "olga" || graves[0].Mailbox != "sales" {
			t.Errorf("tombstones %+v, %v", graves, err)
		}
		known, err := d.s.Known(t.Context(), "sales", []Listing{{"uidl-old", old.ListedSize}, {"2", young.ListedSize}})
		if err != nil || len(known) != 2 || !known[0].Disposed || known[0].ID != old.ID || known[1].Disposed {
			t.Errorf("known %+v, %v", known, err)
		}
		o := d.options()
		o.RebuildCatalog = true
		d.reopen(o)
	}
	if names := d.inFiles("uidl-old"); d.inVolumes("oldtoken") || d.inVolumes("uidl-old") || len(names) > 0 {
		t.Errorf("something is left of the message, also in %v", names)
	}
	if err := d.s.ledger.CheckAgainst(t.Context(), before); err != nil {
		t.Errorf("ledger and an earlier checkpoint: %v", err)
	}
	if err := d.s.ledger.VerifyAll(t.Context()); err != nil {
		t.Errorf("ledger: %v", err)
	}
	again := d.put(delivery("sales", "uidl-old", "Subject: oldtoken\r\n\r\nx"))
	if !again[0].Known || !again[0].Disposed || again[0].Stored {
		t.Errorf("delivered again: %+v", again[0])
	}
	if d.inVolumes("oldtoken") {
		t.Error("it is stored again")
	}
}

func TestABytewiseEqualMessageGoesWithItsLastDeposit(t *testing.T) {
	d := deskFor(t)
	m := delivery("sales", "1", "Subject: sharedtoken\r\n\r\nx")
	other := m
	other.Mailbox, other.Body = "legal", strings.NewReader("Subject: sharedtoken\r\n\r\nx")
	d.put(m, other)
	d.rule(retention.Rule{Name: "sales", Mailbox: "sales", Max: fiveDays})
	d.rule(retention.Rule{Name: "legal", Mailbox: "legal", Max: tenDays})
	d.now = d.now.Add(5 * day)
	if out := d.apply(d.plan()); out.Deposits != 1 || out.Messages != 0 {
		t.Errorf("first disposal %+v", out)
	}
	if live := d.live(m.ID); len(live) != 1 || live[0].Mailbox != "legal" || content(t, d.s, m.ID) == "" {
		t.Errorf("left are %+v", live)
	}
	late := delivery("board", "9", "Subject: sharedtoken\r\n\r\nx")
	d.put(late)
	d.now = d.now.Add(5 * day)
	if out := d.apply(d.plan()); out.Deposits != 1 || out.Messages != 0 {
		t.Errorf("second disposal %+v", out)
	}
	if !d.inVolumes("sharedtoken") {
		t.Error("the bytes went before the last deposit")
	}
	d.rule(retention.Rule{Name: "all", Max: fiveDays})
	if out := d.apply(d.plan()); out.Deposits != 1 || out.Messages != 1 {
		t.Errorf("third disposal %+v", out)
	}
	if d.inVolumes("sharedtoken") {
		t.Error("the bytes are left")
	}
	if graves, err := d.s.Tombstones(t.Context(), m.ID); err != nil || len(graves) != 3 {
		t.Errorf("%d tombstones, %v", len(graves), err)
	}
}

func TestAHoldBeatsRulesAndErasureAlsoForLaterMail(t *testing.T) {
	d := deskFor(t)
	first := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(first, delivery("sales", "2", "Subject: jones\r\n\r\nx"))
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.hold(hold.Hold{Name: "Smith v Jones", Query: "smith"})
	later, partial := delivery("sales", "3", "Subject: smith again\r\n\r\nx"), delivery("sales", "4", "X-Flag: partial\r\n\r\nx")
	d.put(later, partial)
	d.now = d.now.Add(6 * day)
	p := d.plan()
	if p.Due != 1 || p.Held != 3 {
		t.Fatalf("plan %+v, want the three held ones not to be in it", p)
	}
	d.apply(p)
	for _, m := range []Delivery{first, later, partial} {
		if len(d.live(m.ID)) != 1 {
			t.Errorf("%s went under a hold", m.UIDL)
		}
		if _, _, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", true); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "Smith v Jones") {
			t.Errorf("erased under a hold: %v", err)
		}
	}
	holds, err := d.s.Holds(t.Context(), true)
	if err != nil || len(holds) != 1 || holds[0].Hits != 3 || holds[0].Evaluated.IsZero() {
		t.Errorf("holds %+v, %v", holds, err)
	}
	if _, err := d.c.ReleaseHold(t.Context(), "Smith v Jones", "settled", "paul"); err != nil {
		t.Fatal(err)
	}
	if p := d.plan(); p.Due != 3 {
		t.Errorf("after the release %+v", p)
	}
	if _, _, err := d.c.Erase(t.Context(), first.ID, "a request", "olga", true); err != nil {
		t.Errorf("erasure after the release: %v", err)
	}
	if d.inVolumes("Subject: smith\r") || !d.inVolumes("smith again") {
		t.Error("the erasure took too much or too little")
	}
}

func TestAHoldThatIsPlacedAfterThePlanCounts(t *testing.T) {
	d := deskFor(t)
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	p := d.plan()
	d.hold(hold.Hold{Name: "late", Custodians: []string{"sales"}})
	if out := d.apply(p); out.Held != 1 || out.Deposits != 0 || len(d.live(m.ID)) != 1 {
		t.Errorf("disposal %+v in spite of a hold", out)
	}
}

func TestAMinimumBeatsErasureAndAChangedRuleAPlan(t *testing.T) {
	d := deskFor(t)
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	d.rule(retention.Rule{Name: "max", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	p := d.plan()
	d.rule(retention.Rule{Name: "books", Query: "smith", Min: tenDays})
	if out := d.apply(p); out.NotDue != 1 || out.Deposits != 0 || len(d.live(m.ID)) != 1 {
		t.Errorf("disposal %+v under a minimum", out)
	}
	_, _, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", true)
	if !errors.Is(err, ErrTooYoung) || !strings.Contains(err.Error(), "books") || len(d.live(m.ID)) != 1 {
		t.Errorf("erasure under a minimum: %v", err)
	}
	if err := d.c.RemoveRule(t.Context(), "books", "olga"); err != nil {
		t.Fatal(err)
	}
	if _, out, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", true); err != nil || out.Messages != 1 {
		t.Errorf("erasure without it: %+v, %v", out, err)
	}
}

func TestNothingIsDisposedOfWhileTheIndexLacksMail(t *testing.T) {
	d := deskFor(t)
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	p := d.plan()
	d.index.behind = true
	_, planErr := d.c.Plan(t.Context(), "olga", true)
	_, applyErr := d.c.Apply(t.Context(), p.ID, "olga", true)
	_, _, eraseErr := d.c.Erase(t.Context(), m.ID, "a request", "olga", true)
	for _, err := range []error{planErr, applyErr, eraseErr} {
		if !errors.Is(err, ErrIncomplete) {
			t.Errorf("%v, want it to be refused", err)
		}
	}
	if len(d.live(m.ID)) != 1 {
		t.Error("it is gone")
	}
}

func TestDualControlTakesTwoPeople(t *testing.T) {
	d := deskFor(t)
	d.dual = true
	d.reopen(d.options())
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	p := d.plan()
	if _, err := d.c.Apply(t.Context(), p.ID, "paul", true); !errors.Is(err, ErrApproval) {
		t.Errorf("applied without approval: %v", err)
	}
	for _, same := range []string{"olga", `root (sudo by "olga")`, `root (login "olga")`} {
		if _, err := d.c.Approve(withAccount(t.Context()), p.ID, same); !errors.Is(err, ErrApproval) {
			t.Errorf("approved by %s, who has made it: %v", same, err)
		}
	}
	if _, err := d.c.Approve(withAccount(t.Context()), p.ID, "paul"); err != nil {
		t.Fatal(err)
	}
	d.apply(p)
	if _, err := d.c.Apply(t.Context(), p.ID, "paul", true); !errors.Is(err, ErrOrder) {
		t.Errorf("applied again: %v", err)
	}
	other := delivery("sales", "2", "Subject: jones\r\n\r\nx")
	d.put(other)
	asked, _, err := d.c.Erase(t.Context(), other.ID, "a request", "olga", true)
	if err != nil || asked.State != StatePlanned || len(d.live(other.ID)) != 1 {
		t.Fatalf("erasure by one alone: %+v, %v", asked, err)
	}
	if _, err := d.c.Approve(withAccount(t.Context()), asked.ID, "paul"); err != nil {
		t.Fatal(err)
	}
	if d.apply(asked); len(d.live(other.ID)) != 0 {
		t.Error("an approved erasure did nothing")
	}
}

func TestAClockThatHasJumpedIsNotBelieved(t *testing.T) {
	d := deskFor(t)
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.jump(d.now.AddDate(30, 0, 0))
	if _, err := d.c.Plan(t.Context(), "olga", false); !errors.Is(err, ErrClock) {
		t.Errorf("plan: %v", err)
	}
	if _, _, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", false); !errors.Is(err, ErrClock) {
		t.Errorf("erase: %v", err)
	}
	d.plan() // which confirms it, and nothing is due: nobody has seen thirty years pass
	d.now = d.now.Add(6 * day)
	p := d.plan()
	if p.Due != 1 {
		t.Fatalf("plan %+v", p)
	}
	d.jump(d.now.AddDate(0, 0, 2))
	if _, err := d.c.Apply(t.Context(), p.ID, "olga", false); !errors.Is(err, ErrClock) {
		t.Errorf("apply: %v", err)
	}
}

func TestDamagedOrdersStopDisposal(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	t.Cleanup(func() { d.close() })
	m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
	d.put(m)
	d.hold(hold.Hold{Name: "Smith v Jones", Query: "smith"})
	d.rule(retention.Rule{Name: "five", Max: fiveDays})
	d.close()
	path := filepath.Join(d.dir, "ledger", "details.jsonl")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), "Smith v Jones", "Smith v Jonas", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := d.options()
	o.RebuildCatalog = true
	d.open(o)
	d.now = d.now.Add(6 * day)
	if _, err := d.c.Plan(t.Context(), "olga", true); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a plan without knowing what is held: %v", err)
	}
}

func TestTheCertificateSaysEverything(t *testing.T) {
	d := deskFor(t)
	m := delivery("sales", "1", "Subject: canary\r\n\r\nx")
	d.put(m)
	d.rule(retention.Rule{Name: "five <b>", Max: fiveDays})
	d.hold(hold.Hold{Name: "other matter", Query: "unrelated"})
	d.now = d.now.Add(6 * day)
	p := d.plan()
	if _, err := d.c.Approve(withAccount(t.Context()), p.ID, "paul"); err != nil {
		t.Fatal(err)
	}
	out := d.apply(p)
	page, err := os.ReadFile(out.Certificate + ".html")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Certificate + ".json")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{m.ID, "sales", "paul", "olga", "other matter", p.ID} {
		if !strings.Contains(string(page), want) || !strings.Contains(string(text), want) {
			t.Errorf("%q is missing from the certificate", want)
		}
	}
	if strings.Contains(string(page), "<b>") || strings.Contains(string(text), "canary") {
		t.Error("the certificate has what it must not have")
	}
	c, err := d.s.Certificate(t.Context(), p.ID)
	if err != nil || c.Approved.By != "paul" || len(c.Deposits) != 1 || len(c.Holds) != 1 || c.Decided.Index >= c.Finished.Index {
		t.Errorf("%+v, %v", c, err)
	}
	if err := os.Remove(out.Certificate + ".html"); err != nil {
		t.Fatal(err)
	}
	d.reopen(d.options())
	if again, err := os.ReadFile(out.Certificate + ".html"); err != nil || len(again) == 0 {
		t.Errorf("a certificate that was lost is not made again: %v", err)
	}
}

// TestAFaultAtAnyOperationOfADisposal lets every operation on the disk fail in every way. Whatever happens: what is not due
// is there, nothing is half gone after opening again, and what was decided is finished.
func TestAFaultAtAnyOperationOfADisposal(t *testing.T) {
	ready := newDesk(t, filepath.Join(t.TempDir(), "data"))
	ready.put(delivery("sales", "1", dueBody), delivery("legal", "2", keptBody))
	ready.rule(retention.Rule{Name: "five", Mailbox: "sales", Max: fiveDays})
	ready.now = ready.now.Add(6 * day)
	p := ready.plan()
	ready.close()
	for name, fault := range map[string]disktest.Fault{
		"fail":      {Mode: disktest.Fail, Err: syscall.EIO},
		"full":      {Mode: disktest.Fail, Err: syscall.ENOSPC, Lasts: true},
		"persisted": {Mode: disktest.FailPersisted, Crash: true},
		"torn":      {Mode: disktest.Torn, Bytes: 7, Crash: true}, // what is no write fails
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fault.At = 1
			for disposeOnce(t, ready, p, fault) {
				fault.At++
			}
			const fewest = 30 // fsyncs, writes and renames of a disposal; with less the table is about nothing
			if fault.At < fewest {
				t.Errorf("only %d operations could fail", fault.At-1)
			}
		})
	}
}

const (
	dueBody  = "Subject: oldtoken\r\n\r\nx"
	keptBody = "Subject: youngtoken\r\n\r\nx"
)

// disposeOnce applies a plan to a copy of an archive. It returns false when there was no operation to fail.
func disposeOnce(t *testing.T, ready *desk, p Plan, fault disktest.Fault) bool {
	t.Helper()
	d := &desk{tb: t, dir: filepath.Join(t.TempDir(), "data"), now: ready.now, fs: ready.fs, index: &shelf{texts: map[string]string{}}}
	if err := os.CopyFS(d.dir, os.DirFS(ready.dir)); err != nil {
		t.Fatal(err)
	}
	defer func() { d.close() }()
	old, young := delivery("sales", "1", dueBody), delivery("legal", "2", keptBody)
	armed := false
	fault.Only = func(disktest.Op) bool { return armed }
	faulty := disktest.NewFaulty(d.fs, fault)
	o := d.options()
	o.FS = faulty
	d.open(o)
	armed = true
	_, err := d.c.Apply(t.Context(), p.ID, "olga", true)
	d.c.Close()
	_ = d.s.Close() // it fails where the disk has gone
	_, fired := faulty.Fired()
	const some = 3 // it takes longer than the rest
	if r, err := VerifyDir(t.Context(), d.dir, Options{}, VerifyOptions{Deep: fault.At%some == 0}); err != nil || r.Damages > r.Repairable {
		t.Errorf("fault %d: half done it is taken for damaged: %+v, %v", fault.At, r.Damage, err)
	}
	d.open(d.options())
	if err := d.s.ReadOnly(); err != nil {
		t.Fatalf("fault %d: read-only: %v", fault.At, err)
	}
	if r, err := d.s.Verify(t.Context(), VerifyOptions{Deep: fault.At%some == 0}); err != nil || r.Damages > 0 {
		t.Errorf("fault %d: opened, and to be finished, it is taken for damaged: %+v, %v", fault.At, r.Damage, err)
	}
	if resumed := d.c.Resume(t.Context()); resumed != nil {
		t.Fatalf("fault %d: resume: %v", fault.At, resumed)
	}
	if got := content(t, d.s, young.ID); !strings.Contains(got, "youngtoken") {
		t.Fatalf("fault %d: what was not due is %q", fault.At, got)
	}
	after, planErr := d.s.Plan(t.Context(), p.ID)
	gone := len(d.live(old.ID)) == 0
	switch {
	case planErr != nil:
		t.Fatal(planErr)
	case err == nil && !gone:
		t.Fatalf("fault %d: applied, and it is there", fault.At)
	case gone != (after.State == StateApplied):
		t.Fatalf("fault %d: gone is %v, and the plan is %s", fault.At, gone, after.State)
	case gone == d.inVolumes("oldtoken"):
		t.Fatalf("fault %d: gone is %v, and the bytes are the other way round", fault.At, gone)
	case !gone && content(t, d.s, old.ID) == "":
		t.Fatalf("fault %d: half gone", fault.At)
	}
	if err := d.s.ledger.VerifyAll(t.Context()); err != nil {
		t.Fatalf("fault %d: %v", fault.At, err)
	}
	return fired
}

// TestAPartGoesWithTheLastMessageThatHasIt: what messages share is kept once, and is needed until nobody has it.
func TestAPartGoesWithTheLastMessageThatHasIt(t *testing.T) {
	d := deskFor(t)
	attachment := strings.Repeat("sharedbytes 0123456789\r\n", 3000)
	mail := func(uidl, token string) Delivery {
		return delivery("sales", uidl, "Subject: "+token+"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"+
			"--b\r\n\r\n"+token+"\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n"+attachment+"\r\n--b--\r\n")
	}
	first, second := mail("1", "firsttoken"), mail("2", "secondtoken")
	d.put(first, second)
	if rows, err := d.s.catalog.PartsOf(t.Context(), first.ID); err != nil || len(rows) == 0 {
		t.Fatalf("the message is not stored in parts: %v", err)
	}
	for _, m := range []Delivery{first, second} {
		if !d.inVolumes("sharedbytes") {
			t.Fatal("the part went too early")
		}
		if _, out, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", true); err != nil || out.Messages != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		if m.ID == first.ID {
			o := d.options()
			o.RebuildCatalog = true
			d.reopen(o)
			if damaged, err := d.s.Damaged(t.Context(), []string{second.ID}); err != nil || len(damaged) > 0 {
				t.Fatalf("the other message cannot be read: %v", err)
			}
		}
	}
	for _, token := range []string{"sharedbytes", "firsttoken", "secondtoken"} {
		if d.inVolumes(token) {
			t.Errorf("%s is left", token)
		}
	}
	if rows, err := d.s.catalog.Unused(t.Context(), 10); err != nil || len(rows) > 0 {
		t.Errorf("parts %v, %v", rows, err)
	}
}

// TestTheGoodCopyOfADamagedMessageStays: the deposit that brought the good copy goes, and with it all that the ledger
// said of its place; another deposit of the message stays.
func TestTheGoodCopyOfADamagedMessageStays(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	defer func() { d.close() }() // the damage is there still
	body := strings.Repeat("a long message ", 100)
	d.put(delivery("sales", "1", body))
	d.close()
	damage(t, d.dir)
	d.open(d.options())
	m := delivery("legal", "1", body)
	if r := d.put(m); !r[0].Stored {
		t.Fatalf("receipt %+v, want the bytes stored again", r)
	}
	d.rule(retention.Rule{Name: "legal", Mailbox: "legal", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	if out := d.apply(d.plan()); out.Deposits != 1 || out.Messages != 0 {
		t.Errorf("disposal %+v", out)
	}
	for range 2 {
		if got := content(t, d.s, m.ID); got != body {
			t.Errorf("left is %.40q", got)
		}
		o := d.options()
		o.RebuildCatalog = true
		d.reopen(o)
	}
}
