package web_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/users"
)

// Who may do something, as the table of routes says it.
const (
	everybody = "everybody"                  // also who is not known
	anyone    = "user auditor officer admin" // who is known
	readers   = "user auditor officer"
	officers  = "officer"
	admins    = "admin"
)

// mayUse has every route of the pages and of the API. A new route needs an entry: think of
// who must not see what it shows.
func mayUse() map[string]string {
	return map[string]string{
		"GET /{$}":                        anyone,
		"GET /":                           anyone,
		"GET /profile":                    anyone,
		"POST /profile/{what}":            anyone,
		"POST /logout":                    anyone,
		"GET /login":                      everybody,
		"POST /login":                     everybody,
		"GET /login/link/{secret}":        everybody,
		"GET /login/provider":             everybody,
		"GET /login/provider/back":        everybody,
		"GET /setup/{secret}":             everybody,
		"POST /setup/{secret}":            everybody,
		"GET /search":                     readers,
		"GET /m/{id}":                     readers,
		"GET /m/{id}/html":                readers,
		"GET /m/{id}/part/{path}":         readers,
		"GET /m/{id}/raw":                 readers,
		"GET /exports":                    readers,
		"POST /exports":                   readers,
		"GET /exports/new":                readers,
		"GET /exports/{id}/download":      readers,
		"POST /exports/{id}/remove":       readers,
		"GET /holds":                      officers,
		"POST /holds":                     officers,
		"GET /holds/{name}":               officers,
		"GET /holds/new":                  officers,
		"POST /holds/{name}/release":      officers,
		"GET /retention":                  officers,
		"GET /retention/{id}":             officers,
		"GET /retention/{id}/certificate": officers,
		"POST /retention/do/{what}":       officers,
		"GET /audit":                      officers,
		"GET /audit/completeness":         officers,
		"GET /mailboxes":                  admins,
		"GET /mailboxes/events":           admins,
		"POST /mailboxes/poll":            admins,
		"GET /mailboxes/{name}":           admins,
		"GET /system":                     admins,
		"GET /users":                      admins,
		"POST /users":                     admins,
		"GET /users/{name}":               admins,
		"POST /users/{name}":              admins,
		"POST /users/changes/{id}/{what}": admins,

		"GET /api/v1/openapi.json":                                anyone,
		"GET /api/v1/me":                                          anyone,
		"PUT /api/v1/me/password":                                 anyone,
		"PUT /api/v1/me/codes":                                    anyone,
		"POST /api/v1/me/tokens":                                  anyone,
		"DELETE /api/v1/me/tokens/{token}":                        anyone,
		"PUT /api/v1/me/searches":                                 anyone,
		"GET /api/v1/search":                                      readers,
		"GET /api/v1/search/explain":                              officers, // it counts in the whole archive
		"GET /api/v1/messages/{id}":                               readers,
		"GET /api/v1/messages/{id}/raw":                           readers,
		"GET /api/v1/messages/{id}/custody":                       readers,
		"GET /api/v1/messages/{id}/structure":                     readers,
		"GET /api/v1/messages/{id}/parts/{path}":                  readers,
		"POST /api/v1/exports":                                    readers,
		"GET /api/v1/audit":                                       officers,
		"GET /api/v1/completeness":                                officers,
		"GET /api/v1/holds":                                       officers,
		"POST /api/v1/holds":                                      officers,
		"GET /api/v1/holds/{name}":                                officers,
		"POST /api/v1/holds/{name}/release":                       officers,
		"GET /api/v1/retention/rules":                             officers,
		"POST /api/v1/retention/rules":                            officers,
		"DELETE /api/v1/retention/rules/{name}":                   officers,
		"GET /api/v1/retention/rules/{name}/differences":          officers,
		"POST /api/v1/retention/rules/{name}/differences/confirm": officers,
		"GET /api/v1/retention/plans":                             officers,
		"POST /api/v1/retention/plans":                            officers,
		"GET /api/v1/retention/plans/{id}":                        officers,
		"GET /api/v1/retention/plans/{id}/deposits":               officers,
		"POST /api/v1/retention/plans/{id}/approve":               officers,
		"POST /api/v1/retention/plans/{id}/apply":                 officers,
		"GET /api/v1/retention/plans/{id}/certificate":            officers,
		"POST /api/v1/messages/{id}/erase":                        officers,
		"GET /api/v1/retention/clock":                             officers,
		"POST /api/v1/retention/clock/confirm":                    officers,
		"GET /api/v1/retention/changes":                           officers,
		"POST /api/v1/retention/changes/{id}/approve":             officers,
		"POST /api/v1/retention/changes/{id}/reject":              officers,
		"GET /api/v1/status":                                      admins,
		"GET /api/v1/metrics":                                     admins,
		"GET /api/v1/mailboxes":                                   admins,
		"GET /api/v1/mailboxes/{name}/polls":                      admins,
		"POST /api/v1/polls":                                      admins,
		"POST /api/v1/index/rebuild":                              admins,
		"POST /api/v1/catalog/rebuild":                            admins,
		"POST /api/v1/verify":                                     admins,
		"POST /api/v1/volumes/rotate":                             admins,
		"GET /api/v1/users":                                       admins,
		"POST /api/v1/users":                                      admins,
		"PATCH /api/v1/users/{name}":                              admins,
		"GET /api/v1/users/changes":                               admins,
		"POST /api/v1/users/changes/{id}/approve":                 admins,
		"POST /api/v1/users/changes/{id}/reject":                  admins,
		"POST /api/v1/users/{name}/tokens":                        admins,
		"DELETE /api/v1/users/{name}/tokens/{token}":              admins,
	}
}

