// Package oidc logs people in at an identity provider: OpenID Connect Core 1.0,
// authorization code flow with PKCE (RFC 7636).
package oidc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/postkeep/postkeep/web/access"
)

// Options name the provider and what its claims mean.
type Options struct {
	Issuer   string // URL, as in its discovery document
	ClientID string
	// Secret returns the client secret, read anew for every log-in.
	Secret func(ctx context.Context) (string, error)
	// Redirect is the address of the callback as the provider knows it.
	Redirect string
	// NameClaim holds the login name; "preferred_username" if "".
	NameClaim string
	// RoleClaim holds one or several values that Roles maps; "groups" if "".
	RoleClaim string
	Roles     map[string]access.Role
	// MailboxClaim holds the granted mailboxes; none if "".
	MailboxClaim string
}

// Identity is who a provider says somebody is.
type Identity struct {
	Subject   string // issuer and subject, never given to anybody else
	Name      string
	Roles     []access.Role
	Mailboxes []string
}

// Provider logs people in. It is safe for concurrent use.
type Provider struct {
	opts Options
	mu   sync.Mutex
	p    *oidc.Provider // nil until it was reached
}

// timeout bounds every conversation with the provider.
const timeout = 15 * time.Second

// New makes a Provider. The provider is asked when somebody logs in, so that it
// may be away when Postkeep starts.
func New(opts Options) (*Provider, error) {
	if opts.NameClaim == "" {
		opts.NameClaim = "preferred_username"
	}
	if opts.RoleClaim == "" {
		opts.RoleClaim = "groups"
	}
	for value, role := range opts.Roles {
		if !slices.Contains(access.Roles(), role) {
			return nil, fmt.Errorf("oidc: %q is mapped to the role %q, want one of %v", value, role, access.Roles())
		}
	}
	return &Provider{opts: opts}, nil
}

func (p *Provider) config(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.p == nil {
		// Keys are fetched with this context later, too: it must not end.
		found, err := oidc.NewProvider(context.WithoutCancel(ctx), p.opts.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("identity provider %s: %w", p.opts.Issuer, err)
		}
		p.p = found
	}
	secret, err := p.opts.Secret(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("identity provider: client secret: %w", err)
	}
	return p.p, &oauth2.Config{
		ClientID: p.opts.ClientID, ClientSecret: secret, Endpoint: p.p.Endpoint(), RedirectURL: p.opts.Redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}, nil
}

// state is what the answer has to fit.
type state struct {
	State, Nonce, Verifier string
}

// Begin returns the address to send somebody to, and the state to keep in their
// session.
func (p *Provider) Begin(ctx context.Context) (address string, kept []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, config, err := p.config(ctx)
	if err != nil {
		return "", nil, err
	}
	st := state{rand.Text(), rand.Text(), oauth2.GenerateVerifier()}
	kept, err = json.Marshal(st)
	return config.AuthCodeURL(st.State, oidc.Nonce(st.Nonce), oauth2.S256ChallengeOption(st.Verifier)), kept, err
}

// ErrRefused means that the provider, or what it says, does not let somebody in.
var ErrRefused = errors.New("the identity provider does not let you in")

// Finish checks the answer of the provider against the kept state.
func (p *Provider) Finish(ctx context.Context, kept []byte, answer url.Values) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var st state
	if err := json.Unmarshal(kept, &st); err != nil || st.State == "" || answer.Get("state") != st.State {
		return Identity{}, fmt.Errorf("%w: the answer is to another question", ErrRefused)
	}
	if reason := answer.Get("error"); reason != "" {
		return Identity{}, fmt.Errorf("%w: %s %s", ErrRefused, reason, answer.Get("error_description"))
	}
	provider, config, err := p.config(ctx)
	if err != nil {
		return Identity{}, err
	}
	token, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(st.Verifier))
	if err != nil {
		return Identity{}, fmt.Errorf("identity provider: %w", err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: p.opts.ClientID}).Verify(ctx, raw)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if id.Nonce != st.Nonce {
		return Identity{}, fmt.Errorf("%w: the token is for another log-in", ErrRefused)
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return p.identity(id.Issuer+"#"+id.Subject, claims)
}

func (p *Provider) identity(subject string, claims map[string]any) (Identity, error) {
	who := Identity{Subject: subject, Mailboxes: values(claims[p.opts.MailboxClaim])}
	if names := values(claims[p.opts.NameClaim]); len(names) == 1 {
		who.Name = strings.ToLower(names[0])
	}
	for _, v := range values(claims[p.opts.RoleClaim]) {
		if role, ok := p.opts.Roles[v]; ok && !slices.Contains(who.Roles, role) {
			who.Roles = append(who.Roles, role)
		}
	}
	switch {
	case who.Name == "":
		return who, fmt.Errorf("%w: the claim %q has no name", ErrRefused, p.opts.NameClaim)
	case len(who.Roles) == 0:
		return who, fmt.Errorf("%w: no value of the claim %q stands for a role", ErrRefused, p.opts.RoleClaim)
	}
	return who, nil
}

// values returns a claim that is a string or a list of strings.
func values(claim any) []string {
	switch c := claim.(type) {
	case string:
		return []string{c}
	case []any:
		var out []string
		for _, v := range c {
			if s, ok := v.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
