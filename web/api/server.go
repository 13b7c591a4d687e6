package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/indexer/query"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

// Options are what a Server speaks for. All but Logger are required; without
// Bus there are no polls.
type Options struct {
	Store *archive.Store
	// Compliance decides about holds, retention and disposal.
	Compliance *archive.Compliance
	Index      *indexer.Index
	Bus        *pipeline.Bus
	// Streams is the status of an embedded server that does not run, where Bus is nil.
	Streams pipeline.Status
	Poller  *poller.Poller
	Users   *users.Store
	// Mailboxes returns those of the configuration: name, server, schedule, policy.
	Mailboxes func() []Mailbox
	Version   string
	Location  *time.Location // whose days are meant; time.Local if nil
	DataDir   string
	Running   bool // polls are scheduled
	// Attachments says how attached files are read, and what is wrong with that, if anything; nil if nobody knows.
	Attachments func(context.Context) (how, problem string)
	// Problems says what else needs an operator; nil if nothing ever does.
	Problems func() []string
	// Watch returns a context that ends when the instance fails, with the reason as its cause; nil if it never does. What waits for
	// a worker waits in such a context.
	Watch func(context.Context) (context.Context, context.CancelFunc)
	// Extractor reads attachments for exports with their text; nil if they are not to be read.
	Extractor export.Extractor
	// RebuildCatalog makes the catalog anew, and returns when all messages have their summaries.
	RebuildCatalog func(context.Context) error
	// Anchored returns where checkpoints were anchored; nil if nowhere.
	Anchored func() []archive.Anchored
	// Anchors returns the state of the anchors; nil if there are none.
	Anchors func(context.Context) ([]AnchorStatus, error)
	Logger  *slog.Logger
}

// Server answers the API. It is an http.Handler, safe for concurrent use.
type Server struct {
	opts Options
	mux  *http.ServeMux

	people sync.Mutex // serialises changes of users, so that one that is recorded can be made
}

// NewServer makes a Server.
func NewServer(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Watch == nil {
		opts.Watch = context.WithCancel
	}
	s := &Server{opts: opts, mux: http.NewServeMux()}
	for _, r := range s.routes() {
		s.mux.Handle(r.pattern, s.handle(r))
	}
	return s
}

// A route is one operation and who may do it. Handlers narrow their answers to
// the principal's scope.
type route struct {
	pattern string
	may     access.Permission
	answer  func(http.ResponseWriter, *http.Request) error
}

func (s *Server) routes() []route {
	return append(slices.Concat(s.complyRoutes(), s.clockRoutes(), s.changeRoutes(), s.grantRoutes(), s.ruleDifferenceRoutes()), []route{
		{"GET /api/v1/openapi.json", access.Anyone, s.document},
		{"GET /api/v1/status", access.Operate, s.status},
		{"GET /api/v1/metrics", access.Operate, s.metrics},
		{"GET /api/v1/mailboxes", access.Operate, s.mailboxes},
		{"GET /api/v1/mailboxes/{name}/polls", access.Operate, s.mailboxPolls},
		{"POST /api/v1/polls", access.Operate, s.polls},
		{"POST /api/v1/index/rebuild", access.Operate, s.rebuildIndex},
		{"POST /api/v1/catalog/rebuild", access.Operate, s.rebuildCatalog},
		{"POST /api/v1/verify", access.Operate, s.verify},
		{"POST /api/v1/volumes/rotate", access.Operate, s.rotate},
		{"GET /api/v1/search", access.Read, s.search},
		{"GET /api/v1/search/explain", access.Read, s.explain},
		{"POST /api/v1/exports", access.Export, s.export},
		{"GET /api/v1/messages/{id}", access.Read, s.message},
		{"GET /api/v1/messages/{id}/raw", access.Read, s.raw},
		{"GET /api/v1/messages/{id}/custody", access.Read, s.custody},
		{"GET /api/v1/audit", access.Audit, s.audit},
		{"GET /api/v1/completeness", access.Audit, s.completeness},
		{"GET /api/v1/users", access.Manage, s.listUsers},
		{"POST /api/v1/users", access.Manage, s.addUser},
		{"PATCH /api/v1/users/{name}", access.Manage, s.changeUser},
		{"POST /api/v1/users/{name}/tokens", access.Manage, s.addToken},
		{"DELETE /api/v1/users/{name}/tokens/{token}", access.Manage, s.dropToken},
		{"GET /api/v1/me", access.Anyone, s.me},
		{"PUT /api/v1/me/password", access.Anyone, s.myPassword},
		{"PUT /api/v1/me/codes", access.Anyone, s.myCodes},
		{"POST /api/v1/me/tokens", access.Anyone, s.myToken},
		{"DELETE /api/v1/me/tokens/{token}", access.Anyone, s.dropMyToken},
		{"PUT /api/v1/me/searches", access.Anyone, s.mySearches},
		{"GET /api/v1/messages/{id}/structure", access.Read, s.structure},
		{"GET /api/v1/messages/{id}/parts/{path}", access.Read, s.part},
	}...)
}

