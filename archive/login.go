package archive

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Login is how whoever acts was recognised. What takes two people goes by it.
type Login struct {
	// How they logged in, in words: "password and code", "identity provider", "token", "socket".
	How string
	// Account means that they have an account of their own, made at Created, or then last put into their hands by somebody else.
	Account bool
	Created time.Time
	// Interactive means that they logged in themselves, and not by a token or a link that somebody else may have made.
	Interactive bool
}

type loginKey struct{}

// WithLogin says how whoever acts in ctx was recognised. Without it nobody can approve anything.
func WithLogin(ctx context.Context, l Login) context.Context {
	return context.WithValue(ctx, loginKey{}, l)
}

func loginOf(ctx context.Context) Login {
	l, _ := ctx.Value(loginKey{}).(Login)
	return l
}

// person is who an actor is: whoever logged in to the system, else the user. Earlier versions wrote "(sudo by".
func person(actor string) string {
	for _, mark := range []string{" (login ", " (sudo by "} {
		if _, origin, ok := strings.Cut(actor, mark); ok {
			return strings.Trim(strings.TrimSuffix(origin, ")"), `"`)
		}
	}
	return actor
}

// second returns an error unless whoever acts in ctx may approve, as the second person, what another one asked for at a time.
func second(ctx context.Context, what, by string, asked time.Time, actor string) error {
	l := loginOf(ctx)
	switch {
	case person(by) == person(actor):
		return fmt.Errorf("%w: %s was made by %s, who may not approve it, too: that takes a second person", ErrApproval, what, by)
	case !l.Account || !l.Interactive:
		how := l.How
		if how == "" {
			how = "not known"
		}
		return fmt.Errorf("%w: %s takes the approval of a person who has an account and logs in on the pages; this login is: %s", ErrApproval, what, how)
	case !l.Created.Before(asked):
		return fmt.Errorf("%w: the account %s was made, or was given a password, the role or access by somebody else, after %s: that takes a person who had it before", ErrApproval, actor, what)
	}
	return nil
}
