package api

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// peer is the user at the other end, by SO_PEERCRED (unix(7)).
func peer(c net.Conn) string {
	sc, ok := c.(*net.UnixConn)
	if !ok {
		return SystemUser() // the same process
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return unknown
	}
	name := unknown
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			name = actorOf(cred.Uid, int(cred.Pid))
		}
	})
	if err != nil {
		return unknown
	}
	return name
}

// loginUser is who logged in to the session that a process belongs to: sudo and su leave it, and only the kernel
// changes it (loginuid of the audit system). There is none for what the system has started, in most containers, and for a process
// that is not seen from here.
func loginUser(pid int) (uint32, bool) {
	if pid <= 0 {
		return 0, false
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/loginuid", pid))
	if err != nil {
		return 0, false
	}
	id, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 32)
	const unset = math.MaxUint32
	return uint32(id), err == nil && id != unset
}
