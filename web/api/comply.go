package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/archive/retention"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/web/access"
)

// ReleaseRequest ends a hold.
type ReleaseRequest struct {
	Reason string `json:"reason"`
}

// HoldDetail is a hold and what it covers.
type HoldDetail struct {
	archive.Hold
	// Terms is the query that finds what it covers.
	Terms string `json:"terms"`
}

// NewRule asks for a retention rule.
type NewRule struct {
	Name    string `json:"name"`
	Mailbox string `json:"mailbox,omitempty"`
	Query   string `json:"query,omitempty"`
	Min     string `json:"min,omitempty"` // period such as 6y
	Max     string `json:"max,omitempty"`
	Basis   string `json:"basis,omitempty"` // archived (default) or date
}

// AddedRule is a rule, with what there is to say about it.
type AddedRule struct {
	archive.Rule
	Warning string `json:"warning,omitempty"`
}

// DisposalRequest asks for a plan, or for its application.
type DisposalRequest struct {
	// ConfirmClock says that the clock is right although it has jumped.
	ConfirmClock bool `json:"confirm_clock,omitempty"`
}

// EraseRequest asks for the erasure of a message.
type EraseRequest struct {
	DisposalRequest
	Reason string `json:"reason"`
}

// Erased answers an EraseRequest.
type Erased struct {
	Plan archive.Plan `json:"plan"`
	// Disposal is nil while the plan waits for approval.
	Disposal *archive.Disposal `json:"disposal,omitempty"`
}

// PlannedDeposit is a deposit that a plan lists.
type PlannedDeposit struct {
	Rule     string    `json:"rule,omitempty"`
	Index    int64     `json:"index"` // in the ledger
	ID       string    `json:"id"`
	Mailbox  string    `json:"mailbox"`
	Received time.Time `json:"received"`
	Size     int64     `json:"size"` // octets
	From     string    `json:"from"`
	Subject  string    `json:"subject"`
}

func (s *Server) complyRoutes() []route {
	return []route{
		{"GET /api/v1/holds", access.Comply, s.holds},
		{"POST /api/v1/holds", access.Comply, s.placeHold},
		{"GET /api/v1/holds/{name}", access.Comply, s.evaluateHold},
		{"POST /api/v1/holds/{name}/release", access.Comply, s.releaseHold},
		{"GET /api/v1/retention/rules", access.Comply, s.rules},
		{"POST /api/v1/retention/rules", access.Comply, s.addRule},
		{"DELETE /api/v1/retention/rules/{name}", access.Comply, s.removeRule},
		{"GET /api/v1/retention/plans", access.Comply, s.plans},
		{"POST /api/v1/retention/plans", access.Comply, s.makePlan},
		{"GET /api/v1/retention/plans/{id}", access.Comply, s.plan},
		{"GET /api/v1/retention/plans/{id}/deposits", access.Comply, s.planned},
		{"POST /api/v1/retention/plans/{id}/approve", access.Comply, s.approvePlan},
		{"POST /api/v1/retention/plans/{id}/apply", access.Comply, s.applyPlan},
		{"GET /api/v1/retention/plans/{id}/certificate", access.Comply, s.certificate},
		{"POST /api/v1/messages/{id}/erase", access.Comply, s.erase},
	}
}

