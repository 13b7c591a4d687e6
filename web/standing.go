package web

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

// errEnded is why a request of somebody known was ended.
var errEnded = &api.Problem{Status: http.StatusUnauthorized, Title: "Not logged in",
	Detail: "the session, the token or what its user may do has ended since this was asked: log in and ask again"}

// visits are the requests of people who are known. They end when their session or token does, or when their person may do less.
type visits struct {
	mu  sync.Mutex
	all map[*visit]struct{}
}

// each calls fn with the visits of this moment.
func (v *visits) each(fn func(*visit)) {
	v.mu.Lock()
	all := make([]*visit, 0, len(v.all))
	for one := range v.all {
		all = append(all, one)
	}
	v.mu.Unlock()
	for _, one := range all {
		fn(one)
	}
}

func (v *visits) enter(one *visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all[one] = struct{}{}
}

func (v *visits) leave(one *visit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.all, one)
}

// A visit is one request.
type visit struct {
	session string      // by ID, "" of a token
	still   func() bool // reports whether the person still may what they might
	cancel  context.CancelCauseFunc
	control *http.ResponseController

	mu      sync.Mutex
	begun   bool // the answer
	ended   bool
	settled bool // is not ended any more
}

// end ends the request: nothing more is read of it, done for it or sent to it.
func (v *visit) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended || v.settled {
		return
	}
	v.ended = true
	v.cancel(errEnded)
	// A body that is held back and a client that does not read keep nobody waiting. Not every connection knows deadlines; where it
	// does not, the next read or write finds out.
	past := time.Unix(1, 0)
	_ = v.control.SetReadDeadline(past)
	if v.begun {
		_ = v.control.SetWriteDeadline(past)
	}
}

func (v *visit) check() error {
	if !v.still() {
		v.end()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return errEnded
	}
	return nil
}

func (v *visit) settle() error {
	err := v.check()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil && v.ended {
		err = errEnded
	}
	v.settled = err == nil
	return err
}

// visitBody is what is read of a request.
type visitBody struct {
	io.ReadCloser
	v *visit
}

func (b *visitBody) Read(p []byte) (int, error) {
	if err := b.v.over(); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p)
	if over := b.v.over(); over != nil {
		return 0, over
	}
	return n, err
}

func (v *visit) over() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return errEnded
	}
	return nil
}

// visitWriter sends the answer until the visit ends.
type visitWriter struct {
	http.ResponseWriter
	v *visit
}

func (w *visitWriter) begin() error {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	if w.v.ended {
		return errEnded
	}
	w.v.begun = true
	return nil
}

func (w *visitWriter) WriteHeader(code int) {
	if w.begin() == nil {
		w.ResponseWriter.WriteHeader(code)
	}
}

func (w *visitWriter) Write(p []byte) (int, error) {
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}

// FlushError sends what was written, and begins the answer.
func (w *visitWriter) FlushError() error {
	if err := w.begin(); err != nil {
		return err
	}
	return w.v.control.Flush()
}

// Unwrap lets http.ResponseController find the rest.
func (w *visitWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// visited answers a request of p for as long as still says so, until the end if that is not zero. session is the ID of the session
// it came with, "" for a token.
func (s *Server) visited(w http.ResponseWriter, r *http.Request, next http.Handler, p *access.Principal, session string, until time.Time, still func() bool) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	v := &visit{session: session, still: still, cancel: cancel, control: http.NewResponseController(w)}
	s.visits.enter(v)
	defer s.visits.leave(v)
	if !until.IsZero() {
		timer := time.AfterFunc(until.Sub(s.opts.Now()), v.end)
		defer timer.Stop()
	}
	hooks := &access.Visit{Check: v.check, Settle: v.settle, Guess: func(try func() error) error { return s.pages.Guess(r, p.Name, try) }}
	if session != "" {
		hooks.Renew = func(ctx context.Context) error { return s.sessions.Start(ctx, p.Name, p.Login.How) }
	}
	r = r.WithContext(access.WithVisit(access.With(ctx, p), hooks))
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &visitBody{r.Body, v}
	}
	if session != "" && !s.sessions.Going(session) { // it ended before this was among the visits
		v.end()
	}
	if v.check() == nil {
		next.ServeHTTP(&visitWriter{w, v}, r)
	}
	if v.over() == nil {
		return
	}
	v.mu.Lock()
	begun := v.begun
	v.mu.Unlock()
	if begun {
		panic(http.ErrAbortHandler) // nobody shall take half a download for the whole
	}
	if strings.HasPrefix(r.URL.Path, "/api/") {
		api.WriteProblem(w, errEnded)
		return
	}
	http.Error(w, errEnded.Detail, errEnded.Status)
}

// review ends what those may not do any more whose accounts have changed.
func (s *Server) review() {
	s.visits.each(func(v *visit) { _ = v.check() })
	s.exports.Review(func(owner string, scope *access.Scope) bool {
		u, err := s.opts.Users.Get(owner)
		if err != nil || u.Disabled {
			return false
		}
		p := u.Principal()
		return p.May(access.Export) && p.Scope.Covers(scope)
	})
}

// loggedOut ends the requests of a session that has ended.
func (s *Server) loggedOut(session string) {
	s.visits.each(func(v *visit) {
		if v.session == session {
			v.end()
		}
	})
}

// same reports whether a user may what p might when they were recognised.
func same(u *users.User, p *access.Principal) bool {
	now := u.Principal()
	lost := slices.ContainsFunc(p.Roles, func(r access.Role) bool { return !slices.Contains(now.Roles, r) })
	return !u.Disabled && !lost && now.Scope.Covers(&p.Scope)
}

// sessionStill reports whether the user of a session since some time may still what p might.
func (s *Server) sessionStill(p *access.Principal, since time.Time) func() bool {
	return func() bool {
		u, err := s.opts.Users.Get(p.Name)
		return err == nil && !since.Before(u.Changed) && same(&u, p)
	}
}

// tokenStill is sessionStill for a token.
func (s *Server) tokenStill(p *access.Principal, secret string) func() bool {
	return func() bool {
		u, err := s.opts.Users.ByToken(secret)
		return err == nil && same(&u, p)
	}
}
