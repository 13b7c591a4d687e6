package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"golang.org/x/oauth2"
)

// ErrAuthorize says that a user has to give permission, for the first time or
// again.
var ErrAuthorize = errors.New("access is not authorized")

// maxText bounds what is shown of an authorization server's words, in bytes.
const maxText = 300

// Error is a refusal by the authorization server.
type Error struct {
	Status      int    // of HTTP
	Code        string // "invalid_grant", … (RFC 6749, section 5.2); "" if the answer was none of OAuth2
	Description string // its words, made printable and shortened
}

// Error returns one line without secrets.
func (e *Error) Error() string {
	text := fmt.Sprintf("the authorization server refused: HTTP status %d", e.Status)
	if e.Code != "" {
		text = "the authorization server refused: " + e.Code
	}
	if e.Description != "" {
		text += ": " + e.Description
	}
	return text
}

// Is makes the refusal of a refresh token an ErrAuthorize: it was revoked, has
// expired, or the user must agree to something (the latter two codes are OpenID's).
func (e *Error) Is(target error) bool {
	switch e.Code {
	case "invalid_grant", "interaction_required", "consent_required":
		return target == ErrAuthorize
	}
	return false
}

// Temporary reports whether the same may succeed later.
func (e *Error) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Code == "temporarily_unavailable"
}

// explain replaces an error of the oauth2 package that quotes the answer.
func (s *Source) explain(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return fmt.Errorf("ask the authorization server for a token: %w", err)
	}
	return &Error{Status: refused.Response.StatusCode, Code: printable(refused.ErrorCode), Description: printable(refused.ErrorDescription)}
}

// printable makes text from a server fit for a log: one line, not too long.
func printable(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}
