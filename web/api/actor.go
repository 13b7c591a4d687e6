package api

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"

	"github.com/postkeep/postkeep/web/access"
)

// Actor is who makes the request, as the ledger names them.
func Actor(ctx context.Context) string {
	if p := access.Of(ctx); p != nil {
		return p.Name
	}
	return "unknown"
}

// sudoHeader carries the user behind sudo. It is believed only from root, who
// could write anything into the ledger anyway.
const sudoHeader = "Postkeep-Sudo-User"

// maxActorBytes bounds what a client can add to the actor.
const maxActorBytes = 64

// connContext notes the user at the other end of a Unix socket.
func connContext(ctx context.Context, c net.Conn) context.Context {
	return local(ctx, peer(c))
}

// local makes name the one who asks, with all that the owner of the data
// directory may do.
func local(ctx context.Context, name string) context.Context {
	return access.With(ctx, &access.Principal{Name: name, Roles: []access.Role{access.Local}, Scope: access.Scope{All: true}})
}

// withSudo adds the user behind sudo to the actor.
func withSudo(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		origin := r.Header.Get(sudoHeader)
		if origin != "" && len(origin) <= maxActorBytes && Actor(ctx) == userName(0) {
			ctx = local(ctx, Actor(ctx)+" (sudo by "+strconv.QuoteToASCII(origin)+")")
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

// SystemUser is who runs this process, with the user behind sudo.
func SystemUser() string {
	name := currentUser()
	if origin := os.Getenv("SUDO_USER"); origin != "" && len(origin) <= maxActorBytes && name == userName(0) {
		name += " (sudo by " + strconv.QuoteToASCII(origin) + ")"
	}
	return name
}

func currentUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
