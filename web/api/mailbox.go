package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/postkeep/postkeep/archive"
)

const (
	// defaultPolls fit a screen, maxPolls a chart of some weeks.
	defaultPolls = 50
	maxPolls     = 5_000
)

// mailboxPolls lists the polls of a mailbox, newest first.
func (s *Server) mailboxPolls(w http.ResponseWriter, r *http.Request) error {
	limit, err := number(r, "limit", defaultPolls, maxPolls)
	if err != nil {
		return err
	}
	before, err := strconv.ParseInt(r.FormValue("before"), 10, 64)
	if err != nil && r.FormValue("before") != "" {
		return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: "before is the ledger index of a poll"}
	}
	polls, err := s.opts.Store.Polls(r.Context(), r.PathValue("name"), before, limit)
	if err != nil {
		return err
	}
	if polls == nil {
		polls = []archive.RecordedPoll{}
	}
	return writeJSON(w, polls)
}

// Polls lists the polls of a mailbox, newest first; before 0 begins with the newest.
func (c *Client) Polls(ctx context.Context, mailbox string, before int64, limit int) ([]archive.RecordedPoll, error) {
	return get[[]archive.RecordedPoll](ctx, c, "/api/v1/mailboxes/"+url.PathEscape(mailbox)+"/polls",
		url.Values{"before": {strconv.FormatInt(before, 10)}, "limit": {strconv.Itoa(limit)}})
}
