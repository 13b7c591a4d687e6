package catalog

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func change() Change {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	one, two, part := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	return Change{
		Messages: []Message{
			{ID: one, Volume: 1, Offset: 0, Size: 10, Received: at},
			{ID: two, Volume: 1, Offset: 2048, Size: 20, Received: at, Parts: []Part{{part, 1, 1024, 5}}},
		},
		Deposits: []Deposit{
			{Index: 0, ID: one, Mailbox: "sales", UIDL: "1", ListedSize: 12, Received: at, Size: 10, Record: []byte(`{"n":0}`)},
			{Index: 2, ID: two, Mailbox: "sales", UIDL: "2", ListedSize: 22, Received: at, Size: 20, Record: []byte(`{"n":1}`)},
			{Index: 3, ID: one, Mailbox: "support", UIDL: "1", ListedSize: 12, Received: at, Size: 10, Record: []byte(`{"n":2}`)},
		},
		Polls:    []Poll{{1, "sales", []byte("first")}, {4, "sales", []byte("second")}},
		Ends:     map[uint32]int64{1: 4096},
		Meta:     map[string]string{"k": "v"},
		Position: 5,
	}
}

func TestApplyingTheSameEventsAgainChangesNothing(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "catalog.db"))
	var before []Mailbox
	for range 3 {
		if err := c.Apply(t.Context(), change()); err != nil {
			t.Fatal(err)
		}
		boxes, err := c.Mailboxes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !reflect.DeepEqual(boxes, before) {
			t.Errorf("mailboxes %+v, before %+v", boxes, before)
		}
		before = boxes
	}
	if len(before) != 2 || before[0].Deposits != 2 || before[0].Bytes != 30 || string(before[0].LastPoll) != "second" {
		t.Errorf("mailboxes %+v", before)
	}
	messages, bytes, deposits, err := c.Counts(t.Context())
	if err != nil || messages != 2 || bytes != 30 || deposits != 3 {
		t.Errorf("%d messages, %d bytes, %d deposits, %v", messages, bytes, deposits, err)
	}
}

func TestPositionMovesWithTheContentOrNotAtAll(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "catalog.db"))
	bad := change()
	bad.Deposits[2].ID = "no id"
	if err := c.Apply(t.Context(), bad); err == nil {
		t.Fatal("no error")
	}
	if n, err := c.Position(t.Context()); err != nil || n != 0 {
		t.Errorf("position %d, %v", n, err)
	}
	if _, ok, err := c.Message(t.Context(), strings.Repeat("a", 64)); ok || err != nil {
		t.Errorf("a message of the failed change is there (%v)", err)
	}
}

func TestAnEndNeverGoesBack(t *testing.T) {
	c := open(t, filepath.Join(t.TempDir(), "catalog.db"))
	for _, end := range []int64{100, 50} {
		if err := c.Apply(t.Context(), Change{Ends: map[uint32]int64{7: end}}); err != nil {
			t.Fatal(err)
		}
	}
	if ends, err := c.Ends(t.Context()); err != nil || ends[7] != 100 {
		t.Errorf("ends %v, %v", ends, err)
	}
}

func TestWhatIsNoCatalogIsUnusable(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.db")
	c := open(t, other)
	if _, err := c.write.ExecContext(t.Context(), "PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{other, text} {
		if _, err := Open(t.Context(), path); !Damaged(err) {
			t.Errorf("%s: %v, want it to be damaged", path, err)
		}
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(stopped, filepath.Join(dir, "new.db")); err == nil || Damaged(err) {
		t.Errorf("a cancelled context: %v, which is no damage", err)
	}
}

func TestPathsWithSpecialCharactersAreTakenAsTheyAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%20e.db")
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info, err)
	}
}
