package pop3test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
)

// exchange is a SASL exchange under way.
type exchange struct {
	s       *Session
	w       io.Writer
	initial string // response of the AUTH line, in base64; "" for none
}

// The ends of an exchange that cannot go on.
var (
	errCanceled  = errors.New("authentication canceled by the client")
	errMalformed = errors.New("malformed SASL response")
)

// auth is the AUTH command (RFC 5034).
func (s *Session) auth(w io.Writer, mechanism, initial string) error {
	mechanism = strings.ToUpper(mechanism)
	if !s.has("SASL") || !slices.Contains(s.server.config.SASL, mechanism) {
		return line(w, "-ERR mechanism not supported")
	}
	if initial != "" && s.server.config.NoInitialResponse {
		return line(w, "-ERR Protocol error. 17")
	}
	x := &exchange{s, w, initial}
	var user string
	var check func(box *maildrop) bool
	var err error
	switch mechanism {
	case "PLAIN":
		user, check, err = x.plain()
	case "LOGIN":
		user, check, err = x.login()
	case "CRAM-MD5":
		user, check, err = x.cramMD5()
	case "SCRAM-SHA-256":
		user, check, err = x.scram()
	case "XOAUTH2", "OAUTHBEARER":
		user, check, err = x.bearer()
	case "EXTERNAL":
		user, check, err = x.external()
	}
	if errors.Is(err, errCanceled) || errors.Is(err, errMalformed) {
		return line(w, "-ERR "+err.Error())
	}
	if err != nil {
		return err
	}
	return s.login(w, user, check)
}

// ask returns the initial response if there is one, else sends a challenge and
// returns the response to it.
func (x *exchange) ask(challenge string) ([]byte, error) {
	text := x.initial
	if x.initial == "" {
		if err := line(x.w, "+ "+base64.StdEncoding.EncodeToString([]byte(challenge))); err != nil {
			return nil, err
		}
		if err := x.s.w.Flush(); err != nil {
			return nil, err
		}
		var err error
		if text, err = x.s.readLine(); err != nil {
			return nil, err
		}
	} else if text == "=" { // RFC 5034, section 4
		text = ""
	}
	x.initial = ""
	if text == "*" {
		return nil, errCanceled
	}
	response, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errMalformed
	}
	return response, nil
}

func password(given string) func(box *maildrop) bool {
	return func(box *maildrop) bool { return box.password == given }
}

func (x *exchange) plain() (string, func(*maildrop) bool, error) {
	response, err := x.ask("")
	if err != nil {
		return "", nil, err
	}
	fields := strings.Split(string(response), "\x00")
	if len(fields) != 3 {
		return "", nil, errMalformed
	}
	return fields[1], password(fields[2]), nil
}

func (x *exchange) login() (string, func(*maildrop) bool, error) {
	user, err := x.ask("Username:")
	if err != nil {
		return "", nil, err
	}
	secret, err := x.ask("Password:")
	return string(user), password(string(secret)), err
}

func (x *exchange) cramMD5() (string, func(*maildrop) bool, error) {
	challenge := fmt.Sprintf("<%d@pop3test.invalid>", x.s.number)
	response, err := x.ask(challenge)
	if err != nil {
		return "", nil, err
	}
	space := bytes.LastIndexByte(response, ' ')
	if space < 0 {
		return "", nil, errMalformed
	}
	return string(response[:space]), func(box *maildrop) bool {
		mac := hmac.New(md5.New, []byte(box.password))
		_, _ = io.WriteString(mac, challenge)
		return fmt.Sprintf("%x", mac.Sum(nil)) == string(response[space+1:])
	}, nil
}

// scramIterations is the least that RFC 7677 permits.
const scramIterations = 4096

func (x *exchange) scram() (string, func(*maildrop) bool, error) {
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		box := x.s.server.maildrop(user)
		if box == nil {
			return scram.StoredCredentials{}, errors.New("unknown user")
		}
		client, err := scram.SHA256.NewClient(user, box.password, "")
		if err != nil {
			return scram.StoredCredentials{}, err
		}
		return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "pop3test", Iters: scramIterations})
	})
	if err != nil {
		return "", nil, err
	}
	conversation := server.NewConversation()
	challenge := ""
	for !conversation.Done() {
		response, err := x.ask(challenge)
		if err != nil {
			return "", nil, err
		}
		if challenge, err = conversation.Step(string(response)); err != nil {
			break // the challenge says why
		}
	}
	if challenge != "" {
		if _, err := x.ask(challenge); err != nil {
			return "", nil, err
		}
	}
	return conversation.Username(), func(*maildrop) bool { return conversation.Valid() }, nil
}

// bearer is XOAUTH2 and OAUTHBEARER, whose responses differ in what comes
// before the token.
func (x *exchange) bearer() (string, func(*maildrop) bool, error) {
	response, err := x.ask("")
	if err != nil {
		return "", nil, err
	}
	var user, token string
	for part := range strings.SplitSeq(string(response), "\x01") {
		if name, ok := strings.CutPrefix(part, "user="); ok {
			user = name
		} else if name, ok := strings.CutPrefix(part, "n,a="); ok {
			user = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(strings.TrimSuffix(name, ","))
		} else if t, ok := strings.CutPrefix(part, "auth=Bearer "); ok {
			token = t
		}
	}
	granted := func(box *maildrop) bool { return box.token != "" && box.token == token }
	if box := x.s.server.maildrop(user); box != nil && granted(box) {
		return user, granted, nil
	}
	verdict, err := json.Marshal(map[string]string{"status": "401", "schemes": "bearer", "scope": "mail"})
	if err == nil {
		_, err = x.ask(string(verdict))
	}
	return user, func(*maildrop) bool { return false }, err
}

// external lets any certificate that ClientCAs verifies act for any user.
func (x *exchange) external() (string, func(*maildrop) bool, error) {
	response, err := x.ask("")
	if err != nil {
		return "", nil, err
	}
	verified := x.s.tls != nil && len(x.s.tls.ConnectionState().VerifiedChains) > 0
	return string(response), func(*maildrop) bool { return verified }, nil
}
