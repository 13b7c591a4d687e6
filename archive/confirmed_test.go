package archive

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestOnlyAReportConfirmsADeposit puts messages of two mailboxes and records what
// a poll vouches for. The rebuilt catalog has to know the same.
func TestOnlyAReportConfirmsADeposit(t *testing.T) {
	s, dir := create(t)
	var receipts []Receipt
	for i, mailbox := range []string{"sales", "support", "sales", "sales"} {
		receipts = append(receipts, mustPut(t, s, delivery(mailbox, "u", string(rune('a'+i))))...)
	}
	r := PollReport{
		Mailbox: "sales", Memory: []byte(`{"lost":2}`),
		// The second is not one of this mailbox, and the last did not exist yet.
		Confirmed: NewRuns([]int64{receipts[0].Index, receipts[1].Index, receipts[2].Index, receipts[3].Index + 2}),
	}
	if err := s.RecordPoll(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := s.RecordPoll(t.Context(), PollReport{Mailbox: "sales"}); err != nil { // says nothing new
		t.Fatal(err)
	}
	check := func(s *Store, when string) {
		t.Helper()
		for i, want := range []bool{true, false, true, false} {
			mailbox := "sales"
			if i == 1 {
				mailbox = "support"
			}
			holdings, err := s.Known(t.Context(), mailbox, []Listing{{UIDL: "u", Size: 3}})
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range holdings {
				if h.Index == receipts[i].Index && h.Confirmed != want {
					t.Errorf("%s: deposit %d is confirmed: %v, want %v", when, i, h.Confirmed, want)
				}
			}
		}
		memory, err := s.PollMemory(t.Context(), "sales")
		if err != nil || string(memory) != `{"lost":2}` {
			t.Errorf("%s: memory %s, %v", when, memory, err)
		}
		if memory, err := s.PollMemory(t.Context(), "support"); err != nil || memory != nil {
			t.Errorf("%s: memory of another mailbox: %s, %v", when, memory, err)
		}
	}
	check(s, "at once")
	if err := s.RebuildCatalog(t.Context(), func(context.Context, *Store) error { return nil }); err != nil {
		t.Fatal(err)
	}
	check(s, "after a rebuild")
	if err := errors.Join(s.Close(), os.Remove(filepath.Join(dir, catalogName))); err != nil {
		t.Fatal(err)
	}
	check(reopen(t, dir, Options{}), "from the ledger")
}
