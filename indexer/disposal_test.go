package indexer_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/retention"
	"github.com/postkeep/postkeep/indexer"
)

// everything is the index without a scope.
type everything struct{ *indexer.Index }

func (x everything) Each(ctx context.Context, query string, fn func(string) error) error {
	return x.Index.Each(ctx, query, nil, fn)
}

// TestAMessageThatLosesItsFirstDepositIsStillFound: it was indexed with the first one, in a generation that is closed by
// now, and has others. What is not found would not be held either.
func TestAMessageThatLosesItsFirstDepositIsStillFound(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "data")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(archive.Create(ctx, dir, archive.Options{}))
	var later time.Duration
	begun := time.Now()
	store, err := archive.Open(ctx, dir, archive.Options{
		Now: func() time.Time { return time.Now().Add(later) },
		Boot: func() (archive.BootClock, bool) {
			return archive.BootClock{ID: "boot", Up: time.Since(begun) + later}, true
		},
	})
	check(err)
	defer store.Close()
	x, err := indexer.Open(ctx, indexer.Options{Dir: filepath.Join(dir, "index")})
	check(err)
	defer x.Close()
	wake, done := make(chan struct{}, 1), make(chan error, 1)
	working, stop := context.WithCancel(ctx)
	go func() {
		done <- indexer.NewWorker(x, store, wake, indexer.WorkerOptions{RollDocuments: 10, BatchMessages: 5, Gather: time.Millisecond}).Run(working)
	}()
	defer func() { stop(); check(<-done) }()
	put := func(mailbox, text string) {
		t.Helper()
		body := "Subject: common\r\n\r\n" + text + "\r\n"
		sum := sha256.Sum256([]byte(body))
		_, err := store.Put(ctx, []archive.Delivery{{ID: hex.EncodeToString(sum[:]), Size: int64(len(body)), Body: strings.NewReader(body),
			Deposit: archive.Deposit{Mailbox: mailbox, UIDL: mailbox + text, Received: time.Now()}}})
		check(err)
		wake <- struct{}{}
		last, err := store.LastDeposit(ctx)
		check(err)
		check(x.Wait(ctx, last))
	}
	want := func(found map[string]uint64) {
		t.Helper()
		for q, n := range found {
			res, err := x.Search(ctx, indexer.Request{Query: q, Limit: 1})
			check(err)
			if res.Total != n {
				t.Errorf("%s finds %d messages, want %d", q, res.Total, n)
			}
		}
	}
	put("first", "twice")
	for i := range 25 {
		put("others", fmt.Sprint("filler", i))
	}
	put("second", "twice")
	want(map[string]uint64{"twice": 1, "mailbox:first": 1, "mailbox:second": 1, "common": 26})

	c := archive.NewCompliance(ctx, store, archive.ComplianceOptions{
		Search: everything{x}, Negates: func(string) (bool, error) { return false, nil }, Purge: []archive.Purger{x.PurgeUpTo},
	})
	defer c.Close()
	_, err = c.AddRule(ctx, retention.Rule{Name: "first", Mailbox: "first", Max: retention.Period{Days: 1}}, "olga")
	check(err)
	later = 25 * time.Hour
	p, err := c.Plan(ctx, "olga", true)
	check(err)
	d, err := c.Apply(ctx, p.ID, "olga", true)
	check(err)
	if d.Deposits != 1 || d.Messages != 0 {
		t.Fatalf("disposal %+v", d)
	}
	left := map[string]uint64{"twice": 1, "mailbox:first": 0, "mailbox:second": 1, "common": 26}
	want(left)
	check(x.Rebuild(ctx))
	want(left)
	put("third", "twice")
	want(map[string]uint64{"twice": 1, "mailbox:first": 0, "mailbox:third": 1, "common": 26})
}
