package config

import (
	"net/url"
	"regexp"
	"strings"
)

// OAuth2 says how a mailbox gets its access tokens. What the provider's preset
// knows is filled in.
type OAuth2 struct {
	// ClientID is the application as it is registered with the provider.
	ClientID string `yaml:"client_id" required:"yes"`
	// ClientSecretFile names what holds the application's secret; Default none,
	// for public clients.
	ClientSecretFile string `yaml:"client_secret_file" path:"yes"`
	// Tenant is the directory at Microsoft: a domain or an id. Default "common".
	Tenant string `yaml:"tenant"`
	// Grant is refresh (a user has given permission, the default) or
	// client_credentials (an administrator has).
	Grant string `yaml:"grant" enum:"refresh,client_credentials"`
	// TokenURL, AuthURL (for browsers) and DeviceURL (for device codes) are the
	// authorization server's.
	TokenURL  string `yaml:"token_url"`
	AuthURL   string `yaml:"auth_url"`
	DeviceURL string `yaml:"device_url"`
	// Scopes are separated by spaces.
	Scopes string `yaml:"scopes"`

	// AuthParams go into the URL for browsers besides the usual ones.
	AuthParams map[string]string `yaml:"-"`
	// RedirectHost is this machine in redirect URLs, "" for the usual 127.0.0.1.
	RedirectHost string `yaml:"-"`
	// TokenFile is where the tokens are kept: oauth/<mailbox>.json in the data
	// directory.
	TokenFile string `yaml:"-"`
}

// The values of OAuth2.Grant.
const (
	GrantRefresh           = "refresh"
	GrantClientCredentials = "client_credentials"
)

// The values of Mailbox.Provider.
const (
	ProviderGmail        = "gmail"
	ProviderMicrosoft365 = "microsoft365"
)

// applyProvider fills in what the provider's preset knows and the mailbox does
// not say itself.
func (d *decoder) applyProvider(path string, m *Mailbox) {
	fill := func(key string, value *string, preset string) {
		if _, given := d.at[path+key]; !given {
			*value = preset
		}
	}
	switch m.Provider {
	case ProviderGmail:
		fill(".host", &m.Host, "pop.gmail.com")
		fill(".tls", &m.TLS, TLSImplicit)
		// After RETR Gmail shows a message to no other session, deleted or not. In
		// recent mode it shows all of the last 30 days.
		if m.Username != "" && !strings.HasPrefix(m.Username, "recent:") {
			m.Username = "recent:" + m.Username
		}
		fill(".oauth2.token_url", &m.OAuth2.TokenURL, "https://oauth2.googleapis.com/token")
		fill(".oauth2.auth_url", &m.OAuth2.AuthURL, "https://accounts.google.com/o/oauth2/v2/auth")
		fill(".oauth2.scopes", &m.OAuth2.Scopes, "https://mail.google.com/") // not permitted with device codes
		m.OAuth2.AuthParams = map[string]string{"access_type": "offline", "prompt": "consent"}
	case ProviderMicrosoft365:
		fill(".host", &m.Host, "outlook.office365.com")
		fill(".tls", &m.TLS, TLSImplicit)
		fill(".oauth2.tenant", &m.OAuth2.Tenant, "common")
		base := "https://login.microsoftonline.com/" + m.OAuth2.Tenant + "/oauth2/v2.0/"
		fill(".oauth2.token_url", &m.OAuth2.TokenURL, base+"token")
		fill(".oauth2.auth_url", &m.OAuth2.AuthURL, base+"authorize")
		fill(".oauth2.device_url", &m.OAuth2.DeviceURL, base+"devicecode")
		scopes := "https://outlook.office.com/POP.AccessAsUser.All offline_access"
		if m.OAuth2.Grant == GrantClientCredentials {
			scopes = "https://outlook.office365.com/.default"
		}
		fill(".oauth2.scopes", &m.OAuth2.Scopes, scopes)
		m.OAuth2.RedirectHost = "localhost" // for which Microsoft permits any port
	}
}

var tenantForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

