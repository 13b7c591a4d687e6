package main

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
)

// shapes are the kinds of queries; %s is a word of the archive.
var shapes = []string{"%s", "%s", "%s %s", "%s OR %s", `"%s %s"`, "%s -%s", "subject:%s", "from:%s", "%s*", "%s date:2020..", "%s has:attachment", `"%s %s"~5`, "*"}

// search opens the index and runs queries as the API does: the first fifty hits with
// snippets and summaries, all facets, and the event in the ledger.
func search(ctx context.Context, store *archive.Store, o options) (err error) {
	started := time.Now()
	x, err := indexer.Open(ctx, indexer.Options{Dir: o.index})
	if err != nil {
		return err
	}
	defer func() {
		if e := x.Close(); err == nil {
			err = e
		}
	}()
	fmt.Printf("open: %s\n", time.Since(started).Round(time.Millisecond))
	words, err := wordsOf(ctx, x)
	if err != nil || len(words) == 0 {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, facets := range [][]indexer.Facet{nil, indexer.Facets()} {
		var took []time.Duration
		for i := range o.searches {
			w := func() string { return words[random.IntN(len(words))] }
			q := strings.ReplaceAll(strings.Replace(shapes[i%len(shapes)], "%s", w(), 1), "%s", w())
			began := time.Now()
			if err := one(ctx, x, store, indexer.Request{Query: q, Facets: facets}); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		at := func(p int) time.Duration { return took[min(len(took)*p/100, len(took)-1)].Round(10 * time.Microsecond) }
		fmt.Printf("%d searches with %d facets: p50 %s, p95 %s, p99 %s, longest %s\n", len(took), len(facets), at(50), at(95), at(99), at(100))
	}
	return nil
}

func one(ctx context.Context, x *indexer.Index, store *archive.Store, r indexer.Request) error {
	res, err := x.Search(ctx, r)
	if err != nil {
		return err
	}
	for _, h := range res.Hits {
		if _, err := store.Message(ctx, h.ID); err != nil {
			return err
		}
	}
	_, err = store.Record(ctx, archive.Action{Type: archive.ActionSearch, Actor: "bench", Details: map[string]any{"query": r.Query, "total": res.Total}})
	return err
}

// wordsOf takes words from the snippets of some messages.
func wordsOf(ctx context.Context, x *indexer.Index) (words []string, err error) {
	res, err := x.Search(ctx, indexer.Request{Query: "*", Limit: indexer.MaxLimit})
	if err != nil {
		return nil, err
	}
	for _, h := range res.Hits {
		word := ""
		for _, c := range h.Snippet.Text + " " {
			switch {
			case c >= 'a' && c <= 'z':
				word += string(c)
			case len(word) > 3:
				words = append(words, word)
				word = ""
			default:
				word = ""
			}
		}
	}
	return words, nil
}

func sizeOf(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