func complyOperations() map[string]operation {
	return map[string]operation{
		"GET /api/v1/holds":                            {summary: "Legal holds in force, and events about holds that cannot be read any more; with all=1 also holds that were released", query: []parameter{{name: "all", about: "1: also those that were released"}}, out: []archive.Hold{}},
		"POST /api/v1/holds":                           {summary: "Place a legal hold", in: PlaceRequest{}, out: archive.Hold{}},
		"GET /api/v1/holds/{name}":                     {summary: "What a legal hold covers now", out: HoldDetail{}},
		"POST /api/v1/holds/{name}/release":            {summary: "Release a legal hold", in: ReleaseRequest{}, out: archive.Hold{}},
		"GET /api/v1/retention/rules":                  {summary: "Retention rules", out: []archive.Rule{}},
		"POST /api/v1/retention/rules":                 {summary: "Add a retention rule", in: NewRule{}, out: AddedRule{}},
		"DELETE /api/v1/retention/rules/{name}":        {summary: "Remove a retention rule", out: []archive.Rule{}},
		"GET /api/v1/retention/plans":                  {summary: "Plans of disposal, oldest first", out: []archive.Plan{}},
		"POST /api/v1/retention/plans":                 {summary: "List what is due and not held, as a plan", in: DisposalRequest{}, out: archive.Plan{}},
		"GET /api/v1/retention/plans/{id}":             {summary: "A plan", out: archive.Plan{}},
		"GET /api/v1/retention/plans/{id}/deposits":    {summary: "What a plan lists and is still there", out: PlannedDeposit{}, lines: true},
		"POST /api/v1/retention/plans/{id}/approve":    {summary: "Approve a plan", out: archive.Plan{}},
		"POST /api/v1/retention/plans/{id}/apply":      {summary: "Dispose of what a plan lists, is still due and not held", in: DisposalRequest{}, out: archive.Disposal{}},
		"GET /api/v1/retention/plans/{id}/certificate": {summary: "The certificate of a disposal", out: archive.Certificate{}},
		"POST /api/v1/messages/{id}/erase":             {summary: "Erase a message for somebody who may ask for it", in: EraseRequest{}, out: Erased{}},
	}
}

// complyStatus is the HTTP status of an error about holds and disposal, 0 for any other.
func complyStatus(err error) int {
	switch {
	case errors.Is(err, archive.ErrOrder):
		return http.StatusBadRequest
	case errors.Is(err, archive.ErrNoOrder):
		return http.StatusNotFound
	case errors.Is(err, archive.ErrHeld), errors.Is(err, archive.ErrTooYoung), errors.Is(err, archive.ErrApproval), errors.Is(err, archive.ErrClock):
		return http.StatusConflict
	case errors.Is(err, archive.ErrIncomplete), errors.Is(err, archive.ErrUnreadable):
		return http.StatusServiceUnavailable
	}
	return 0
}

// Negates understands a query of a hold or a rule, and reports whether it finds messages for what is not in them.
func Negates(q string) (bool, error) {
	node, err := query.Parse(q)
	if err != nil {
		return false, err
	}
	return negates(node)
}

func negates(n query.Node) (not bool, err error) {
	var inside []query.Node
	switch n := n.(type) {
	case *query.And:
		inside = n.Nodes
	case *query.Or:
		inside = n.Nodes
	case *query.Not:
		not, inside = true, []query.Node{n.Node}
	case *query.Flag:
		if n.Name == query.Held {
			return false, &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: "is:held cannot be part of what decides about holds and retention"}
		}
	case *query.Date:
		if n.From.Unit != 0 || n.To.Unit != 0 {
			return false, &Problem{Status: http.StatusBadRequest, Title: "Bad request",
				Detail: "days counted from today, such as 30d, would mean others tomorrow: holds and retention rules need days like 2024-03-31"}
		}
	}
	for _, one := range inside {
		also, err := negates(one)
		if err != nil {
			return false, err
		}
		not = not || also
	}
	return not, nil
}

func (s *Server) holds(w http.ResponseWriter, r *http.Request) error {
	holds, err := s.opts.Store.Holds(r.Context(), r.FormValue("all") == "1")
	if err != nil {
		return err
	}
	pending, err := s.opts.Store.Pending(r.Context(), archive.ChangeRelease)
	if err != nil {
		return err
	}
	for i := range holds {
		if holds[i].Released.IsZero() {
			holds[i].Pending = pending[holds[i].Name]
		}
	}
	lost, err := s.opts.Store.UnreadableHolds(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, append(holds, lost...))
}

