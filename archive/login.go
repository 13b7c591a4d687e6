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
	// Still returns an error once they may no longer what they might when they asked. nil never does.
	Still func() error
	// Apart returns an error unless they are for certain another person than the one who asked for something. Nobody approves
	// without it.
	Apart func(Asked) error
}

// Asked is who has asked for something that takes a second person, how they had logged in, "" if it was not recorded, and when.
type Asked struct {
	By, Login string
	At        time.Time
	Grant     bool // it is a ChangeGrant
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

// Person is who an actor is: whoever logged in to the system, else the user. Earlier versions wrote "(sudo by".
func Person(actor string) string {
	for _, mark := range []string{" (login ", " (sudo by "} {
		if _, origin, ok := strings.Cut(actor, mark); ok {
			return strings.Trim(strings.TrimSuffix(origin, ")"), `"`)
		}
	}
	return actor
}

// second returns an error unless whoever acts in ctx may approve, as the second person, what another one asked for at a time.
func second(ctx context.Context, what string, asked Asked, actor string) error {
	l, by := loginOf(ctx), asked.By
	switch {
	case Person(by) == Person(actor):
		return fmt.Errorf("%w: %s was made by %s, who may not approve it, too: that takes a second person", ErrApproval, what, by)
	case !l.Account || !l.Interactive:
		how := l.How
		if how == "" {
			how = "not known"
		}
		return fmt.Errorf("%w: %s takes the approval of a person who has an account and logs in on the pages; this login is: %s", ErrApproval, what, how)
	case !l.Created.Before(asked.At):
		return fmt.Errorf("%w: the account %s was made, or was given a password, the role or access by somebody else, after %s: that takes a person who had it before", ErrApproval, actor, what)
	case l.Apart == nil:
		return fmt.Errorf("%w: nobody knows who has set the credentials of %s", ErrApproval, actor)
	}
	if err := l.Apart(asked); err != nil {
		return fmt.Errorf("%w: %s takes two people: %w", ErrApproval, what, err)
	}
	if l.Still != nil {
		return l.Still()
	}
	return nil
}
