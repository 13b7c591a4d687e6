package indexer

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Sort is the order of hits.
type Sort string

// The orders of hits. Those that are equal in them come newest received first.
const (
	SortNewest      Sort = "-date" // by Date, the latest first
	SortOldest      Sort = "date"
	SortLastIn      Sort = "-received" // by the time of the first deposit, the latest first
	SortReceived    Sort = "received"
	SortLargest     Sort = "-size"
	SortSmallest    Sort = "size"
	SortSender      Sort = "sender" // by the name of the sender, else the address
	SortSenderDown  Sort = "-sender"
	SortRelevance   Sort = "relevance" // what fits the query best first
	SortIrrelevance Sort = "-relevance"
)

// Sorts lists the orders.
func Sorts() []Sort {
	return []Sort{SortNewest, SortOldest, SortLastIn, SortReceived, SortLargest, SortSmallest, SortSender, SortSenderDown, SortRelevance, SortIrrelevance}
}

// order compares hits.
type order struct {
	sort Sort
	// field has the key that is compared, "" for none: then the score is, or
	// nothing but the time received.
	field      string
	scored     bool
	descending bool
}

// orderOf returns the order of a Sort.
func orderOf(s Sort) (order, error) {
	if s == "" {
		s = SortNewest
	}
	name, descending := strings.CutPrefix(string(s), "-")
	o := order{sort: s, descending: descending}
	switch Sort(name) {
	case SortOldest:
		o.field = fieldDateKey
	case SortReceived:
	case SortSmallest:
		o.field = fieldSizeKey
	case SortSender:
		o.field = fieldSenderKey
	case SortRelevance:
		o.scored, o.descending = true, !descending
	default:
		names := make([]string, 0, len(Sorts()))
		for _, s := range Sorts() {
			names = append(names, string(s))
		}
		return order{}, &RequestError{fmt.Sprintf("unknown order %q, want one of %s", s, strings.Join(names, " "))}
	}
	return o, nil
}

// rank is the place of a hit in an order. No two messages have the same one.
type rank struct {
	score float64
	key   string // of order.field
	order string // as in fieldOrder
}

// compare is negative if a comes before b.
func (o order) compare(a, b *rank) int { return compareRanks(o, a.score, a.key, a.order, b) }

// compareRanks is negative if a, given by its parts, comes before b. Most hits
// are looked at once and not kept, so that it must not allocate.
func compareRanks[T string | []byte](o order, score float64, key, received T, b *rank) int {
	var c int
	switch {
	case o.scored:
		c = cmp.Compare(score, b.score)
	case o.field != "":
		c = compareText(key, b.key)
	default:
		c = compareText(received, b.order)
	}
	if o.descending {
		c = -c
	}
	if c == 0 {
		c = -compareText(received, b.order)
	}
	return c
}

func compareText[T string | []byte](a T, b string) int {
	switch {
	case string(a) == b:
		return 0
	case string(a) < b:
		return -1
	}
	return 1
}

// best returns the key of the best hit that a generation can have in the order,
// if that is known.
func (o order) best(s *state) (key string, ok bool) {
	if !o.descending || o.scored {
		return "", false
	}
	switch o.field {
	case "":
		return timeKey(s.To), true
	case fieldDateKey:
		return timeKey(s.NewestDate), true
	}
	return "", false
}

// behind reports whether all hits of a generation come after r.
func (o order) behind(s *state, r *rank) bool {
	best, ok := o.best(s)
	if !ok {
		return false
	}
	if o.field == "" {
		return best < r.order[:min(len(r.order), len(best))]
	}
	return best < r.key
}

// A cursor is the order, the score, the key and the time received of the last
// hit of a page.
func encodeCursor(o order, r rank) string {
	score := strconv.FormatUint(math.Float64bits(r.score), 36)
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{string(o.sort), score, r.order, r.key}, " ")))
}

func decodeCursor(o order, text string) (rank, error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	parts := strings.SplitN(string(data), " ", 4)
	if err != nil || len(parts) < 4 || parts[2] == "" {
		return rank{}, &RequestError{"the cursor is none that a search returned"}
	}
	if Sort(parts[0]) != o.sort {
		return rank{}, &RequestError{fmt.Sprintf("the cursor is of a search sorted by %s, not %s", parts[0], o.sort)}
	}
	score, err := strconv.ParseUint(parts[1], 36, 64)
	if err != nil {
		return rank{}, &RequestError{"the cursor is none that a search returned"}
	}
	return rank{math.Float64frombits(score), parts[3], parts[2]}, nil
}
