package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/poller"
	"github.com/postkeep/postkeep/poller/oauth"
	"github.com/postkeep/postkeep/poller/pop3"
)

// mailboxes turns the configuration into what the poller takes. A file that is
// missing is the trouble of the mailbox that names it, at every poll, and of
// nobody else.
func mailboxes(cfg *config.Config, log *slog.Logger) []poller.Mailbox {
	out := make([]poller.Mailbox, 0, len(cfg.Mailboxes))
	for _, m := range cfg.Mailboxes {
		password := func(ctx context.Context) (string, error) {
			secret, err := m.Password(ctx, log)
			return secret.Reveal(), err
		}
		server, err := serverOf(m, log)
		if err != nil {
			err = fmt.Errorf("mailbox %s: %w", m.Name, err)
			password = func(context.Context) (string, error) { return "", err }
		}
		out = append(out, poller.Mailbox{
			Name: m.Name, Schedule: string(m.Schedule), Server: server, Username: m.Username, Password: password,
			Delete:      poller.DeletePolicy{Never: m.Delete.Never, After: m.Delete.After},
			ReceiptWait: m.ReceiptWait, Jitter: m.Jitter,
			Policy: poller.Policy{
				MaxMessageBytes: int64(m.MaxMessageBytes), MaxMessages: m.MaxMessages,
				MaxDuration: m.MaxDuration, CommitEvery: m.CommitEvery,
			},
		})
	}
	return out
}

// serverOf turns the configuration of a mailbox into what the client takes, and
// reads the files that it names once, to see that they are there.
func serverOf(m config.Mailbox, log *slog.Logger) (o pop3.Options, err error) {
	o = pop3.Options{
		Host: m.Host, Port: m.Port, AllowPlaintext: m.AllowPlaintext, NoUTF8: m.UTF8 == config.Off,
		CommandTimeout: m.Timeout, ConnectTimeout: min(m.Timeout, pop3.DefaultConnectTimeout), Logger: log,
	}
	switch m.TLS {
	case config.TLSStartTLS:
		o.TLS = pop3.TLSStart
	case config.TLSNone:
		o.TLS = pop3.TLSNone
	}
	if m.Auth != config.AuthAuto {
		o.Mechanism = pop3.Mechanism(strings.ToUpper(m.Auth))
	}
	o.RSAKeyExchange = m.TLSRSAKeyExchange
	if m.Pipelining == config.Off {
		o.PipelineWindow = 1
	}
	if m.TLSPin != (config.Fingerprint{}) {
		o.Pin = (*[len(m.TLSPin)]byte)(&m.TLSPin)
	}
	if o.TLSConfig, err = tlsOf(m); err != nil {
		return o, err
	}
	if o.Dialer, err = dialerOf(m, log); err != nil {
		return o, err
	}
	if m.OAuth2.ClientID != "" {
		source, err := tokensOf(m, log)
		if err != nil {
			return o, err
		}
		o.Token = tokenFunc(m, source)
	}
	return o, nil
}

func tlsOf(m config.Mailbox) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.TLSMinVersion == config.TLS13 {
		c.MinVersion = tls.VersionTLS13
	}
	if m.CAFile != "" {
		pem, err := os.ReadFile(m.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(config.WithoutBOM(pem)) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", m.CAFile)
		}
	}
	if m.ClientCertFile != "" {
		certificate, err := loadKeyPair(m.ClientCertFile, m.ClientKeyFile)
		if err != nil {
			return nil, fmt.Errorf("client_cert_file and client_key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{certificate}
	}
	return c, nil
}

// loadKeyPair reads a certificate and its key, in PEM.
func loadKeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(config.WithoutBOM(cert), config.WithoutBOM(key))
}

// dialerOf returns nil without a proxy. The proxy's password is read at every
// connection.
func dialerOf(m config.Mailbox, log *slog.Logger) (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	if m.Proxy.URL == "" {
		return nil, nil
	}
	u, err := url.Parse(string(m.Proxy.URL))
	if err != nil {
		return nil, errors.New("proxy: the URL cannot be read") // without it: the configuration was checked
	}
	proxyOf := func(ctx context.Context, log *slog.Logger) (pop3.Proxy, error) {
		p := pop3.Proxy{Kind: pop3.ProxyKind(u.Scheme), Addr: u.Host, Username: m.Proxy.Username}
		if m.Proxy.PasswordFile == "" {
			return p, nil
		}
		secret, err := config.ReadSecret(ctx, "proxy.password_file", m.Proxy.PasswordFile, log)
		p.Password = secret.Reveal()
		return p, err
	}
	if _, err := proxyOf(context.Background(), log); err != nil {
		return nil, err
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		p, err := proxyOf(ctx, nil)
		if err != nil {
			return nil, err
		}
		return p.DialContext(ctx, network, addr)
	}, nil
}

// tokensOf returns the source of a mailbox's access tokens. It goes through the
// mailbox's proxy, too.
func tokensOf(m config.Mailbox, log *slog.Logger) (*oauth.Source, error) {
	o := m.OAuth2
	opts := oauth.Options{
		ClientID: o.ClientID, Scopes: strings.Fields(o.Scopes), TokenURL: o.TokenURL, AuthURL: o.AuthURL, DeviceURL: o.DeviceURL,
		AuthParams: o.AuthParams, RedirectHost: o.RedirectHost, File: o.TokenFile, Logger: log,
	}
	if o.Grant == config.GrantClientCredentials {
		opts.Grant = oauth.ClientCredentials
	}
	if o.ClientSecretFile != "" {
		const key = "oauth2.client_secret_file"
		if _, err := config.ReadSecret(context.Background(), key, o.ClientSecretFile, log); err != nil {
			return nil, err
		}
		opts.ClientSecret = func(ctx context.Context) (string, error) {
			secret, err := config.ReadSecret(ctx, key, o.ClientSecretFile, nil)
			return secret.Reveal(), err
		}
	}
	dialer, err := dialerOf(m, nil)
	if err != nil {
		return nil, err
	}
	if dialer != nil {
		opts.HTTP = &http.Transport{DialContext: dialer, DisableKeepAlives: true}
	}
	return oauth.New(opts)
}

// tokenFunc says of an error what the operator can do, and that trying again
// does not help where it does not.
func tokenFunc(m config.Mailbox, source *oauth.Source) func(ctx context.Context, refused string) (string, error) {
	return func(ctx context.Context, refused string) (string, error) {
		token, err := source.Token(ctx, refused)
		var refusal *oauth.Error
		hint := ""
		switch {
		case errors.Is(err, oauth.ErrAuthorize) && m.OAuth2.Grant == config.GrantRefresh:
			hint = "run postkeep mailbox authorize " + m.Name
		case errors.As(err, &refusal) && !refusal.Temporary():
			hint = "check client_id, client_secret_file and scopes of oauth2"
		default:
			return token, err
		}
		return "", &pop3.Error{Op: "login", Kind: pop3.KindAuth, Err: err, Hint: hint}
	}
}
