// Package hold says what a legal hold covers.
//
// A hold is an order to keep what may become evidence. It covers mail by custodian, by date and by
// what it says, and it is dynamic: it is a question that is asked again whenever something is about
// to be disposed of, so that mail which arrives later is covered, too. What cannot be read well
// enough to say that it does not match counts as covered. The package knows nothing of how mail is
// found or where holds are kept.
package hold

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a hold, so that its question stays within what the query language takes.
const (
	// MaxNameBytes, MaxReasonBytes and MaxQueryBytes bound the texts.
	MaxNameBytes   = 200
	MaxReasonBytes = 4 << 10
	MaxQueryBytes  = 8 << 10
	// MaxCustodians is how many custodians a hold has at most. A matter with more
	// has several holds.
	MaxCustodians = 200
	// maxCustodianBytes is longer than any address (RFC 5321 section 4.5.3.1).
	maxCustodianBytes = 320
)

// DayLayout is how From and To are written.
const DayLayout = time.DateOnly

// A Hold is an order to keep.
type Hold struct {
	// Name is that of the matter. No two holds that are in force have the same.
	Name string `json:"name"`
	// Reason says why, for those who ask later.
	Reason string `json:"reason"`
	// Custodians are mailboxes and addresses; mail of any of them is covered. Empty means everybody.
	Custodians []string `json:"custodians,omitempty"`
	// Query is in the query language; empty means all mail.
	Query string `json:"query,omitempty"`
	// From and To are the first and the last day that are covered, as DayLayout; "" is without end.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Validate returns what is wrong with the hold. Whether Query can be understood is up to whoever runs it.
func (h *Hold) Validate() error {
	for _, text := range []struct {
		what, value string
		least, most int
	}{
		{"name", h.Name, 1, MaxNameBytes},
		{"reason", h.Reason, 1, MaxReasonBytes},
		{"query", h.Query, 0, MaxQueryBytes},
	} {
		switch n := len(strings.TrimSpace(text.value)); {
		case n < text.least:
			return fmt.Errorf("the %s of the hold is missing", text.what)
		case len(text.value) > text.most || !utf8.ValidString(text.value):
			return fmt.Errorf("the %s of the hold has %d bytes, at most %d of UTF-8 are taken", text.what, len(text.value), text.most)
		}
	}
	if len(h.Custodians) == 0 && strings.TrimSpace(h.Query) == "" {
		return errors.New("the hold names neither custodians nor a query; the query * holds everything")
	}
	if len(h.Custodians) > MaxCustodians {
		return fmt.Errorf("the hold has %d custodians, at most %d are taken: place several holds", len(h.Custodians), MaxCustodians)
	}
	for _, c := range h.Custodians {
		if !strings.ContainsFunc(c, wordRune) || len(c) > maxCustodianBytes || strings.ContainsAny(c, "\x00\r\n") || !utf8.ValidString(c) {
			return fmt.Errorf("custodian %.40q is neither a mailbox nor an address", c)
		}
	}
	return h.validDays()
}

// wordRune is what the query language wants at least one of.
func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func (h *Hold) validDays() error {
	for _, day := range []string{h.From, h.To} {
		if day == "" {
			continue
		}
		if _, err := time.Parse(DayLayout, day); err != nil {
			return fmt.Errorf("%.40q is not a day like 2024-03-31", day)
		}
	}
	if h.From != "" && h.To != "" && h.To < h.From {
		return fmt.Errorf("the last day, %s, is before the first, %s", h.To, h.From)
	}
	return nil
}

// Unsearchable is the query that finds messages of which not all could be read or indexed: of
// them nobody can say that they do not match.
const Unsearchable = "is:partial OR is:encrypted OR is:malformed"

// Unaddressed is the query that finds messages with an address that could not be read, or without a header: of them nobody can say
// that they are not from or to an address.
const Unaddressed = "is:unclear"

// Terms returns the query, in the query language, that finds all that the hold covers. It is what is
// kept in the ledger beside the hits, so that everybody can ask it again.
//
// A day is covered if the message says that it was written on it or was received on it:
// a sender can forge the one only. Query has to be one that can be understood by itself.
func (h *Hold) Terms() string {
	var parts []string
	if len(h.Custodians) > 0 {
		names := h.names()
		if slices.ContainsFunc(h.Custodians, isAddress) {
			names = append(names, Unaddressed)
		}
		parts = append(parts, "("+strings.Join(names, " OR ")+")")
	}
	if h.From != "" || h.To != "" {
		days := h.From + ".." + h.To
		parts = append(parts, "(date:"+days+" OR received:"+days+")")
	}
	if q := strings.TrimSpace(h.Query); q != "" {
		parts = append(parts, "(("+q+") OR "+Unsearchable+")")
	}
	return strings.Join(parts, " ")
}

func isAddress(custodian string) bool { return strings.Contains(custodian, "@") }

// names are the queries for the custodians.
func (h *Hold) names() []string {
	var names []string
	for _, c := range h.Custodians {
		c = strings.TrimSpace(c)
		names = append(names, "mailbox:"+quote(c))
		if isAddress(c) {
			names = append(names, "address:"+quote(c)) // in every header field, in what servers noted, and in journal reports
		}
	}
	return names
}

// Named returns the query that finds the mail of the custodians for certain, "" without custodians.
func (h *Hold) Named() string { return strings.Join(h.names(), " OR ") }

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quote(s string) string { return `"` + quoting.Replace(s) + `"` }