// custodians takes addresses out of what is written as "Name <address>", and
// refuses what is neither an address nor a mailbox: such a hold would cover nothing.
func (s *Server) custodians(ctx context.Context, h *hold.Hold) error {
	boxes, err := s.boxes(ctx)
	if err != nil {
		return err
	}
	for i, c := range h.Custodians {
		if a, err := mail.ParseAddress(c); err == nil {
			h.Custodians[i] = a.Address
			continue
		}
		if strings.HasPrefix(c, "@") || slices.ContainsFunc(boxes, func(m Mailbox) bool { return m.Name == c }) {
			continue
		}
		return &Problem{Status: http.StatusBadRequest, Title: "Bad request",
			Detail: fmt.Sprintf("custodian %q is neither an address, nor a domain like @example.com, nor a mailbox (postkeep mailbox list shows them)", c)}
	}
	return nil
}

func (s *Server) evaluateHold(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.complete(ctx); err != nil {
		return err
	}
	h, err := s.opts.Compliance.EvaluateHold(ctx, r.PathValue("name"), Actor(ctx), func(string) {})
	if err != nil {
		return err
	}
	return writeJSON(w, HoldDetail{Hold: h, Terms: h.Terms()})
}

func (s *Server) releaseHold(w http.ResponseWriter, r *http.Request) error {
	req, err := decode[ReleaseRequest](r)
	if err != nil {
		return err
	}
	h, err := s.opts.Compliance.ReleaseHold(s.loggedIn(r.Context()), r.PathValue("name"), req.Reason, Actor(r.Context()))
	if err != nil {
		return err
	}
	return writeJSON(w, h)
}

func (s *Server) rules(w http.ResponseWriter, r *http.Request) error {
	rules, err := s.opts.Store.Rules(r.Context())
	if err != nil {
		return err
	}
	pending, err := s.opts.Store.Pending(r.Context(), archive.ChangeRemove)
	if err != nil {
		return err
	}
	for i := range rules {
		rules[i].Pending = pending[rules[i].Name]
	}
	return writeJSON(w, rules)
}

func (s *Server) addRule(w http.ResponseWriter, r *http.Request) error {
	req, err := decode[NewRule](r)
	if err != nil {
		return err
	}
	rule := retention.Rule{Name: req.Name, Mailbox: req.Mailbox, Query: req.Query, Basis: retention.Basis(req.Basis)}
	err = errors.Join(rule.Min.UnmarshalText([]byte(req.Min)), rule.Max.UnmarshalText([]byte(req.Max)))
	if err != nil {
		return &Problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: err.Error()}
	}
	added, err := s.opts.Compliance.AddRule(r.Context(), rule, Actor(r.Context()))
	if err != nil {
		return err
	}
	out := AddedRule{Rule: added}
	if rule.Basis == retention.Date {
		out.Warning = retention.ForgedDate
	}
	return writeJSON(w, out)
}

func (s *Server) removeRule(w http.ResponseWriter, r *http.Request) error {
	if err := s.opts.Compliance.RemoveRule(s.loggedIn(r.Context()), r.PathValue("name"), Actor(r.Context())); err != nil {
		return err
	}
	return s.rules(w, r)
}

func (s *Server) plans(w http.ResponseWriter, r *http.Request) error {
	plans, err := s.opts.Store.Plans(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, plans)
}

