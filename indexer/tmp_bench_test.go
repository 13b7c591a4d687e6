package indexer

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
)

type dirArchive struct{ files []string; sizes []int64 }

func (d *dirArchive) Since(_ context.Context, after int64, limit int) ([]archive.Indexable, error) {
	var out []archive.Indexable
	for i := int(after) + 1; i < len(d.files) && len(out) < limit; i++ {
		out = append(out, archive.Indexable{ID: fmt.Sprintf("%064x", uint64(i)*0x9E3779B97F4A7C15), Size: d.sizes[i], Received: received.Add(time.Duration(i) * time.Second), Mailboxes: []string{"m"}, Index: int64(i)})
	}
	return out, nil
}
func (d *dirArchive) OpenMessage(_ context.Context, id string) (io.ReadCloser, error) {
	var h uint64
	fmt.Sscanf(id[48:], "%x", &h)
	// inverse of the multiplier mod 2^64
	inv := uint64(0x9E3779B97F4A7C15)
	x := inv
	for range 6 { x *= 2 - inv*x }
	return os.Open(d.files[h*x])
}
func (d *dirArchive) Describe(context.Context, []archive.Description) error { return nil }

func TestTmpBench(t *testing.T) {
	root := os.Getenv("BENCHDIR")
	if root == "" { t.Skip() }
	d := &dirArchive{}
	filepath.Walk(root, func(p string, i os.FileInfo, err error) error {
		if err == nil && i.Mode().IsRegular() { d.files = append(d.files, p); d.sizes = append(d.sizes, i.Size()) }
		return nil
	})
	sort.Strings(d.files)
	dir := os.Getenv("IDXDIR")
	os.RemoveAll(dir)
	x, err := Open(context.Background(), Options{Dir: dir})
	if err != nil { t.Fatal(err) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	start := time.Now()
	var peak uint64
	go func() {
		for ctx.Err() == nil {
			b, _ := os.ReadFile("/proc/self/status")
			for _, l := range strings.Split(string(b), "\n") {
				var n uint64
				if _, err := fmt.Sscanf(l, "RssAnon: %d", &n); err == nil { peak = max(peak, n>>10) }
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	go func() { done <- NewWorker(x, d, nil, WorkerOptions{BatchMessages: envInt("BM"), BatchTextBytes: envInt("BT")}).Run(ctx) }()
	if err := x.Wait(ctx, int64(len(d.files)-1)); err != nil { t.Fatal(err) }
	t.Logf("%d docs in %v", x.Count(), time.Since(start))
	cancel(); <-done
	var ms runtime.MemStats; runtime.ReadMemStats(&ms)
	t.Logf("sys %d MiB peak anon %d", ms.Sys>>20, peak)
	for _, q := range []string{"meeting", "the", "linux kernel", `"device tree"`, "from:intel.com", "driver -test", "date:2021", "ke* patch", "*", "subject:patch date:2020..2021", "build@example.com"} {
		for range 2 {
		res, err := x.Search(context.Background(), Request{Query: q})
		if err != nil { t.Error(q, err); continue }
		t.Logf("%-30s %6d %v", q, res.Total, res.Took)
		}
	}
	res, _ := x.Search(context.Background(), Request{Query: "device", Sort: SortRelevance})
	t.Logf("relevance %v %d", res.Took, res.Total)
	st := time.Now(); n := 0
	x.Each(context.Background(), "*", func(string) error { n++; return nil })
	t.Logf("each %d %v", n, time.Since(st))
	st = time.Now()
	t.Log(x.Close(), time.Since(st))
}

func envInt(k string) int { n := 0; fmt.Sscan(os.Getenv(k), &n); return n }
