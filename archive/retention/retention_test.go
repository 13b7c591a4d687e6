package retention

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func period(t *testing.T, s string) Period {
	t.Helper()
	p, err := ParsePeriod(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPeriodsEndByTheCalendar(t *testing.T) {
	for _, c := range []struct{ begin, period, end string }{
		{"2024-01-31T10:00:00Z", "1m", "2024-03-01T00:00:00Z"}, // February has no 31st
		{"2024-01-29T10:00:00Z", "1m", "2024-02-29T10:00:00Z"},
		{"2023-03-01T00:00:00Z", "10y", "2033-03-01T00:00:00Z"},
		{"2024-02-29T12:00:00Z", "1y", "2025-03-01T00:00:00Z"},
		{"2024-01-01T00:00:00Z", "1y6m2d", "2025-07-03T00:00:00Z"},
		{"2024-12-31T23:59:59Z", "2w1s", "2025-01-15T00:00:00Z"},
		{"2024-06-01T01:00:00+02:00", "1d", "2024-06-01T23:00:00Z"},
	} {
		begin, err := time.Parse(time.RFC3339, c.begin)
		if err != nil {
			t.Fatal(err)
		}
		if got := period(t, c.period).After(begin).Format(time.RFC3339); got != c.end {
			t.Errorf("%s after %s: %s, want %s", c.period, c.begin, got, c.end)
		}
	}
}

func TestALaterBeginningNeverEndsEarlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPeriod(t)
		a := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "a"), 0)
		b := a.Add(time.Duration(rapid.Int64Range(0, 100*24*3600).Draw(t, "later")) * time.Second)
		if p.After(b).Before(p.After(a)) {
			t.Fatalf("%s: %v ends at %v, %v at %v", p, a, p.After(a), b, p.After(b))
		}
		if p.After(a).Before(a) {
			t.Fatalf("%s ends before it begins", p)
		}
	})
}

func TestPeriodsAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPeriod(t)
		if p.IsZero() {
			return
		}
		again, err := ParsePeriod(p.String())
		if err != nil || again != p {
			t.Fatalf("%+v is written %q and read as %+v, %v", p, p, again, err)
		}
		data, err := json.Marshal(Rule{Max: p})
		var r Rule
		if err != nil || json.Unmarshal(data, &r) != nil || r.Max != p {
			t.Fatalf("%+v in JSON is %s (%v)", p, data, err)
		}
	})
}

func TestWhatIsNoPeriodIsRefused(t *testing.T) {
	for _, s := range []string{"", "0d", "10", "y", "-1d", "1.5y", "1d1y", "1y1y", "10 y", "1001y", "99999999999999999999d", "1x", "1é"} {
		if p, err := ParsePeriod(s); err == nil {
			t.Errorf("%q is %v", s, p)
		}
	}
}