// Patterns are the routes, as http.ServeMux writes them.
func (s *Server) Patterns() []string {
	var all []string
	for _, r := range s.routes() {
		all = append(all, r.pattern)
	}
	return all
}

// refused is the error for a principal who lacks the permission.
func refused(p *access.Principal, what access.Permission) error {
	switch {
	case p.May(what):
		return nil
	case p == nil:
		return &Problem{Status: http.StatusUnauthorized, Title: "Not logged in", Detail: "this needs a login or a token"}
	}
	return &Problem{Status: http.StatusForbidden, Title: "Not allowed",
		Detail: fmt.Sprintf("%s has not the permission %q (roles: %v)", p.Name, what, p.Roles)}
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// handle turns an error into a problem document. Once an answer has begun all
// that can be done is to cut it off, which the client sees.
func (s *Server) handle(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tracked := &trackedWriter{ResponseWriter: w}
		err := refused(access.Of(r.Context()), route.may)
		if err == nil {
			err = route.answer(tracked, r)
		}
		switch {
		case err == nil:
		case tracked.begun:
			s.opts.Logger.Error("answer cut off", "path", r.URL.Path, "error", err)
			panic(http.ErrAbortHandler)
		default:
			WriteProblem(w, problemOf(err))
		}
	})
}

// WriteProblem answers with a problem document.
func WriteProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone if this fails
}

type trackedWriter struct {
	http.ResponseWriter
	begun bool
}

func (w *trackedWriter) WriteHeader(code int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(code)
}

func (w *trackedWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find Flush.
func (w *trackedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func problemOf(err error) *Problem {
	var (
		problem *Problem
		syntax  *query.Error
		broad   *indexer.TooManyExpansionsError
		request *indexer.RequestError
	)
	p := &Problem{Status: http.StatusInternalServerError, Detail: err.Error()}
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &syntax), errors.As(err, &broad), errors.As(err, &request), errors.Is(err, indexer.ErrNoHolds), errors.Is(err, archive.ErrExportRequest), errors.Is(err, export.ErrOptions):
		p.Status = http.StatusBadRequest
	case errors.Is(err, archive.ErrNotFound), errors.Is(err, archive.ErrNoExport), errors.Is(err, poller.ErrUnknownMailbox):
		p.Status = http.StatusNotFound
	case errors.Is(err, archive.ErrAmbiguous):
		p.Status = http.StatusConflict
	case errors.Is(err, archive.ErrReadOnly), errors.Is(err, archive.ErrBroken), errors.Is(err, indexer.ErrLacking):
		p.Status = http.StatusServiceUnavailable
	}
	if status := complyStatus(err); status != 0 {
		p.Status = status
	}
	p.Title = http.StatusText(p.Status)
	return p
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) error {
	st, err := s.state(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, st)
}

