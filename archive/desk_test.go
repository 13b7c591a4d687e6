package archive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/setsum"
	"github.com/postkeep/postkeep/indexer/query"
)

// A desk is an archive with everything that disposal needs around it, on a clock of its own.
type desk struct {
	tb    testing.TB
	dir   string
	now   time.Time
	set   time.Duration // how far the clock was set, while no time passed
	fs    disk.FS
	dual  bool
	s     *Store
	c     *Compliance
	index *shelf
}

func newDesk(tb testing.TB, dir string) *desk {
	d := &desk{tb: tb, dir: dir, now: received, fs: unsynced{disk.OS()}, index: &shelf{texts: map[string]string{}}}
	if err := Create(tb.Context(), dir, d.options()); err != nil {
		tb.Fatal(err)
	}
	d.open(d.options())
	return d
}

// unsynced makes tests quick that are not about fsync.
type unsynced struct{ disk.FS }

func (u unsynced) SyncDir(string) error { return nil }

func (u unsynced) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ disk.File }

func (unsyncedFile) Sync() error { return nil }

func (d *desk) options() Options {
	return Options{FS: d.fs, Now: func() time.Time { return d.now }, Boot: func() (BootClock, bool) {
		return BootClock{ID: "boot", Up: d.now.Sub(received) - d.set}, true
	}}
}

// withAccount is a context of somebody with an account that is older than everything, who has logged in themselves.
func withAccount(ctx context.Context) context.Context {
	return WithLogin(ctx, Login{How: "password", Account: true, Created: time.Unix(0, 0), Interactive: true, Apart: func(Asked) error { return nil }})
}

// agree approves the only change that waits for a second person.
func agree(ctx context.Context, s *Store, c *Compliance, by string) error {
	open, err := s.openChange(ctx, func(*Change) bool { return true })
	if err != nil {
		return err
	}
	_, err = c.ApproveChange(withAccount(ctx), open.ID, by)
	return err
}

// jump sets the clock.
func (d *desk) jump(to time.Time) {
	d.set += to.Sub(d.now)
	d.now = to
}

func (d *desk) open(o Options) {
	d.tb.Helper()
	s, err := Open(d.tb.Context(), d.dir, o)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.s, d.index.s = s, s
	d.c = NewCompliance(d.tb.Context(), s, ComplianceOptions{
		Search: d.index, Negates: negates, Purge: []Purger{d.index.Purge}, DualControl: d.dual,
	})
}

func (d *desk) close() {
	d.tb.Helper()
	d.c.Close()
	if err := d.s.Close(); err != nil {
		d.tb.Fatal(err)
	}
}

// reopen is what happens after a stop: everything that was interrupted is finished.
func (d *desk) reopen(o Options) {
	d.tb.Helper()
	d.close()
	d.open(o)
	if err := d.c.Resume(d.tb.Context()); err != nil {
		d.tb.Fatal(err)
	}
}

func (d *desk) put(deliveries ...Delivery) []Receipt {
	d.tb.Helper()
	for i := range deliveries {
		deliveries[i].Received = d.now
	}
	receipts, err := d.s.Put(d.tb.Context(), deliveries)
	if err != nil {
		d.tb.Fatal(err)
	}
	return receipts
}

func (d *desk) live(id string) []Deposit {
	d.tb.Helper()
	all, err := d.s.ofMessages(d.tb.Context(), id)
	if err != nil {
		d.tb.Fatal(err)
	}
	var out []Deposit
	for _, one := range all.list {
		out = append(out, one.Deposit)
	}
	return out
}

// inVolumes reports whether the text is in any volume, once it is decoded.
func (d *desk) inVolumes(text string) bool {
	d.tb.Helper()
	names, err := filepath.Glob(filepath.Join(d.dir, "volumes", "*"))
	if err != nil {
		d.tb.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			d.tb.Fatal(err)
		}
		if strings.HasSuffix(name, ".tar.zst") {
			z, err := zstd.NewReader(bytes.NewReader(data))
			if err != nil {
				d.tb.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				d.tb.Fatalf("%s: %v", name, err)
			}
			z.Close()
		}
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

// inFiles reports in which files of ledger and catalog the text is.
func (d *desk) inFiles(text string) (names []string) {
	d.tb.Helper()
	err := filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	return names
}

// A shelf stands for the index: it evaluates the query language over texts in memory.
type shelf struct {
	s      *Store
	texts  map[string]string
	behind bool
}

func (x *shelf) Position() int64 {
	last, err := x.s.LastDeposit(context.Background())
	if err != nil || x.behind {
		return -1
	}
	return last
}

// Deposits are those of the ledger, as the catalog has them too.
func (x *shelf) Deposits() setsum.Sum {
	totals, err := x.s.catalog.Totals(context.Background())
	if err != nil {
		return setsum.Sum{}
	}
	return totals.All()
}

func (x *shelf) Distrust() {}

func (x *shelf) Purge(_ context.Context, ids []string, _ int64) error {
	for _, id := range ids {
		delete(x.texts, id)
	}
	return nil
}

func (x *shelf) Each(ctx context.Context, q string, fn func(id string) error) error {
	node, err := query.Parse(q)
	if err != nil {
		return err
	}
	all, err := x.s.Since(ctx, -1, 1<<20)
	if err != nil {
		return err
	}
	for _, m := range all {
		text, ok := x.texts[m.ID]
		if !ok {
			body, err := x.s.OpenMessage(ctx, m.ID)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(body)
			if err := joinErrors(err, body.Close()); err != nil {
				return err
			}
			text = string(data)
			x.texts[m.ID] = text
		}
		if matches(node, text, m) {
			if err := fn(m.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func joinErrors(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func matches(n query.Node, text string, m Indexable) bool {
	switch n := n.(type) {
	case *query.And:
		return !slices.ContainsFunc(n.Nodes, func(n query.Node) bool { return !matches(n, text, m) })
	case *query.Or:
		return slices.ContainsFunc(n.Nodes, func(n query.Node) bool { return matches(n, text, m) })
	case *query.Not:
		return !matches(n.Node, text, m)
	case *query.All:
		return true
	case *query.ID:
		return strings.HasPrefix(m.ID, n.Prefix)
	case *query.Flag:
		return strings.Contains(text, "X-Flag: "+n.Name)
	case *query.Date:
		from, to := n.Bounds(received, time.UTC)
		in := func(at time.Time) bool { return !at.Before(from) && (to.IsZero() || at.Before(to)) }
		if n.Received {
			return slices.ContainsFunc(m.Deposits, func(d Arrival) bool { return in(d.Received) })
		}
		return in(m.Received)
	case *query.Text:
		if n.Field == query.Mailbox {
			return slices.Contains(m.Mailboxes, n.Value)
		}
		return strings.Contains(text, n.Value)
	}
	panic(fmt.Sprintf("the shelf does not know %T", n))
}

func negates(q string) (bool, error) {
	n, err := query.Parse(q)
	if err != nil {
		return false, err
	}
	return hasNot(n), nil
}

func hasNot(n query.Node) bool {
	switch n := n.(type) {
	case *query.And:
		return slices.ContainsFunc(n.Nodes, hasNot)
	case *query.Or:
		return slices.ContainsFunc(n.Nodes, hasNot)
	case *query.Not:
		return true
	}
	return false
}
