package pages

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

// pageSize is the number of hits on one page: some screens of scrolling.
const pageSize = 50

// searchPage is a search with its answer. The address holds all of it.
type searchPage struct {
	Query, Sort, After string
	Threads            bool
	Asked              bool // there is something to answer
	Result             api.SearchResult
	Wrong              string // what is wrong with the query
	Orders             []order
	Facets             []facet
	Months             chart
	Saved              []users.SavedSearch
	Remembered         bool // the query is among Saved
}

type order struct{ Sort, Name string }

func orders() []order {
	return []order{{"", "Newest first"}, {"date", "Oldest first"}, {"relevance", "Best match first"}, {"-size", "Largest first"}, {"sender", "By sender"}}
}

// facet is a property of the results with its most frequent values.
type facet struct {
	Name   string
	Values []facetValue
}

type facetValue struct {
	Name, Link string
	Count      int64
}

func (s *Server) search(w http.ResponseWriter, r *http.Request, v *View) error {
	p := &searchPage{
		Query: strings.TrimSpace(r.FormValue("q")), Sort: r.FormValue("sort"), After: r.FormValue("after"),
		Threads: r.FormValue("threads") != "", Asked: r.Form.Has("q"), Orders: orders(),
	}
	v.Title = v.T("Search")
	me, err := s.opts.API.Me(r.Context())
	if err != nil {
		return err
	}
	p.Saved = me.Searches
	p.Remembered = slices.ContainsFunc(p.Saved, func(q users.SavedSearch) bool { return q.Query == p.Query })
	if p.Asked {
		if err := s.answer(r, v, p); err != nil {
			return err
		}
	}
	code := http.StatusOK
	if p.Wrong != "" {
		code = http.StatusBadRequest
	}
	return s.render(w, code, "search", v, p)
}

func (s *Server) answer(r *http.Request, v *View, p *searchPage) (err error) {
	if p.Query != "" {
		v.Title = p.Query
	}
	p.Result, err = s.opts.API.Search(r.Context(), api.SearchRequest{
		Query: p.Query, Sort: p.Sort, Limit: pageSize, After: p.After, Threads: p.Threads,
		Facets: []string{"mailbox", "domain", "year", "month", "filetype", "flag"}, FacetLimit: facetLimit,
	})
	if problem := badRequest(err); problem != nil {
		p.Wrong = problem.Detail
		return nil
	}
	if err != nil {
		return err
	}
	p.facets(v)
	p.histogram(v)
	return nil
}

const (
	// facetLimit is twelve months of twenty years.
	facetLimit = 240
	// shownValues of a facet fit beside the results.
	shownValues = 8
)

// facets makes the links that narrow the search down.
func (p *searchPage) facets(v *View) {
	for _, f := range []struct{ name, key, field string }{
		{v.T("Mailbox"), "mailbox", "mailbox:"}, {v.T("Year"), "year", "date:"}, {v.T("Sender's domain"), "domain", "from:"},
		{v.T("Attached"), "filetype", "filetype:"}, {v.T("Flags"), "flag", "is:"},
	} {
		out := facet{Name: f.name}
		for _, c := range p.Result.Facets[f.key] {
			field, name := f.field, c.Value
			if f.key == "flag" {
				name = v.T(c.Value)
				if c.Value == "attachment" {
					field = "has:"
				}
			}
			if len(out.Values) < shownValues {
				out.Values = append(out.Values, facetValue{Name: name, Link: p.Refine(field + quoted(c.Value)), Count: int64(c.Count)}) //nolint:gosec // a count of messages
			}
		}
		if len(out.Values) > 0 {
			p.Facets = append(p.Facets, out)
		}
	}
}

// quoted puts quotes around a value that would not be one word.
func quoted(value string) string {
	if strings.ContainsAny(value, " \t\"()*?/:") {
		return `"` + strings.ReplaceAll(value, `"`, "") + `"`
	}
	return value
}

