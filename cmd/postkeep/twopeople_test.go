package main

import (
	"strings"
	"testing"

	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
)

// With dual control the owner of the data directory makes the first officer and the first administrators alone, and no officer after
// that; whoever has set the credentials of an officer is no second person for what that officer asks for.
func TestOfficersAreMadeByTwoAdministrators(t *testing.T) {
	browserSite(t) // which has a second officer made in that way
}

func TestOwnerOfTheDataDirectoryMakesNoOfficerAlone(t *testing.T) {
	s := newSite(t, "dual_control: true\nmailboxes: []\n")
	add := func(name, role string, code int) string {
		t.Helper()
		r := s.run("user", "add", name, "--role", role, "--no-password")
		if r.code != code {
			t.Errorf("user add %s --role %s: exit code %d, want %d\n%s%s", name, role, r.code, code, r.stdout, r.stderr)
		}
		return r.stdout
	}
	add("olga", "officer", exitDone) // without whom dual control does not start
	client, _ := s.daemon()
	if _, err := client.AddUser(t.Context(), api.NewPerson{Name: "ada", Roles: []access.Role{access.Admin}, Password: webPassword}); err != nil {
		t.Fatal(err)
	}
	if out := add("otto", "officer", exitPartly); !strings.Contains(out, "until somebody else approves change c") {
		t.Errorf("%q does not say what it waits for", out)
	}
	if out := s.ok("user", "list"); strings.Count(out, "officer") != 1 {
		t.Errorf("a second officer was made by one person:\n%s", out)
	}
	if out := s.ok("user", "changes"); !strings.Contains(out, "grant of officer to") || !strings.Contains(out, "otto") {
		t.Errorf("changes: %s", out)
	}
}
