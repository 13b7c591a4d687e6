package indexer

import (
	"fmt"
	"reflect"
	"testing"
)

// answers asks everything that reads values of hits.
func answers(t *testing.T, r *running) (out []*Result) {
	t.Helper()
	for _, req := range []Request{
		{Query: "m*", Facets: Facets()}, {Query: "common", Facets: Facets(), Limit: 20}, {Query: "topic1", Sort: SortSender, Facets: Facets()},
		{Query: "topic2", Threads: true, Facets: Facets()}, {Query: "filler", Sort: SortLargest},
		{Query: "common", Facets: Facets(), Scope: &Scope{Mailboxes: []string{boxes[0]}}},
	} {
		res, err := r.Search(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		res.Took = 0
		out = append(out, res)
	}
	return out
}

func TestSearchesAreAnsweredTheSameWithColumnsAndWithout(t *testing.T) {
	r, _ := letters(t, 130)
	used := func() int64 { return r.columns.used.Load() }
	without := answers(t, r)
	for i := range 10 {
		if got := answers(t, r); !reflect.DeepEqual(got, without) {
			t.Fatalf("answers differ at repetition %d, with %d bytes of columns", i, used())
		}
	}
	had := used()
	if had == 0 {
		t.Fatal("there are no columns: the test proves nothing")
	}
	// New mail makes other views, which have other answers.
	for i := range 10 {
		r.a.put(name(id(fmt.Sprint("late", i))), boxes[1], "From: person1@d1.example\nSubject: common topic1\n\nfiller\n")
	}
	r.catchUp().complete()
	fresh := answers(t, r)
	if reflect.DeepEqual(fresh, without) {
		t.Fatal("new mail changes nothing")
	}
	for range 10 {
		if got := answers(t, r); !reflect.DeepEqual(got, fresh) {
			t.Fatal("answers differ after new mail")
		}
	}
	r.stop()
	if n := used(); n != 0 {
		t.Errorf("%d bytes of columns are left after closing", n)
	}
}

func TestColumnsStayWithinTheirRoom(t *testing.T) {
	r, _ := letters(t, 130)
	r.columns.used.Add(maxColumns) // others have it all
	without := answers(t, r)
	for range 5 {
		if got := answers(t, r); !reflect.DeepEqual(got, without) {
			t.Fatal("answers differ without room")
		}
	}
	if n := r.columns.used.Load(); n != maxColumns {
		t.Errorf("%d bytes are used", n-maxColumns)
	}
}