// histogram draws the months, or the years where there are many.
func (p *searchPage) histogram(v *View) {
	const layout = "2006-01"
	counts := map[string]int64{}
	var first, last time.Time
	for _, c := range p.Result.Facets["month"] {
		month, err := time.Parse(layout, c.Value)
		if err != nil {
			continue
		}
		counts[c.Value] = int64(c.Count) //nolint:gosec // a count of messages
		if first.IsZero() || month.Before(first) {
			first = month
		}
		if month.After(last) {
			last = month
		}
	}
	const most = 120 // bars stay wide enough to hit
	months := (last.Year()-first.Year())*12 + int(last.Month()-first.Month()) + 1
	if len(counts) < 2 {
		return
	}
	p.Months.Name = v.T("Messages by month")
	step := 1
	if months > most {
		step, p.Months.Name = 12, v.T("Messages by year")
		first = time.Date(first.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	}
	for at := first; !at.After(last) && len(p.Months.Bars) < facetLimit; at = at.AddDate(0, step, 0) {
		b := bar{Label: v.T(at.Month().String()[:3]) + " " + at.Format("2006"), Link: p.Refine("date:" + at.Format(layout))}
		if step == 12 {
			b.Label, b.Link = at.Format("2006"), p.Refine("date:"+at.Format("2006"))
		}
		for m := range step {
			b.Value += counts[at.AddDate(0, m, 0).Format(layout)]
		}
		p.Months.Bars = append(p.Months.Bars, b)
	}
}

// Link is the address of the same search with other values; pairs are names
// and values, an empty value takes the name out.
func (p *searchPage) Link(pairs ...string) string {
	q := url.Values{"q": {p.Query}}
	if p.Sort != "" {
		q.Set("sort", p.Sort)
	}
	if p.Threads {
		q.Set("threads", "1")
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" && pairs[i] != "q" {
			q.Del(pairs[i])
		}
	}
	return "/search?" + q.Encode()
}

// Refine is the same search with another condition.
func (p *searchPage) Refine(condition string) string {
	query := p.Query
	if strings.Contains(query, " OR ") {
		query = "(" + query + ")"
	}
	return p.Link("q", strings.TrimSpace(query+" "+condition))
}

// Next is the address of the following hits, "" if these are the last.
func (p *searchPage) Next() string {
	if p.Result.Next == "" {
		return ""
	}
	return p.Link("after", p.Result.Next)
}

// ThreadLink switches between messages and threads.
func (p *searchPage) ThreadLink() string {
	if p.Threads {
		return p.Link("threads", "")
	}
	return p.Link("threads", "1")
}

// Open is the address of a hit, which leads back here.
func (p *searchPage) Open(id string) string {
	return "/m/" + id + "?" + url.Values{"q": {p.Query}}.Encode()
}

// Sender is the name in an address, for lists.
func (*searchPage) Sender(from string) string { return senderName(from) }

// senderName is what is before the address, or the address where there is nothing.
func senderName(from string) string {
	name, _, _ := strings.Cut(from, " <")
	return strings.Trim(name, `"<> `)
}

// Marked is the snippet with what was searched for marked.
func (*searchPage) Marked(m api.Message) template.HTML {
	var b strings.Builder
	at := 0
	for _, mark := range m.Marks {
		if mark[0] < at || mark[1] < mark[0] || mark[1] > len(m.Snippet) {
			continue
		}
		b.WriteString(template.HTMLEscapeString(m.Snippet[at:mark[0]]))
		b.WriteString("<mark>" + template.HTMLEscapeString(m.Snippet[mark[0]:mark[1]]) + "</mark>")
		at = mark[1]
	}
	b.WriteString(template.HTMLEscapeString(m.Snippet[at:]))
	return template.HTML(b.String()) //nolint:gosec // every piece is escaped
}

// Examples are queries that show what the language can do.
func (*searchPage) Examples() []string {
	return []string{"from:anna invoice", "has:attachment after:30d", `subject:"annual report"`, "size:>5M", "is:malformed"}
}

// badRequest returns the problem if the request was wrong, else nil.
func badRequest(err error) *api.Problem {
	var problem *api.Problem
	if errors.As(err, &problem) && (problem.Status == http.StatusBadRequest || problem.Status == http.StatusTooManyRequests) {
		return problem
	}
	return nil
}
