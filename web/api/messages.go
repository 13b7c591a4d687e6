package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/mailparse"
	"github.com/postkeep/postkeep/web/access"
)

const (
	// defaultHits fits a screen.
	defaultHits = 50
	// maxShownText is how much text of a message is sent for reading. The
	// whole of it is a raw download away.
	maxShownText = 1 << 20
)

func number(r *http.Request, name string, otherwise, most int) (int, error) {
	v := r.FormValue(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > most {
		return 0, &Problem{Status: http.StatusBadRequest, Title: "Bad request",
			Detail: fmt.Sprintf("%s is %q, want a number from 0 to %d", name, v, most)}
	}
	return n, nil
}

// everything is the query that finds all messages.
const everything = "*"

func queryOf(r *http.Request) string {
	if q := strings.TrimSpace(r.FormValue("q")); q != "" {
		return q
	}
	return everything
}

func messageOf(m *archive.Message) Message {
	out := Message{
		ID: m.ID, Date: shown(m), Received: m.Received,
		From: m.Summary.From, To: m.Summary.To, Cc: m.Summary.Cc, Subject: m.Summary.Subject,
		Size: m.Size, Mailboxes: []string{},
		Attachments: append([]string{}, m.Summary.Attachments...), Flags: append([]string{}, m.Summary.Flags...),
		Problems: slices.Clone(m.Summary.Problems),
	}
	for _, d := range m.Deposits {
		out.Mailboxes = append(out.Mailboxes, d.Mailbox)
	}
	slices.Sort(out.Mailboxes)
	out.Mailboxes = slices.Compact(out.Mailboxes)
	return out
}

// addProblems adds what the index worker did not know yet, or has not said: it
// may not have seen the message.
func (m *Message) addProblems(parsed *mailparse.Message) {
	for _, p := range parsed.Problems {
		if !slices.Contains(m.Problems, p) {
			m.Problems = append(m.Problems, p)
		}
	}
}

// find returns a message by its id or an unambiguous prefix, with the deposits
// that the principal may see. A message without any is not there for them, and
// the answer is the same as for one that does not exist.
func (s *Server) find(ctx context.Context, prefix string) (archive.Message, error) {
	scope := access.Of(ctx).Scope
	id, err := s.opts.Store.Resolve(ctx, prefix)
	if errors.Is(err, archive.ErrAmbiguous) && !scope.All {
		err = fmt.Errorf("%w: %s", archive.ErrNotFound, prefix) // the reason names others
	}
	if err != nil {
		return archive.Message{}, err
	}
	m, err := s.opts.Store.Message(ctx, id)
	if err != nil || scope.All {
		return m, err
	}
	if narrow(&m, &scope); len(m.Deposits) == 0 {
		return archive.Message{}, fmt.Errorf("%w: %s", archive.ErrNotFound, prefix)
	}
	return m, nil
}

// open finds a message and opens its bytes, which may be shown once that is recorded.
func (s *Server) open(ctx context.Context, prefix string) (archive.Message, io.ReadCloser, error) {
	m, err := s.find(ctx, prefix)
	if err != nil {
		return m, nil, err
	}
	body, err := s.opts.Store.OpenMessage(ctx, m.ID)
	return m, body, err
}

// opened is a message that is about to be shown: its view is in the ledger, as how, or as one of a view that
// named one of what.
func (s *Server) opened(r *http.Request, how string, what ...string) (archive.Message, io.ReadCloser, error) {
	m, body, err := s.open(r.Context(), r.PathValue("id"))
	if err != nil {
		return m, nil, err
	}
	if err := s.show(r, m.ID, how, what...); err != nil {
		return m, nil, joinClose(err, body)
	}
	return m, body, nil
}

func (s *Server) message(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	with, err := viewOf(r)
	if err != nil {
		return err
	}
	m, body, err := s.open(ctx, r.PathValue("id"))
	if errors.Is(err, archive.ErrNotFound) {
		return s.buried(w, r, err)
	}
	if err != nil {
		return err
	}
	parsed, err := mailparse.Parse(ctx, body, mailparse.Options{MaxTextBytes: maxShownText})
	if err := joinClose(err, body); err != nil {
		return err
	}
	if !slices.ContainsFunc(parsed.Parts, func(p mailparse.Part) bool { return p.MediaType == "text/html" }) {
		with = slices.DeleteFunc(with, func(name string) bool { return name == WithHTML })
	}
	index, err := s.viewed(ctx, m.ID, strings.Join(with, ", "))
	if err != nil {
		return err
	}
	d := Detail{Message: messageOf(&m), MessageID: parsed.MessageID, Deposits: m.Deposits, View: index}
	d.addProblems(parsed)
	if d.Disposed, err = s.graves(ctx, m.ID); err != nil {
		return err
	}
	d.Text, d.Cut = cutText(parsed.Text(), maxShownText)
	return writeJSON(w, d)
}

func cutText(text string, most int) (string, bool) {
	if len(text) <= most {
		return text, false
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most], true
}

// raw sends the bytes exactly as the server sent them. Damage on the disk cuts
// the answer off, so that nobody takes it for the message.
func (s *Server) raw(w http.ResponseWriter, r *http.Request) error {
	m, body, err := s.opened(r, "raw", WithSource)
	if errors.Is(err, archive.ErrNotFound) {
		return s.gone(r, err)
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "message/rfc822")
	h.Set("Content-Length", strconv.FormatInt(m.Size, 10))
	h.Set("Content-Disposition", `attachment; filename="`+m.ID+`.eml"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", `"`+m.ID+`"`)
	_, err = io.Copy(w, body)
	return joinClose(err, body)
}
