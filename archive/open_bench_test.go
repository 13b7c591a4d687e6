package archive

import (
	"fmt"
	"path/filepath"
	"testing"
)

// BenchmarkOpen opens an archive of 100,000 short messages in 100 mailboxes: the cost must not grow with them.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "data")
	if err := Create(b.Context(), dir, Options{}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	const messages, batch = 100_000, 5000
	for n := 0; n < messages; {
		var list []Delivery
		for range batch {
			list = append(list, delivery(fmt.Sprintf("box%d", n%100), fmt.Sprint(n), fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", n)))
			n++
		}
		if _, err := s.Put(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(b.Context(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
