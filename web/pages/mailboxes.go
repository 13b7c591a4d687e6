package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/api"
)

// mailboxRow is a mailbox as the page shows it, and as its events tell changes.
type mailboxRow struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"` // of the state: ok, warn, bad or ""
	State    string `json:"state"`
	Last     string `json:"last"`
	Next     string `json:"next"`
	Deposits string `json:"deposits"`
	Size     string `json:"size"`
	Reason   string `json:"reason"`

	api.Mailbox `json:"-"`
}

func (v *View) mailboxRow(m api.Mailbox) mailboxRow {
	row := mailboxRow{Name: m.Name, Mailbox: m, Deposits: v.Number(m.Deposits), Size: v.Bytes(m.Bytes), Last: v.T("never"), Next: "–"}
	if m.LastPoll != nil {
		row.Last = v.Ago(m.LastPoll.Started)
	}
	if !m.NextPoll.IsZero() {
		row.Next = v.Ago(m.NextPoll)
	}
	switch {
	case !m.Configured:
		row.State = v.T("no longer polled")
	case m.Attention != "":
		row.Kind, row.State, row.Reason = "bad", v.T("needs you"), m.Attention
	case m.LastPoll == nil:
		row.State = v.T("not polled yet")
	case m.LastPoll.Error != "":
		row.Kind, row.State, row.Reason = "bad", v.T("failed"), m.LastPoll.Error
		if m.LastPoll.Temporary {
			row.Kind, row.State = "warn", v.T("will be tried again")
		}
	case m.LastPoll.Left > 0:
		row.Kind, row.State, row.Reason = "warn", v.T("some left on the server"), reasons(m.LastPoll.Reasons)
	default:
		row.Kind, row.State = "ok", v.T("fine")
	}
	return row
}

// reasons writes why messages were left, in a fixed order.
func reasons(by map[string]int) string {
	var out []string
	for why, n := range by {
		out = append(out, fmt.Sprintf("%d × %s", n, why))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

type mailboxesPage struct {
	Rows  []mailboxRow
	Wrong int // that need somebody
}

func (s *Server) mailboxRows(ctx context.Context, v *View) ([]mailboxRow, error) {
	boxes, err := s.opts.API.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]mailboxRow, 0, len(boxes))
	for _, m := range boxes {
		rows = append(rows, v.mailboxRow(m))
	}
	return rows, nil
}

func (s *Server) mailboxes(w http.ResponseWriter, r *http.Request, v *View) error {
	p := &mailboxesPage{}
	var err error
	if p.Rows, err = s.mailboxRows(r.Context(), v); err != nil {
		return err
	}
	for _, row := range p.Rows {
		if row.Kind == "bad" {
			p.Wrong++
		}
	}
	v.Title = v.T("Mailboxes")
	return s.render(w, http.StatusOK, "mailboxes", v, p)
}

// shownPolls is how many polls of one mailbox are shown, and charted.
const shownPolls = 60

type mailboxPage struct {
	mailboxRow
	Polls []archive.RecordedPoll
	Chart chart
}

func (s *Server) mailbox(w http.ResponseWriter, r *http.Request, v *View) error {
	rows, err := s.mailboxRows(r.Context(), v)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(rows, func(row mailboxRow) bool { return row.Name == r.PathValue("name") })
	if i < 0 {
		return s.nowhere(w, r, v)
	}
	p := &mailboxPage{mailboxRow: rows[i]}
	if p.Polls, err = s.opts.API.Polls(r.Context(), p.Name, 0, shownPolls); err != nil {
		return err
	}
	for _, poll := range slices.Backward(p.Polls) {
		p.Chart.Bars = append(p.Chart.Bars, bar{Label: v.Time(poll.Started), Value: int64(poll.Archived), Bad: poll.Error != ""})
	}
	p.Chart.Name = v.T("Messages archived by the last polls")
	v.Title = p.Name
	return s.render(w, http.StatusOK, "mailbox", v, p)
}

// pollNow polls, and answers when it is done: with lines as they happen for the
// script, with the page for a form.
func (s *Server) pollNow(w http.ResponseWriter, r *http.Request, _ *View) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	names := r.PostForm["mailbox"]
	if r.Header.Get("Accept") != "application/x-ndjson" {
		if err := s.opts.API.Poll(r.Context(), api.PollRequest{Mailboxes: names}, func(api.PollEvent) {}); err != nil {
			return err
		}
		to := "/mailboxes"
		if len(names) == 1 {
			to += "/" + names[0]
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	send := func(e api.PollEvent) {
		// A browser that has gone ends the poll through the context.
		_ = errors.Join(enc.Encode(e), flush.Flush())
	}
	if err := s.opts.API.Poll(r.Context(), api.PollRequest{Mailboxes: names}, send); err != nil {
		send(api.PollEvent{Error: err.Error()})
		return nil
	}
	send(api.PollEvent{Done: true})
	return nil
}

const (
	// eventEvery is how often mailboxes are looked at for a page that watches.
	eventEvery = 2 * time.Second
	// eventsFor ends a stream; the browser comes back by itself.
	eventsFor = 10 * time.Minute
)

// mailboxEvents tells a page what changed, as server-sent events.
func (s *Server) mailboxEvents(w http.ResponseWriter, r *http.Request, v *View) error {
	ctx, cancel := context.WithTimeout(r.Context(), eventsFor)
	defer cancel()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	seen := map[string][]byte{}
	tick := time.NewTicker(eventEvery)
	defer tick.Stop()
	for {
		v.now = s.opts.Now()
		rows, err := s.mailboxRows(ctx, v)
		if err != nil {
			return ignoreGone(err)
		}
		for _, row := range rows {
			b, err := json.Marshal(row)
			if err != nil {
				return err
			}
			if bytes.Equal(seen[row.Name], b) {
				continue
			}
			seen[row.Name] = b
			if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
				return nil //nolint:nilerr // the browser has gone
			}
		}
		if err := flush.Flush(); err != nil {
			return nil //nolint:nilerr // the browser has gone
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
