package indexer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	index "github.com/blevesearch/bleve_index_api"

	"github.com/postkeep/postkeep/indexer/words"
)

const (
	// maxNearLookups is how many addresses one is compared with, over all generations: a second's work.
	maxNearLookups = 2_000_000
	// maxNearDistance is how many letters of a mistyped address are wrong at most.
	maxNearDistance = 4
)

// NearestAddress returns the address in the index that is most like addr, "" if none is like it. "@example.com" stands for a domain.
func (x *Index) NearestAddress(ctx context.Context, addr string) (string, error) {
	n := nearestTo{wanted: words.Fold(strings.TrimSpace(addr)), left: maxNearLookups}
	n.domain = strings.HasPrefix(n.wanted, "@")
	n.wanted = strings.TrimPrefix(n.wanted, "@")
	n.least = min(maxNearDistance, utf8.RuneCountInString(n.wanted)/4) + 1
	err := x.use(func(slots []*slot) error {
		for i := len(slots) - 1; i >= 0; i-- {
			for _, field := range []string{fieldParticipant, fieldRecipient, fieldAddress} {
				if err := n.lookIn(ctx, slots[i].gen, field); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if n.domain && n.best != "" {
		n.best = "@" + n.best
	}
	return n.best, err
}

// nearestTo is the search for one address.
type nearestTo struct {
	wanted string
	domain bool
	best   string
	least  int    // its distance, or one more than is like enough
	count  uint64 // messages that have it
	left   int    // addresses to look at
}

func (n *nearestTo) lookIn(ctx context.Context, g *generation, field string) (err error) {
	if err := g.usable(); err != nil {
		return nil //nolint:nilerr // it is a hint
	}
	defer g.recovered("look up addresses", &err)
	r, err := g.reader()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	dict, err := r.FieldDict(field)
	if err != nil {
		return fmt.Errorf("look up addresses: %w", err)
	}
	defer func() { err = errors.Join(err, dict.Close()) }()
	for n.left > 0 && ctx.Err() == nil {
		entry, err := dict.Next()
		if err != nil || entry == nil {
			return err
		}
		n.compare(entry)
	}
	return ctx.Err()
}

func (n *nearestTo) compare(entry *index.DictEntry) {
	if n.domain == strings.Contains(entry.Term, "@") || n.domain && !strings.Contains(entry.Term, ".") {
		return
	}
	n.left--
	d := typingDistance(n.wanted, entry.Term, n.least)
	if d < n.least || d == n.least && n.best != "" && entry.Count > n.count {
		n.best, n.least, n.count = entry.Term, d, entry.Count
	}
}

// typingDistance is the number of letters left out, added, changed or swapped with their neighbour (optimal string
// alignment), or more than most if it is more.
func typingDistance(a, b string, most int) int {
	s, t := []rune(a), []rune(b)
	if d := len(s) - len(t); d > most || -d > most {
		return most + 1
	}
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > most {
			return most + 1
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}
