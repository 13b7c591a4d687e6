//go:build !linux

package api

import "net"

// peer is the user that runs this process: the socket is in a directory that
// nobody else can enter.
func peer(net.Conn) string { return SystemUser() }

// loginUser is not known here.
func loginUser(int) (uint32, bool) { return 0, false }
