package api

import (
	"context"
	"net"
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
	return unknown
}

const unknown = "unknown"

// maxActorBytes bounds the names that people give to what is theirs.
const maxActorBytes = 64

// connContext notes the user at the other end of a Unix socket.
func connContext(ctx context.Context, c net.Conn) context.Context {
	return local(ctx, peer(c))
}

// local makes name the one who asks, with all that the owner of the data
// directory may do.
func local(ctx context.Context, name string) context.Context {
	return access.With(ctx, &access.Principal{Name: name, Roles: []access.Role{access.Local}, Scope: access.Scope{All: true},
		Login: access.Login{How: access.BySocket}})
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

// SystemUser is who runs this process, as the kernel has it: nothing that could be set in the environment counts.
func SystemUser() string {
	uid := os.Getuid()
	if uid < 0 { // Windows
		if u, err := user.Current(); err == nil {
			return u.Username
		}
		return unknown
	}
	return actorOf(uint32(uid), os.Getpid()) //nolint:gosec // a user id has 32 bits
}

// actorOf names a user, and who logged in to the system if that was somebody else: whoever became root by sudo or su.
func actorOf(uid uint32, pid int) string {
	name := userName(uid)
	if login, ok := loginUser(pid); ok && login != uid {
		name += " (login " + strconv.QuoteToASCII(userName(login)) + ")"
	}
	return name
}
