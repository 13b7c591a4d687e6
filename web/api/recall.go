package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

// recallEvents is how many events are read at a time.
const recallEvents = 1000

// Recall finds out from the ledger who has set the credentials of accounts that are older than such records. It reads the whole
// ledger, once.
func Recall(ctx context.Context, store *archive.Store, people *users.Store) error {
	if !slices.ContainsFunc(people.List(), func(u users.User) bool { return len(u.Set) == 0 }) {
		return nil
	}
	var events []archive.AuditEvent // newest first
	for before, done := int64(0), false; !done; done = before == 0 {
		some, next, err := store.Audit(ctx, archive.AuditQuery{Types: []string{string(ledger.TypeUser)}, Before: before, Limit: recallEvents})
		if err != nil {
			return fmt.Errorf("find out who has set the credentials of users: %w", err)
		}
		for _, e := range some {
			if _, _, ok := credential(&e); ok { // log-ins are many
				events = append(events, e)
			}
		}
		before = next
	}
	found := map[string]*users.User{}
	for _, e := range slices.Backward(events) {
		name, what, _ := credential(&e)
		u := found[name]
		if u == nil {
			u = &users.User{Name: name}
			found[name] = u
		}
		by := users.Setter{By: archive.Person(e.Actor)}
		if _, err := people.Get(by.By); err != nil {
			by.How = access.BySocket
		}
		if what == users.SetLink {
			by = users.Setter{By: archive.Person(SystemUser()), How: access.BySocket}
		}
		u.Note(what, by, e.Time)
	}
	for name, u := range found {
		known, err := people.Get(name)
		if err != nil || len(known.Set) > 0 {
			continue
		}
		if err := people.Update(name, func(now *users.User) error {
			now.Set = u.Set
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// credential is what an event about a user has set, if anything.
func credential(e *archive.AuditEvent) (user, what string, ok bool) {
	var d struct {
		User     string `json:"user"`
		What     string `json:"what"`
		Password bool   `json:"password"`
		Codes    *bool  `json:"codes"`
	}
	if json.Unmarshal(e.Details, &d) != nil {
		return "", "", false
	}
	switch d.What {
	case "add":
		return d.User, users.SetAccount, true
	case "first user", "user from identity provider":
		return e.Actor, users.SetAccount, true
	case "token":
		return d.User, users.SetToken, true
	case "own password":
		return d.User, users.SetPassword, true
	case "own codes":
		return d.User, users.SetCodes, true
	case "login by link":
		return e.Actor, users.SetLink, true
	case "change":
		if d.Password {
			return d.User, users.SetPassword, true
		}
		return d.User, users.SetCodes, d.Codes != nil
	}
	return "", "", false
}
