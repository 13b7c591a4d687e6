package indexer

import (
	"regexp"
	"slices"
	"time"

	bq "github.com/blevesearch/bleve/v2/search/query"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/indexer/words"
)

// Scope is the part of the archive that a search may see: of what is outside
// there is no hit, total, facet, snippet or message of a thread. A message is inside
// if it has a deposit in one of the mailboxes that was received in the time.
// (Relevance is measured over all messages.)
type Scope struct {
	// Mailboxes are the names as configured; none of them is nothing at all.
	Mailboxes []string
	// From and To bound the time received: From is the first moment, To the first
	// one after; zero is no bound. Times are kept in whole seconds, so that a deposit
	// within the second of a bound is outside.
	From, To time.Time
}

// bounds returns the time received as keys, the first one and the first one after.
func (s *Scope) bounds() (from, to string) {
	from, to = timeKey(time.Time{}), numberKey(1<<(4*keyDigits)-1)
	if !s.From.IsZero() {
		from = timeKey(s.From.Add(time.Second - 1))
	}
	if !s.To.IsZero() {
		to = timeKey(s.To)
	}
	return from, to
}

// depositKey is the term of a deposit: when and where.
func depositKey(received time.Time, mailbox string) string { return timeKey(received) + mailbox }

// narrowed restricts a query to messages that were ever deposited in the
// mailboxes. The rest of the scope is checked for every hit.
func (c compiler) narrowed(q bq.Query) bq.Query {
	if c.scope == nil {
		return q
	}
	names := make([]string, len(c.scope.Mailboxes))
	for i, m := range c.scope.Mailboxes {
		names[i] = string(limited(words.Fold(m)))
	}
	granted := make([]bq.Query, len(names))
	for i, n := range names {
		granted[i] = &phrase{fieldMailbox, []part{{text: n}}, 1, c.budget}
	}
	return bq.NewConjunctionQuery([]bq.Query{q, bq.NewDisjunctionQuery(granted)})
}

// mailbox is what a query for mailboxes means in a scope: it must not tell
// whether a message is also somewhere else.
func (c compiler) mailbox(p part) bq.Query {
	var within []string
	for _, m := range c.scope.Mailboxes {
		name := string(limited(words.Fold(m)))
		fits := name == p.text
		if p.kind != exactPart {
			re, err := regexp.Compile("^(?s:" + p.expression() + ")$")
			fits = err == nil && re.MatchString(name)
		}
		if fits {
			within = append(within, name)
		}
	}
	alternatives := []bq.Query{bq.NewMatchNoneQuery()}
	for _, name := range within {
		alternatives = append(alternatives, &phrase{fieldMailbox, []part{{text: name}}, 1, c.budget})
	}
	return bq.NewDisjunctionQuery(alternatives)
}

// span is a range of time; a zero end is none.
type span struct{ from, to time.Time }

// receivedIn is the time within which everything that a query finds was received once,
// as far as that is plain to see.
func (c compiler) receivedIn(n query.Node) span {
	var s span
	switch n := n.(type) {
	case *query.And:
		for _, child := range n.Nodes {
			one := c.receivedIn(child)
			if one.from.After(s.from) {
				s.from = one.from
			}
			if s.to.IsZero() || !one.to.IsZero() && one.to.Before(s.to) {
				s.to = one.to
			}
		}
	case *query.Date:
		if n.Received {
			s.from, s.to = n.Bounds(c.now, c.location)
		}
	}
	return s
}

// misses reports whether a generation has nothing that was received in the span.
// Ranges of numbers are quarters of an hour, so that the ends are taken widely.
func (s span) misses(st *state) bool {
	const slack = quarter * time.Second
	return !s.from.IsZero() && st.To.Add(slack).Before(s.from) || !s.to.IsZero() && st.From.Add(-slack).After(s.to)
}

// granted reports whether a deposit is in the scope, and returns its mailbox.
// Every deposit is in no scope.
func (g *gate) granted(term []byte) (mailbox []byte, ok bool) {
	if len(term) < keyDigits {
		return nil, false
	}
	at, mailbox := term[:keyDigits], term[keyDigits:]
	if g == nil {
		return mailbox, true
	}
	return mailbox, g.from <= string(at) && string(at) < g.to && slices.ContainsFunc(g.mailboxes, func(m string) bool { return m == string(mailbox) })
}

// gate is a Scope, ready to be checked.
type gate struct {
	from, to  string
	mailboxes []string
}

func newGate(s *Scope) *gate {
	if s == nil {
		return nil
	}
	g := &gate{}
	g.from, g.to = s.bounds()
	for _, m := range s.Mailboxes {
		g.mailboxes = append(g.mailboxes, string(limited(depositKey(time.Time{}, m))[keyDigits:])) // as it is indexed
	}
	return g
}