func TestRulesThatContradictThemselvesAreRefused(t *testing.T) {
	year, month := period(t, "1y"), period(t, "1m")
	for name, r := range map[string]Rule{
		"no name":              {Max: year},
		"no period":            {Name: "a"},
		"maximum before":       {Name: "a", Min: year, Max: month},
		"basis":                {Name: "a", Max: year, Basis: "sent"},
		"name not UTF-8":       {Name: "\xff", Max: year},
		"query far too long":   {Name: "a", Max: year, Query: fmt.Sprintf("%10000d", 1)},
		"name of blanks alone": {Name: "  ", Max: year},
	} {
		if err := r.Validate(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	good := Rule{Name: "books", Min: month, Max: year, Basis: Date, Mailbox: "books", Query: "invoice"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheLongestOfTheMatchingRulesDecides(t *testing.T) {
	now := time.Date(2030, 6, 1, 0, 0, 0, 0, time.UTC)
	yearsAgo := func(n int) time.Time { return now.AddDate(-n, 0, 0) }
	short := Rule{Name: "short", Max: period(t, "1y")}
	long := Rule{Name: "long", Max: period(t, "6y")}
	least := Rule{Name: "least", Min: period(t, "10y")}
	without := Rule{Name: "without", Max: period(t, "1y"), Negated: true}
	for _, c := range []struct {
		name  string
		rules []Rule
		facts []Fact
		want  string
	}{
		{"no rule", nil, nil, ""},
		{"none matches", []Rule{short}, []Fact{{Begin: yearsAgo(9)}}, ""},
		{"over", []Rule{short}, []Fact{{Match: true, Begin: yearsAgo(2)}}, "short"},
		{"on the day", []Rule{short}, []Fact{{Match: true, Begin: yearsAgo(1)}}, "short"},
		{"a second before", []Rule{short}, []Fact{{Match: true, Begin: yearsAgo(1).Add(time.Second)}}, ""},
		{"another asks for more", []Rule{short, long}, []Fact{{Match: true, Begin: yearsAgo(2)}, {Match: true, Begin: yearsAgo(2)}}, ""},
		{"both over", []Rule{short, long}, []Fact{{Match: true, Begin: yearsAgo(7)}, {Match: true, Begin: yearsAgo(7)}}, "long"},
		{"another might ask for more", []Rule{short, long}, []Fact{{Match: true, Begin: yearsAgo(2)}, {Unsure: true, Begin: yearsAgo(2)}}, ""},
		{"a minimum", []Rule{short, least}, []Fact{{Match: true, Begin: yearsAgo(9)}, {Match: true, Begin: yearsAgo(9)}}, ""},
		{"a minimum that might apply", []Rule{short, least}, []Fact{{Match: true, Begin: yearsAgo(9)}, {Unsure: true, Begin: yearsAgo(9)}}, ""},
		{"a minimum is no maximum", []Rule{least}, []Fact{{Match: true, Begin: yearsAgo(20)}}, ""},
		{"only perhaps", []Rule{short}, []Fact{{Unsure: true, Begin: yearsAgo(9)}}, ""},
		{"for what cannot be seen", []Rule{without}, []Fact{{Match: true, Unsure: true, Begin: yearsAgo(9)}}, ""},
		{"for what is seen", []Rule{short}, []Fact{{Match: true, Unsure: true, Begin: yearsAgo(9)}}, "short"},
	} {
		got := ""
		if r := Due(c.rules, c.facts, now); r != nil {
			got = r.Name
		}
		if got != c.want {
			t.Errorf("%s: due by %q, want %q", c.name, got, c.want)
		}
	}
}

// TestNothingIsDueUnderAMinimum also looks at what follows: a further rule that matches never makes
// anything due earlier, and what is due stays so.
func TestNothingIsDueUnderAMinimum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(1e9, 4e9).Draw(t, "now"), 0)
		n := rapid.IntRange(1, 5).Draw(t, "rules")
		rules, facts := make([]Rule, n), make([]Fact, n)
		for i := range rules {
			rules[i] = Rule{Name: fmt.Sprint(i), Min: drawPeriod(t), Max: drawPeriod(t), Negated: rapid.Bool().Draw(t, "negated")}
			facts[i] = Fact{Match: rapid.Bool().Draw(t, "match"), Unsure: rapid.Bool().Draw(t, "unsure"),
				Begin: now.Add(-time.Duration(rapid.Int64Range(0, 1<<30).Draw(t, "age")) * time.Second)}
		}
		due := Due(rules, facts, now)
		for i, r := range rules {
			applies := facts[i].Match || facts[i].Unsure
			if due != nil && applies && (r.Min.After(facts[i].Begin).After(now) || r.Max.After(facts[i].Begin).After(now)) {
				t.Fatalf("due by %s in spite of %+v %+v", due.Name, r, facts[i])
			}
		}
		if due != nil && Due(rules, facts, now.Add(time.Hour)) == nil {
			t.Fatal("due, and an hour later it is not")
		}
		if without := Due(rules[:n-1], facts[:n-1], now); due != nil && without == nil && !facts[n-1].Match {
			t.Fatal("due by a rule that does not match")
		}
	})
}

func drawPeriod(t *rapid.T) Period {
	return Period{Months: rapid.IntRange(0, 130).Draw(t, "months"), Days: rapid.IntRange(0, 800).Draw(t, "days"),
		Rest: time.Duration(rapid.IntRange(0, 100_000).Draw(t, "seconds")) * time.Second}
}