// undecided says what of the archive keeps it from disposing of mail, or from taking any.
func (s *Server) undecided(ctx context.Context, st *archive.Status) (out []string) {
	if err := s.opts.Store.OrdersKnown(ctx); err != nil {
		out = append(out, err.Error())
	}
	if st.Clock != nil {
		out = append(out, st.Clock.String())
	}
	for _, name := range st.SetAside {
		out = append(out, fmt.Sprintf("archive: %v: %s", archive.ErrSetAside, name))
	}
	if st.ReadOnly != "" {
		out = append(out, "archive: "+st.ReadOnly)
	}
	return out
}

// state is the state of the instance, with what is wrong in words.
func (s *Server) state(ctx context.Context) (Status, error) {
	st := Status{Version: s.opts.Version, Running: s.opts.Running, DataDir: s.opts.DataDir}
	var err error
	if st.Archive, err = s.opts.Store.Status(ctx); err != nil {
		return st, err
	}
	st.Fingerprint = export.Fingerprint(st.Archive.Key)
	st.Streams = s.opts.Streams
	if s.opts.Bus != nil {
		if st.Streams, err = s.opts.Bus.Status(ctx); err != nil {
			st.Problem = append(st.Problem, "streams: "+err.Error())
		}
	}
	st.Problem = append(st.Problem, st.Streams.Problems...)
	last, err := s.opts.Store.LastDeposit(ctx)
	if err != nil {
		return st, err
	}
	st.Index = IndexStatus{Documents: s.opts.Index.Count(), Position: s.opts.Index.Position()}
	st.Index.Behind = st.Index.Position < last
	if st.Index.Generations, err = s.opts.Index.Generations(); err != nil {
		st.Problem = append(st.Problem, "index: "+err.Error())
	}
	if free, err := disk.Free(s.opts.DataDir); err == nil { // not every file system tells
		st.FreeBytes = free
	}
	if st.Index.Partial, err = s.lacking(ctx); err != nil {
		st.Problem = append(st.Problem, "index: "+err.Error())
	}
	if v := st.Archive.Verified; v != nil && v.Damages > 0 {
		st.Problem = append(st.Problem, fmt.Sprintf("archive: the verification of %s found damage in %d place(s); postkeep verify --deep names them",
			v.Finished.Format(time.DateTime), v.Damages))
	}
	if s.opts.Anchors != nil {
		if st.Anchors, err = s.opts.Anchors(ctx); err != nil {
			return st, err
		}
		for _, a := range st.Anchors {
			if a.Error != "" {
				st.Problem = append(st.Problem, fmt.Sprintf("anchor %s: %s", a.Anchor, a.Error))
			}
		}
	}
	st.Problem = append(st.Problem, s.undecided(ctx, &st.Archive)...)
	if st.Index.Partial != "" {
		st.Problem = append(st.Problem, "index: "+st.Index.Partial)
	}
	return st, s.mailboxProblems(ctx, &st)
}

// lacking is why the index may lack messages, "" if it has all of them.
func (s *Server) lacking(ctx context.Context) (string, error) {
	last, err := s.opts.Store.LastDeposit(ctx)
	if err != nil || s.opts.Index.Position() >= last {
		return "", err
	}
	if err := s.opts.Store.Unreadable(); err != nil {
		return "new messages are not indexed: " + err.Error(), nil
	}
	reason := s.opts.Index.Lacking()
	if reason == "" {
		reason = fmt.Sprintf("the index is complete up to ledger index %d of %d", s.opts.Index.Position(), last)
	}
	if !s.opts.Running {
		reason += "; postkeep rebuild index completes it, as does postkeep run"
	}
	return reason, nil
}

func (s *Server) mailboxes(w http.ResponseWriter, r *http.Request) error {
	boxes, err := s.boxes(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, boxes)
}

