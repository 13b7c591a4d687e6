package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Web is how people reach the pages and the API.
type Web struct {
	// Listen is host:port, "" for no listener (the default). An address that is
	// not loopback needs TLS or a proxy.
	Listen string `yaml:"listen"`
	// PublicURL is the address that people type, such as
	// https://archive.example.com. Default that of Listen.
	PublicURL string `yaml:"public_url"`
	// CertFile and KeyFile, in PEM, turn TLS on. New files are taken over without
	// a restart.
	CertFile string `yaml:"cert_file" path:"yes"`
	KeyFile  string `yaml:"key_file" path:"yes"`
	// BehindProxy means that a proxy in front has TLS, and tells the address of
	// who asks in X-Forwarded-For.
	BehindProxy bool `yaml:"behind_proxy"`
	// SessionIdle ends a session that is not used, 1 min to 24 h. Default 30 min.
	SessionIdle time.Duration `yaml:"session_idle"`
	// SessionLifetime ends any session, 5 min to 30 days. Default 12 h.
	SessionLifetime time.Duration `yaml:"session_lifetime"`
	// OIDC logs people in at an identity provider; without Issuer it is off.
	OIDC OIDC `yaml:"oidc"`
}

// Secure reports whether people come over TLS.
func (w *Web) Secure() bool { return w.CertFile != "" || w.BehindProxy }

// OIDC is an OpenID Connect provider.
type OIDC struct {
	// Issuer is the URL of the provider, as in its discovery document.
	Issuer string `yaml:"issuer" required:"yes"`
	// ClientID is what the provider calls Postkeep.
	ClientID string `yaml:"client_id" required:"yes"`
	// ClientSecretFile holds the secret of the client.
	ClientSecretFile string `yaml:"client_secret_file" path:"yes"`
	// NameClaim holds the login name. Default preferred_username.
	NameClaim string `yaml:"name_claim"`
	// RoleClaim holds what Roles maps. Default groups.
	RoleClaim string `yaml:"role_claim"`
	// Roles says what a value of the claim means. Who has none is not let in.
	Roles []OIDCRole `yaml:"roles"`
	// MailboxClaim holds the names of granted mailboxes. Default none.
	MailboxClaim string `yaml:"mailbox_claim"`
}

// OIDCRole maps one value of a claim to a role.
type OIDCRole struct {
	Value string `yaml:"value" required:"yes"`
	Role  string `yaml:"role" required:"yes" enum:"user,auditor,officer,admin"`
}

const (
	defaultIdle     = 30 * time.Minute
	defaultLifetime = 12 * time.Hour
	longestLifetime = 30 * 24 * time.Hour
)

func (d *decoder) checkWeb(w Web) {
	d.checkListen(w)
	if (w.CertFile == "") != (w.KeyFile == "") {
		d.failKey("web.cert_file", "needs key_file too, both or none of them")
		d.failKey("web.key_file", "needs cert_file too, both or none of them")
	}
	checkRange(d, "web.session_idle", w.SessionIdle, time.Minute, 24*time.Hour)
	checkRange(d, "web.session_lifetime", w.SessionLifetime, 5*time.Minute, longestLifetime)
	if w.PublicURL != "" {
		u, err := url.Parse(w.PublicURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			d.failKey("web.public_url", "must be like https://archive.example.com, without a path, is %q", w.PublicURL)
		}
	}
	if w.OIDC.Issuer == "" {
		return
	}
	if u, err := url.Parse(w.OIDC.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && !isLoopback(u.Hostname()) {
		d.failKey("web.oidc.issuer", "must be an https URL, is %q", w.OIDC.Issuer)
	}
	if w.PublicURL == "" {
		d.failKey("web.oidc.issuer", "needs web.public_url: the provider sends people back there")
	}
	if len(w.OIDC.Roles) == 0 {
		d.failKey("web.oidc.issuer", "needs roles: without them nobody is let in")
	}
}

func (d *decoder) checkListen(w Web) {
	if w.Listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(w.Listen)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || strconv.FormatUint(n, 10) != port {
		d.failKey("web.listen", "must be host:port like 127.0.0.1:8025, is %q", w.Listen)
	} else if !isLoopback(host) && !w.Secure() {
		d.failKey("web.listen", "must be on a loopback address (127.0.0.1, ::1 or localhost), or have cert_file and key_file, or behind_proxy: true, because passwords would be read on the way, is %q", w.Listen)
	}
}
