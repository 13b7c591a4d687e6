package pop3

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Mechanism is a way to log in.
type Mechanism string

const (
	// MechanismAuto takes the strongest that the server offers and the
	// credentials can serve. With Options.Token that is OAUTHBEARER or XOAUTH2;
	// without a password EXTERNAL. With a password it is, over TLS, SCRAM-SHA-256,
	// PLAIN, LOGIN, CRAM-MD5, USER; without TLS those that hide the password come
	// first: SCRAM-SHA-256, CRAM-MD5, APOP. It goes on to the next only if the
	// server does not support one: a wrong password is sent once, for accounts get
	// locked. The exception is APOP, whose refusal often means that the server keeps
	// no secret for it: the password is then sent once more, by the next mechanism.
	MechanismAuto Mechanism = ""
	// MechanismSCRAM is SCRAM-SHA-256 (RFC 7677): the password is not sent, and
	// the server must prove that it knows it.
	MechanismSCRAM Mechanism = "SCRAM-SHA-256"
	// MechanismPlain is AUTH PLAIN (RFC 5034, 4616).
	MechanismPlain Mechanism = "PLAIN"
	// MechanismLogin is AUTH LOGIN, which has no RFC, for servers without PLAIN.
	MechanismLogin Mechanism = "LOGIN"
	// MechanismUser is USER and PASS.
	MechanismUser Mechanism = "USER"
	// MechanismCRAMMD5 is CRAM-MD5 (RFC 2195). It hides the password from a
	// listener only as well as MD5 does.
	MechanismCRAMMD5 Mechanism = "CRAM-MD5"
	// MechanismAPOP is APOP, which is no better.
	MechanismAPOP Mechanism = "APOP"
	// MechanismOAuthBearer is OAUTHBEARER (RFC 7628), with Options.Token.
	MechanismOAuthBearer Mechanism = "OAUTHBEARER"
	// MechanismXOAuth2 is its predecessor of Google and Microsoft.
	MechanismXOAuth2 Mechanism = "XOAUTH2"
	// MechanismExternal is EXTERNAL (RFC 4422, appendix A): the certificate of
	// the client says who it is.
	MechanismExternal Mechanism = "EXTERNAL"
)

func (m Mechanism) known() bool {
	return m == MechanismAuto || m == MechanismExternal || m.takesToken() || m.takesPassword()
}

func (m Mechanism) takesToken() bool { return m == MechanismOAuthBearer || m == MechanismXOAuth2 }

func (m Mechanism) takesPassword() bool {
	switch m {
	case MechanismSCRAM, MechanismPlain, MechanismLogin, MechanismUser, MechanismCRAMMD5, MechanismAPOP:
		return true
	}
	return false
}

// Credentials say who logs in. Password is empty with Options.Token and with
// MechanismExternal.
type Credentials struct {
	Username string
	Password string
}

// Login logs in and reads the capabilities again, which may differ now
// (RFC 2449, section 5). A wrong password is an Error of KindAuth. If login is refused
// the session stays usable, for Quit.
func (c *Conn) Login(ctx context.Context, cred Credentials) error {
	if err := c.login(ctx, cred); err != nil {
		return c.loginError(cred, err)
	}
	return c.run(ctx, "CAPA", c.readCapabilities)
}

func (c *Conn) login(ctx context.Context, cred Credentials) error {
	if err := c.checkCredentials(cred); err != nil {
		return err
	}
	if err := c.run(ctx, opLogin, c.prepare); err != nil {
		return err
	}
	secret := cred.Password
	if c.opts.Token != nil {
		var err error
		if secret, err = c.token(ctx, ""); err != nil {
			return err
		}
	}
	mechanisms := c.mechanisms(cred)
	err := c.run(ctx, opLogin, func() error { return c.tryMechanisms(mechanisms, cred.Username, secret) })
	if c.opts.Token == nil || KindOf(err) != KindAuth {
		return err
	}
	fresh, failed := c.token(ctx, secret)
	if failed != nil {
		return failed
	}
	if fresh == secret {
		return err
	}
	mechanisms = []Mechanism{c.mechanism}
	return c.run(ctx, opLogin, func() error { return c.tryMechanisms(mechanisms, cred.Username, fresh) })
}

