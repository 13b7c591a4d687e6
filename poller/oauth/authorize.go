package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/oauth2"
)

const (
	// authorizeTimeout bounds the wait for the user; device codes end sooner.
	authorizeTimeout = 15 * time.Minute
	// maxInterval, in seconds, bounds how long the server may tell us to wait
	// between questions.
	maxInterval = 60
	// shutdownTimeout lets the browser have its page.
	shutdownTimeout = 5 * time.Second
)

// AuthorizeDevice asks for permission with a code that the user enters on any
// machine (RFC 8628), waits for it, and keeps the tokens. show tells the user
// where to go and what to enter.
func (s *Source) AuthorizeDevice(ctx context.Context, show func(url, code string)) error {
	ctx, cancel := context.WithTimeout(ctx, authorizeTimeout)
	defer cancel()
	config, ctx, err := s.config(ctx)
	if err != nil {
		return err
	}
	if config.Endpoint.DeviceAuthURL == "" {
		return errors.New("the authorization server has no URL for device codes")
	}
	device, err := config.DeviceAuth(ctx)
	if err != nil {
		return s.explain(err)
	}
	device.Interval = min(max(device.Interval, 0), maxInterval) // 0 is the default
	show(printable(device.VerificationURI), printable(device.UserCode))
	token, err := config.DeviceAccessToken(ctx, device)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("nobody entered the code in time")
	}
	if err != nil {
		return s.explain(err)
	}
	return s.keep(ctx, token)
}

// AuthorizeBrowser asks for permission with a page that the user opens in a
// browser on this machine, to which the page then returns (RFC 8252, section 7.3, with
// PKCE, RFC 7636), and keeps the tokens. show tells the user what to open.
func (s *Source) AuthorizeBrowser(ctx context.Context, show func(url string)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, authorizeTimeout)
	defer cancel()
	config, ctx, err := s.config(ctx)
	if err != nil {
		return err
	}
	if config.Endpoint.AuthURL == "" {
		return errors.New("the authorization server has no URL for browsers")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("wait for the browser: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	config.RedirectURL = "http://" + net.JoinHostPort(s.opts.RedirectHost, port)
	verifier, state := oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	params := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	for name, value := range s.opts.AuthParams {
		params = append(params, oauth2.SetAuthURLParam(name, value))
	}
	show(config.AuthCodeURL(state, params...))
	code, err := waitForCode(ctx, listener, state)
	if err != nil {
		return err
	}
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return s.explain(err)
	}
	return s.keep(ctx, token)
}

// keep saves what a user's permission gave.
func (s *Source) keep(ctx context.Context, token *oauth2.Token) error {
	if token.RefreshToken == "" {
		return errors.New("the authorization server gave no refresh token: a scope may be missing, such as offline_access")
	}
	release, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	return s.save(s.tokensOf(token))
}

// waitForCode serves the page to which the browser returns with the code.
func waitForCode(ctx context.Context, listener net.Listener, state string) (code string, err error) {
	type result struct {
		code string
		err  error
	}
	results := make(chan result, 1)
	server := &http.Server{
		ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, MaxHeaderBytes: 64 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			query := r.URL.Query()
			// Any page that the user has open can send requests here; only the
			// authorization server knows the state.
			if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state)) != 1 {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, "This is not what Postkeep waits for.\n")
				return
			}
			res := result{code: query.Get("code")}
			text := "Done. You can close this page and return to Postkeep.\n"
			if res.code == "" {
				res.err = &Error{Status: http.StatusOK, Code: printable(query.Get("error")), Description: printable(query.Get("error_description"))}
				text = "Postkeep has no permission: " + res.err.Error() + "\n"
			}
			_, _ = io.WriteString(w, text)
			select {
			case results <- res:
			default: // the page was loaded again
			}
		}),
	}
	done := make(chan struct{})
	var failed error
	go func() { defer close(done); failed = server.Serve(listener) }()
	select {
	case res := <-results:
		code, err = res.code, res.err
	case <-done:
		return "", fmt.Errorf("wait for the browser: %w", failed)
	case <-ctx.Done():
		if err = context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("nobody gave permission in time")
		}
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if server.Shutdown(stopping) != nil {
		_ = server.Close()
	}
	<-done
	return code, err
}
