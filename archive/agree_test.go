package archive

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
	"github.com/postkeep/postkeep/archive/setsum"
	"github.com/postkeep/postkeep/archive/volume"
)

// lackingCatalog makes a catalog of the archive at path that says it has taken in the whole ledger, and lacks the deposits of a mailbox.
func lackingCatalog(t *testing.T, s *Store, path, mailbox string) {
	t.Helper()
	made := &Store{dir: s.dir, opts: s.opts, ledger: s.ledger, volumes: s.volumes}
	var err error
	if made.catalog, err = catalog.Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	r := replayer{store: made, change: made.newChange()}
	err = s.ledger.Read(t.Context(), 0, func(e ledger.Entry) error {
		if deposits(e) && bytes.Contains(e.Details, []byte(`"mailbox":"`+mailbox+`"`)) {
			return nil
		}
		return r.take(t.Context(), e)
	})
	r.change.Position = s.ledger.Size()
	if err := errors.Join(err, r.apply(t.Context()), made.catalog.Close()); err != nil {
		t.Fatal(err)
	}
}

// common is a message that came for sales, where it is due, and for legal, where nothing is.
func common(t *testing.T) (*desk, Delivery) {
	t.Helper()
	d := deskFor(t)
	m := delivery("sales", "1", "Subject: common\r\n\r\nx")
	other := m
	other.Mailbox, other.UIDL, other.Body = "legal", "2", strings.NewReader("Subject: common\r\n\r\nx")
	d.put(m, other)
	d.rule(retention.Rule{Name: "five", Mailbox: "sales", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	return d, m
}

// TestNothingIsDisposedOfByACatalogThatLacksDeposits lets the catalog lose the deposit of another mailbox: with what it knows, nobody needs
// the bytes any more.
func TestNothingIsDisposedOfByACatalogThatLacksDeposits(t *testing.T) {
	d, m := common(t)
	made := d.plan()
	path := filepath.Join(t.TempDir(), "lacking.db")
	lackingCatalog(t, d.s, path, "legal")
	if err := d.s.catalog.Replace(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	_, planErr := d.c.Plan(t.Context(), "olga", true)
	_, applyErr := d.c.Apply(t.Context(), made.ID, "olga", true)
	_, _, eraseErr := d.c.Erase(t.Context(), m.ID, "a request", "olga", true)
	for _, err := range []error{planErr, applyErr, eraseErr} {
		if !errors.Is(err, ErrDisagree) || !strings.Contains(err.Error(), `mailbox "legal"`) {
			t.Errorf("%v, want it to be refused", err)
		}
	}
	if !d.inVolumes("Subject: common") {
		t.Fatal("the bytes that a live deposit needs are gone")
	}
	if err := d.s.Disagreement(); !errors.Is(err, ErrDisagree) {
		t.Errorf("it is not told: %v", err)
	}
	select {
	case <-d.s.Disagreed():
	default:
		t.Error("nobody is asked to rebuild the catalog")
	}
	if err := d.s.RebuildCatalog(t.Context(), undescribed); err != nil {
		t.Fatal(err)
	}
	if err := d.s.Disagreement(); err != nil {
		t.Errorf("after the rebuild: %v", err)
	}
	if out := d.apply(d.plan()); out.Deposits != 1 || out.Messages != 0 {
		t.Errorf("after the rebuild: %+v", out)
	}
	if live := d.live(m.ID); len(live) != 1 || live[0].Mailbox != "legal" || content(t, d.s, m.ID) != "Subject: common\r\n\r\nx" {
		t.Errorf("what stays: %+v", live)
	}
}

// TestNothingIsDisposedOfByACatalogThatLostRows lets the catalog's file lose the row of another mailbox's deposit, and keep the sum of its
// deposits.
func TestNothingIsDisposedOfByACatalogThatLostRows(t *testing.T) {
	d, m := common(t)
	made := d.plan()
	db, err := sql.Open("sqlite", filepath.Join(d.dir, catalogName))
	if err == nil {
		_, err = db.ExecContext(t.Context(), "DELETE FROM deposits WHERE mailbox = 'legal'")
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	_, planErr := d.c.Plan(t.Context(), "olga", true)
	_, applyErr := d.c.Apply(t.Context(), made.ID, "olga", true)
	_, _, eraseErr := d.c.Erase(t.Context(), m.ID, "a request", "olga", true)
	for _, err := range []error{planErr, applyErr, eraseErr} {
		if !errors.Is(err, ErrDisagree) || !strings.Contains(err.Error(), `mailbox "legal"`) {
			t.Errorf("%v, want it to be refused", err)
		}
	}
	if !d.inVolumes("Subject: common") {
		t.Fatal("the bytes that a live deposit needs are gone")
	}
	select {
	case <-d.s.Disagreed():
	default:
		t.Error("nobody is asked to rebuild the catalog")
	}
	if err := d.s.RebuildCatalog(t.Context(), undescribed); err != nil {
		t.Fatal(err)
	}
	if live := d.live(m.ID); len(live) != 2 {
		t.Errorf("%d deposits live after the rebuild, want 2", len(live))
	}
}

// TestACatalogThatLacksDepositsIsRebuiltWhenTheArchiveIsOpened also sees to it that nothing is adopted anew that the catalog does not know.
func TestACatalogThatLacksDepositsIsRebuiltWhenTheArchiveIsOpened(t *testing.T) {
	d, m := common(t)
	path := filepath.Join(t.TempDir(), "lacking.db")
	lackingCatalog(t, d.s, path, "legal")
	size := d.s.ledger.Size()
	d.close()
	if err := errors.Join(removeCatalog(filepath.Join(d.dir, catalogName)), os.Rename(path, filepath.Join(d.dir, catalogName))); err != nil {
		t.Fatal(err)
	}
	d.open(d.options())
	if live := d.live(m.ID); len(live) != 2 {
		t.Errorf("%d deposits live, want 2", len(live))
	}
	if got := d.s.ledger.Size(); got != size || d.s.Adopted() > 0 {
		t.Errorf("the ledger has %d events, want %d", got, size)
	}
	if err := d.s.Disagreement(); err != nil {
		t.Error(err)
	}
}

// sameTotals compares the kept totals of the ledger with those that are made from all of it.
func sameTotals(t interface {
	Helper()
	Errorf(string, ...any)
}, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	made := newTotalsState(s.ledger)
	err := s.readTotals(context.Background(), &made, s.ledger.Size())
	kept, keptErr := s.totalsNow(context.Background())
	if err := errors.Join(err, keptErr); err != nil {
		t.Errorf("totals: %v", err)
	}
	if differ := kept.Mailboxes.Differ(made.Mailboxes); len(differ) > 0 {
		t.Errorf("the totals of %v are not what the ledger gives: %v, want %v", differ, kept.Mailboxes, made.Mailboxes)
	}
	has, err := s.catalog.Totals(context.Background())
	if differ := has.Differ(made.Mailboxes); err != nil || len(differ) > 0 {
		t.Errorf("the catalog has other deposits of %v: %v, %v, want %v", differ, has, err, made.Mailboxes)
	}
	if err := s.catalog.Recount(context.Background()); err != nil {
		t.Errorf("recount: %v", err)
	}
}

// TestTheTotalsOfTheLedgerSurviveWhateverHappensToTheirFile stops with the file as it should be, with an older one, and without.
func TestTheTotalsOfTheLedgerSurviveWhateverHappensToTheirFile(t *testing.T) {
	d := deskFor(t)
	path := totalsPath(d.dir)
	for n := range 4 {
		d.put(delivery("sales", fmt.Sprint(n), fmt.Sprintf("Subject: %d\r\n\r\nx", n)), delivery("legal", fmt.Sprint(n), fmt.Sprintf("Subject: %d\r\n\r\ny", n)))
	}
	d.rule(retention.Rule{Name: "five", Mailbox: "sales", Max: fiveDays})
	d.now = d.now.Add(6 * day)
	d.reopen(d.options())
	older, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d.apply(d.plan())
	d.put(delivery("legal", "9", "Subject: 9\r\n\r\nx"))
	sameTotals(t, d.s)
	files := map[string]func([]byte) []byte{
		"kept":       func(b []byte) []byte { return b },
		"older":      func([]byte) []byte { return older },
		"torn":       func(b []byte) []byte { return b[:len(b)/2] },
		"damaged":    func(b []byte) []byte { b[len(b)/3] ^= 1; return b },
		"empty":      func([]byte) []byte { return nil },
		"of another": func(b []byte) []byte { return bytes.Replace(b, []byte(`"position":`), []byte(`"position":1`), 1) },
	}
	for name, change := range maps.All(files) {
		d.close()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(data), 0o600); err != nil {
			t.Fatal(err)
		}
		d.open(d.options())
		if err := d.s.Disagreement(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		sameTotals(t, d.s)
	}
}

// TestADepositThatNobodyCanReadStopsDisposal damages a deposit in the ledger's sidecar and in its volume.
func TestADepositThatNobodyCanReadStopsDisposal(t *testing.T) {
	d, _ := common(t)
	d.s.mu.Lock()
	change := d.s.newChange()
	change.Position = d.s.ledger.Size()
	err := errors.Join(d.s.noteLost(t.Context(), &change, []lostDeposit{{Index: 0, Volume: 1, End: 1}}), d.s.catalog.Apply(t.Context(), change))
	d.s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.c.Plan(t.Context(), "olga", true); !errors.Is(err, ErrDisagree) || !strings.Contains(err.Error(), "ledger event 0") {
		t.Errorf("%v, want it to be refused", err)
	}
}

// lacking is an index that says it has everything, and does not.
type lacking struct {
	*shelf
	distrusted int
}

func (l *lacking) Deposits() setsum.Sum {
	sum := l.shelf.Deposits()
	if l.distrusted == 0 {
		sum.Remove(0, "", "sales")
		sum.Add(1, "", "sales")
	}
	return sum
}

func (l *lacking) Distrust() { l.distrusted++ }

// TestNothingIsDisposedOfByAnIndexThatLacksDeposits has one that is at the right position, with another deposit twice instead.
func TestNothingIsDisposedOfByAnIndexThatLacksDeposits(t *testing.T) {
	d, m := common(t)
	made := d.plan()
	for name, do := range map[string]func() error{
		"plan":  func() error { _, err := d.c.Plan(t.Context(), "olga", true); return err },
		"apply": func() error { _, err := d.c.Apply(t.Context(), made.ID, "olga", true); return err },
		"erase": func() error { _, _, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", true); return err },
	} {
		index := &lacking{shelf: d.index}
		d.c.opts.Search = index
		if err := do(); !errors.Is(err, ErrDisagree) || index.distrusted != 1 {
			t.Errorf("%s: %v, want it to be refused, and the index to be compared (%d times)", name, err, index.distrusted)
		}
	}
	if len(d.live(m.ID)) != 2 {
		t.Error("something has gone")
	}
	if out := d.apply(d.plan()); out.Deposits != 1 {
		t.Errorf("with an index that has everything: %+v", out)
	}
}

// TestAVerificationDoesNotCallLostMessagesDerived removes the bytes of a message by a catalog that does not know that they are needed, as
// earlier versions did.
func TestAVerificationDoesNotCallLostMessagesDerived(t *testing.T) {
	s, dir := create(t)
	mustPut(t, s, delivery("sales", "1", "Subject: there\r\n\r\nx"))
	gone := mustPut(t, s, delivery("legal", "2", "Subject: gone\r\n\r\nx"))[0]
	place, err := s.catalog.Places(t.Context(), 1, 0, 1<<40, 10)
	if err != nil || len(place) != 2 {
		t.Fatal(place, err)
	}
	if err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.redactVolume(t.Context(), 1, []volume.Target{{Offset: place[1].Offset, ID: gone.ID}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lacking.db")
	lackingCatalog(t, s, path, "legal")
	if err := s.catalog.Replace(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	for _, deep := range []bool{false, true} {
		r, err := s.Verify(t.Context(), VerifyOptions{Deep: deep})
		if err != nil {
			t.Fatal(err)
		}
		lost := 0
		for _, d := range r.Damage {
			if !d.Repairable && len(d.Messages) == 1 && d.Messages[0] == gone.ID {
				lost++
			}
		}
		if lost != 1 || r.Damages == r.Repairable {
			t.Errorf("deep %v: %+v", deep, r.Damage)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, spareName+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
