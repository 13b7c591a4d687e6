package poller

import (
	"context"
	"math"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/setsum"
)

// nothingFound is an index that has all deposits, and finds none.
type nothingFound struct{ has setsum.Sum }

func (nothingFound) Each(context.Context, string, func(string) error) error { return nil }
func (nothingFound) Position() int64                                        { return math.MaxInt64 }
func (x nothingFound) Deposits() setsum.Sum                                 { return x.has }
func (nothingFound) Distrust()                                              {}

// TestANewMessageUnderTheListingOfADisposedOneIsArchived: servers reuse UIDLs, and the sizes are the same by chance.
func TestANewMessageUnderTheListingOfADisposedOneIsArchived(t *testing.T) {
	r := newRig(t, rigOptions{maildrop: withUIDLs([]string{"reused"}, []string{mail(1)}), mailbox: never})
	r.want(r.poll(), "listed 1 archived 1 known 0 left 0 deleted 0 kept 1")
	items, err := r.store.Since(t.Context(), -1, 1)
	r.must(err)
	live, err := r.store.Live(t.Context())
	r.must(err)
	c := archive.NewCompliance(t.Context(), r.store, archive.ComplianceOptions{
		Search: nothingFound{live.Deposits}, Negates: func(string) (bool, error) { return false, nil },
	})
	defer c.Close()
	_, _, err = c.Erase(t.Context(), items[0].ID, "a request", "olga", true)
	r.must(err)
	report := r.poll()
	r.want(report, "listed 1 archived 0 known 1 left 0 deleted 0 kept 1")
	if report.KeptWhy[whyDisposed] != 1 {
		t.Errorf("kept because %v, want because it was disposed of", report.KeptWhy)
	}
	r.must(r.server.SetMessages(user, withUIDLs([]string{"reused"}, []string{mail(2)})...))
	r.want(r.poll(), "listed 1 archived 1 known 0 left 0 deleted 0 kept 1")
	same(t, "archived", r.archived(), []string{mail(2)})
}
