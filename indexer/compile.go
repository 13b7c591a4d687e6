package indexer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	bq "github.com/blevesearch/bleve/v2/search/query"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/indexer/words"
)

// ErrNoHolds means that a query asks for is:held and the index was opened
// without Options.Held.
var ErrNoHolds = errors.New("query: is:held: this index has not been told of holds")

// compiler turns one query into one of Bleve.
type compiler struct {
	now      time.Time
	location *time.Location
	budget   *budget
	// held are the ids of messages under a hold, and threads the keys of the
	// messages of a thread by the id that was asked for: see resolve.
	held    *[]string
	threads map[string][]string
	scope   *Scope // nil for everything
}

// compile turns a query into one of Bleve, within the scope, and notes in the plan
// what has to be checked besides. It may have to search first.
func (x *Index) compile(ctx context.Context, n query.Node, scope *Scope, p *plan) (bq.Query, error) {
	c := compiler{now: x.opts.Now(), location: x.opts.Location, budget: p.budget, threads: map[string][]string{}, scope: scope}
	if c.budget == nil {
		c.budget = &budget{}
	}
	if err := x.resolve(ctx, &c, n); err != nil {
		return nil, err
	}
	p.gate, p.within = newGate(scope), c.receivedIn(n)
	return c.narrowed(c.compile(n)), nil
}

// resolve finds out what the documents do not tell by themselves.
func (x *Index) resolve(ctx context.Context, c *compiler, n query.Node) (err error) {
	switch n := n.(type) {
	case *query.And:
		return x.resolveAll(ctx, c, n.Nodes)
	case *query.Or:
		return x.resolveAll(ctx, c, n.Nodes)
	case *query.Not:
		return x.resolve(ctx, c, n.Node)
	case *query.Flag:
		if n.Name != query.Held || c.held != nil {
			return nil
		}
		if x.opts.Held == nil {
			return ErrNoHolds
		}
		held, err := x.opts.Held(ctx)
		if err != nil {
			return fmt.Errorf("look up holds: %w", err)
		}
		c.held = &held
	case *query.ID:
		if n.Thread && c.threads[n.Prefix] == nil {
			c.threads[n.Prefix], err = x.threadOf(ctx, n.Prefix, c.scope)
		}
	}
	return err
}

func (x *Index) resolveAll(ctx context.Context, c *compiler, nodes []query.Node) error {
	for _, n := range nodes {
		if err := x.resolve(ctx, c, n); err != nil {
			return err
		}
	}
	return nil
}

func (c compiler) compile(n query.Node) bq.Query {
	switch n := n.(type) {
	case *query.And:
		return c.and(n)
	case *query.Or:
		return bq.NewDisjunctionQuery(c.all(n.Nodes))
	case *query.Not:
		return &exclude{bq.NewMatchAllQuery(), c.compile(n.Node)}
	case *query.Text:
		word := newStemmedWord(n)
		return eachField(n.Field, func(field string) bq.Query {
			if word != nil && hasStems(field) {
				return &stemmed{word, field, boostOf(field)}
			}
			return c.inField(field, n)
		})
	case *query.Near:
		return eachField(n.Field, func(field string) bq.Query {
			return &near{field: field, units: nearUnits(n.Value), distance: n.Distance, boost: boostOf(field), budget: c.budget}
		})
	case *query.Regexp:
		return eachField(n.Field, func(field string) bq.Query {
			return c.phrase(field, part{n.Folded(), regexpPart})
		})
	case *query.Header:
		return c.header(n)
	case *query.ID:
		if n.Thread {
			return c.exactly(fieldThread, c.threads[n.Prefix]...)
		}
		return c.phrase(fieldID, part{n.Prefix + "*", wildcardPart})
	case *query.Flag:
		if n.Name == query.Held {
			return bq.NewDocIDQuery(*c.held)
		}
		return c.exactly(fieldFlag, n.Name)
	case *query.Size:
		return sizeQuery(n)
	case *query.Date:
		return c.date(n)
	}
	return bq.NewMatchAllQuery() // *query.All, the only kind left
}

