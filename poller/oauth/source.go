// Package oauth gets OAuth2 access tokens for mailboxes: it asks the user for
// permission once (RFC 8628 device codes, or RFC 8252 with PKCE through a browser),
// keeps the refresh token in a file, and refreshes access tokens ahead of time.
// Programs without a user get theirs by client credentials (RFC 6749,
// section 4.4).
package oauth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	// ahead is how long before its end a token is refreshed: longer than a login
	// takes, and enough to get over a short failure of the authorization server.
	ahead = 5 * time.Minute
	// requestTimeout bounds a request to the authorization server.
	requestTimeout = 30 * time.Second
	// lockTimeout bounds the wait for another process that refreshes the same
	// token; it takes one request.
	lockTimeout = requestTimeout + 10*time.Second
	lockAgain   = 50 * time.Millisecond
)

// Grant says how access tokens are got.
type Grant int

const (
	// RefreshToken exchanges the refresh token that a user's permission gave.
	RefreshToken Grant = iota
	// ClientCredentials needs no user: the client itself has been permitted.
	ClientCredentials
)

// Options describe a client and its authorization server.
type Options struct {
	Grant    Grant
	ClientID string // required
	// ClientSecret is asked for before each request; nil for a public client.
	// It is sent in the body of the request (client_secret_post).
	ClientSecret func(ctx context.Context) (string, error)
	Scopes       []string

	TokenURL  string // required
	AuthURL   string // for AuthorizeBrowser
	DeviceURL string // for AuthorizeDevice
	// AuthParams go into the URL that the browser opens, besides the usual ones.
	AuthParams map[string]string
	// RedirectHost is the name of this machine in the redirect URL: 127.0.0.1, as
	// RFC 8252 wants it, if empty. Some servers know only localhost.
	RedirectHost string

	// File keeps the tokens, readable by its owner only. Its folder, but no
	// folder above, is made if it is missing. A lock file is put beside it.
	File string

	// HTTP is the transport to the authorization server; nil means a plain one
	// that honours $HTTPS_PROXY.
	HTTP http.RoundTripper
	// Now is time.Now if nil.
	Now func() time.Time
	// Logger gets a record for each refresh, without tokens; nil discards.
	Logger *slog.Logger
}

// Source gives access tokens. It may be used concurrently, and by several
// processes with the same file.
type Source struct {
	opts   Options
	client *http.Client
}

// New makes a source. Nothing is read or requested yet.
func New(opts Options) (*Source, error) {
	if opts.ClientID == "" || opts.TokenURL == "" || opts.File == "" {
		return nil, errors.New("an OAuth2 source needs client id, token URL and file")
	}
	if opts.RedirectHost == "" {
		opts.RedirectHost = "127.0.0.1"
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true} // requests are rare
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Source{opts: opts, client: &http.Client{
		Transport: opts.HTTP, Timeout: requestTimeout,
		// A redirected request would take its secrets to wherever it is told to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Token returns an access token that is good for some minutes. refused is a
// token that the mail server does not accept, or "": if it is the one at hand, a new
// one is got, whatever its date says. An error that is ErrAuthorize needs a user;
// an *Error is what the authorization server said.
func (s *Source) Token(ctx context.Context, refused string) (string, error) {
	held, err := s.load()
	if err != nil {
		return "", err
	}
	if s.good(held, refused, ahead) {
		return held.Access, nil
	}
	release, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if held, err = s.load(); err != nil || s.good(held, refused, ahead) { // somebody else was faster
		return held.Access, err
	}
	fresh, err := s.request(ctx, held)
	if err == nil {
		err = s.save(fresh)
	}
	if err == nil {
		s.opts.Logger.Debug("access token refreshed", "file", s.opts.File, "until", fresh.Expiry)
		return fresh.Access, nil
	}
	if s.good(held, refused, 0) && !errors.Is(err, ErrAuthorize) {
		s.opts.Logger.Warn("access token cannot be refreshed, the old one is still good", "until", held.Expiry, "error", err)
		return held.Access, nil
	}
	return "", err
}

// good reports whether the access token can be used for some time yet. One
// without a date is good until it is refused.
func (s *Source) good(t tokens, refused string, margin time.Duration) bool {
	return t.Access != "" && t.Access != refused && (t.Expiry.IsZero() || t.Expiry.Sub(s.opts.Now()) > margin)
}

// lock keeps other processes, and other goroutines, from using up the refresh
// token at the same time: many servers accept each one once.
func (s *Source) lock(ctx context.Context) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	if err := os.Mkdir(filepath.Dir(s.opts.File), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder for tokens: %w", err)
	}
	l := flock.New(s.opts.File + ".lock")
	if _, err := l.TryLockContext(ctx, lockAgain); err != nil {
		return nil, fmt.Errorf("lock the tokens: %w", err)
	}
	return func() { _ = l.Close() }, nil
}

// request gets a new access token.
func (s *Source) request(ctx context.Context, held tokens) (tokens, error) {
	config, ctx, err := s.config(ctx)
	if err != nil {
		return tokens{}, err
	}
	var source oauth2.TokenSource
	switch {
	case s.opts.Grant == ClientCredentials:
		source = (&clientcredentials.Config{
			ClientID: config.ClientID, ClientSecret: config.ClientSecret, TokenURL: config.Endpoint.TokenURL,
			Scopes: config.Scopes, AuthStyle: config.Endpoint.AuthStyle,
		}).TokenSource(ctx)
	case held.Refresh == "":
		return tokens{}, fmt.Errorf("%w yet", ErrAuthorize)
	default:
		source = config.TokenSource(ctx, &oauth2.Token{RefreshToken: held.Refresh})
	}
	token, err := source.Token()
	if err != nil {
		return tokens{}, s.explain(err)
	}
	return s.tokensOf(token), nil
}

// config returns the client for the oauth2 package and the context that it
// takes its HTTP client from.
func (s *Source) config(ctx context.Context) (*oauth2.Config, context.Context, error) {
	config := &oauth2.Config{ClientID: s.opts.ClientID, Scopes: s.opts.Scopes, Endpoint: oauth2.Endpoint{
		AuthURL: s.opts.AuthURL, TokenURL: s.opts.TokenURL, DeviceAuthURL: s.opts.DeviceURL, AuthStyle: oauth2.AuthStyleInParams,
	}}
	if s.opts.ClientSecret != nil {
		var err error
		if config.ClientSecret, err = s.opts.ClientSecret(ctx); err != nil {
			return nil, nil, err
		}
	}
	return config, context.WithValue(ctx, oauth2.HTTPClient, s.client), nil
}

func (s *Source) tokensOf(t *oauth2.Token) tokens {
	expiry := t.Expiry
	if t.ExpiresIn > 0 {
		expiry = s.opts.Now().Add(time.Duration(t.ExpiresIn) * time.Second)
	}
	return tokens{
		Access: t.AccessToken, Refresh: t.RefreshToken, Expiry: expiry,
		ClientID: s.opts.ClientID, TokenURL: s.opts.TokenURL, Scopes: strings.Join(s.opts.Scopes, " "),
	}
}
