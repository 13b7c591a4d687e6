package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive"
)

// What one view of a message may show beside its text. Whoever asks for a message
// names them in with, so that the ledger has one event that names them all; the requests for
// them that follow give the index of that event as view, and are not recorded again.
const (
	WithStructure    = "structure"
	WithConversation = "conversation"
	WithHTML         = "html"     // structure and parts
	WithPictures     = "pictures" // parts
	WithSource       = "source"
	WithCustody      = "custody"
)

// viewLasts is how long after a view was recorded requests belong to it: a page asks for
// its parts at once.
const viewLasts = 5 * time.Minute

const textView = "text"

// viewOf reads what a view is to show.
func viewOf(r *http.Request) ([]string, error) {
	with := strings.FieldsFunc(r.FormValue("with"), func(r rune) bool { return r == ',' })
	known := []string{WithStructure, WithConversation, WithHTML, WithPictures, WithSource, WithCustody}
	for _, name := range with {
		if !slices.Contains(known, name) {
			return nil, &Problem{Status: http.StatusBadRequest, Title: "Bad request",
				Detail: fmt.Sprintf("with has %q, want some of %s", name, strings.Join(known, ","))}
		}
	}
	return append([]string{textView}, with...), nil
}

// viewed records that a message is about to be shown. When it fails nothing may be.
func (s *Server) viewed(ctx context.Context, id, how string) (int64, error) {
	index, err := s.opts.Store.Record(ctx, archive.Action{
		Type: archive.ActionView, Actor: Actor(ctx), IDs: []string{id}, Details: map[string]string{"as": how},
	})
	if err != nil {
		return 0, fmt.Errorf("the view could not be recorded, nothing is shown: %w", err)
	}
	return index, nil
}

// show records that a message is about to be shown, unless the request belongs to a view that named
// one of what.
func (s *Server) show(r *http.Request, id, how string, what ...string) error {
	if s.belongs(r, id, what...) {
		return nil
	}
	_, err := s.viewed(r.Context(), id, how)
	return err
}

// belongs reports whether a request is part of a view of the message that the same person
// began just now, and that the ledger has with one of the names. In doubt it is not.
func (s *Server) belongs(r *http.Request, id string, what ...string) bool {
	index, err := strconv.ParseInt(r.FormValue("view"), 10, 64)
	if err != nil {
		return false
	}
	e, err := s.opts.Store.Event(r.Context(), index)
	var d struct{ As string }
	if err != nil || json.Unmarshal(e.Details, &d) != nil {
		return false
	}
	named := slices.ContainsFunc(strings.Split(d.As, ", "), func(name string) bool { return slices.Contains(what, name) })
	return named && e.Type == string(archive.ActionView) && e.Actor == Actor(r.Context()) && slices.Contains(e.IDs, id) && time.Since(e.Time).Abs() < viewLasts
}

// Within returns a client whose requests belong to a view, by its index in the ledger.
func (c *Client) Within(view int64) *Client {
	return &Client{http: c.http, close: func() error { return nil }, view: view}
}
