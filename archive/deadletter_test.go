package archive

import (
	"strings"
	"testing"
)

func TestDeadLettersAreKeptInTheLedger(t *testing.T) {
	s, dir := create(t)
	for n, d := range []DeadLetter{
		{Reason: "no envelope", Envelope: strings.Repeat("x", 2*maxDeadEnvelope)},
		{Reason: "the body has another SHA-256", ID: "one", Deposit: Deposit{Mailbox: "sales", Source: Source{Session: "s", Number: 7}}},
		{Reason: "the same, delivered again", ID: "one", Deposit: Deposit{Mailbox: "sales", Source: Source{Session: "s", Number: 7}}},
		{Reason: "failed", ID: "two", Deposit: Deposit{Mailbox: "sales", Source: Source{Session: "s", Number: 8}}},
	} {
		if err := s.RecordDeadLetter(t.Context(), d); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	check := func(s *Store) {
		t.Helper()
		st, err := s.Status(t.Context())
		if err != nil || st.DeadLetter == nil || st.DeadLetter.Number != 3 || st.DeadLetter.Reason != "failed" {
			t.Errorf("status: %+v, %v", st.DeadLetter, err)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, rebuild := range []bool{false, true} {
		s, err := Open(t.Context(), dir, Options{RebuildCatalog: rebuild})
		if err != nil {
			t.Fatal(err)
		}
		check(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