func (d *decoder) checkOAuth2(path string, m *Mailbox) {
	o := &m.OAuth2
	if o.Grant == "" {
		o.Grant = GrantRefresh
	}
	if _, given := d.at[path+".client_id"]; given && o.ClientID == "" {
		d.failKey(path+".client_id", "is empty")
	} else if !given {
		d.failKey(path, "needs client_id")
	}
	_, tenant := d.at[path+".tenant"]
	switch microsoft := m.Provider == ProviderMicrosoft365; {
	case tenant && !microsoft:
		d.failKey(path+".tenant", "is for provider: microsoft365 only")
	case tenant && !tenantForm.MatchString(o.Tenant):
		d.failKey(path+".tenant", "must be a domain or an id of the directory, is %q", o.Tenant)
	case !tenant && microsoft && o.Grant == GrantClientCredentials:
		d.failKey(path+".grant", "client_credentials needs tenant")
	}
	for key, text := range map[string]string{".token_url": o.TokenURL, ".auth_url": o.AuthURL, ".device_url": o.DeviceURL} {
		u, err := url.Parse(text)
		if err != nil || u.User != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			d.failKey(path+key, "must be a URL with https and without a user in it")
		}
	}
	if o.TokenURL == "" {
		d.failKey(path, "needs token_url, or the mailbox a provider that knows it")
	}
	if o.Grant == GrantRefresh {
		if o.AuthURL == "" && o.DeviceURL == "" {
			d.failKey(path, "needs auth_url or device_url, or the mailbox a provider that knows them")
		}
		return
	}
	switch {
	case m.Provider == ProviderGmail:
		d.failKey(path+".grant", "client_credentials is not offered by Gmail")
	case o.ClientSecretFile == "":
		d.failKey(path+".grant", "client_credentials needs client_secret_file")
	}
	for _, key := range []string{".auth_url", ".device_url"} {
		d.failKey(path+key, "is not used with grant: client_credentials")
	}
}

// The values of Session.Auth by what they log in with.
const (
	AuthAuto = "auto"

	withPassword    = "password_file or password_env"
	withToken       = "oauth2"
	withCertificate = "client_cert_file"
)

func authNeeds(auth string) string {
	switch auth {
	case AuthAuto:
		return ""
	case "xoauth2", "oauthbearer":
		return withToken
	case "external":
		return withCertificate
	default:
		return withPassword
	}
}

// checkCredentials never quotes: what is misplaced here may be the password.
func (d *decoder) checkCredentials(path string, m *Mailbox) {
	_, file := d.at[path+".password_file"]
	_, env := d.at[path+".password_env"]
	_, token := d.at[path+".oauth2"]
	_, cert := d.at[path+".client_cert_file"]
	switch {
	case !file && !env && !token && !cert:
		d.fail(d.at[path], "the mailbox has no password: name a file with password_file or an environment variable with password_env, "+
			"or use oauth2 or client_cert_file")
		return
	case file && env:
		d.failKey(path+".password_env", "and password_file are both given; one of them is needed")
	case token && (file || env):
		d.failKey(path+".oauth2", "and a password are both given; one of them is needed")
	case file && m.PasswordFile == "":
		d.failKey(path+".password_file", "is empty")
	case env && !envForm.MatchString(m.PasswordEnv):
		d.failKey(path+".password_env", "must be the name of an environment variable (letters, digits and _)")
	}
	if token {
		d.checkOAuth2(path+".oauth2", m)
	}
	has := map[string]bool{"": true, withPassword: file || env, withToken: token, withCertificate: cert}
	if needs := authNeeds(m.Auth); !has[needs] {
		d.failInherited(path, "auth", "auth: %s needs %s", m.Auth, needs)
	}
}

// failInherited is for a key that may come from the defaults, where it is right
// for other mailboxes: the mailbox is then the place of the problem.
func (d *decoder) failInherited(path, key, format string, args ...any) {
	at, given := d.at[path+"."+key]
	if !given {
		at = d.at[path]
	}
	d.fail(at, format, args...)
}

func (d *decoder) checkTLS(path string, m *Mailbox) {
	if m.TLS == TLSNone && !m.AllowPlaintext && (!isLoopback(m.Host) || m.Proxy.URL != "") { // a proxy may be elsewhere, and what it calls localhost is not this machine
		d.failInherited(path, "tls", "tls: none sends the password and the mail in the clear; "+
			"use implicit or starttls, or add allow_plaintext: true")
	}
	if m.TLS == TLSNone {
		for _, key := range []string{".tls_pin", ".client_cert_file"} {
			d.failKey(path+key, "needs TLS, and tls is none")
		}
	}
	_, cert := d.at[path+".client_cert_file"]
	_, key := d.at[path+".client_key_file"]
	switch {
	case cert && (!key || m.ClientKeyFile == "" || m.ClientCertFile == ""):
		d.failKey(path+".client_cert_file", "needs client_key_file, and neither may be empty")
	case key && !cert:
		d.failKey(path+".client_key_file", "needs client_cert_file")
	}
}
