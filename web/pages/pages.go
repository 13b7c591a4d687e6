// Package pages renders the pages of Postkeep on the server: html/template over
// what the API answers, one style sheet, and small scripts that add comfort.
// Searching and reading work without any script.
//
// The pages know nothing that the API does not tell the same principal: they
// ask it in the same process, in the name of whoever is logged in.
package pages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/bounds"
	"github.com/postkeep/postkeep/web/exports"
)

// Options are what the pages need. All but Location and Logger are required.
type Options struct {
	API     *api.Client
	Version string
	// Location is the time zone of people whose browser does not tell one; time.Local if nil.
	Location *time.Location
	// Now is the clock; time.Now if nil.
	Now    func() time.Time
	Logger *slog.Logger
	// Exports makes exports for people. Required.
	Exports *exports.Jobs
	// Accounts are the way in. Required.
	Accounts Accounts
}

// Server answers requests for pages and their static files. The principal of a
// request is in its context (package access); without one every page but the
// static files is refused. It is safe for concurrent use.
type Server struct {
	opts      Options
	mux       *http.ServeMux
	templates map[string]*template.Template
	locales   map[string]dictionary
	files     map[string]asset
	door      door
}

// New makes a Server.
func New(opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Location == nil {
		opts.Location = time.Local
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{opts: opts, mux: http.NewServeMux(), door: door{
		Accounts: opts.Accounts, links: map[string]link{}, guard: newGuard(),
		refusals: refusals{record: opts.Accounts.Record, log: opts.Logger, window: refusalWindow},
	}}
	var err error
	if s.files, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.locales, err = loadLocales(); err != nil {
		return nil, err
	}
	if s.templates, err = loadTemplates(s.files); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET /static/{name}", s.static)
	for _, r := range s.routes() {
		s.mux.Handle(r.pattern, s.handle(r))
	}
	return s, nil
}

// open is for pages that are there before anybody is known.
const open access.Permission = ""

// A page is one address and who may see it.
type page struct {
	pattern string
	may     access.Permission
	answer  func(http.ResponseWriter, *http.Request, *View) error
}

func (s *Server) routes() []page {
	return []page{
		{"GET /{$}", access.Anyone, s.home},
		{"GET /search", access.Read, s.search},
		{"GET /m/{id}", access.Read, s.message},
		{"GET /m/{id}/html", access.Read, s.frame},
		{"GET /m/{id}/part/{path}", access.Read, s.part},
		{"GET /m/{id}/raw", access.Read, s.raw},
		{"GET /mailboxes", access.Operate, s.mailboxes},
		{"GET /mailboxes/events", access.Operate, s.mailboxEvents},
		{"POST /mailboxes/poll", access.Operate, s.pollNow},
		{"GET /mailboxes/{name}", access.Operate, s.mailbox},
		{"GET /holds", access.Comply, s.holds},
		{"POST /holds", access.Comply, s.placeHold},
		{"GET /holds/new", access.Comply, s.newHold},
		{"GET /holds/{name}", access.Comply, s.hold},
		{"POST /holds/{name}/release", access.Comply, s.releaseHold},
		{"GET /retention", access.Comply, s.retention},
		{"GET /retention/{id}", access.Comply, s.plan},
		{"GET /retention/{id}/certificate", access.Comply, s.certificate},
		{"POST /retention/do/{what}", access.Comply, s.changeRetention},
		{"GET /exports", access.Export, s.exports},
		{"POST /exports", access.Export, s.startExport},
		{"GET /exports/new", access.Export, s.newExport},
		{"GET /exports/{id}/download", access.Export, s.downloadExport},
		{"POST /exports/{id}/remove", access.Export, s.removeExport},
		{"GET /audit", access.Audit, s.audit},
		{"GET /audit/completeness", access.Audit, s.completeness},
		{"GET /system", access.Operate, s.system},
		{"GET /users", access.Manage, s.users},
		{"POST /users", access.Manage, s.addUser},
		{"GET /users/{name}", access.Manage, s.users},
		{"POST /users/{name}", access.Manage, s.changeUser},
		{"POST /users/changes/{id}/{what}", access.Manage, s.decideGrant},
		{"GET /profile", access.Anyone, s.profile},
		{"POST /profile/{what}", access.Anyone, s.changeProfile},
		{"GET /login", open, s.loginForm},
		{"POST /login", open, s.login},
		{"POST /logout", access.Anyone, s.logout},
		{"GET /login/link/{secret}", open, s.loginLink},
		{"GET /login/provider", open, s.toProvider},
		{"GET /login/provider/back", open, s.fromProvider},
		{"GET /setup/{secret}", open, s.setup},
		{"POST /setup/{secret}", open, s.setup},
		{"GET /", access.Anyone, s.nowhere},
	}
}

// Patterns are the routes but for static files, as http.ServeMux writes them.
func (s *Server) Patterns() []string {
	var all []string
	for _, r := range s.routes() {
		all = append(all, r.pattern)
	}
	return all
}

// Close records the refused log-ins that are counted.
func (s *Server) Close() { s.door.refusals.close() }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// handle checks the principal, and turns an error into a page that says it.
func (s *Server) handle(p page) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		v, w := s.view(r), &begun{ResponseWriter: out}
		var err error
		switch {
		case p.may == open || v.Principal.May(p.may):
			if err = readForm(w, r, p.may == open); err == nil {
				err = p.answer(w, r, v)
			}
		case v.Principal == nil && r.Method == http.MethodGet && !v.Fragment:
			http.Redirect(w, r, "/login?"+url.Values{"next": {r.URL.RequestURI()}}.Encode(), http.StatusSeeOther)
		default:
			err = forbidden(v)
		}
		switch {
		case err == nil || r.Context().Err() != nil:
		case w.yes:
			s.opts.Logger.Error("answer cut off", "path", r.URL.Path, "error", err)
			panic(http.ErrAbortHandler) // nobody shall take half a download for the whole
		default:
			s.failed(w, r, v, err)
		}
	})
}

