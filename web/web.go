// Package web is the way in for people: the pages and the API behind log-in,
// with the headers that keep a browser from being used against its person.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/bounds"
	"github.com/postkeep/postkeep/web/exports"
	"github.com/postkeep/postkeep/web/oidc"
	"github.com/postkeep/postkeep/web/pages"
	"github.com/postkeep/postkeep/web/session"
	"github.com/postkeep/postkeep/web/users"
)

// Options are what a Server needs. API, Users and Record are required.
type Options struct {
	// API answers requests that carry a principal; it checks permissions.
	API   *api.Server
	Users *users.Store
	// Record writes log-ins into the ledger. Nobody is logged in without.
	Record func(ctx context.Context, actor, what string, details map[string]any) error
	// Provider logs people in elsewhere; nil if there is none.
	Provider *oidc.Provider
	// Secure means that people come over TLS, here or at a proxy.
	Secure bool
	// BehindProxy means that the last X-Forwarded-For is who asks. Without a
	// proxy in front anybody could write it.
	BehindProxy bool
	// ExportDir is where exports wait for people, a directory for nothing else. Required.
	ExportDir string
	// Idle and Lifetime bound sessions; 0 are the defaults of package session.
	Idle, Lifetime time.Duration
	Version        string
	Location       *time.Location // of people whose browser does not tell
	Now            func() time.Time
	Logger         *slog.Logger
}

// Server is an http.Handler for the open network. It is safe for concurrent use.
type Server struct {
	opts     Options
	sessions *session.Manager
	// strangers are places for the requests of people who are not known.
	strangers *bounds.Places
	exports   *exports.Jobs
	pages     *pages.Server
	visits    visits
	handler   http.Handler
}

// New makes a Server.
func New(opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{opts: opts, visits: visits{all: map[*visit]struct{}{}}, strangers: bounds.NewPlaces(bounds.MaxStrangers, bounds.MaxStrangersEach), sessions: session.New(session.Options{Idle: opts.Idle, Lifetime: opts.Lifetime, Secure: opts.Secure, Now: opts.Now})}
	client := api.InProcess(opts.API)
	var err error
	if s.exports, err = exports.NewJobs(client, opts.ExportDir, opts.Now, opts.Logger); err != nil {
		return nil, err
	}
	s.pages, err = pages.New(pages.Options{
		API: client, Exports: s.exports, Version: opts.Version, Location: opts.Location, Now: opts.Now, Logger: opts.Logger,
		Accounts: pages.Accounts{Users: opts.Users, Sessions: s.sessions, Provider: opts.Provider, Record: opts.Record, Client: s.client, Secure: opts.Secure},
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	opts.Users.Watch(s.review)
	s.sessions.Watch(s.loggedOut)
	byPage := http.NewCrossOriginProtection().Handler(s.sessions.Wrap(s.known(s.pages)))
	byToken := s.tokens(opts.API)
	bySession := http.NewCrossOriginProtection().Handler(s.sessions.Wrap(s.known(opts.API)))
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", opts.API.Health())
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			byToken.ServeHTTP(w, r)
		} else {
			bySession.ServeHTTP(w, r)
		}
	})
	mux.Handle("/", byPage)
	s.handler = s.headers(bounds.Handler(mux))
	return s, nil
}

// Close ends exports under way.
func (s *Server) Close() {
	if s.pages != nil {
		s.pages.Close()
	}
	s.exports.Close()
}

// LogInLink returns the path of a link that logs the named user in, once.
func (s *Server) LogInLink(name string, valid time.Duration) string { return s.pages.Link(name, valid) }

// SetupLink returns the path of a link under which the first user is made.
func (s *Server) SetupLink(valid time.Duration) string { return s.pages.Link("", valid) }

// Patterns are the routes that need somebody known, or lead there, as
// http.ServeMux writes them.
func (s *Server) Patterns() []string { return append(s.opts.API.Patterns(), s.pages.Patterns()...) }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// policy lets a page load what it is made of, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// headers are those of every answer. A page may make its policy stricter.
func (s *Server) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "SAMEORIGIN") // of the frame that shows a message
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // mail does not stay in a browser's cache; static files do
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		if s.opts.Secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// known finds the principal of the session. A user who was disabled, or whose
// password was changed, since the log-in is logged out.
func (s *Server) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if name, since := s.sessions.Name(ctx); name != "" {
			u, err := s.opts.Users.Get(name)
			if err == nil && !u.Disabled && !since.Before(u.Changed) {
				p, id := principal(&u, s.sessions.How(ctx)), s.sessions.ID(ctx)
				s.visited(w, r, next, p, id, s.sessions.Deadline(ctx), s.sessionStill(p, since))
				return
			} else if err := s.sessions.End(ctx); err != nil {
				s.opts.Logger.Error("session not ended", "user", name, "error", err)
			}
		}
		s.answer(w, r.WithContext(ctx), next)
	})
}

// answer has next answer somebody known, or a stranger if there is a place.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if access.Of(r.Context()) == nil {
		leave, ok := s.strangers.Take(bounds.Network(s.client(r)))
		if !ok {
			w.Header().Set("Retry-After", "10")
			http.Error(w, "too many requests at a time, try again in some seconds", http.StatusServiceUnavailable)
			return
		}
		defer leave()
	}
	next.ServeHTTP(w, r)
}

// principal is a user who was recognised in a way.
func principal(u *users.User, how string) *access.Principal {
	p := u.Principal()
	p.Login.How, p.Login.Interactive = how, pages.Interactive(how)
	return p
}

// tokens finds the principal of a bearer token (RFC 6750).
func (s *Server) tokens(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if ok {
			if u, t, err := s.opts.Users.Token(secret); err == nil {
				p := principal(&u, access.ByToken)
				s.visited(w, r, next, p, "", t.Expires, s.tokenStill(p, secret))
				return
			} else if !errors.Is(err, users.ErrRefused) {
				s.opts.Logger.Error("token not checked", "error", err)
			}
		}
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		s.answer(w, r, next) // as nobody, which the API refuses in its own words
	})
}

// client is the address of who asks.
func (s *Server) client(r *http.Request) string {
	if s.opts.BehindProxy {
		all := r.Header.Values("X-Forwarded-For")
		if len(all) > 0 {
			last := all[len(all)-1]
			if a, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])); err == nil {
				return a.String()
			}
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
