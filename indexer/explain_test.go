package indexer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/indexer/query"
)

// explained writes an explanation on a few lines.
func explained(e *Explanation) string {
	var b strings.Builder
	fmt.Fprintln(&b, e.Query, e.Generations)
	for _, c := range e.Conditions {
		fmt.Fprintln(&b, c.Text, c.Found)
		for _, l := range c.Lookups {
			if l.Words > 0 || l.How == "range" {
				fmt.Fprintln(&b, " ", l.Field, l.How, l.Text, l.Words, l.Terms)
			}
		}
	}
	return b.String()
}

func TestExplainSaysWhatWordsBecome(t *testing.T) {
	a := sample()
	a.put("english", "sales", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "x", "He was running with all of the foxes that we have seen, and one jump is not what they run for."))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	for q, want := range map[string]string{
		"body:(run OR foxes) -/ju.*/ date:2024": `(body:run OR body:foxes) -/ju.*/ date:2024 [gen-000001]
body:run 1
  body word run 1 [{run 1}]
  body stem en run 1 [{run- 1}]
body:foxes 1
  body word foxes 1 [{foxes 1}]
  body stem en fox 1 [{fox- 1}]
/ju.*/ 2
  body pattern /(?-s:ju.*)/ 2 [{jump 1} {jumps 1}]
date:2024 5
  date range from 2024-01-01T00:00:00Z before 2025-01-01T00:00:00Z 0 []
`,
		`subject:"quarterly report" "fox brown"~3 v2.6*`: `subject:"quarterly report" "fox brown"~3 v2.6* [gen-000001]
subject:"quarterly report" 2
  subject phrase quarterly report 2 [{quarterly 2} {report 2}]
"fox brown"~3 2
  body near fox 1 [{fox 2}]
  body near brown 1 [{brown 2}]
v2.6* 1
  body phrase v2 6* 2 [{6 1} {v2 1}]
`,
		`from:alice from:*ice`: `from:alice from:*ice [gen-000001]
from:alice 1
  from word alice 1 [{alice 1}]
from:*ice 1
  from pattern *ice 1 [{alice 1}]
`,
		`"jumps jumps"~5 "jumps jumps"`: `"jumps jumps"~5 "jumps jumps" [gen-000001]
"jumps jumps"~5 0
  body near jumps 1 [{jumps 1}]
"jumps jumps" 0
  body phrase jumps jumps 1 [{jumps 1}]
`,
	} {
		e, err := r.Explain(t.Context(), q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		if got := explained(e); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", q, got, want)
		}
	}
	var syntax *query.Error
	if _, err := r.Explain(t.Context(), "a ("); !errors.As(err, &syntax) {
		t.Errorf("a (: %v", err)
	}
}
