package words

import (
	"errors"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/internal/corpus"
)

// benchText is real mail, else a little prose.
func benchText(b *testing.B) string {
	if !corpus.Available(b, "bench-list") {
		return strings.Repeat("Please find attached the report that you asked for; it is not the final one. ", 1000)
	}
	enough := errors.New("enough")
	var text strings.Builder
	err := corpus.Load(b.Context(), "bench-list", func(_ string, msg []byte) error {
		text.Write(msg)
		if text.Len() > 8<<20 {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		b.Fatal(err)
	}
	return text.String()
}

func BenchmarkAll(b *testing.B) {
	text := benchText(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		for range All(text) {
		}
	}
}

func BenchmarkLanguage(b *testing.B) {
	text := benchText(b)[:16<<10]
	b.ReportAllocs()
	for b.Loop() {
		Language(text)
	}
}

func BenchmarkStems(b *testing.B) {
	text := benchText(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	s := NewStemmer()
	for b.Loop() {
		for t := range All(text) {
			s.Stem("en", t.Term, text[t.Start:t.End])
		}
	}
}
