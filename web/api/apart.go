package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

// loggedIn tells the archive how whoever asks was recognised, and whether they are another person than somebody else.
func (s *Server) loggedIn(ctx context.Context) context.Context {
	p := access.Of(ctx)
	if p == nil {
		return ctx
	}
	return archive.WithLogin(ctx, archive.Login{How: p.Login.How, Account: p.Login.Account, Created: p.Login.Created, Interactive: p.Login.Interactive,
		Still: func() error { return access.Check(ctx) },
		Apart: func(a archive.Asked) error { return s.apart(p, a) }})
}

// apart returns an error unless nobody could have acted both as p, now, and as the one who asked for something.
func (s *Server) apart(p *access.Principal, asked archive.Asked) error {
	theirs, err := s.hands(asked.By, asked.Login, asked.At)
	if err != nil {
		return err
	}
	own, err := s.hands(p.Name, p.Login.How, time.Now())
	if err != nil {
		return err
	}
	for _, who := range slices.Sorted(maps.Keys(own)) {
		set, both := theirs[who]
		mine := own[who]
		if both && asked.Grant && set.First() && mine.First() {
			continue // two administrators whom the owner of the data directory has made: there would be none without
		}
		if both {
			return fmt.Errorf("%s could have acted as both %s and %s (%s; %s). An own password that %s chooses after a log-in with one-time codes "+
				"from before, or a log-in at the identity provider, proves the person",
				who, asked.By, p.Name, acted(who, archive.Person(asked.By), set), acted(who, p.Name, mine), p.Name)
		}
	}
	return nil
}

// acted says why somebody could have acted as another one.
func acted(who, as string, set users.Setting) string {
	if who == as {
		return "they are " + as
	}
	what := "set the " + set.What
	switch set.What {
	case users.SetAccount:
		what = "made the account"
	case users.SetToken, users.SetLink:
		what = "made a " + set.What
	}
	return fmt.Sprintf("%s %s of %s on %s", who, what, set.Of, set.Last.UTC().Format(time.DateOnly))
}

// hands returns who could have acted as an actor who had logged in so, at a time.
func (s *Server) hands(actor, how string, at time.Time) (map[string]users.Setting, error) {
	name := archive.Person(actor)
	_, err := s.opts.Users.Get(name)
	switch {
	case errors.Is(err, users.ErrUnknown) || how == access.BySocket: // of the operating system
		return map[string]users.Setting{name: {}}, nil
	case err != nil:
		return nil, err
	case how == access.ByProvider: // which says who it was
		return map[string]users.Setting{name: {}}, nil
	}
	hands, known := s.opts.Users.Hands(name, at)
	if !known {
		return nil, fmt.Errorf("it is not recorded who has set the credentials of %s, whose account is older than such records: "+
			"have another account made for this person, or log in at the identity provider", name)
	}
	if how == access.ByLink { // which the owner of the data directory was given
		hands[archive.Person(SystemUser())] = users.Setting{What: users.SetLink, Of: name, Last: at}
	}
	return hands, nil
}