func (c compiler) all(nodes []query.Node) []bq.Query {
	compiled := make([]bq.Query, len(nodes))
	for i, n := range nodes {
		compiled[i] = c.compile(n)
	}
	return compiled
}

func (c compiler) and(n *query.And) bq.Query {
	var must, mustNot []bq.Query
	for _, child := range n.Nodes {
		if not, ok := child.(*query.Not); ok {
			mustNot = append(mustNot, c.compile(not.Node))
		} else {
			must = append(must, c.compile(child))
		}
	}
	var q bq.Query = bq.NewMatchAllQuery()
	if len(must) > 0 {
		q = bq.NewConjunctionQuery(must)
	}
	if len(mustNot) > 0 {
		q = &exclude{q, bq.NewDisjunctionQuery(mustNot)}
	}
	return q
}

// fieldsOf are the fields of the index that a field of the language looks in.
func fieldsOf(f query.Field) []string {
	switch f {
	case query.Any:
		return []string{fieldSubject, fieldBody, fieldParticipant, fieldFileName, fieldAttachment}
	case query.Recipient:
		return []string{fieldTo, fieldCc, fieldBcc, fieldRecipient}
	case query.Address:
		return []string{fieldParticipant, fieldRecipient, fieldAddress}
	}
	return []string{string(f)}
}

func eachField(f query.Field, compile func(field string) bq.Query) bq.Query {
	var alternatives []bq.Query
	for _, name := range fieldsOf(f) {
		alternatives = append(alternatives, compile(name))
	}
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	return bq.NewDisjunctionQuery(alternatives)
}

// boostOf is what a word in the field counts for when results are sorted by
// relevance.
func boostOf(field string) float64 {
	if field == fieldSubject {
		return 3
	}
	return 1
}

func (c compiler) phrase(field string, parts ...part) bq.Query {
	if field == fieldMailbox && c.scope != nil && len(parts) == 1 {
		return c.mailbox(parts[0])
	}
	return &phrase{field, parts, boostOf(field), c.budget}
}

// exactly looks for any of some terms.
func (c compiler) exactly(field string, terms ...string) bq.Query {
	alternatives := make([]bq.Query, len(terms))
	for i, t := range terms {
		alternatives[i] = c.phrase(field, part{text: t})
	}
	return bq.NewDisjunctionQuery(alternatives)
}

func (c compiler) inField(field string, t *query.Text) bq.Query {
	parts, all := wordParts(t.Value, t.Quoted), wholePart(t.Value, t.Quoted)
	inWords, whole := c.phrase(field, parts...), c.phrase(field, all)
	either := whole // a single word is both
	if len(parts) != 1 || parts[0] != all {
		either = bq.NewDisjunctionQuery([]bq.Query{inWords, whole})
	}
	switch field {
	case fieldMailbox, fieldLanguage:
		return whole
	case fieldMessageID:
		id := strings.TrimSuffix(strings.TrimPrefix(t.Value, "<"), ">")
		return c.phrase(field, wholePart(id, t.Quoted))
	case fieldFileType:
		if wholePart(t.Value, t.Quoted).kind == exactPart {
			return c.exactly(field, fileTypesNamed(t.Value)...)
		}
		return whole
	case fieldFileName, fieldList:
		return either
	case fieldAddress:
		return c.phrase(field, wholePart(strings.Trim(t.Value, "@<>"), t.Quoted))
	case fieldFrom, fieldTo, fieldCc, fieldBcc, fieldParticipant, fieldRecipient:
		if strings.Contains(t.Value, "@") && !strings.Contains(t.Value, " ") {
			// @example.com is the domain, sales@ the local part.
			return c.phrase(field, wholePart(strings.Trim(t.Value, "@<>"), t.Quoted))
		}
		return either
	}
	return inWords
}

