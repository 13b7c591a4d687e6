// Package access says who asks, and what that person may do. The API asks it
// before every answer; the pages and the command line go through the API.
//
// Duties are apart: who operates the archive does not read mail in it, and who
// reads mail does not configure it.
package access

import (
	"context"
	"slices"
	"time"
)

// A Role is what a person is to the archive.
type Role string

// The roles.
const (
	// User reads the mailboxes granted to them.
	User Role = "user"
	// Auditor searches and exports within granted mailboxes and days.
	Auditor Role = "auditor"
	// Officer reads everything, and is responsible for holds, retention, erasure
	// and the audit trail.
	Officer Role = "officer"
	// Admin operates the archive and manages its people, and reads no mail.
	Admin Role = "admin"
	// Local is whoever may open the Unix socket: the owner of the data
	// directory and root, who could read the files themselves.
	Local Role = "local"
)

// Roles lists the roles that people are given.
func Roles() []Role { return []Role{User, Auditor, Officer, Admin} }

// A Permission is one kind of things to do.
type Permission string

// The permissions.
const (
	// Anyone is a permission of every person who is known.
	Anyone Permission = "anyone"
	// Read is searching and reading mail within the scope.
	Read Permission = "read"
	// Export is taking mail out of the archive within the scope.
	Export Permission = "export"
	// Comply is holds, retention, erasure and certificates.
	Comply Permission = "comply"
	// Audit is reading the ledger.
	Audit Permission = "audit"
	// Operate is polling, verifying, rebuilding, and the state of the machine.
	Operate Permission = "operate"
	// Manage is managing people and their tokens.
	Manage Permission = "manage"
)

// granted has the permissions of every role.
func granted(r Role) []Permission {
	switch r {
	case User, Auditor:
		return []Permission{Anyone, Read, Export}
	case Officer:
		return []Permission{Anyone, Read, Export, Comply, Audit}
	case Admin:
		return []Permission{Anyone, Operate, Manage}
	case Local:
		return []Permission{Anyone, Read, Export, Comply, Audit, Operate, Manage}
	}
	return nil
}

// A Scope is the part of the archive that a person may see.
type Scope struct {
	// All means everything; the other fields are ignored.
	All bool
	// Mailboxes are the granted mailboxes: none of them is nothing at all.
	Mailboxes []string
	// From and To bound the time received: From is the first moment, To the
	// first one after. Zero is no bound.
	From, To time.Time
}

// Sees reports whether a deposit of mailbox at the time received is in the scope.
func (s *Scope) Sees(mailbox string, received time.Time) bool {
	if s.All {
		return true
	}
	return slices.Contains(s.Mailboxes, mailbox) &&
		!received.Before(s.From) && (s.To.IsZero() || received.Before(s.To))
}

// Covers reports whether everything in other is in the scope.
func (s *Scope) Covers(other *Scope) bool {
	switch {
	case s.All:
		return true
	case other.All || other.From.Before(s.From) || !s.To.IsZero() && (other.To.IsZero() || other.To.After(s.To)):
		return false
	}
	return !slices.ContainsFunc(other.Mailboxes, func(m string) bool { return !slices.Contains(s.Mailboxes, m) })
}

// A Principal is a person, or a program with a token, as the server knows them.
type Principal struct {
	// Name is what the ledger calls them: the login, or the system user.
	Name string
	// Roles add up. One person may have several where there are few people;
	// what needs two still needs two.
	Roles []Role
	Scope Scope
	Login Login
}

// A Login is how a principal was recognised. What takes two people goes by it.
type Login struct {
	// How is ByPassword or another way.
	How string
	// Account means that the principal is a user, who was made at Created, or was then last given by somebody else what makes them a
	// second person: a password, the account back, or the role of an officer.
	Account bool
	Created time.Time
	// Interactive means that they proved themselves who they are, and did not come by a token or link that somebody else may have made.
	Interactive bool
}

// May reports whether the principal has the permission. Nobody may anything.
func (p *Principal) May(what Permission) bool {
	return p != nil && slices.ContainsFunc(p.Roles, func(r Role) bool { return slices.Contains(granted(r), what) })
}

// MaySetCredentials reports whether the principal may set passwords, codes and tokens, also their own, and change people: a program
// with a token may not, or a token would outlive what it was made of.
func (p *Principal) MaySetCredentials() bool {
	return p != nil && (p.Login.Interactive || p.Login.How == ByLink || slices.Contains(p.Roles, Local))
}

type principalKey struct{}

// With returns a context of a request that p makes.
func With(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Of is who makes the request, nil if that is not known.
func Of(ctx context.Context) *Principal {
	p, _ := ctx.Value(principalKey{}).(*Principal)
	return p
}
