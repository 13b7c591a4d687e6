package api

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

// A change of a person that is refused, for whatever part of it, changes nothing and is no event; one that is made is one event.
func TestRefusedChangeOfAPersonChangesNothing(t *testing.T) {
	s, store := instance(t)
	people, err := users.Open(t.TempDir(), users.Options{HashMemory: 64})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"anna", "bert"} {
		if err := people.Add(t.Context(), users.User{Name: name, Roles: []access.Role{access.Admin}}, "correct horse battery"); err != nil {
			t.Fatal(err)
		}
	}
	s.opts.Users = people
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/api/v1/"+path, strings.NewReader(body))
		u, err := people.Get("anna")
		if err != nil {
			t.Fatal(err)
		}
		p := u.Principal()
		p.Login.Interactive = true
		s.ServeHTTP(w, r.WithContext(access.With(r.Context(), p)))
		return w
	}
	before, events := people.List(), size(t, store)
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"password and disabled beside a bad role", http.MethodPatch, "users/bert", `{"password":"another password","disabled":true,"roles":["root"]}`, http.StatusBadRequest},
		{"password beside days that end before they begin", http.MethodPatch, "users/bert", `{"password":"another password","from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}`, http.StatusBadRequest},
		{"disabled beside a short password", http.MethodPatch, "users/bert", `{"disabled":true,"password":"short"}`, http.StatusBadRequest},
		{"codes beside a bad role", http.MethodPatch, "users/bert", `{"codes":false,"roles":["local"]}`, http.StatusBadRequest},
		{"nobody", http.MethodPatch, "users/nobody", `{"disabled":true}`, http.StatusNotFound},
		{"a new user with a short password", http.MethodPost, "users", `{"name":"carl","roles":["user"],"password":"short"}`, http.StatusBadRequest},
		{"a new user with a bad role", http.MethodPost, "users", `{"name":"carl","roles":["root"],"password":"another password"}`, http.StatusBadRequest},
		{"a new user of a name that is taken", http.MethodPost, "users", `{"name":"bert","roles":["user"],"password":"another password"}`, http.StatusConflict},
		{"a new user with a name of 100,000 octets", http.MethodPost, "users", `{"name":"` + strings.Repeat("a", 100_000) + `","roles":["user"]}`, http.StatusBadRequest},
		{"a token of nobody", http.MethodPost, "users/nobody/tokens", `{"name":"report"}`, http.StatusNotFound},
		{"a token that has expired", http.MethodPost, "users/bert/tokens", `{"name":"report","expires":"` + past + `"}`, http.StatusBadRequest},
		{"a token that is not there is revoked", http.MethodDelete, "users/bert/tokens/00000000", "", http.StatusBadRequest},
		{"own token that is not there is revoked", http.MethodDelete, "me/tokens/00000000", "", http.StatusBadRequest},
		{"codes without a right code", http.MethodPut, "me/codes", `{"secret":"JBSWY3DPEHPK3PXP","code":"000000","password":"correct horse battery"}`, http.StatusBadRequest},
		{"own password that is short", http.MethodPut, "me/password", `{"old":"correct horse battery","new":"short"}`, http.StatusBadRequest},
	} {
		if w := ask(c.method, c.path, c.body); w.Code != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, w.Code, w.Body, c.want)
		}
		if now := people.List(); !reflect.DeepEqual(now, before) {
			t.Errorf("%s: a refused change was made:\n%+v\n%+v", c.name, now, before)
			before = now
		}
		if n := size(t, store); n != events {
			t.Errorf("%s: a refused change is in the ledger", c.name)
			events = n
		}
	}
	if w := ask(http.MethodPatch, "users/bert", `{"password":"another password","disabled":true,"roles":["user","admin","user"],"mailboxes":["sales"]}`); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if n := size(t, store); n != events+1 {
		t.Errorf("one change is %d events", n-events)
	}
	u, err := people.Get("bert")
	if err != nil || !u.Disabled || len(u.Mailboxes) != 1 || u.Changed.IsZero() || !reflect.DeepEqual(u.Roles, []access.Role{access.Admin, access.User}) {
		t.Errorf("%+v, %v", u, err)
	}
	if err := people.Disable("bert", false); err != nil {
		t.Fatal(err)
	}
	if _, err := people.LogIn(t.Context(), "bert", "another password"); err != nil {
		t.Errorf("the new password: %v", err)
	}
}
