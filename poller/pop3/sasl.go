package pop3

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"
)

// maxInitialResponse is the longest command line with an initial response
// (RFC 5034, section 4); a longer one is sent after the server's "+".
const maxInitialResponse = 255

// maxChallenges ends an exchange that leads nowhere; no mechanism needs more
// than three.
const maxChallenges = 8

const (
	// minIterations is what RFC 7677 demands of a server: fewer make the
	// password cheap to guess for whoever plays the server.
	minIterations = 4096
	// maxIterations, a second or so of computing, is far more than servers use;
	// a hostile one could ask for hours.
	maxIterations = 2_000_000
)

// saslClient returns the client side of c.mechanism.
func (c *Conn) saslClient(user, secret string) (sasl.Client, error) {
	switch c.mechanism {
	case MechanismLogin:
		return sasl.NewLoginClient(user, secret), nil
	case MechanismExternal:
		return sasl.NewExternalClient(user), nil
	case MechanismCRAMMD5:
		return &cramMD5{user, secret}, nil
	case MechanismXOAuth2:
		// developers.google.com/workspace/gmail/imap/xoauth2-protocol
		return &bearer{name: string(c.mechanism), initial: "user=" + user + "\x01auth=Bearer " + secret + "\x01\x01"}, nil
	case MechanismOAuthBearer:
		return &bearer{
			name: string(c.mechanism), dummy: "\x01", // RFC 7628, section 3.2.3
			initial: "n,a=" + saslName.Replace(user) + ",\x01host=" + c.opts.Host + "\x01port=" + strconv.Itoa(c.opts.Port) +
				"\x01auth=Bearer " + secret + "\x01\x01",
		}, nil
	case MechanismSCRAM:
		client, err := scram.SHA256.NewClient(user, secret, "")
		if err != nil { // SASLprep; its errors could quote the password
			cause := errors.New("username or password has characters that SCRAM-SHA-256 does not permit")
			return nil, &Error{Op: opLogin, Host: c.addr, Kind: KindUnsupported, Err: cause}
		}
		return &scramSHA256{conversation: client.WithMinIterations(minIterations).NewConversation()}, nil
	}
	return sasl.NewPlainClient("", user, secret), nil
}

// saslName is the encoding of RFC 5801, section 4.
var saslName = strings.NewReplacer("=", "=3D", ",", "=2C")

