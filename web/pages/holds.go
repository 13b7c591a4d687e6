package pages

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/web/api"
)

type holdsPage struct {
	Holds []archive.Hold
	New   *hold.Hold
	One   *api.HoldDetail
	Wrong string
	// Confirm offers to place New although it may not be what was meant.
	Confirm bool
	Done    string
}

func (s *Server) holds(w http.ResponseWriter, r *http.Request, v *View) error {
	return s.showHolds(w, r, v, http.StatusOK, &holdsPage{Done: r.FormValue("done")})
}

// newHold begins with what a search had, or with the messages chosen from it.
func (s *Server) newHold(w http.ResponseWriter, r *http.Request, v *View) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	return s.showHolds(w, r, v, http.StatusOK, &holdsPage{New: &hold.Hold{Query: chosen(r.Form)}})
}

func (s *Server) showHolds(w http.ResponseWriter, r *http.Request, v *View, code int, p *holdsPage) error {
	var err error
	if p.Holds, err = s.opts.API.Holds(r.Context(), true); err != nil {
		return err
	}
	v.Title = v.T("Holds")
	return s.render(w, code, "holds", v, p)
}

func (s *Server) placeHold(w http.ResponseWriter, r *http.Request, v *View) error {
	h := hold.Hold{
		Name: strings.TrimSpace(r.PostFormValue("name")), Reason: strings.TrimSpace(r.PostFormValue("reason")),
		Custodians: strings.FieldsFunc(r.PostFormValue("custodians"), func(r rune) bool { return r == ',' || r == '\n' || r == '\r' || r == ' ' }),
		Query:      strings.TrimSpace(r.PostFormValue("query")), From: r.PostFormValue("from"), To: r.PostFormValue("to"),
	}
	_, err := s.opts.API.PlaceHold(r.Context(), h, r.PostFormValue("confirm") == "1")
	if question, ok := api.NeedsConfirmation(err); ok {
		return s.showHolds(w, r, v, http.StatusConflict, &holdsPage{New: &h, Wrong: question, Confirm: true})
	}
	if detail, ok := refusal(err); ok {
		return s.showHolds(w, r, v, http.StatusBadRequest, &holdsPage{New: &h, Wrong: detail})
	}
	if err != nil {
		return err
	}
	// The page of the hold finds out what it covers.
	http.Redirect(w, r, "/holds/"+url.PathEscape(h.Name)+"?done=placed", http.StatusSeeOther)
	return nil
}

