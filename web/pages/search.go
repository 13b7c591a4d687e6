package pages

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/web/api"
)

// pageSize is the number of hits on one page: some screens of scrolling.
const pageSize = 50

// searchPage is a search with its answer. The address holds all of it.
type searchPage struct {
	Query, Sort string
	Offset      int
	Asked       bool // there is something to answer
	Result      api.SearchResult
	Wrong       string // what is wrong with the query
	Orders      []order
}

type order struct{ Sort, Name string }

func orders() []order {
	return []order{{"", "Newest first"}, {"date", "Oldest first"}, {"relevance", "Best match first"}}
}

func (s *Server) search(w http.ResponseWriter, r *http.Request, v *View) error {
	p := &searchPage{Query: strings.TrimSpace(r.FormValue("q")), Sort: r.FormValue("sort"), Asked: r.Form.Has("q"), Orders: orders()}
	p.Offset, _ = strconv.Atoi(r.FormValue("offset")) // what is no number is the beginning
	p.Offset = max(p.Offset, 0)
	v.Title = v.T("Search")
	if p.Asked {
		var err error
		p.Result, err = s.opts.API.Search(r.Context(), api.SearchRequest{Query: p.Query, Sort: p.Sort, Limit: pageSize, Offset: p.Offset})
		if problem := badRequest(err); problem != nil {
			p.Wrong, err = problem.Detail, nil
		}
		if err != nil {
			return err
		}
		if p.Query != "" {
			v.Title = p.Query
		}
	}
	code := http.StatusOK
	if p.Wrong != "" {
		code = http.StatusBadRequest
	}
	return s.render(w, code, "search", v, p)
}

// Link is the address of the same search with other values; pairs are names
// and values, an empty value takes the name out.
func (p *searchPage) Link(pairs ...string) string {
	q := url.Values{"q": {p.Query}}
	if p.Sort != "" {
		q.Set("sort", p.Sort)
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
	end := p.Offset + len(p.Result.Hits)
	if len(p.Result.Hits) == 0 || uint64(end) >= p.Result.Total { //nolint:gosec // not negative
		return ""
	}
	return p.Link("offset", strconv.Itoa(end))
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
	if errors.As(err, &problem) && problem.Status == http.StatusBadRequest {
		return problem
	}
	return nil
}