// token asks Options.Token.
func (c *Conn) token(ctx context.Context, refused string) (string, error) {
	token, err := c.opts.Token(ctx, refused)
	var e *Error
	switch {
	case errors.As(err, &e):
		return "", err
	case err != nil && ctx.Err() != nil:
		e = &Error{Op: opLogin, Host: c.addr}
		e.Kind, e.Err = c.explainCause(context.Cause(ctx))
		return "", e
	case err != nil:
		return "", &Error{Op: opLogin, Host: c.addr, Kind: KindTemporary, Err: fmt.Errorf("get an access token: %w", err)}
	case token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("the access token is empty or has characters that no token may have")
	}
	return token, nil
}

// loginError names the user in an Error, or makes one.
func (c *Conn) loginError(cred Credentials, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Op: opLogin, Kind: KindConfig, Err: err}
	}
	if e.Host == "" {
		e.Host = c.addr
	}
	e.User = printable(cred.Username)
	return e
}

func (c *Conn) checkCredentials(cred Credentials) error {
	want := c.opts.Mechanism
	switch {
	case cred.Username == "":
		return errors.New("no username given")
	case strings.ContainsAny(cred.Username, "\r\n\x00\x01"): // XOAUTH2 separates by 0x01
		return errors.New("the username contains a line end or a control character")
	case strings.ContainsAny(cred.Password, "\r\n\x00"):
		return errors.New("the password contains a line end or a NUL")
	case c.tls == nil && !c.opts.AllowPlaintext && !isLoopback(c.opts.Host):
		return errors.New("the connection is not encrypted, and credentials are sent in plaintext only if that is allowed")
	case want == MechanismAPOP && c.timestamp == "":
		return errors.New("the server does not offer APOP: its greeting has no timestamp")
	case want.takesToken() && c.opts.Token == nil:
		return fmt.Errorf("%s needs an access token", want)
	case want.takesPassword() && cred.Password == "":
		return fmt.Errorf("%s needs a password", want)
	case want == MechanismExternal && !c.hasCertificate():
		return fmt.Errorf("%s needs TLS and a client certificate", want)
	case want == MechanismAuto && c.opts.Token == nil && cred.Password == "" && !c.hasCertificate():
		return errors.New("no password, access token or client certificate given")
	}
	return nil
}

func (c *Conn) hasCertificate() bool {
	config := c.opts.TLSConfig
	return c.tls != nil && config != nil && (len(config.Certificates) > 0 || config.GetClientCertificate != nil)
}

// prepare makes the settings that come before login (RFC 6856). A refusal
// leaves things as they were.
func (c *Conn) prepare() error {
	if c.prepared {
		return nil
	}
	c.prepared = true
	var commands []string
	if c.caps.Has("UTF8") && !c.opts.NoUTF8 {
		commands = append(commands, "UTF8")
	}
	if c.caps.Has("LANG") { // whoever reads the server's words can read English
		commands = append(commands, "LANG en")
	}
	for _, command := range commands {
		if _, err := c.simple(command); err != nil {
			return err
		}
	}
	return nil
}

// mechanisms returns what to try, best first.
func (c *Conn) mechanisms(cred Credentials) []Mechanism {
	var order []Mechanism
	switch {
	case c.opts.Mechanism != MechanismAuto:
		return []Mechanism{c.opts.Mechanism}
	case c.opts.Token != nil:
		order = []Mechanism{MechanismOAuthBearer, MechanismXOAuth2}
	case cred.Password == "":
		return []Mechanism{MechanismExternal}
	case c.tls != nil:
		order = []Mechanism{MechanismSCRAM, MechanismPlain, MechanismLogin, MechanismCRAMMD5, MechanismUser}
	default:
		order = []Mechanism{MechanismSCRAM, MechanismCRAMMD5, MechanismAPOP, MechanismPlain, MechanismLogin, MechanismUser}
	}
	last := order[len(order)-1] // worth a try where the server has not said what it offers
	return slices.DeleteFunc(order, func(m Mechanism) bool {
		switch m {
		case last:
			return false
		case MechanismAPOP:
			return c.timestamp == "" || c.opts.NoAPOP
		}
		return !c.caps.HasSASL(string(m))
	})
}