func (s *Server) makePlan(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := decode[DisposalRequest](r)
	if err != nil {
		return err
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	p, err := s.opts.Compliance.Plan(s.loggedIn(ctx), Actor(ctx), req.ConfirmClock)
	if err != nil {
		return err
	}
	return writeJSON(w, p)
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request) error {
	p, err := s.opts.Store.Plan(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, p)
}

// planned lists what a plan disposes of. It shows who wrote what about, and is a view of it.
func (s *Server) planned(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	p, err := s.opts.Store.Plan(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	if _, err := s.opts.Store.Record(ctx, archive.Action{Type: archive.ActionSearch, Actor: Actor(ctx),
		Details: map[string]any{"plan": p.ID, "total": p.Due}}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaLines)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return p.Each(ctx, s.opts.Store, func(rule string, index int64, id string, d archive.Deposit, size int64) error {
		m, err := s.opts.Store.Message(ctx, id)
		if errors.Is(err, archive.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return enc.Encode(PlannedDeposit{Rule: rule, Index: index, ID: id, Mailbox: d.Mailbox, Received: d.Received, Size: size,
			From: m.Summary.From, Subject: m.Summary.Subject})
	})
}

func (s *Server) approvePlan(w http.ResponseWriter, r *http.Request) error {
	p, err := s.opts.Compliance.Approve(s.loggedIn(r.Context()), r.PathValue("id"), Actor(r.Context()))
	if err != nil {
		return err
	}
	return writeJSON(w, p)
}

// settled tries again while mail keeps coming in: what is to be disposed of is decided when the index has all of it.
func (s *Server) settled(ctx context.Context, do func() error) error {
	const attempts = 20
	for n := 1; ; n++ {
		if err := s.complete(ctx); err != nil {
			return err
		}
		if err := do(); n == attempts || !errors.Is(err, archive.ErrIncomplete) {
			return err
		}
	}
}

func (s *Server) applyPlan(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := decode[DisposalRequest](r)
	if err != nil {
		return err
	}
	var d archive.Disposal
	if err := s.settled(ctx, func() (err error) {
		d, err = s.opts.Compliance.Apply(s.loggedIn(ctx), r.PathValue("id"), Actor(ctx), req.ConfirmClock)
		return err
	}); err != nil {
		return err
	}
	return writeJSON(w, d)
}

func (s *Server) certificate(w http.ResponseWriter, r *http.Request) error {
	c, err := s.opts.Store.Certificate(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, c)
}

func (s *Server) erase(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := decode[EraseRequest](r)
	if err != nil {
		return err
	}
	id, err := s.opts.Store.Resolve(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	var out Erased
	if err := s.settled(ctx, func() error {
		p, d, err := s.opts.Compliance.Erase(s.loggedIn(ctx), id, req.Reason, Actor(ctx), req.ConfirmClock)
		if out.Plan = p; d.Plan != "" {
			out.Disposal = &d
		}
		return err
	}); err != nil {
		return err
	}
	return writeJSON(w, out)
}

// graves returns what is left of a message, by its id or an unambiguous prefix, as far as the principal may see it.
func (s *Server) graves(ctx context.Context, prefix string) ([]archive.Tombstone, error) {
	id, err := s.opts.Store.Resolve(ctx, prefix)
	if err != nil {
		return nil, err
	}
	graves, err := s.opts.Store.Tombstones(ctx, id)
	scope := access.Of(ctx).Scope
	return slices.DeleteFunc(graves, func(t archive.Tombstone) bool { return !scope.Sees(t.Mailbox, t.Received) }), err
}

// buried answers for a message that is not there: with what is left of it, or with notFound.
func (s *Server) buried(w http.ResponseWriter, r *http.Request, notFound error) error {
	ctx := r.Context()
	graves, err := s.graves(ctx, r.PathValue("id"))
	if err != nil || len(graves) == 0 {
		return notFound
	}
	last := graves[len(graves)-1]
	if _, err := s.viewed(ctx, last.ID, "tombstone"); err != nil {
		return err
	}
	m := archive.Message{ID: last.ID, Size: last.Size, Received: graves[0].Received}
	return writeJSON(w, Detail{Message: messageOf(&m), Deposits: []archive.Deposit{}, Disposed: graves})
}

// gone is the error for the bytes of a message that was disposed of, or notFound.
func (s *Server) gone(r *http.Request, notFound error) error {
	graves, err := s.graves(r.Context(), r.PathValue("id"))
	if err != nil || len(graves) == 0 {
		return notFound
	}
	last := graves[len(graves)-1]
	return &Problem{Status: http.StatusGone, Title: "Gone",
		Detail: fmt.Sprintf("message %s was disposed of on %s by %s (plan %s)", last.ID, last.Disposed.Format(time.RFC3339), last.By, last.Plan)}
}
