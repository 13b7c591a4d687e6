package segment

import (
	"fmt"
	"math/rand/v2"
	"testing"

	index "github.com/blevesearch/bleve_index_api"
	api "github.com/blevesearch/scorch_segment_api/v2"
	zap "github.com/blevesearch/zapx/v17"
)

// prose are documents of 600 words each with the frequencies of words that languages have.
func prose(n int) []doc {
	docs := make([]doc, n)
	for i := range docs {
		zipf := rand.NewZipf(rand.New(rand.NewPCG(uint64(i), 1)), 1.1, 2, 50_000)
		var text []word
		for at := range 600 {
			text = append(text, word{fmt.Sprintf("w%x", zipf.Uint64()), at + 1})
		}
		docs[i] = doc{id: fmt.Sprintf("%064x", i), fields: map[string][]word{"text": text, "key": {{fmt.Sprint("k", i), 1}}}}
	}
	return docs
}

func BenchmarkCollect(b *testing.B) {
	c, docs := NewCollector(testSchema()), prose(50)
	terms := make([][]byte, len(docs[0].fields["text"]))
	for i, w := range docs[0].fields["text"] {
		terms[i] = []byte(w.term)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Begin()
		c.Field("text")
		for at, term := range terms {
			c.Add(term, at+1)
		}
		c.Terms()
	}
}

func BenchmarkSegment(b *testing.B) {
	docs, s := prose(1000), testSchema()
	c := NewCollector(s)
	var ours, theirs []index.Document
	for i, d := range docs {
		ours, theirs = append(ours, d.ours(c, i)), append(theirs, d.zapx(s))
	}
	for _, p := range []struct {
		name string
		docs []index.Document
		made func([]index.Document) (api.Segment, uint64, error)
	}{
		{"ours", ours, new(Plugin).New},
		{"zapx", theirs, new(zap.ZapPlugin).New},
	} {
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, size, err := p.made(p.docs)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(size), "segment-bytes")
			}
		})
	}
}
