package main

import (
	"strings"
	"testing"

	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestPollWithoutIndexArchivesAndDeletesAndTheNextPollIndexes(t *testing.T) {
	s := newSite(t, scriptedYAML(startScripted(t, pop3test.Config{}, small(20)...), ""))
	if r := reports(t, s.ok("poll", "--no-index", "--json"))["sales"]; r.Archived != 20 || r.Deleted != 20 {
		t.Errorf("poll --no-index: %+v, want 20 archived and deleted", r)
	}
	x, err := indexer.Open(t.Context(), indexer.Options{Dir: s.data("index")})
	if err != nil {
		t.Fatal(err)
	}
	if n := x.Count(); n != 0 {
		t.Errorf("%d documents are in the index after poll --no-index", n)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	s.ok("poll")
	if n := strings.TrimSpace(s.ok("search", "--count")); n != "20" {
		t.Errorf("the next poll made %s of 20 messages searchable", n)
	}
}
