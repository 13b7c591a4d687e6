package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
)

// BenchmarkAppend is a commit without the time that fsync takes.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 500} {
		b.Run(fmt.Sprintf("%d-events", n), func(b *testing.B) {
			l, _ := newLedger(b)
			events := eventSeries(0, n)
			for b.Loop() {
				mustAppend(b, l, events...)
			}
		})
	}
}

// BenchmarkEntry reads events at random from a ledger of 100,000.
func BenchmarkEntry(b *testing.B) {
	l, _ := newLedger(b)
	events := eventSeries(0, 1000)
	for range 100 {
		mustAppend(b, l, events...)
	}
	for b.Loop() {
		if _, err := l.Entry(context.Background(), rand.Int64N(l.Size())); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a ledger of 100,000 events.
func BenchmarkOpen(b *testing.B) {
	l, opt := newLedger(b)
	events := eventSeries(0, 1000)
	for range 100 {
		mustAppend(b, l, events...)
	}
	mustClose(b, l)
	for b.Loop() {
		l, err := Open(context.Background(), opt)
		if err != nil {
			b.Fatal(err)
		}
		mustClose(b, l)
	}
}

// BenchmarkRead streams a ledger of 100,000 events with their details.
func BenchmarkRead(b *testing.B) {
	l, _ := newLedger(b)
	events := eventSeries(0, 1000)
	for range 100 {
		mustAppend(b, l, events...)
	}
	for b.Loop() {
		if err := l.Read(context.Background(), 0, func(Entry) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify verifies a ledger of 100,000 events with their details.
func BenchmarkVerify(b *testing.B) {
	l, _ := newLedger(b)
	events := eventSeries(0, 1000)
	for range 100 {
		mustAppend(b, l, events...)
	}
	for b.Loop() {
		if err := l.VerifyAll(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppendConcurrently has many callers with one event each, on a real
// disk; "syncs/event" says how well they share commits, of which each has three fsyncs of files.
func BenchmarkAppendConcurrently(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("%d-callers", callers), func(b *testing.B) {
			fsys := &syncFS{FS: disk.OS()}
			opt := optionsIn(b.TempDir())
			opt.FS = fsys
			mustCreate(b, opt)
			l := mustOpen(b, opt)
			before := fsys.syncs.Load()
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					mustAppend(b, l, event(0))
				}
			})
			b.ReportMetric(float64(fsys.syncs.Load()-before)/float64(b.N), "syncs/event")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
