package setsum

import (
	"maps"
	"slices"
)

// Totals are the sums of the deposits of each mailbox. A mailbox without deposits is as good as one that is not there.
type Totals map[string]Sum

// Add adds a deposit.
func (t Totals) Add(index int64, id, mailbox string) {
	s := t[mailbox]
	s.Add(index, id, mailbox)
	t[mailbox] = s
}

// Remove takes away a deposit that was added.
func (t Totals) Remove(index int64, id, mailbox string) {
	s := t[mailbox]
	s.Remove(index, id, mailbox)
	if t[mailbox] = s; s == (Sum{}) {
		delete(t, mailbox)
	}
}

// All is the sum of the deposits of all mailboxes.
func (t Totals) All() (all Sum) {
	for _, s := range t {
		all.Merge(s)
	}
	return all
}

// Differ lists the mailboxes whose sums are not the same in both, sorted.
func (t Totals) Differ(other Totals) []string {
	differ := map[string]bool{}
	for name, s := range t {
		if other[name] != s {
			differ[name] = true
		}
	}
	for name, s := range other {
		if t[name] != s {
			differ[name] = true
		}
	}
	return slices.Sorted(maps.Keys(differ))
}
