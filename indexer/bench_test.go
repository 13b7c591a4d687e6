package indexer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// prose makes text with the frequencies of words that languages have.
func prose(seed uint64, words int) string {
	zipf := rand.NewZipf(rand.New(rand.NewPCG(seed, 1)), 1.1, 2, 50_000)
	var b strings.Builder
	for i := range words {
		fmt.Fprintf(&b, "w%x", zipf.Uint64())
		b.WriteByte(" \n"[i%12/11])
	}
	return b.String()
}

func generated(n int) (a *memory, bytes int64) {
	a = newMemory()
	for i := range n {
		m := mail(fmt.Sprintf("User %d <user%d@example.com>", i%50, i%50), "list@example.org", "Mon, 15 Apr 2024 08:00:00 +0000",
			prose(uint64(i), 6), prose(uint64(i)+1<<32, 600))
		a.put(fmt.Sprint("m", i), "box", m)
		bytes += int64(len(m))
	}
	return a, bytes
}

func BenchmarkIndex(b *testing.B) {
	a, bytes := generated(1000)
	b.SetBytes(bytes)
	for b.Loop() {
		if err := built(b, a).Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	a, _ := generated(2000)
	x := built(b, a)
	defer x.Close()
	for _, q := range []string{"w10", `"w1 w2"`, "w10 w11 -w12", "from:user7@example.com", "w1f*", "date:2024-04"} {
		b.Run(q, func(b *testing.B) {
			for b.Loop() {
				if _, err := x.Search(b.Context(), Request{Query: q}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// built indexes a into a new directory.
func built(b *testing.B, a *memory) *Index {
	x, err := Open(b.Context(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	w := &builder{Worker: NewWorker(x, a, nil, WorkerOptions{})}
	if err := w.catchUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	return x
}
