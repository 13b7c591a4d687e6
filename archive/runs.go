package archive

import (
	"errors"
	"iter"
	"strconv"
	"strings"
)

// Runs is a list of numbers that are mostly neighbours, in few characters: items
// separated by commas, each the distance from the number before it (from 0, at
// first) and, behind a "+", how many more follow directly. "17+2,3" is 17, 18,
// 19, 22.
type Runs string

// NewRuns writes numbers, in their order.
func NewRuns(numbers []int64) Runs {
	var b []byte
	last := int64(0)
	for i := 0; i < len(numbers); {
		n := 1
		for i+n < len(numbers) && numbers[i+n] == numbers[i]+int64(n) {
			n++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, numbers[i]-last, 10)
		if n > 1 {
			b = append(b, '+')
			b = strconv.AppendInt(b, int64(n-1), 10)
		}
		last = numbers[i] + int64(n-1)
		i += n
	}
	return Runs(b)
}

var errRuns = errors.New("not a list of runs")

// run is one item: a number and those that follow it.
type run struct {
	first, more int64
	place       int64 // of first in the list, from 0
}

// items yields the runs. A bad item ends them, with an error.
func (r Runs) items() iter.Seq2[run, error] {
	return func(yield func(run, error) bool) {
		last, place := int64(0), int64(0)
		for item := range strings.SplitSeq(string(r), ",") {
			distance, more, several := strings.Cut(item, "+")
			d, err := strconv.ParseInt(distance, 10, 64)
			n := int64(0)
			if err == nil && several {
				n, err = strconv.ParseInt(more, 10, 64)
			}
			it := run{first: last + d, more: n, place: place}
			if err != nil || n < 0 || it.first < 0 || it.first+n < it.first || place+n < place {
				yield(run{}, errRuns)
				return
			}
			if !yield(it, nil) {
				return
			}
			last, place = it.first+n, place+n+1
		}
	}
}

// Find returns the place of a number in the list, from 0, and whether it is there. What
// follows a bad item is not.
func (r Runs) Find(number int64) (place int64, ok bool) {
	for it, err := range r.items() {
		if err == nil && it.first <= number && number-it.first <= it.more {
			return it.place + number - it.first, true
		}
	}
	return 0, false
}

// At returns the number at a place of the list, and whether there is one.
func (r Runs) At(place int64) (number int64, ok bool) {
	for it, err := range r.items() {
		if err == nil && it.place <= place && place-it.place <= it.more {
			return it.first + place - it.place, true
		}
	}
	return 0, false
}