// tryMechanisms tries one after the other while the server does not support
// them.
//
// QUIRK: servers put a timestamp into the greeting for everybody, and refuse
// APOP to users for whom they keep no secret in the clear (GNU mailutils, Cyrus,
// qpopper). A refused APOP is therefore followed by one more attempt, and no
// third. Without TLS that sends the password as it is, which AllowPlaintext
// permits, or a loopback address; without either nothing was sent at all.
func (c *Conn) tryMechanisms(mechanisms []Mechanism, user, secret string) error {
	c.secrets = []string{secret}
	var err, apop error
	for _, c.mechanism = range mechanisms {
		c.log.Debug("login", "mechanism", c.mechanism)
		err = c.tryMechanism(user, secret)
		switch kind := KindOf(err); {
		case kind == KindUnsupported:
		case c.mechanism == MechanismAPOP && (kind == KindAuth || kind == KindRefused) && len(mechanisms) > 1:
			apop, c.apopRefused = err, true
		case apop != nil && (kind == KindClosed || kind == KindTimeout): // it was the first refusal that ended the session
			return apop
		default:
			return err
		}
	}
	return err
}

func (c *Conn) tryMechanism(user, secret string) error {
	switch c.mechanism {
	case MechanismUser:
		return c.userPass(user, secret)
	case MechanismAPOP:
		return c.apop(user, secret)
	}
	client, err := c.saslClient(user, secret)
	if err != nil {
		return err
	}
	return c.authenticate(client)
}

// sent says what a line of a login showed to the server: a refusal of a
// line without credentials cannot be because of them.
type sent int

const (
	sentNothing sent = iota
	sentCredentials
)

// loginStep sends a line that may hold a secret and returns what is not -ERR.
func (c *Conn) loginStep(line string, what sent) (status, error) {
	s, err := c.exchange(opLogin, line)
	if err == nil && !s.ok && !s.more {
		return s, c.loginRefused(s, what)
	}
	return s, err
}

func (c *Conn) loginRefused(s status, what sent) *Error {
	e := &Error{Op: opLogin, Host: c.addr, Kind: loginRefusalKind(s.code, s.text), Code: s.code, Text: c.words(s.text)}
	if what == sentNothing && s.code == "" && (e.Kind == KindAuth || e.Kind == KindRefused) {
		e.Kind = KindUnsupported
	}
	e.Hint = c.loginHint(e.Kind, s)
	c.log.Debug("refused", "error", e)
	return e
}

func (c *Conn) loginHint(kind Kind, s status) string {
	switch {
	case kind == KindRefused && c.tls == nil && containsAny(fold(decodeText(s.text)), encryptionWords[:]):
		return "the server takes no login without encryption: set tls to implicit or starttls"
	case kind == KindRefused:
		return "the server does not say what is wrong; if this goes on, check the account, and whether it permits POP"
	case kind != KindAuth:
		return refusalHint(kind)
	}
	switch c.mechanism {
	case MechanismSCRAM, MechanismCRAMMD5, MechanismAPOP:
		// A server that keeps other hashes may offer these all the same.
		return fmt.Sprintf("check username and password; if they are right, the server cannot check them by %s: use another mechanism", c.mechanism)
	case MechanismOAuthBearer, MechanismXOAuth2:
		return "the access token was refused: check the username, and that the account permits POP and this application"
	case MechanismExternal:
		return "check username and client certificate"
	}
	return refusalHint(kind)
}

func (c *Conn) userPass(user, password string) error {
	for _, line := range [...]string{"USER " + user, "PASS " + password} {
		if err := c.plainStep(line); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) apop(user, password string) error {
	// MD5 is what RFC 1939, section 7, prescribes.
	sum := md5.Sum([]byte(c.timestamp + password))
	digest := hex.EncodeToString(sum[:])
	c.secrets = append(c.secrets, digest)
	return c.plainStep("APOP " + user + " " + digest)
}

// plainStep is loginStep outside of SASL.
func (c *Conn) plainStep(line string) error {
	s, err := c.loginStep(line, sentCredentials)
	if err == nil && s.more {
		return c.fail(opLogin, protocolError("the answer is a SASL challenge"))
	}
	return err
}

// apopTimestamp returns the timestamp of a greeting, or "". It must look like
// a message id: a forged one of other form helps to break MD5 (CVE-2007-1558).
func apopTimestamp(greeting string) string {
	start := strings.IndexByte(greeting, '<')
	if start < 0 {
		return ""
	}
	end := strings.IndexByte(greeting[start:], '>')
	if end < 0 {
		return ""
	}
	id := greeting[start : start+end+1]
	local, domain, found := strings.Cut(id[1:len(id)-1], "@")
	if !found || local == "" || domain == "" || strings.ContainsAny(domain, "@<") {
		return ""
	}
	for _, b := range []byte(id) {
		if b <= ' ' || b > '~' {
			return ""
		}
	}
	return id
}