// readForm reads the form of a request that has one, within bounds.
func readForm(w http.ResponseWriter, r *http.Request, stranger bool) error {
	if r.Method != http.MethodPost {
		return nil
	}
	most := int64(bounds.MaxForm)
	if stranger {
		most = bounds.MaxOpenForm
	}
	r.Body = http.MaxBytesReader(w, r.Body, most)
	err := r.ParseForm()
	if err == nil {
		return nil
	}
	status := bounds.Status(err)
	if status == 0 {
		status = http.StatusBadRequest
	}
	return &api.Problem{Status: status, Title: http.StatusText(status), Detail: err.Error()}
}

// begun notes whether an answer has begun.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (w *begun) WriteHeader(code int) {
	w.yes = true
	w.ResponseWriter.WriteHeader(code)
}

func (w *begun) Write(p []byte) (int, error) {
	w.yes = true
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find Flush.
func (w *begun) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func forbidden(v *View) error {
	if v.Principal == nil {
		return &api.Problem{Status: http.StatusUnauthorized, Title: v.T("Please log in")}
	}
	return &api.Problem{Status: http.StatusForbidden, Title: v.T("This page is not for you"),
		Detail: v.T("Your role, %s, does not include it. Ask an administrator if it should.", v.Roles())}
}

// failed shows an error where the page would be.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, v *View, err error) {
	var problem *api.Problem
	if !errors.As(err, &problem) {
		s.opts.Logger.Error("page failed", "path", r.URL.Path, "error", err)
		problem = &api.Problem{Status: http.StatusInternalServerError, Title: v.T("Something went wrong"), Detail: err.Error()}
	}
	v.Title = problem.Title
	w.Header().Del("Content-Disposition") // of the download that this is not
	if err := s.render(w, problem.Status, "error", v, problem); err != nil {
		s.opts.Logger.Error("error page failed", "path", r.URL.Path, "error", err)
		http.Error(w, problem.Title, problem.Status)
	}
}

// home leads everybody to the first page that is for them.
func (s *Server) home(w http.ResponseWriter, r *http.Request, v *View) error {
	to := "/profile"
	if nav := v.Nav(); len(nav) > 0 {
		to = nav[0].Path
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (s *Server) nowhere(_ http.ResponseWriter, _ *http.Request, v *View) error {
	return &api.Problem{Status: http.StatusNotFound, Title: v.T("There is no such page"),
		Detail: v.T("The address may be mistyped, or the link is old.")}
}

// render writes a page. It is complete in memory before the first byte goes
// out, so that an error can still become an error page.
func (s *Server) render(w http.ResponseWriter, code int, name string, v *View, data any) error {
	t := s.templates[name]
	if t == nil {
		return fmt.Errorf("no template %q", name)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, v.layout(), struct {
		*View
		Data any
	}{v, data}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store") // mail does not stay in a browser's cache
	w.WriteHeader(code)
	_, err := w.Write(b.Bytes())
	return ignoreGone(err)
}

// ignoreGone drops the error of a browser that has gone.
func ignoreGone(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrHandlerTimeout) {
		return nil
	}
	return err
}
