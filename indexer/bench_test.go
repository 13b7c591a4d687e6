package indexer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/corpus"
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
func built(tb testing.TB, a *memory) *Index {
	tb.Helper()
	x, err := Open(tb.Context(), Options{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	w := &builder{Worker: NewWorker(x, a, nil, WorkerOptions{})}
	if err := w.catchUp(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return x
}

// BenchmarkIndexCorpus indexes real mail. index-bytes is what the index takes on the
// disk, with the texts of snippets.
func BenchmarkIndexCorpus(b *testing.B) {
	corpus.Require(b, "bench-list")
	a, bytes := newMemory(), int64(0)
	if err := corpus.Load(b.Context(), "bench-list", func(path string, msg []byte) error {
		sum := sha256.Sum256([]byte(path))
		a.messages[hex.EncodeToString(sum[:])] = string(msg)
		a.deposits = append(a.deposits, archive.Indexable{ID: hex.EncodeToString(sum[:]), Size: int64(len(msg)), Received: received,
			Mailboxes: []string{"list"}, Index: int64(len(a.deposits))})
		bytes += int64(len(msg))
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(bytes)
	for b.Loop() {
		x := built(b, a)
		b.ReportMetric(float64(sizeOf(b, x.opts.Dir)), "index-bytes")
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func sizeOf(b *testing.B, dir string) (total int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return total
}
