package pipeline

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// holders returns the files below dir that hold the text.
func holders(t *testing.T, dir, text string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // the server removes files meanwhile
		}
		if bytes.Contains(data, []byte(text)) {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestNothingOfAMessageIsLeftInTheStreamsAfterScrub(t *testing.T) {
	opts := embedded(t)
	b := &bench{opts: opts, timing: quick()}
	b.timing.scrubAge, b.timing.scrubWait = time.Millisecond, 10*time.Second
	bus := b.connect(t)
	s := openSession(t, bus, "a")
	small := []byte("Subject: smallcanary\r\n\r\nx")
	large := append([]byte("Subject: largecanary\r\n\r\n"), bytes.Repeat([]byte("largecanary 0123456789\r\n"), 100_000)...)
	publish(t, s, 1, small)
	publish(t, s, 2, large)
	eventually(t, "published", func() bool { return stream(t, bus, "MAIL_s0").Messages == 2 })
	if err := bus.putBody(t.Context(), "orphan", bytes.NewReader([]byte("orphancanary"))); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"smallcanary", "largecanary", "orphancanary"} {
		eventually(t, text+" to be in a file", func() bool { return len(holders(t, opts.Dir, text)) > 0 })
	}
	runArchiver(t, bus, newFakeStore())
	next(t, s.Receipts())
	next(t, s.Receipts())
	if len(holders(t, opts.Dir, "smallcanary")) == 0 {
		t.Log("the server has removed it by itself")
	}
	if err := bus.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"smallcanary", "largecanary", "orphancanary"} {
		if left := holders(t, opts.Dir, text); len(left) > 0 {
			t.Errorf("%s is left in %v", text, left)
		}
	}
	// The way is open.
	publish(t, s, 3, []byte("Subject: next\r\n\r\nx"))
	if r := next(t, s.Receipts()); r.Number != 3 || r.Err != "" {
		t.Errorf("receipt %+v after it", r)
	}
}

func TestScrubGivesUpWhenNothingIsArchived(t *testing.T) {
	onBoth(t, func(t *testing.T, b *bench) {
		b.timing.scrubWait = 200 * time.Millisecond
		bus := b.connect(t)
		s := openSession(t, bus, "a")
		publish(t, s, 1, []byte("Subject: pending\r\n\r\nx"))
		eventually(t, "published", func() bool { return stream(t, bus, "MAIL_s0").Messages == 1 })
		if err := bus.Scrub(t.Context()); err == nil {
			t.Error("no error while a message is pending")
		}
		if n := stream(t, bus, "MAIL_s0").Messages; n != 1 {
			t.Errorf("%d messages are pending, want the one", n)
		}
	})
}
