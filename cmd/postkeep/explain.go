package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) explainSearch(ctx context.Context, client *api.Client, query string, asJSON bool) error {
	e, err := client.Explain(ctx, query)
	switch {
	case err != nil:
		return err
	case asJSON:
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	a.printExplanation(e)
	return nil
}

// printExplanation shows what became of a query: each condition with what it alone
// finds, and below it what was looked up in which field.
func (a *app) printExplanation(e indexer.Explanation) {
	st, width := a.styleFor(a.stdout), a.width()
	fmt.Fprintf(a.stdout, "%s %s\n", st.dim("read as "), fit(printable(e.Query), width-9))
	fmt.Fprintf(a.stdout, "%s %s\n", st.dim("searched"), fit(strings.Join(e.Generations, ", "), width-9))
	for _, c := range e.Conditions {
		found := count(c.Found) + " messages"
		if c.Found == 1 {
			found = "1 message"
		}
		fmt.Fprintf(a.stdout, "\n%s %s\n", st.bold(pad(printable(c.Text), width-len(found)-1)), st.cyan(found))
		for _, l := range c.Lookups {
			const fieldWidth, howWidth = 12, 8
			fmt.Fprintf(a.stdout, "  %s %s %s\n", pad(l.Field, fieldWidth), st.dim(pad(l.How, howWidth)), fit(lookedUp(l), width-fieldWidth-howWidth-4))
		}
	}
}

// lookedUp says what a lookup stands for in the index.
func lookedUp(l indexer.Lookup) string {
	var terms []string
	for _, t := range l.Terms {
		terms = append(terms, printable(t.Term)+" "+count(t.Count))
	}
	text := printable(l.Text)
	switch {
	case l.How == "range" || l.How == "id":
		return text
	case len(terms) == 0:
		return text + " is not there"
	case l.How == "word":
		return terms[0]
	case l.How == "pattern" && l.Words > 1:
		text += fmt.Sprintf(" is %d words", l.Words)
	}
	if l.Words > len(terms) {
		terms = append(terms, "…")
	}
	return text + ": " + strings.Join(terms, ", ")
}
