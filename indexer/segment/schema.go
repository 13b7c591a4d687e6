// Package segment makes the segments of a Bleve index (zapx version 17) of documents whose terms have been counted.
//
// Bleve's own way takes a map of terms for each field of each document, with a pointer for every term and place, and
// looks each of them up twice more to put a segment together. Here the terms of a document lie one behind the other
// without pointers, their places as the file has them, and a segment is made field by field. What is read from it is
// the same.
package segment

import (
	"slices"
	"strings"

	index "github.com/blevesearch/bleve_index_api"
)

// Field is what the documents of a Schema may have.
type Field struct {
	Name string
	// Options may be IndexField, IncludeTermVectors, SkipFreqNorm and DocValues; or StoreField, of one field.
	Options index.FieldIndexingOptions
}

// Schema is the fields of all documents. Every segment has all of them: Bleve merges segments that have the same
// fields by copying, others number by number.
type Schema struct {
	fields []Field // by name, but for the first one
	ids    map[string]int
	stored int
}

// idField is Bleve's own, and the first of every segment.
const idField = "_id"

// NewSchema returns a schema of fields with different names.
func NewSchema(fields ...Field) *Schema {
	s := &Schema{fields: slices.Clone(fields), ids: make(map[string]int, len(fields)+1)}
	slices.SortFunc(s.fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	s.fields = slices.Insert(s.fields, 0, Field{idField, index.IndexField | index.StoreField})
	for i, f := range s.fields {
		s.ids[f.Name] = i
		if f.Options.IsStored() {
			s.stored = i // that of the caller, if there is one
		}
	}
	return s
}
