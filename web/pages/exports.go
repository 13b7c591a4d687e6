package pages

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/exports"
)

type exportsPage struct {
	Jobs    []exports.Job
	Formats []export.Format
	New     bool
	Query   string
	Total   uint64
	Format  export.Format
	Wrong   string
}

// Busy reports whether the page has something to wait for.
func (p *exportsPage) Busy() bool {
	return slices.ContainsFunc(p.Jobs, func(j exports.Job) bool { return j.State == exports.Running || j.State == exports.Waiting })
}

func (s *Server) exports(w http.ResponseWriter, _ *http.Request, v *View) error {
	return s.showExports(w, v, http.StatusOK, &exportsPage{})
}

func (s *Server) showExports(w http.ResponseWriter, v *View, code int, p *exportsPage) error {
	p.Jobs, p.Formats = s.opts.Exports.List(v.Principal.Name), export.Formats()
	v.Title = v.T("Exports")
	return s.render(w, code, "exports", v, p)
}

// newExport begins with what a search had, or with the messages chosen from it.
func (s *Server) newExport(w http.ResponseWriter, r *http.Request, v *View) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	p := &exportsPage{New: true, Query: chosen(r.Form)}
	found, err := s.opts.API.Search(r.Context(), api.SearchRequest{Query: p.Query})
	if detail, ok := refusal(err); ok {
		p.Wrong, err = detail, nil
	}
	if err != nil {
		return err
	}
	p.Total = found.Total
	return s.showExports(w, v, http.StatusOK, p)
}

// chosen is the query for what a form selects: single messages, or all that its
// query finds.
func chosen(form url.Values) string {
	ids := form["id"]
	if len(ids) == 0 {
		return strings.TrimSpace(form.Get("q"))
	}
	terms := make([]string, len(ids))
	for i, id := range ids {
		terms[i] = "id:" + safeID(id)
	}
	return strings.Join(terms, " OR ")
}

func (s *Server) startExport(w http.ResponseWriter, r *http.Request, v *View) error {
	opts := export.Options{
		Query: strings.TrimSpace(r.PostFormValue("query")), Format: export.Format(r.PostFormValue("format")), Location: v.Location,
		Deduplicate: r.PostFormValue("deduplicate") != "", OnePerThread: r.PostFormValue("threads") != "",
		Bates: export.Bates{Prefix: strings.TrimSpace(r.PostFormValue("prefix"))},
	}
	p := &exportsPage{New: true, Query: opts.Query, Format: opts.Format}
	if start := r.PostFormValue("start"); start != "" {
		n, err := strconv.ParseInt(start, 10, 64)
		if err != nil || n < 1 {
			p.Wrong = v.T("The first number is not a number.")
			return s.showExports(w, v, http.StatusBadRequest, p)
		}
		opts.Bates.Start = n
	}
	if !slices.Contains(export.Formats(), opts.Format) {
		p.Wrong = v.T("Choose a format.")
		return s.showExports(w, v, http.StatusBadRequest, p)
	}
	job, err := s.opts.Exports.Start(v.Principal, opts)
	if errors.Is(err, exports.ErrTooMany) {
		p.Wrong = err.Error()
		return s.showExports(w, v, http.StatusConflict, p)
	}
	if err != nil {
		return err
	}
	if err := access.Check(r.Context()); err != nil { // the account ended before the export was there to be ended with it
		return errors.Join(err, s.opts.Exports.Remove(v.Principal.Name, job.ID))
	}
	http.Redirect(w, r, "/exports", http.StatusSeeOther)
	return nil
}

// downloadExport sends the file, in ranges if the browser wants it so.
func (s *Server) downloadExport(w http.ResponseWriter, r *http.Request, v *View) error {
	f, job, err := s.opts.Exports.Open(v.Principal, r.PathValue("id"))
	if errors.Is(err, exports.ErrNoJob) {
		return &api.Problem{Status: http.StatusNotFound, Title: v.T("There is no such export")}
	}
	if errors.Is(err, exports.ErrGrant) {
		return &api.Problem{Status: http.StatusForbidden, Title: v.T("This export is not for you any more"), Detail: v.T("What you may see has changed since it was made. Make it again.")}
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="postkeep-%s-%s.zip"`, job.Format, job.Asked.UTC().Format("2006-01-02-1504")))
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", job.Asked, f)
	return f.Close()
}

func (s *Server) removeExport(w http.ResponseWriter, r *http.Request, v *View) error {
	if err := s.opts.Exports.Remove(v.Principal.Name, r.PathValue("id")); err != nil && !errors.Is(err, exports.ErrNoJob) {
		return err
	}
	http.Redirect(w, r, "/exports", http.StatusSeeOther)
	return nil
}
