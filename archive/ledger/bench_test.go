package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
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
