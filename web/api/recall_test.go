package api

import (
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

func TestWhoSetCredentialsOfOlderAccountsIsInTheLedger(t *testing.T) {
	_, store := instance(t)
	people, err := users.Open(t.TempDir(), users.Options{HashMemory: 64})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ada", "otto", "olga", "unknown"} {
		if err := people.Add(t.Context(), users.User{Name: name, Roles: []access.Role{access.Admin}}, "correct horse battery"); err != nil {
			t.Fatal(err)
		}
		if err := people.Update(name, func(u *users.User) error { u.Set = nil; return nil }); err != nil { // as older versions did
			t.Fatal(err)
		}
	}
	record := func(actor string, details map[string]any) {
		t.Helper()
		if _, err := store.Record(t.Context(), archive.Action{Type: archive.ActionUser, Actor: actor, Details: details}); err != nil {
			t.Fatal(err)
		}
	}
	record("ada", map[string]any{"what": "first user"})
	record(`root (login "kim")`, map[string]any{"what": "add", "user": "otto"})
	record("ada", map[string]any{"what": "add", "user": "olga"})
	record("ada", map[string]any{"what": "change", "user": "otto", "password": true})
	record("ada", map[string]any{"what": "change", "user": "olga", "password": false, "codes": nil, "disabled": true})
	record("otto", map[string]any{"what": "login"})
	if err := Recall(t.Context(), store, people); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"ada": {"ada"}, "otto": {"otto", "kim", "ada"}, "olga": {"olga", "ada"}} {
		hands, known := people.Hands(name, time.Now())
		if !known || len(hands) != len(want) {
			t.Errorf("%s: %+v, known %v", name, hands, known)
		}
		for _, who := range want {
			if _, ok := hands[who]; !ok {
				t.Errorf("%s has set credentials of %s: %+v", who, name, hands)
			}
		}
	}
	if _, known := people.Hands("unknown", time.Now()); known {
		t.Error("of somebody of whom the ledger says nothing it is known")
	}
}
