package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/retention"
)

func TestAHoldThatCannotBeReadIsListedAndNothingIsDisposedOf(t *testing.T) {
	for name, lose := range map[string]func(d *desk, index int64){
		"damaged": func(d *desk, index int64) {
			path := filepath.Join(d.dir, "ledger", "details.jsonl")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := bytes.SplitAfter(data, []byte("\n"))
			lines[index] = bytes.Replace(lines[index], []byte("smith"), []byte("smyth"), 1)
			if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"erased by somebody": func(d *desk, index int64) {
			if err := d.s.ledger.Erase(t.Context(), []int64{index}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, filepath.Join(t.TempDir(), "data"))
			m := delivery("sales", "1", "Subject: smith\r\n\r\nx")
			d.put(m)
			d.rule(retention.Rule{Name: "five", Max: fiveDays})
			d.now = d.now.Add(6 * day)
			plan := d.plan()
			d.hold(hold.Hold{Name: "other", Query: "jones"})
			d.hold(hold.Hold{Name: "lost", Query: "smith"})
			at := d.s.ledger.Size() - 1
			if _, err := d.c.EvaluateHold(t.Context(), "lost", "olga", func(string) {}); err != nil {
				t.Fatal(err)
			}
			lose(d, at)
			r, err := d.s.Verify(t.Context(), VerifyOptions{Deep: true})
			if err != nil || !slices.ContainsFunc(r.Damage, func(one Damage) bool { return strings.Contains(one.What, fmt.Sprintf("event %d:", at)) }) {
				t.Errorf("verification: %+v, %v", r.Damage, err)
			}
			o := d.options()
			o.RebuildCatalog = true
			d.close()
			d.open(o)
			defer d.close()
			lost, err := d.s.UnreadableHolds(t.Context())
			if err != nil || len(lost) != 1 || lost[0].ID != idOf(holdLetter, at) || lost[0].PlacedBy != "olga" || !lost[0].Unreadable || !lost[0].Placed.Equal(d.now) ||
				lost[0].Hits != 1 || !strings.Contains(lost[0].Query, "smith") {
				t.Errorf("unreadable holds %+v, %v", lost, err)
			}
			if holds, err := d.s.Holds(t.Context(), true); err != nil || len(holds) != 1 || holds[0].Name != "other" {
				t.Errorf("the hold that can be read: %+v, %v", holds, err)
			}
			_, planned := d.c.Plan(t.Context(), "olga", true)
			_, applied := d.c.Apply(t.Context(), plan.ID, "olga", true)
			_, _, erased := d.c.Erase(t.Context(), m.ID, "a request", "olga", true)
			_, terms := d.s.HeldTerms(t.Context())
			_, covering := d.c.Covering(t.Context(), m.ID)
			_, released := d.c.ReleaseHold(t.Context(), "lost", "over", "olga")
			for what, err := range map[string]error{"plan": planned, "apply": applied, "erase": erased, "is:held": terms, "covering": covering, "release of it": released} {
				if !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "by olga") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if len(d.live(m.ID)) != 1 {
				t.Error("the message went")
			}
		})
	}
}