// authenticate runs a SASL exchange (RFC 5034, section 4).
func (c *Conn) authenticate(client sasl.Client) error {
	mechanism, initial, err := client.Start()
	if err != nil {
		return err
	}
	s, response, err := c.startAuth("AUTH "+mechanism, initial)
	for n := 0; ; n++ {
		switch {
		case err != nil:
			return c.withVerdict(client, err)
		case s.ok:
			return c.checkProof(client)
		case n == maxChallenges:
			return c.cancelAuth(protocolError("too many SASL challenges"))
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
		s, err = c.loginStep(c.encodeResponse(response), sentCredentials)
		response = nil
	}
}

// startAuth sends AUTH and returns the answer, with the initial response if
// that is still to be sent. A long one goes into a line of its own, as RFC 5034
// demands and Microsoft 365 insists upon.
//
// QUIRK: a server that refuses to be asked in two lines, which cannot be
// because of the credentials, may take one line of any length. And one that does
// not understand one line may take two; a token is tried so after any refusal
// that does not clearly speak of it, for tokens lock no account.
func (c *Conn) startAuth(line string, initial []byte) (status, []byte, error) {
	if initial == nil {
		s, err := c.loginStep(line, sentNothing)
		return s, nil, err
	}
	whole := line + " " + c.encodeResponse(initial)
	if len(initial) == 0 {
		whole = line + " =" // RFC 5034, section 4
	}
	long := len(whole)+len("\r\n") > maxInitialResponse
	if long {
		s, err := c.loginStep(line, sentNothing)
		if KindOf(err) != KindUnsupported {
			return s, initial, err
		}
	}
	s, err := c.loginStep(whole, sentCredentials)
	if long || len(initial) == 0 || !c.oneLineRefused(err) {
		return s, nil, err
	}
	s, again := c.loginStep(line, sentNothing)
	if KindOf(again) == KindUnsupported {
		return s, nil, err
	}
	return s, initial, again
}

// oneLineRefused reports whether err may be about AUTH with an initial response
// and not about what is in it.
func (c *Conn) oneLineRefused(err error) bool {
	var e *Error
	if !errors.As(err, &e) || c.broken != nil {
		return false
	}
	switch e.Kind {
	case KindUnsupported:
		return true
	case KindAuth, KindRefused:
		return c.mechanism.takesToken() && e.Code == ""
	}
	return false
}

// checkProof ends the session with a server that says +OK before it has
// proved what the mechanism lets it prove.
func (c *Conn) checkProof(client sasl.Client) error {
	if s, ok := client.(*scramSHA256); ok && !s.conversation.Valid() {
		return c.fail(opLogin, protocolError("the server has not proved that it knows the password"))
	}
	return nil
}

// withVerdict adds to a refusal what the server said in a challenge before it.
func (c *Conn) withVerdict(client sasl.Client, err error) error {
	v, ok := client.(interface {
		verdict() (text string, credentials bool)
	})
	var e *Error
	if !ok || !errors.As(err, &e) || e.Err != nil {
		return err
	}
	text, credentials := v.verdict()
	if text == "" {
		return err
	}
	e.Text = strings.TrimSpace(e.Text + " [" + c.words(text) + "]")
	if credentials && e.Kind == KindRefused {
		e.Kind = KindAuth
		e.Hint = c.loginHint(e.Kind, status{})
	}
	return err
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

// cramMD5 is RFC 2195.
type cramMD5 struct{ user, password string }

func (*cramMD5) Start() (string, []byte, error) { return string(MechanismCRAMMD5), nil, nil }

func (m *cramMD5) Next(challenge []byte) ([]byte, error) {
	mac := hmac.New(md5.New, []byte(m.password))
	_, _ = mac.Write(challenge) // a hash cannot fail
	return fmt.Appendf(nil, "%s %x", m.user, mac.Sum(nil)), nil
}

// bearer is OAUTHBEARER and XOAUTH2: one response with the token, and if it is
// refused a challenge in JSON that has to be answered before the refusal comes.
type bearer struct {
	name, initial, dummy string
	status               string
	refused              bool // because of the token
}

func (b *bearer) Start() (string, []byte, error) { return b.name, []byte(b.initial), nil }

func (b *bearer) Next(challenge []byte) ([]byte, error) {
	var verdict struct {
		Status string `json:"status"`
		Scope  string `json:"scope"`
	}
	if err := json.Unmarshal(challenge, &verdict); err != nil || verdict.Status == "" {
		verdict.Status = string(challenge)
	}
	b.status = "status " + verdict.Status
	switch verdict.Status { // RFC 7628, section 3.2.2, and what Google sends in its place
	case "400", "401", "403", "invalid_token", "insufficient_scope":
		b.refused = true
	}
	if verdict.Scope != "" {
		b.status += ", scope " + verdict.Scope
	}
	return []byte(b.dummy), nil
}

func (b *bearer) verdict() (string, bool) { return b.status, b.refused }

// scramSHA256 is RFC 5802 and 7677 without channel binding.
type scramSHA256 struct {
	conversation *scram.ClientConversation
	refusal      string
}

func (s *scramSHA256) Start() (string, []byte, error) {
	first, err := s.conversation.Step("")
	return string(MechanismSCRAM), []byte(first), err
}

var iterationCount = regexp.MustCompile(`(?:^|,)i=([0-9]+)`)

func (s *scramSHA256) Next(challenge []byte) ([]byte, error) {
	if code, refused := strings.CutPrefix(string(challenge), "e="); refused {
		s.refusal = code
		return []byte{}, nil
	}
	if m := iterationCount.FindSubmatch(challenge); m != nil {
		if n, err := strconv.Atoi(string(m[1])); err != nil || n > maxIterations {
			return nil, limitError(fmt.Sprintf("the server asks for more than %d iterations", maxIterations))
		}
	}
	response, err := s.conversation.Step(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("SCRAM-SHA-256: %w", err)
	}
	return []byte(response), nil
}

// verdict is a server-error-value (RFC 5802, section 7).
func (s *scramSHA256) verdict() (string, bool) {
	return s.refusal, s.refusal == "invalid-proof" || s.refusal == "unknown-user"
}
