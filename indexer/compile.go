package indexer

import (
	"strings"
	"time"

	bq "github.com/blevesearch/bleve/v2/search/query"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/indexer/words"
)

// compiler turns one query into one of Bleve.
type compiler struct {
	now      time.Time
	location *time.Location
	budget   *budget
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
		return c.text(n)
	case *query.Flag:
		return &phrase{field: fieldFlag, parts: []part{{text: n.Name}}, boost: 1}
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

// subjectBoost is what a word in the subject counts for when results are
// sorted by relevance.
const subjectBoost = 3

// anyFields are where words without a field are looked for.
var anyFields = []string{fieldSubject, fieldBody, fieldParticipant, fieldFileName}

func (c compiler) text(t *query.Text) bq.Query {
	if t.Field != query.Any {
		return c.inField(string(t.Field), t)
	}
	var alternatives []bq.Query
	for _, f := range anyFields {
		alternatives = append(alternatives, c.inField(f, t))
	}
	return bq.NewDisjunctionQuery(alternatives)
}

func (c compiler) inField(field string, t *query.Text) bq.Query {
	inWords := &phrase{field, wordParts(t.Value, t.Quoted), 1, c.budget}
	whole := &phrase{field, []part{wholePart(t.Value, t.Quoted)}, 1, c.budget}
	switch field {
	case fieldSubject:
		inWords.boost = subjectBoost
		return inWords
	case fieldMailbox:
		return whole
	case fieldMessageID:
		id := strings.TrimSuffix(strings.TrimPrefix(t.Value, "<"), ">")
		whole.parts[0] = wholePart(id, t.Quoted)
		return whole
	case fieldFileName:
		return bq.NewDisjunctionQuery([]bq.Query{inWords, whole})
	case fieldFrom, fieldTo, fieldCc, fieldBcc, fieldParticipant:
		if strings.Contains(t.Value, "@") && !strings.Contains(t.Value, " ") {
			// @example.com is the domain, sales@ the local part.
			whole.parts[0] = wholePart(strings.Trim(t.Value, "@<>"), t.Quoted)
			return whole
		}
		return bq.NewDisjunctionQuery([]bq.Query{inWords, whole})
	}
	return inWords
}

func wholePart(value string, quoted bool) part {
	text := words.Fold(strings.TrimSpace(value))
	if !quoted && strings.ContainsAny(text, "*?") {
		return part{text, true}
	}
	return part{string(limited(text)), false}
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
			parts = append(parts, part{words.Fold(w), true})
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
		parts = append(parts, part{string(t.Term), false})
		if t.Lone && t.End == len(text) {
			parts[len(parts)-1] = part{string(t.Term) + "*", true} // and the pairs that begin with it
		}
	}
	return parts
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
	return &ranges{fieldSize, rangeTerms(lo, hi)}
}

func (c compiler) date(d *query.Date) bq.Query {
	field := fieldDate
	if d.Received {
		field = fieldReceived
	}
	from, to := d.Bounds(c.now, c.location)
	lo, hi := int64(0), int64(maxNumber+1)
	if !from.IsZero() {
		lo = quarterOf(from)
	}
	if !to.IsZero() {
		hi = quarterOf(to)
	}
	return &ranges{field, rangeTerms(lo, hi)}
}