func TestEveryRouteIsForThoseItIsMeantForAndNobodyElse(t *testing.T) {
	m := hello()
	s := newSite(t, m)
	for _, name := range []string{"user", "auditor"} {
		s.check(s.users.Update(name, grant("sales")))
	}
	table := mayUse()
	for _, pattern := range s.web.Patterns() {
		who, ok := table[pattern]
		delete(table, pattern)
		if !ok {
			t.Errorf("%s has no entry: who may use it?", pattern)
			continue
		}
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{$}", "", "{id}", m.id(), "{path}", "1.2", "{name}", "nobody", "{secret}", "x", "{token}", "x", "{what}", "look").Replace(path)
		for _, role := range append(access.Roles(), "") {
			b := s.browser(string(role))
			kind, body := "application/x-www-form-urlencoded", ""
			if strings.HasPrefix(path, "/api/") {
				kind, body = "application/json", "{}"
			}
			if strings.HasSuffix(path, "/events") { // which have no end of their own
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				b.ctx = ctx
			}
			got := b.do(method, path, body, "Content-Type", kind)
			may := who == everybody || slices.Contains(strings.Fields(who), string(role))
			if is := !turnedAway(got) || pattern == "POST /login" && got.code == http.StatusUnauthorized; is != may {
				t.Errorf("%s for %q: %d, allowed %v, want %v", pattern, role, got.code, is, may)
			}
			if !may && (strings.Contains(got.body, "contract") || strings.Contains(got.body, "maria")) {
				t.Errorf("%s for %q shows mail with %d", pattern, role, got.code)
			}
			checkHeaders(t, fmt.Sprintf("%s for %q", pattern, role), got.header, false)
		}
	}
	for pattern := range table {
		t.Errorf("%s has an entry and is no route", pattern)
	}
}

// turnedAway reports whether an answer is that of somebody who may not.
func turnedAway(a answer) bool {
	if a.code == http.StatusSeeOther && strings.HasPrefix(a.to(), "/login?next=") {
		return true
	}
	return a.code == http.StatusUnauthorized || a.code == http.StatusForbidden
}

func TestTokenMayWhatItsPersonMay(t *testing.T) {
	m := hello()
	s := newSite(t, m)
	s.check(s.users.Update("auditor", grant("sales")))
	nobody := s.browser("")
	for role, want := range map[string]map[string]int{
		"auditor": {"/api/v1/messages/" + m.id(): http.StatusOK, "/api/v1/status": http.StatusForbidden},
		"user":    {"/api/v1/messages/" + m.id(): http.StatusNotFound, "/api/v1/status": http.StatusForbidden},
		"admin":   {"/api/v1/messages/" + m.id(): http.StatusForbidden, "/api/v1/status": http.StatusOK},
	} {
		token, _, err := s.users.AddToken(role, "test", time.Time{})
		s.check(err)
		for path, code := range want {
			if got := nobody.do(http.MethodGet, path, "", "Authorization", "Bearer "+token); got.code != code {
				t.Errorf("%s with a token of %s: %d, want %d", path, role, got.code, code)
			}
		}
	}
}

func TestOwnPasswordChangeEndsTheOtherSessionsOnly(t *testing.T) {
	s := newSite(t)
	b, other := s.browser("user"), s.browser("user")
	if got := b.post("/profile/password", "old", "not the old one", "new", "another password"); got.code != http.StatusBadRequest {
		t.Errorf("without the old password: %d", got.code)
	}
	if !other.in() {
		t.Error("a refused change ended a session")
	}
	if got := b.post("/profile/password", "old", password, "new", "another password"); got.to() != "/profile?done=password" || !b.in() {
		t.Errorf("%d %s", got.code, got.to())
	}
	if other.in() {
		t.Error("the other session goes on")
	}
}

// grant gives mailboxes to somebody.
func grant(mailboxes ...string) func(*users.User) error {
	return func(u *users.User) error {
		u.Mailboxes = mailboxes
		return nil
	}
}