// boxes are the mailboxes of the configuration, then the others of the archive.
func (s *Server) boxes(ctx context.Context) ([]Mailbox, error) {
	held, err := s.opts.Store.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string]archive.Mailbox{}
	for _, h := range held {
		byName[h.Name] = h
	}
	var out []Mailbox
	for _, m := range s.opts.Mailboxes() {
		h := byName[m.Name]
		delete(byName, m.Name)
		m.Configured, m.Deposits, m.Bytes, m.LastPoll = true, h.Deposits, h.Bytes, h.LastPoll
		if s.opts.Running {
			outlook := s.opts.Poller.Outlook(m.Name)
			m.NextPoll, m.Failures, m.Attention = outlook.Next, outlook.Failures, outlook.Attention
		}
		out = append(out, m)
	}
	for _, h := range held {
		if _, rest := byName[h.Name]; rest {
			out = append(out, Mailbox{Name: h.Name, Deposits: h.Deposits, Bytes: h.Bytes, LastPoll: h.LastPoll})
		}
	}
	return out, nil
}

// maxPollRequest is the size of a request that names ten thousand mailboxes.
const maxPollRequest = 4 << 20

// polls runs polls and tells of them line by line, until everything that they
// archived is searchable.
func (s *Server) polls(w http.ResponseWriter, r *http.Request) error {
	var req PollRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPollRequest)).Decode(&req); err != nil {
		return badBody("poll request", err)
	}
	for _, name := range req.Mailboxes {
		if !s.configured(name) {
			return &Problem{Status: http.StatusNotFound, Title: "Not found",
				Detail: "no mailbox " + strconv.Quote(name) + " in the configuration (postkeep mailbox list shows them)"}
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := &lineWriter{enc: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	ctx, cancel := s.opts.Watch(r.Context())
	defer cancel()
	reports, err := s.opts.Poller.PollNow(ctx, req.Mailboxes, poller.Events{
		Progress: func(p pipeline.Progress) { lines.write(PollEvent{Progress: &p}) },
		Report:   func(p pipeline.PollReport) { lines.write(PollEvent{Report: &p}) },
	})
	if err == nil && !req.Unindexed {
		err = s.indexed(ctx, reports)
	}
	if err != nil {
		if ctx.Err() != nil { // the reason, not that something was cancelled
			err = context.Cause(ctx)
		}
		lines.write(PollEvent{Error: err.Error()})
		return lines.err
	}
	lines.write(PollEvent{Done: true})
	return lines.err
}

func (s *Server) configured(name string) bool {
	for _, m := range s.opts.Mailboxes() {
		if m.Name == name {
			return true
		}
	}
	return false
}

func (s *Server) indexed(ctx context.Context, reports []pipeline.PollReport) error {
	if s.opts.Store.Unreadable() != nil {
		return nil // nothing is, and status says so
	}
	last := int64(-1)
	for _, r := range reports {
		last = max(last, r.Index)
	}
	ctx, cancel := context.WithTimeout(ctx, indexPatience)
	defer cancel()
	if err := s.opts.Index.Wait(ctx, last); err != nil {
		return fmt.Errorf("everything is archived, but not all of it is searchable yet: %w", err)
	}
	return nil
}

// indexPatience is how long a poll waits for the index after the archive has
// everything. Rebuilding a large index takes longer, and goes on by itself.
const indexPatience = 10 * time.Minute

// lineWriter writes JSON lines until the first error.
type lineWriter struct {
	enc   *json.Encoder
	flush func() error
	err   error
}

func (l *lineWriter) write(v any) {
	if l.err == nil {
		l.err = l.enc.Encode(v)
	}
	if l.err == nil {
		l.err = l.flush()
	}
}

// shown is the date that people see: the Date header, else the time of receipt.
func shown(m *archive.Message) time.Time {
	if m.Summary.Date.IsZero() {
		return m.Received
	}
	return m.Summary.Date
}

// Health answers GET /healthz: 200 while the archive takes mail, else 503. It
// tells nothing else, because anybody on the machine may ask.
func (s *Server) Health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if s.opts.Store.ReadOnly() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("archive takes nothing new; postkeep status says why\n"))
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}
