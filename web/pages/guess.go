package pages

import (
	"errors"
	"net/http"

	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/users"
)

// Guess lets somebody who is logged in prove again who they are, with try. It is counted as a log-in is, and recorded if it fails:
// whoever found a session open does not guess its password.
func (s *Server) Guess(r *http.Request, name string, try func() error) error {
	a, err := s.admit(r, name, "", false)
	switch {
	case errors.Is(err, errTooMany):
		s.door.refusals.tooMany()
		return &api.Problem{Status: http.StatusTooManyRequests, Title: "Too many attempts", Detail: "too many attempts: wait a minute and try again"}
	case err != nil:
		return err
	}
	leave, err := s.door.guard.wait(&a)
	if err != nil {
		return &api.Problem{Status: http.StatusServiceUnavailable, Title: "Too many attempts", Detail: "too many people are logging in: wait a minute and try again"}
	}
	defer leave()
	err = try()
	switch {
	case err == nil:
		a.succeeded()
	case errors.Is(err, users.ErrRefused):
		if err := s.refused(r, name); err != nil {
			return err
		}
	}
	return err
}
