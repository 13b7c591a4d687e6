package api

import (
	"os"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/web/access"
)

func TestTheEnvironmentDoesNotSayWhoActs(t *testing.T) {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME", "SUDO_UID"} {
		t.Setenv(name, "mallory")
	}
	if got := SystemUser(); strings.Contains(got, "mallory") {
		t.Errorf("who runs this is %q", got)
	}
	_, c := instance(t, hello)
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx := local(t.Context(), actorOf(uint32(os.Getuid()), os.Getpid()))
	if p := access.Of(ctx); p.Login.How != "socket" || p.Login.Account || p.Login.Interactive {
		t.Errorf("a socket has the login %+v", p.Login)
	}
}
