package segment

import (
	"github.com/blevesearch/bleve/v2/document"
	index "github.com/blevesearch/bleve_index_api"
)

// Terms are the counted terms of all fields of a document. They do not change, and may be in several batches.
type Terms struct {
	schema *Schema
	fields []span // by number of the field
	terms  []term
	text   []byte // of all terms
	places []byte // of all terms

	order  int
	stored []byte
}

// span is the terms of a field.
type span struct {
	from, to uint32 // in Terms.terms
	length   uint32 // in words
}

// term is a term of a field. Its text and its places begin where those of the term before it end.
type term struct{ text, places, freq uint32 }

// textFrom is where the text of a term begins.
func (t *Terms) textFrom(i uint32) uint32 {
	if i == 0 {
		return 0
	}
	return t.terms[i-1].text
}

// placesFrom is where the places of a term begin.
func (t *Terms) placesFrom(i uint32) uint32 {
	if i == 0 {
		return 0
	}
	return t.terms[i-1].places
}

// With returns the terms with the value of the stored field of the schema, as the only field of a document for
// Bleve. The documents of a batch come into the segment in the order of order.
func (t *Terms) With(order int, stored []byte) *Terms {
	with := *t
	with.order, with.stored = order, stored
	return &with
}

// What follows is for Bleve, which hands the terms through to Plugin and is told that there is nothing to analyze.
var _ document.Field = (*Terms)(nil)

// Name is that of no field of the index.
func (t *Terms) Name() string { return "" }

// ArrayPositions is nil.
func (t *Terms) ArrayPositions() []uint64 { return nil }

// Options says that this is no field to index or to store.
func (t *Terms) Options() index.FieldIndexingOptions { return 0 }

// Analyze does nothing.
func (t *Terms) Analyze() {}

// Value is nil.
func (t *Terms) Value() []byte { return nil }

// NumPlainTextBytes is for statistics that nobody reads.
func (t *Terms) NumPlainTextBytes() uint64 { return 0 }

// Size is the memory that the terms take, in bytes.
func (t *Terms) Size() int {
	return 12*(len(t.fields)+len(t.terms)) + len(t.text) + len(t.places) + len(t.stored)
}

// EncodedFieldType is that of text.
func (t *Terms) EncodedFieldType() byte { return 't' }

// AnalyzedLength is 0.
func (t *Terms) AnalyzedLength() int { return 0 }

// AnalyzedTokenFrequencies is nil.
func (t *Terms) AnalyzedTokenFrequencies() index.TokenFrequencies { return nil }