func (s *Server) hold(w http.ResponseWriter, r *http.Request, v *View) error {
	h, err := s.opts.API.Hold(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return s.showHolds(w, r, v, http.StatusOK, &holdsPage{One: &h, Done: r.FormValue("done")})
}

func (s *Server) releaseHold(w http.ResponseWriter, r *http.Request, v *View) error {
	released, err := s.opts.API.ReleaseHold(r.Context(), r.PathValue("name"), strings.TrimSpace(r.PostFormValue("reason")))
	if detail, ok := refusal(err); ok {
		return s.showHolds(w, r, v, http.StatusBadRequest, &holdsPage{Wrong: detail})
	}
	if err != nil {
		return err
	}
	if released.Pending != "" {
		http.Redirect(w, r, "/retention", http.StatusSeeOther)
		return nil
	}
	http.Redirect(w, r, "/holds?done=released", http.StatusSeeOther)
	return nil
}

type retentionPage struct {
	Rules []archive.Rule
	Plans []archive.Plan // newest first
	Clock *archive.ClockJump
	// Changes are those that wait for a second person.
	Changes []archive.Change
	One     *archive.Plan
	Items   []api.PlannedDeposit
	More    bool // there are more items than shown
	New     api.NewRule
	Wrong   string
	Said    string
}

func (s *Server) retention(w http.ResponseWriter, r *http.Request, v *View) error {
	return s.showRetention(w, r, v, http.StatusOK, &retentionPage{})
}

func (s *Server) showRetention(w http.ResponseWriter, r *http.Request, v *View, code int, p *retentionPage) error {
	var err error
	if p.Rules, err = s.opts.API.Rules(r.Context()); err != nil {
		return err
	}
	clock, err := s.opts.API.Clock(r.Context())
	if err != nil {
		return err
	}
	p.Clock = clock.Jump
	changes, err := s.opts.API.Changes(r.Context())
	if err != nil {
		return err
	}
	for i := range changes {
		if changes[i].State == archive.ChangeOpen {
			p.Changes = append(p.Changes, changes[i])
		}
	}
	plans, err := s.opts.API.Plans(r.Context())
	if err != nil {
		return err
	}
	for i := len(plans) - 1; i >= 0; i-- {
		p.Plans = append(p.Plans, plans[i])
	}
	v.Title = v.T("Retention")
	return s.render(w, code, "retention", v, p)
}

// Last reports whether a plan is in a state in which nothing more is to do.
func (*retentionPage) Last(state string) bool {
	return state == archive.StateApplied || state == archive.StateInterrupted
}

// shownItems of a plan fit a page; the API lists all.
const shownItems = 200

var errShown = errors.New("enough is shown")

func (s *Server) plan(w http.ResponseWriter, r *http.Request, v *View) error {
	plan, err := s.opts.API.Plan(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	p := &retentionPage{One: &plan}
	err = s.opts.API.Planned(r.Context(), plan.ID, func(d api.PlannedDeposit) error {
		if len(p.Items) == shownItems {
			p.More = true
			return errShown
		}
		p.Items = append(p.Items, d)
		return nil
	})
	if err != nil && !errors.Is(err, errShown) {
		return err
	}
	return s.showRetention(w, r, v, http.StatusOK, p)
}

// changeRetention does one thing about rules or plans.
func (s *Server) changeRetention(w http.ResponseWriter, r *http.Request, v *View) error {
	ctx, p, to := r.Context(), &retentionPage{}, "/retention"
	var err error
	id := r.PostFormValue("id")
	switch r.PathValue("what") {
	case "add":
		p.New = api.NewRule{Name: strings.TrimSpace(r.PostFormValue("name")), Mailbox: r.PostFormValue("mailbox"), Query: strings.TrimSpace(r.PostFormValue("query")),
			Min: strings.TrimSpace(r.PostFormValue("min")), Max: strings.TrimSpace(r.PostFormValue("max")), Basis: r.PostFormValue("basis")}
		_, err = s.opts.API.AddRule(ctx, p.New)
	case "remove":
		_, err = s.opts.API.RemoveRule(ctx, r.PostFormValue("name"))
	case "agree":
		_, err = s.opts.API.ApproveChange(ctx, id)
	case "reject":
		_, err = s.opts.API.RejectChange(ctx, id)
	case "clock":
		_, err = s.opts.API.ConfirmClock(ctx)
	case "plan":
		var plan archive.Plan
		plan, err = s.opts.API.MakePlan(ctx, false)
		to = "/retention/" + plan.ID
		if err == nil && plan.ID == "" {
			p.Said = v.T("Nothing is due that is not held.")
			return s.showRetention(w, r, v, http.StatusOK, p)
		}
	case "approve":
		_, err = s.opts.API.ApprovePlan(ctx, id)
		to = "/retention/" + id
	case "apply":
		_, err = s.opts.API.ApplyPlan(ctx, id, false)
		to = "/retention/" + id
	default:
		return s.nowhere(w, r, v)
	}
	if detail, ok := refusal(err); ok {
		p.Wrong = detail
		return s.showRetention(w, r, v, http.StatusBadRequest, p)
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// certificate is the page that the archive wrote about a disposal.
func (s *Server) certificate(w http.ResponseWriter, r *http.Request, v *View) error {
	c, err := s.opts.API.Certificate(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	v.Title = v.T("Certificate of disposal")
	return s.render(w, http.StatusOK, "certificate", v, &c)
}
