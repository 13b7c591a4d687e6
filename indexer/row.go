package indexer

import (
	"bytes"
	"slices"

	"github.com/blevesearch/bleve/v2/search"
	index "github.com/blevesearch/bleve_index_api"
)

// row reads what a search needs to know of a hit besides that it is one. It is
// used for one hit after the other, so that only those that are kept cost memory.
type row struct {
	c          *collector
	v          *view
	values     index.DocValueReader
	groupField string

	// Of the hit that was read last.
	inside               bool // of the scope
	group                []byte
	key, received, dated []byte
	earliest             []byte // time of the first deposit in the scope, as a key; empty without a scope
}

func (c *collector) newRow(v *view) (r *row, err error) {
	defer v.gen.recovered("search", &err)
	r = &row{c: c, v: v, groupField: c.groupField(v)}
	fields := []string{fieldOrder, fieldDateKey, r.groupField, c.order.field}
	if c.gate != nil {
		fields = append(fields, fieldDeposit)
	}
	for _, f := range c.facets {
		fields = append(fields, f.field)
	}
	slices.Sort(fields)
	fields = slices.DeleteFunc(slices.Compact(fields), func(f string) bool { return f == "" })
	r.values, err = v.gen.columns.values(v.reader, fields)
	return r, err
}

// read reads a hit. What it found is valid until the next call.
func (r *row) read(id index.IndexInternalID) error {
	r.key, r.received, r.dated, r.group = r.key[:0], r.received[:0], r.dated[:0], r.group[:0]
	r.inside = r.c.gate == nil
	for _, f := range r.c.facets {
		f.commit(false)
	}
	r.earliest = r.earliest[:0]
	err := r.values.VisitDocValues(id, r.visit)
	if len(r.earliest) > 0 {
		copy(r.received, r.earliest) // the time of a deposit outside of the scope is nobody's business
	}
	return err
}

func (r *row) visit(field string, term []byte) {
	switch field {
	case fieldOrder:
		r.received = append(r.received, term...)
	case fieldDateKey:
		r.dated = append(r.dated, term...)
	case fieldDeposit:
		r.deposit(term)
		return
	}
	if field == r.c.order.field {
		r.key = append(r.key, term...)
	}
	if field == r.groupField {
		r.group = append(r.group, term...)
	}
	for _, f := range r.c.facets {
		if f.field == field {
			f.see(term)
		}
	}
}

// compare is negative if the hit comes before b.
func (r *row) compare(score float64, b *rank) int {
	return compareRanks(r.c.order, score, r.key, r.received, b)
}

// kept returns the hit, to be kept.
func (r *row) kept(m *search.DocumentMatch) *kept {
	return &kept{rank{m.Score, string(r.key), string(r.received)}, string(r.dated), r.v, m.IndexInternalID.Value()}
}

// deposit sees one deposit of the message, if it is in the scope.
func (r *row) deposit(term []byte) {
	mailbox, ok := r.c.gate.granted(term)
	if !ok {
		return
	}
	r.inside = true
	if at := term[:keyDigits]; r.c.gate != nil && (len(r.earliest) == 0 || bytes.Compare(at, r.earliest) < 0) {
		r.earliest = append(r.earliest[:0], at...)
	}
	for _, f := range r.c.facets {
		if f.field == fieldDeposit {
			f.see(mailbox)
		}
	}
}

// count counts the hit in all facets.
func (r *row) count() {
	if len(r.c.facets) == 0 {
		return
	}
	year, month, _ := keyTime(string(r.dated)).In(r.c.zone).Date()
	for _, f := range r.c.facets {
		if f.field == "" {
			f.seeDate(year, month)
		}
		f.commit(true)
	}
}
