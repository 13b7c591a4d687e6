package volume

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// BenchmarkAppend commits every 100 messages, and does not wait for the disk: it
// measures what the format costs.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{8 << 10, 64 << 10, 8 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			o := testOptions(b.TempDir())
			o.frameBytes = FrameBytes
			s := mustOpen(b, o, nil)
			var mails [][]byte
			var messages []Message
			for i := range max(16<<20/size, 1) {
				mails = append(mails, mail(uint64(i), size))
				messages = append(messages, message(mails[i]))
			}
			b.SetBytes(int64(size))
			i := 0
			for b.Loop() {
				m := messages[i%len(messages)]
				m.Body = bytes.NewReader(mails[i%len(mails)])
				if _, _, err := s.Append(b.Context(), m); err != nil {
					b.Fatal(err)
				}
				if i++; i%100 == 0 {
					if _, err := s.Commit(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkOpen reads messages of 8 KiB: at random with a cache that is too small, and in order.
func BenchmarkOpen(b *testing.B) {
	o := testOptions(b.TempDir())
	o.frameBytes, o.FrameCache = FrameBytes, 4<<20
	s := mustOpen(b, o, nil)
	var places []Place
	for i := range 8000 {
		at, _, err := s.Append(b.Context(), message(mail(uint64(i), 8<<10)))
		if err != nil {
			b.Fatal(err)
		}
		places = append(places, at)
	}
	if _, err := s.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	for name, next := range map[string]func(i int) int{
		"random":   func(int) int { return rand.IntN(len(places)) },
		"in order": func(i int) int { return i % len(places) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(8 << 10)
			i := 0
			for b.Loop() {
				_, r, err := s.Open(b.Context(), places[next(i)])
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, r)
				_ = r.Close()
				i++
			}
		})
	}
}
