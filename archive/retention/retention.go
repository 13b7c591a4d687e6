// Package retention says how long mail is kept.
//
// Rules name a shortest and a longest time for the mail of a mailbox, or for what a query finds.
// Every deposit of a message lives by the rules that match it: it is due when a longest time is over,
// and no rule that matches asks for more. Without a rule with a longest time mail is kept for
// ever. Holds are above all rules and are not known here, nor is how matches are found.
package retention

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Basis is the moment from which periods count.
type Basis string

// The moments from which periods count.
const (
	// Archived is the time at which the archive took the deposit, as its ledger has it.
	Archived Basis = "archived"
	// Date is the Date header, which a sender can forge. The time of archiving counts where there is none.
	Date Basis = "date"
)

// ForgedDate is what people are told who choose Date.
const ForgedDate = "the Date header is written by the sender: a forged one ends the periods early, or never. " +
	"The time of archiving is what auditors expect."

const (
	// MaxRules bounds how many queries a plan asks.
	MaxRules = 500
	// maxNameBytes and maxQueryBytes bound the texts of a rule.
	maxNameBytes  = 200
	maxQueryBytes = 8 << 10
)

// A Rule says how long something is kept.
type Rule struct {
	Name string `json:"name"`
	// Mailbox and Query say what it matches: deposits in the mailbox, messages that the query finds,
	// or both together; neither means everything.
	Mailbox string `json:"mailbox,omitempty"`
	Query   string `json:"query,omitempty"`
	// Negated means that Query matches messages for what is not in them. Whoever adds
	// the rule finds that out; see Fact.
	Negated bool `json:"negated,omitempty"`
	// Min is how long nobody may dispose of it, Max after which time it is due. Either may be missing.
	Min Period `json:"min,omitzero"`
	Max Period `json:"max,omitzero"`
	// Basis is Archived if it is "".
	Basis Basis `json:"basis,omitempty"`
}

// Validate returns what is wrong with the rule. Whether Query can be understood is up to whoever runs it.
func (r *Rule) Validate() error {
	switch {
	case strings.TrimSpace(r.Name) == "" || len(r.Name) > maxNameBytes || !utf8.ValidString(r.Name):
		return fmt.Errorf("the name of the rule has %d bytes, want 1 to %d of UTF-8", len(r.Name), maxNameBytes)
	case len(r.Query) > maxQueryBytes || !utf8.ValidString(r.Query):
		return fmt.Errorf("the query of the rule has %d bytes, at most %d of UTF-8 are taken", len(r.Query), maxQueryBytes)
	case r.Min.IsZero() && r.Max.IsZero():
		return errors.New("the rule has neither a minimum nor a maximum period")
	case r.Basis != "" && r.Basis != Archived && r.Basis != Date:
		return fmt.Errorf("the basis %.40q is not known: want %s or %s", r.Basis, Archived, Date)
	}
	if r.Min.Rest%time.Second != 0 || r.Max.Rest%time.Second != 0 {
		return errors.New("the periods of the rule are not whole seconds")
	}
	epoch := time.Unix(0, 0)
	if !r.Min.IsZero() && !r.Max.IsZero() && r.Max.After(epoch).Before(r.Min.After(epoch)) {
		return fmt.Errorf("the maximum period, %s, is shorter than the minimum, %s", r.Max, r.Min)
	}
	return nil
}

// A Fact is what is known about one rule and one deposit.
type Fact struct {
	// Match means that the rule matches the deposit as far as the message could be read.
	Match bool
	// Unsure means that not all of the message could be read, so that the query might match, or not.
	Unsure bool
	// Changed means that the query finds the message in another way than before, which nobody has confirmed.
	Changed bool
	// Begin is when the periods began.
	Begin time.Time
}

// Before takes into account whether the query found the message before messages were read in another way. Where that is
// not what it does now it might match, or not.
func (f *Fact) Before(match bool) {
	f.Changed = f.Match != match
	f.Unsure = f.Unsure || f.Changed
	f.Match = f.Match && match
}

// Until is the time before which the rules forbid to dispose of a deposit, and the rule that asks
// for it; zero and nil if none does. There is a fact for every rule, in the same order. In doubt a
// rule matches.
func Until(rules []Rule, facts []Fact) (until time.Time, by *Rule) {
	for i := range rules {
		r, f := &rules[i], facts[i]
		if r.Min.IsZero() || !f.Match && !f.Unsure {
			continue
		}
		if end := r.Min.After(f.Begin); end.After(until) {
			until, by = end, r
		}
	}
	return until, by
}

// Due returns the rule by which a deposit is to be disposed of at a time: of those that match, and
// have a maximum, the one that asks for the longest. It is nil if the deposit is kept: no rule with a maximum matches, one of them is
// not over, or a minimum is not. In doubt it is kept: a rule that excludes something does not match what
// could not be read, and one that might match has to be over, too.
func Due(rules []Rule, facts []Fact, now time.Time) *Rule {
	if until, _ := Until(rules, facts); until.After(now) {
		return nil
	}
	var due *Rule
	var last time.Time
	for i := range rules {
		r, f := &rules[i], facts[i]
		if r.Max.IsZero() || !f.Match && !f.Unsure {
			continue
		}
		end := r.Max.After(f.Begin)
		if end.After(now) {
			return nil
		}
		if f.Match && (!r.Negated || !f.Unsure) && (due == nil || end.After(last)) {
			due, last = r, end
		}
	}
	return due
}