// header looks for a header field, in the field of the language that has its
// values, or among the words that the index has under its name.
func (c compiler) header(h *query.Header) bq.Query {
	name := words.Fold(h.Name)
	if h.Value == "" {
		return c.phrase(fieldHeader, part{text: name})
	}
	own, _ := query.HeaderValues(name) // without values it has passed no parser
	if own != query.Any {
		return c.compile(&query.Text{Field: own, Value: h.Value, Quoted: h.Quoted})
	}
	var all []bq.Query
	for _, p := range wordParts(h.Value, h.Quoted) {
		if p != anyWord {
			p.text = name + "=" + p.text
			all = append(all, c.phrase(fieldHeader, p))
		}
	}
	return bq.NewConjunctionQuery(all)
}

func wholePart(value string, quoted bool) part {
	text := words.Fold(strings.TrimSpace(value))
	if !quoted && strings.ContainsAny(text, "*?") {
		return part{text, wildcardPart}
	}
	return part{text: string(limited(text))}
}

// wordParts cuts text into the words that have to follow each other. Where *
// and ? are wildcards they belong to the word that they touch.
func wordParts(value string, quoted bool) []part {
	if quoted || !strings.ContainsAny(value, "*?") {
		return plainParts(value)
	}
	var parts []part
	isPart := func(r rune) bool { return r == '*' || r == '?' || words.IsWord(r) }
	for _, w := range strings.FieldsFunc(value, func(r rune) bool { return !isPart(r) }) {
		switch {
		case strings.Trim(w, "*") == "":
			parts = append(parts, anyWord)
		case strings.ContainsAny(w, "*?"):
			parts = append(parts, part{words.Fold(w), wildcardPart})
		default:
			parts = append(parts, plainParts(w)...)
		}
	}
	return parts
}

func plainParts(text string) []part {
	var parts []part
	for t := range words.All(text) {
		if t.Tail {
			continue
		}
		for len(parts) < t.Position-1 {
			parts = append(parts, anyWord) // the tail before a word
		}
		parts = append(parts, part{text: string(t.Term)})
		if t.Lone && t.End == len(text) {
			parts[len(parts)-1] = part{string(t.Term) + "*", wildcardPart} // and the pairs that begin with it
		}
	}
	return parts
}

// nearUnits are the words of text that have to be near each other; one with
// punctuation in it is a phrase.
func nearUnits(text string) [][]part {
	var units [][]part
	for w := range strings.FieldsSeq(text) {
		if parts := plainParts(w); len(parts) > 0 {
			units = append(units, parts)
		}
	}
	return units
}

func sizeQuery(s *query.Size) bq.Query {
	lo, hi := int64(0), int64(maxNumber+1)
	switch s.Op {
	case "<":
		hi = s.Bytes
	case "<=":
		hi = s.Bytes + 1
	case ">":
		lo = s.Bytes + 1
	case ">=":
		lo = s.Bytes
	}
	return &ranges{fieldSize, rangeTerms(lo, hi), fmt.Sprintf("%s %d bytes", s.Op, s.Bytes)}
}

func (c compiler) date(d *query.Date) bq.Query {
	field := fieldDate
	if d.Received {
		field = fieldReceived
	}
	from, to := d.Bounds(c.now, c.location)
	lo, hi, text := int64(0), int64(maxNumber+1), ""
	if !from.IsZero() {
		lo = quarterOf(from)
		text = "from " + from.Format(time.RFC3339) + " "
	}
	if !to.IsZero() {
		hi = quarterOf(to)
		text += "before " + to.Format(time.RFC3339)
	}
	in := &ranges{field, rangeTerms(lo, hi), strings.TrimSpace(text)}
	if d.Received && c.scope != nil {
		return &arrived{in, lo, hi, newGate(c.scope)}
	}
	return in
}
