package indexer

import (
	"strings"
	"testing"
)

// Trying every combination of places, as Bleve does, would not end before the
// tests are given up.
func TestPhraseInATextThatRepeatsItselfIsFoundAtOnce(t *testing.T) {
	a := newMemory()
	const line = "filler line here again and again\n"
	a.put("long", "box", "Subject: x\n\n"+strings.Repeat(line, 2<<20/len(line)))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	for q, want := range map[string]uint64{
		`"filler line here"`: 1, `"again and again filler line here again"`: 1, `"here filler line"`: 0,
		"fil*.l?ne.here": 1, "here.f*.line": 0, "a*.again.f*.l*.h*": 1,
		`"` + strings.Repeat("filler line here again and again ", 150) + `"`: 1,
	} {
		found, err := r.Search(t.Context(), Request{Query: q})
		if err != nil || found.Total != want {
			t.Errorf("%.40s: %d, %v", q, found.Total, err)
		}
	}
}
