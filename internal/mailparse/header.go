package mailparse

import (
	"iter"
	"strings"
)

// Field is one header field as it was received.
type Field struct {
	// Name is as written; empty for a line that was no field at all.
	Name string
	// Value is unfolded, each fold one space; not decoded: it may hold any octet
	// but CR and LF.
	Value string
}

// Header is a header as received: every field, in order. The zero value is
// an empty header. It is not changed after Parse, and safe for concurrent use.
type Header struct {
	fields  []Field
	charset string // of octets above 127 that are not UTF-8, as far as known
}

// Fields returns all fields, raw, in order. The caller must not change them.
func (h Header) Fields() []Field { return h.fields }

// Raw returns the value of the first field of that name (in any case), not decoded.
func (h Header) Raw(name string) string {
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Has reports whether there is a field of that name.
func (h Header) Has(name string) bool {
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			return true
		}
	}
	return false
}

// Get returns the value of the first field of that name, decoded to UTF-8.
func (h Header) Get(name string) string { return h.decode(h.Raw(name)) }

// Values returns the decoded values of all fields of that name.
func (h Header) Values(name string) []string {
	var values []string
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, h.decode(f.Value))
		}
	}
	return values
}

// All yields the name and the decoded value of every field, in order.
func (h Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range h.fields {
			if !yield(f.Name, h.decode(f.Value)) {
				return
			}
		}
	}
}

func (h Header) decode(value string) string { return decodeWords(value, h.charset) }
