package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/bounds"
	"github.com/postkeep/postkeep/web/oidc"
)

// setupLinkTime is how long the link for the first user works: whoever starts the program is there. A restart makes another one.
const setupLinkTime = time.Hour

// site makes the server for people, if there is to be one.
func (i *instance) site(cfg *config.Config) (err error) {
	opts := web.Options{
		API: i.api, Users: i.users, ExportDir: filepath.Join(cfg.DataDir, "exports"), Version: version, Location: cfg.TimeZone.Location, Logger: i.log,
		Secure: cfg.Web.Secure(), BehindProxy: cfg.Web.BehindProxy, Idle: cfg.Web.SessionIdle, Lifetime: cfg.Web.SessionLifetime,
		Record: func(ctx context.Context, actor, what string, details map[string]any) error {
			if details == nil {
				details = map[string]any{}
			}
			details["what"] = what
			_, err := i.store.Record(ctx, archive.Action{Type: archive.ActionUser, Actor: actor, Details: details})
			return err
		},
	}
	if o := cfg.Web.OIDC; o.Issuer != "" {
		roles := map[string]access.Role{}
		for _, r := range o.Roles {
			roles[r.Value] = access.Role(r.Role)
		}
		if opts.Provider, err = oidc.New(oidc.Options{
			Issuer: o.Issuer, ClientID: o.ClientID, Redirect: strings.TrimSuffix(cfg.Web.PublicURL, "/") + "/login/provider/back",
			NameClaim: o.NameClaim, RoleClaim: o.RoleClaim, Roles: roles, MailboxClaim: o.MailboxClaim,
			Secret: func(ctx context.Context) (string, error) {
				if o.ClientSecretFile == "" {
					return "", nil
				}
				secret, err := config.ReadSecret(ctx, "client_secret_file", o.ClientSecretFile, i.log)
				return secret.Reveal(), err
			},
		}); err != nil {
			return fmt.Errorf("web.oidc: %w", err)
		}
	}
	i.web, err = web.New(opts)
	return err
}

// serveWeb answers people at web.listen.
func (i *instance) serveWeb(ctx context.Context, cfg *config.Config, fail func(error)) error {
	if cfg.Web.Listen == "" {
		return nil
	}
	if err := i.site(cfg); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Web.Listen)
	if err != nil {
		return fmt.Errorf("web.listen: %w", err)
	}
	each := bounds.MaxConnectionsEach
	if cfg.Web.BehindProxy { // all come from its address
		each = bounds.MaxConnections
	}
	l = bounds.Listen(l, each, i.log) // below TLS, whose handshakes cost something too
	scheme := "http"
	if cfg.Web.CertFile != "" {
		scheme = "https"
		pair := &keyPair{cert: cfg.Web.CertFile, key: cfg.Web.KeyFile, log: i.log}
		if _, err := pair.get(nil); err != nil {
			return errors.Join(fmt.Errorf("web.cert_file: %w", err), l.Close())
		}
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"h2", "http/1.1"}})
	}
	i.address = cfg.Web.PublicURL
	if i.address == "" {
		i.address = scheme + "://" + l.Addr().String()
	}
	i.log.Info("pages", "url", i.address)
	i.stage(ctx, "web", fail, func(ctx context.Context) error { return api.ServePeople(ctx, l, i.web) })
	return nil
}

// setupLink tells whoever starts the program, and no log, where the first user is made, if there is none.
func (a *app) setupLink(i *instance) {
	if i.address == "" || len(i.users.List()) > 0 {
		return
	}
	i.log.Warn("nobody can log in yet: a link on standard error leads to where the first user is made", "valid", setupLinkTime)
	fmt.Fprintf(a.stderr, "\nThe first user is made here, once, within an hour:\n\n  %s\n\n", i.address+i.web.SetupLink(setupLinkTime))
}

// keyPair reads certificate and key, and reads them again when they change.
type keyPair struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	of     time.Time // newest change of the loaded files
}

func (p *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed, err := newest(p.cert, p.key)
	if err == nil && (p.loaded == nil || changed.After(p.of)) {
		var pair tls.Certificate
		if pair, err = loadKeyPair(p.cert, p.key); err == nil {
			p.loaded, p.of = &pair, changed
		}
	}
	if err != nil && p.loaded != nil { // half-written files do not take the pages down
		p.log.Error("the new certificate cannot be used, the old one stays", "error", err)
		return p.loaded, nil
	}
	return p.loaded, err
}

func newest(paths ...string) (time.Time, error) {
	var at time.Time
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return at, err
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, nil
}
