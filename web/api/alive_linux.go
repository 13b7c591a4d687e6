package api

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerProcess is the id of the process that listens at the other end of a Unix socket, by SO_PEERCRED (unix(7)); 0 if that cannot be told.
func peerProcess(c net.Conn) (pid int) {
	sc, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0
	}
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil {
		return 0
	}
	return pid
}
