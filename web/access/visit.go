package access

import "context"

// The ways in which somebody is recognised.
const (
	ByPassword = "password"
	ByCode     = "password and code"
	ByProvider = "identity provider"
	ByLink     = "link"
	ByToken    = "token"
	BySocket   = "socket"
)

// A Visit is a request of somebody who was recognised, as the way in knows it. Its fields may be nil.
type Visit struct {
	// Check returns an error once the session or token has ended, or its person may no longer what they might when they asked. The
	// context of the request has ended then, too.
	Check func() error
	// Settle is Check for a request that is about to change the account or the session it comes from: what it does does not end it.
	Settle func() error
	// Renew has the session of the request go on after its credentials have changed.
	Renew func(ctx context.Context) error
	// Guess counts an attempt to prove again who one is: it is refused where there were too many, and recorded if it fails.
	Guess func(try func() error) error
}

type visitKey struct{}

// WithVisit returns a context of a request that is a visit.
func WithVisit(ctx context.Context, v *Visit) context.Context {
	return context.WithValue(ctx, visitKey{}, v)
}

func visit(ctx context.Context) *Visit {
	if v, ok := ctx.Value(visitKey{}).(*Visit); ok {
		return v
	}
	return &Visit{}
}

// Check is Visit.Check. What is done over the socket goes on.
func Check(ctx context.Context) error {
	if v := visit(ctx); v.Check != nil {
		return v.Check()
	}
	return nil
}

// Settle is Visit.Settle.
func Settle(ctx context.Context) error {
	if v := visit(ctx); v.Settle != nil {
		return v.Settle()
	}
	return nil
}

// Renew is Visit.Renew.
func Renew(ctx context.Context) error {
	if v := visit(ctx); v.Renew != nil {
		return v.Renew(ctx)
	}
	return nil
}

// Guess is Visit.Guess.
func Guess(ctx context.Context, try func() error) error {
	if v := visit(ctx); v.Guess != nil {
		return v.Guess(try)
	}
	return try()
}
