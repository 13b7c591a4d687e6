package hold_test

import (
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/indexer/query"
)

func TestTermsAskForCustodianDateAndText(t *testing.T) {
	for _, c := range []struct {
		hold hold.Hold
		want string
	}{
		{hold.Hold{Query: "*"}, `((*) OR is:partial OR is:encrypted OR is:malformed)`},
		{hold.Hold{Custodians: []string{"sales"}}, `(mailbox:"sales")`},
		{hold.Hold{Custodians: []string{"a@b.example", ` q"\ `}, To: "2024-12-31", Query: "x OR y"},
			`(mailbox:"a@b.example" OR address:"a@b.example" OR mailbox:"q\"\\" OR is:unclear) ` +
				`(date:..2024-12-31 OR received:..2024-12-31) ((x OR y) OR is:partial OR is:encrypted OR is:malformed)`},
	} {
		if got := c.hold.Terms(); got != c.want {
			t.Errorf("%+v:\n%s, want\n%s", c.hold, got, c.want)
		}
	}
}

// FuzzTermsAreAQuery: whatever the custodians are called, and whatever the
// query is, the terms can be asked if the query can.
func FuzzTermsAreAQuery(f *testing.F) {
	f.Add("sales", `invoice OR "pay ment" -x`)
	f.Add(`a" OR b@c`, "*")
	f.Add(`\`, `subject:(a OR b)`)
	f.Fuzz(func(t *testing.T, custodian, q string) {
		h := hold.Hold{Name: "n", Reason: "r", Custodians: []string{custodian}, Query: q, From: "2024-01-01"}
		if h.Validate() != nil || strings.TrimSpace(q) == "" {
			return
		}
		if _, err := query.Parse(q); err != nil {
			return
		}
		node, err := query.Parse(h.Terms())
		if err != nil {
			if strings.Contains(err.Error(), "too") || strings.Contains(err.Error(), "at most") {
				return // it was at a limit already
			}
			t.Fatalf("%s: %v", h.Terms(), err)
		}
		and, ok := node.(*query.And)
		if !ok || len(and.Nodes) != 3 {
			t.Fatalf("%s is not custodian, date and text", h.Terms())
		}
	})
}

func TestHoldsWithoutAnEndOrAReasonAreRefused(t *testing.T) {
	good := hold.Hold{Name: "Smith v Jones", Reason: "claim of 3 May", Query: "smith"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*hold.Hold){
		"no name":            func(h *hold.Hold) { h.Name = " " },
		"no reason":          func(h *hold.Hold) { h.Reason = "" },
		"nothing to go by":   func(h *hold.Hold) { h.Query = "" },
		"no day":             func(h *hold.Hold) { h.From = "2024-13-01" },
		"days reversed":      func(h *hold.Hold) { h.From, h.To = "2024-02-01", "2024-01-31" },
		"empty custodian":    func(h *hold.Hold) { h.Custodians = []string{""} },
		"custodian of lines": func(h *hold.Hold) { h.Custodians = []string{"a\nb"} },
		"too many":           func(h *hold.Hold) { h.Custodians = make([]string, hold.MaxCustodians+1) },
		"a book for a query": func(h *hold.Hold) { h.Query = strings.Repeat("x", hold.MaxQueryBytes+1) },
	} {
		h := good
		spoil(&h)
		if err := h.Validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
