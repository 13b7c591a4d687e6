package access_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/postkeep/postkeep/web/access"
)

func TestWhoOperatesTheArchiveReadsNoMailAndTheOtherWayRound(t *testing.T) {
	all := []access.Permission{access.Anyone, access.Read, access.Export, access.Comply, access.Audit, access.Operate, access.Manage}
	want := map[access.Role][]access.Permission{
		access.User:    {access.Anyone, access.Read, access.Export},
		access.Auditor: {access.Anyone, access.Read, access.Export},
		access.Officer: {access.Anyone, access.Read, access.Export, access.Comply, access.Audit},
		access.Admin:   {access.Anyone, access.Operate, access.Manage},
		access.Local:   all,
		"root":         nil,
		"":             nil,
	}
	for role, may := range want {
		p := &access.Principal{Name: "anna", Roles: []access.Role{role}}
		for _, what := range all {
			if got := p.May(what); got != slices.Contains(may, what) {
				t.Errorf("%q may %s: %v", role, what, got)
			}
		}
	}
	if access.Of(context.Background()).May(access.Anyone) {
		t.Error("nobody may something")
	}
}

func TestScopeSeesGrantedMailboxesAndDaysOnly(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC) }
	s := access.Scope{Mailboxes: []string{"sales"}, From: day(2), To: day(5)}
	for _, c := range []struct {
		mailbox  string
		received time.Time
		sees     bool
	}{
		{"sales", day(2), true}, {"sales", day(4), true}, {"sales", day(1), false},
		{"sales", day(5), false}, {"board", day(3), false}, {"", day(3), false},
	} {
		if got := s.Sees(c.mailbox, c.received); got != c.sees {
			t.Errorf("sees %q on %s: %v", c.mailbox, c.received.Format(time.DateOnly), got)
		}
	}
	if (&access.Scope{}).Sees("sales", day(3)) {
		t.Error("the empty scope sees something")
	}
	if !(&access.Scope{All: true}).Sees("board", day(1)) {
		t.Error("the scope of all does not see everything")
	}
}
