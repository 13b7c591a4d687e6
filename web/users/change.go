package users

import (
	"context"
	"fmt"
	"slices"
)

// littleHash is what hashing takes in a Rehearsal, in KiB: nobody logs in with the result.
const littleHash = 8 * argonThreads

// Rehearsal returns a store of the same people that keeps its changes to itself. A change that it refuses would be refused
// here, so that one that is recorded before it is made is one that can be made.
func (s *Store) Rehearsal() *Store {
	opts := s.opts
	opts.HashMemory = littleHash
	return &Store{opts: opts, gate: make(chan struct{}, hashersAtATime), decoy: s.decoy, users: s.List(), rehearsal: true}
}

// Change is how somebody else changes a user, as a whole or not at all: what fn changes, and the password unless it is "". fn must not
// change the name.
func (s *Store) Change(ctx context.Context, name, password string, fn func(*User) error) error {
	hashed := ""
	if password != "" {
		var err error
		if hashed, err = s.hash(ctx, password); err != nil {
			return err
		}
	}
	return s.Update(name, func(u *User) error {
		before := *u
		if err := fn(u); err != nil {
			return err
		}
		slices.Sort(u.Roles)
		u.Roles = slices.Compact(u.Roles)
		if hashed != "" {
			u.Password = hashed
		}
		if hashed != "" || before.Disabled && !u.Disabled || before.TOTP != "" && u.TOTP == "" {
			u.Entrusted = s.opts.Now().UTC()
		}
		return nil
	})
}

// AddFirst is Add for the first user: where there is one already, it is ErrExists.
func (s *Store) AddFirst(ctx context.Context, u User, password string) error {
	return s.add(ctx, u, password, func(users []User) error {
		if len(users) > 0 {
			return fmt.Errorf("%w: it is not the first one", ErrExists)
		}
		return nil
	})
}
