package pop3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"
)

// Mechanism is a way to log in.
type Mechanism string

const (
	// MechanismAuto tries, over TLS, MechanismPlain if it is offered, then
	// MechanismUser; without TLS MechanismAPOP if the greeting allows it, then
	// the others. It goes on to the next only if the server does not support one:
	// a wrong password is sent once, for accounts get locked.
	MechanismAuto Mechanism = ""
	// MechanismPlain is AUTH PLAIN (RFC 5034, 4616).
	MechanismPlain Mechanism = "PLAIN"
	// MechanismUser is USER and PASS.
	MechanismUser Mechanism = "USER"
	// MechanismAPOP is APOP. It hides the password from a listener only as
	// well as MD5 does.
	MechanismAPOP Mechanism = "APOP"
)

// Credentials say who logs in.
type Credentials struct {
	Username  string
	Password  string
	Mechanism Mechanism
}

// maxInitialResponse is the longest command line with an initial response
// (RFC 5034, section 4); a longer one is sent after the server's "+".
const maxInitialResponse = 255

// maxChallenges ends an exchange that leads nowhere; no mechanism needs more
// than three.
const maxChallenges = 8

// Login logs in and reads the capabilities again, which may differ now
// (RFC 2449, section 5). A wrong password is an Error of KindAuth. If login is refused
// the session stays usable, for Quit.
func (c *Conn) Login(ctx context.Context, cred Credentials) error {
	err := c.loginError(cred, c.checkCredentials(cred))
	if err != nil {
		return err
	}
	err = c.run(ctx, opLogin, func() error { return c.tryMechanisms(cred) })
	if err != nil {
		return c.loginError(cred, err)
	}
	return c.run(ctx, "CAPA", c.readCapabilities)
}

// loginError names the user in an Error, or makes one.
func (c *Conn) loginError(cred Credentials, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Op: opLogin, Host: c.addr, Kind: KindConfig, Err: err}
	}
	e.User = printable(cred.Username)
	return e
}

func (c *Conn) checkCredentials(cred Credentials) error {
	switch {
	case cred.Username == "":
		return errors.New("no username given")
	case strings.ContainsAny(cred.Username, "\r\n\x00"):
		return errors.New("the username contains a line end or a NUL")
	case strings.ContainsAny(cred.Password, "\r\n\x00"):
		return errors.New("the password contains a line end or a NUL")
	case c.tls == nil && !c.opts.AllowPlaintext && !isLoopback(c.opts.Host):
		return errors.New("the connection is not encrypted, and credentials are sent in plaintext only if that is allowed")
	case cred.Mechanism == MechanismAPOP && c.timestamp == "":
		return errors.New("the server does not offer APOP: its greeting has no timestamp")
	}
	switch cred.Mechanism {
	case MechanismAuto, MechanismPlain, MechanismUser, MechanismAPOP:
		return nil
	}
	return fmt.Errorf("unknown mechanism %q", printable(string(cred.Mechanism)))
}

func (c *Conn) tryMechanisms(cred Credentials) error {
	c.secrets = []string{cred.Password}
	var err error
	for _, mechanism := range c.mechanisms(cred.Mechanism) {
		c.log.Debug("login", "mechanism", mechanism)
		switch mechanism {
		case MechanismPlain:
			err = c.authenticate(sasl.NewPlainClient("", cred.Username, cred.Password))
		case MechanismAPOP:
			err = c.apop(cred)
		default:
			err = c.userPass(cred)
		}
		if KindOf(err) != KindUnsupported {
			return err
		}
	}
	return err
}

// mechanisms returns what to try, best first.
func (c *Conn) mechanisms(want Mechanism) []Mechanism {
	if want != MechanismAuto {
		return []Mechanism{want}
	}
	var list []Mechanism
	if c.tls == nil && c.timestamp != "" {
		list = append(list, MechanismAPOP)
	}
	if c.caps.HasSASL("PLAIN") {
		list = append(list, MechanismPlain)
	}
	return append(list, MechanismUser)
}

// loginStep sends a line that may hold a secret and returns what is not -ERR.
func (c *Conn) loginStep(line string) (status, error) {
	s, err := c.exchange(opLogin, line)
	if err == nil && !s.ok && !s.more {
		return s, c.refused(opLogin, s, KindAuth)
	}
	return s, err
}

func (c *Conn) userPass(cred Credentials) error {
	for _, line := range [...]string{"USER " + cred.Username, "PASS " + cred.Password} {
		s, err := c.loginStep(line)
		if err != nil {
			return err
		}
		if s.more {
			return c.fail(opLogin, protocolError("the answer is a SASL challenge"))
		}
	}
	return nil
}

func (c *Conn) apop(cred Credentials) error {
	// MD5 is what RFC 1939, section 7, prescribes.
	sum := md5.Sum([]byte(c.timestamp + cred.Password))
	digest := hex.EncodeToString(sum[:])
	c.secrets = append(c.secrets, digest)
	s, err := c.loginStep("APOP " + cred.Username + " " + digest)
	if err == nil && s.more {
		return c.fail(opLogin, protocolError("the answer is a SASL challenge"))
	}
	return err
}

// authenticate runs a SASL exchange (RFC 5034, section 4).
func (c *Conn) authenticate(client sasl.Client) error {
	mechanism, initial, err := client.Start()
	if err != nil {
		return err
	}
	line, response := "AUTH "+mechanism, initial
	if encoded := c.encodeResponse(initial); initial != nil && len(line)+len(encoded)+3 <= maxInitialResponse {
		line, response = line+" "+encoded, nil
	}
	for range maxChallenges {
		s, err := c.loginStep(line)
		if err != nil || s.ok {
			return err
		}
		if response == nil {
			challenge, err := base64.StdEncoding.DecodeString(s.text)
			if err == nil {
				response, err = client.Next(challenge)
			}
			if err != nil {
				return c.cancelAuth(err)
			}
		}
		line, response = c.encodeResponse(response), nil
	}
	return c.cancelAuth(protocolError("too many SASL challenges"))
}

// encodeResponse encodes a SASL response, which is not to be seen in errors.
func (c *Conn) encodeResponse(response []byte) string {
	encoded := base64.StdEncoding.EncodeToString(response)
	c.secrets = append(c.secrets, encoded)
	return encoded
}

// cancelAuth ends an exchange that the client cannot go on with.
func (c *Conn) cancelAuth(cause error) error {
	if _, err := c.exchange(opLogin, "*"); err != nil {
		return err
	}
	return &Error{Op: opLogin, Host: c.addr, Kind: KindProtocol, Err: cause}
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
