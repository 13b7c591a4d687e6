package pages

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/api"
)

// auditPage is the ledger with its filters.
type auditPage struct {
	api.AuditRequest
	Result api.AuditResult
	Types  []string
	Wrong  string
	Days   []archive.Completeness
	Gaps   int
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request, v *View) error {
	p := &auditPage{Types: archive.AuditTypes(), AuditRequest: api.AuditRequest{
		Since: r.FormValue("since"), Until: r.FormValue("until"), Actor: strings.TrimSpace(r.FormValue("actor")),
		Type: r.FormValue("type"), Object: strings.TrimSpace(r.FormValue("object")), Limit: pageSize,
	}}
	p.Before, _ = strconv.ParseInt(r.FormValue("before"), 10, 64) // what is no number is the newest
	var err error
	p.Result, err = s.opts.API.Audit(r.Context(), p.AuditRequest)
	if detail, ok := refusal(err); ok {
		p.Wrong, err = detail, nil
	}
	if err != nil {
		return err
	}
	v.Title = v.T("Audit")
	return s.render(w, http.StatusOK, "audit", v, p)
}

// Older is the address of the events before those shown, "" if there are none.
func (p *auditPage) Older() string {
	if p.Result.Next == 0 {
		return ""
	}
	q := url.Values{"before": {strconv.FormatInt(p.Result.Next, 10)}}
	for name, value := range map[string]string{"since": p.Since, "until": p.Until, "actor": p.Actor, "type": p.Type, "object": p.Object} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return "/audit?" + q.Encode()
}

// A detail is a simple field of an event.
type detail struct{ Name, Value string }

// Words are the simple fields of the details of an event.
func (*auditPage) Words(e archive.AuditEvent) []detail { return wordsOf(e.Details) }

func wordsOf(details json.RawMessage) []detail {
	var fields map[string]any
	dec := json.NewDecoder(strings.NewReader(string(details)))
	dec.UseNumber()
	if dec.Decode(&fields) != nil {
		return nil
	}
	var words []detail
	for name, value := range fields {
		switch value := value.(type) {
		case string:
			if value != "" && name != "id" && name != "deposits" && !strings.HasPrefix(value, "0001-01-01T") {
				words = append(words, detail{name, value})
			}
		case json.Number:
			words = append(words, detail{name, value.String()})
		case bool:
			if value {
				words = append(words, detail{Name: name})
			}
		}
	}
	slices.SortFunc(words, func(a, b detail) int { return strings.Compare(a.Name, b.Name) })
	return words
}

func (s *Server) completeness(w http.ResponseWriter, r *http.Request, v *View) error {
	p := &auditPage{AuditRequest: api.AuditRequest{Since: r.FormValue("since"), Until: r.FormValue("until"), Object: r.FormValue("mailbox")}}
	if p.Since == "" {
		const days = 30 // about what fits a page
		p.Since = v.now.In(v.Location).AddDate(0, 0, -days).Format("2006-01-02")
	}
	var boxes []string
	if p.Object != "" {
		boxes = []string{p.Object}
	}
	var err error
	p.Days, err = s.opts.API.Completeness(r.Context(), boxes, p.Since, p.Until)
	if detail, ok := refusal(err); ok {
		p.Wrong, err = detail, nil
	}
	if err != nil {
		return err
	}
	for _, d := range p.Days {
		if d.Gap {
			p.Gaps++
		}
	}
	v.Title = v.T("Completeness")
	return s.render(w, http.StatusOK, "completeness", v, p)
}

// refusal is what the API says of a request that the person can put right.
func refusal(err error) (detail string, ok bool) {
	var problem *api.Problem
	if errors.As(err, &problem) && (problem.Status == http.StatusBadRequest || problem.Status == http.StatusConflict || problem.Status == http.StatusServiceUnavailable) {
		return problem.Detail, true
	}
	return "", false
}
