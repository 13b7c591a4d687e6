package indexer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Facet is a property by which results are counted.
type Facet string

// The facets. A message with several values counts for each of them.
const (
	FacetMailbox  Facet = "mailbox"
	FacetDomain   Facet = "domain" // of the sender
	FacetYear     Facet = "year"   // of the date, like 2024
	FacetMonth    Facet = "month"  // like 2024-03
	FacetFileType Facet = "filetype"
	FacetFlag     Facet = "flag"
)

// Facets lists the facets.
func Facets() []Facet {
	return []Facet{FacetMailbox, FacetDomain, FacetYear, FacetMonth, FacetFileType, FacetFlag}
}

// FacetCount is the number of hits with one value.
type FacetCount struct {
	Value string `json:"value"`
	Count uint64 `json:"count"`
}

// DefaultFacetLimit is how many values of a facet are returned.
const DefaultFacetLimit = 20

// facetField is where the values of a facet are.
func facetField(f Facet) string {
	switch f {
	case FacetMailbox:
		return fieldDeposit
	case FacetDomain:
		return fieldSenderDomain
	case FacetFileType:
		return fieldFileType
	case FacetFlag:
		return fieldFlag
	}
	return "" // the date, which is read in any case
}

// counts counts the values of one facet: of all hits, so that they are exact
// whatever is returned.
type counts struct {
	facet  Facet
	field  string
	values map[string]*uint64
	// seen are those of the hit at hand, which may have one twice.
	seen []*uint64
}

func newCounts(f Facet) (*counts, error) {
	if !slices.Contains(Facets(), f) {
		return nil, &RequestError{fmt.Sprintf("unknown facet %q, want some of %v", f, Facets())}
	}
	return &counts{facet: f, field: facetField(f), values: map[string]*uint64{}}, nil
}

func (c *counts) see(value []byte) {
	n := c.values[string(value)]
	if n == nil {
		n = new(uint64)
		c.values[string(value)] = n
	}
	if !slices.Contains(c.seen, n) {
		c.seen = append(c.seen, n)
	}
}

// seeDate takes the value of a facet that comes from the date of a hit.
func (c *counts) seeDate(year int, month time.Month) {
	var buf [16]byte
	text := strconv.AppendInt(buf[:0], int64(10_000+year), 10)[1:] // with leading zeros
	if c.facet == FacetMonth {
		text = append(text, '-', byte('0'+month/10), byte('0'+month%10))
	}
	c.see(text)
}

// commit counts what has been seen if the hit counts, and forgets it.
func (c *counts) commit(counted bool) {
	if counted {
		for _, n := range c.seen {
			*n++
		}
	}
	c.seen = c.seen[:0]
}

// top returns the most frequent values, or all years and months in their order.
func (c *counts) top(limit int) []FacetCount {
	out := make([]FacetCount, 0, len(c.values))
	for v, n := range c.values {
		if *n > 0 {
			out = append(out, FacetCount{v, *n})
		}
	}
	dated := c.facet == FacetYear || c.facet == FacetMonth
	slices.SortFunc(out, func(a, b FacetCount) int {
		if !dated && a.Count != b.Count {
			return cmp.Compare(b.Count, a.Count)
		}
		return cmp.Compare(a.Value, b.Value)
	})
	if !dated {
		out = out[:min(limit, len(out))]
	}
	return out
}
