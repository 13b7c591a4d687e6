package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive"
)

// AuditResult answers GET /api/v1/audit.
type AuditResult struct {
	Events []archive.AuditEvent `json:"events"`
	// Next is the before of older events, 0 if there are none.
	Next int64 `json:"next,omitempty"`
}

// maxAudit bounds one answer: the details of an event may be a MiB.
const maxAudit = 10_000

// moment reads a day, in the zone of the archive, or a time (RFC 3339). The end
// of a day is meant where after is set.
func (s *Server) moment(r *http.Request, name string, after bool) (time.Time, error) {
	v := r.FormValue(name)
	if v == "" {
		return time.Time{}, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, v, s.location()); err == nil {
		if after {
			day = day.AddDate(0, 0, 1)
		}
		return day, nil
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return at, &Problem{Status: http.StatusBadRequest, Title: "Bad request",
			Detail: fmt.Sprintf("%s is %q, want a day like 2026-01-31 or a time like 2026-01-31T08:00:00Z", name, v)}
	}
	return at, nil
}

func (s *Server) location() *time.Location {
	if s.opts.Location == nil {
		return time.Local
	}
	return s.opts.Location
}

// audit reads the ledger. Reading it is not an event of its own: that would
// change what is read.
func (s *Server) audit(w http.ResponseWriter, r *http.Request) error {
	q := archive.AuditQuery{Actor: r.FormValue("actor"), Object: r.FormValue("object"),
		Types: strings.FieldsFunc(r.FormValue("type"), func(r rune) bool { return r == ',' })}
	for _, name := range q.Types {
		if !slices.Contains(archive.AuditTypes(), name) {
			return &Problem{Status: http.StatusBadRequest, Title: "Bad request",
				Detail: fmt.Sprintf("type is %q, want some of %s", name, strings.Join(archive.AuditTypes(), ","))}
		}
	}
	var err, err2, err3 error
	q.Since, err = s.moment(r, "since", false)
	q.Until, err2 = s.moment(r, "until", true)
	q.Limit, err3 = number(r, "limit", archive.DefaultAuditLimit, maxAudit)
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	if v := r.FormValue("before"); v != "" {
		if q.Before, err = strconv.ParseInt(v, 10, 64); err != nil || q.Before < 0 {
			return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: "before is a ledger index"}
		}
	}
	events, next, err := s.opts.Store.Audit(r.Context(), q)
	if err != nil {
		return err
	}
	if events == nil {
		events = []archive.AuditEvent{}
	}
	return writeJSON(w, AuditResult{events, next})
}

// completeness tells day by day what was listed, archived, left and failed. For a mailbox that is configured there
// should be polls until now.
func (s *Server) completeness(w http.ResponseWriter, r *http.Request) error {
	from, err := s.moment(r, "from", false)
	to, err2 := s.moment(r, "to", true)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if to.IsZero() {
		to = time.Now().AddDate(1, 0, 0) // clocks differ
	}
	boxes, err := s.opts.Store.Mailboxes(r.Context())
	if err != nil {
		return err
	}
	names, wanted := []string{}, r.URL.Query()["mailbox"]
	for _, b := range boxes {
		if len(wanted) == 0 || slices.Contains(wanted, b.Name) {
			names = append(names, b.Name)
		}
	}
	for _, name := range wanted {
		if !slices.Contains(names, name) && !s.configured(name) {
			return &Problem{Status: http.StatusNotFound, Title: "Not found",
				Detail: "no mailbox " + strconv.Quote(name) + " in the configuration or the archive (postkeep mailbox list shows them)"}
		}
	}
	out := []archive.Completeness{}
	for _, name := range names {
		q := archive.CompletenessQuery{Mailbox: name, From: from, To: to, Location: s.location()}
		if s.configured(name) {
			q.Due = time.Now()
		}
		days, err := s.opts.Store.Completeness(r.Context(), q)
		if err != nil {
			return err
		}
		out = append(out, days...)
	}
	return writeJSON(w, out)
}

// AuditRequest says which events are wanted; the fields are the parameters of
// GET /api/v1/audit.
type AuditRequest struct {
	Since, Until, Actor, Type, Object string
	Before                            int64
	Limit                             int
}

// Audit reads the ledger, newest first.
func (c *Client) Audit(ctx context.Context, r AuditRequest) (AuditResult, error) {
	v := url.Values{}
	for name, value := range map[string]string{"since": r.Since, "until": r.Until, "actor": r.Actor, "type": r.Type, "object": r.Object} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if r.Before != 0 {
		v.Set("before", strconv.FormatInt(r.Before, 10))
	}
	if r.Limit != 0 {
		v.Set("limit", strconv.Itoa(r.Limit))
	}
	return get[AuditResult](ctx, c, "/api/v1/audit", v)
}

// auditPage is how many events EachAudit asks for at a time: their details may be large.
const auditPage = 500

// EachAudit calls fn with at most limit events, 0 for all, newest first, and returns the Before of older ones, 0 if there
// are none.
func (c *Client) EachAudit(ctx context.Context, r AuditRequest, limit int, fn func(archive.AuditEvent) error) (next int64, err error) {
	for left := limit; ; left -= r.Limit {
		if r.Limit = auditPage; limit > 0 {
			r.Limit = min(left, auditPage)
		}
		page, err := c.Audit(ctx, r)
		if err != nil {
			return 0, err
		}
		for _, e := range page.Events {
			if err := fn(e); err != nil {
				return 0, err
			}
		}
		if r.Before = page.Next; page.Next == 0 || limit > 0 && left <= r.Limit {
			return page.Next, nil
		}
	}
}

// Completeness tells day by day what polls found; no mailbox means all, from
// and to are days or "".
func (c *Client) Completeness(ctx context.Context, mailboxes []string, from, to string) ([]archive.Completeness, error) {
	v := url.Values{"mailbox": mailboxes}
	if from != "" {
		v.Set("from", from)
	}
	if to != "" {
		v.Set("to", to)
	}
	return get[[]archive.Completeness](ctx, c, "/api/v1/completeness", v)
}
