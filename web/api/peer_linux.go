package api

import (
	"net"

	"golang.org/x/sys/unix"
)

// peer is the user at the other end, by SO_PEERCRED (unix(7)).
func peer(c net.Conn) string {
	sc, ok := c.(*net.UnixConn)
	if !ok {
		return currentUser() // the same process
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return "unknown"
	}
	name := "unknown"
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			name = userName(cred.Uid)
		}
	})
	if err != nil {
		return "unknown"
	}
	return name
}
