package archive

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const benchBatch = 256

// benchMail is a message of about 8 KiB that compresses like mail.
func benchMail(n int) string {
	words := strings.Fields("the of and to in that it is was for on are with as be this by from at or have an they which one you had not but what all were when we there can said")
	r := rand.New(rand.NewPCG(uint64(n), 1))
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from mx.example.com by pop.example.com; %d\r\nMessage-ID: <%x@example.com>\r\nSubject: message %d\r\n\r\n", n, r.Uint64(), n)
	for b.Len() < 8<<10 {
		fmt.Fprintf(&b, "%s %s %s %x %s\r\n", words[r.IntN(len(words))], words[r.IntN(len(words))], words[r.IntN(len(words))], r.Uint32(), words[r.IntN(len(words))])
	}
	return b.String()
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "data")
	if err := Create(b.Context(), dir, Options{}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func benchPut(b *testing.B, body func(n int) string) {
	s := benchStore(b)
	n := 0
	bodies := make([]string, benchBatch)
	for b.Loop() {
		b.StopTimer()
		batch := make([]Delivery, benchBatch)
		for i := range batch {
			bodies[i] = body(n)
			batch[i] = delivery("sales", fmt.Sprint(n), bodies[i])
			n++
		}
		b.SetBytes(int64(len(bodies[0])) * benchBatch)
		b.StartTimer()
		if _, err := s.Put(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkPut puts batches of messages that have nothing in common.
func BenchmarkPut(b *testing.B) { benchPut(b, benchMail) }

// BenchmarkPutCopies puts batches of messages that came before, with other trace fields.
func BenchmarkPutCopies(b *testing.B) {
	benchPut(b, func(n int) string { return copyOf(fmt.Sprint(n), benchMail(n%benchBatch)) })
}

// BenchmarkRead opens and reads single messages of a repacked archive in random order: most are not in the cache of frames.
func BenchmarkRead(b *testing.B) {
	s := benchStore(b)
	var ids []string
	for n := 0; n < 20_000; {
		var batch []Delivery
		for range benchBatch {
			d := delivery("sales", fmt.Sprint(n), benchMail(n))
			batch, ids = append(batch, d), append(ids, d.ID)
			n++
		}
		if _, err := s.Put(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Seal(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := s.Repack(b.Context(), RepackOptions{}); err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		body, err := s.OpenMessage(b.Context(), ids[r.IntN(len(ids))])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			b.Fatal(err)
		}
		if err := body.Close(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
