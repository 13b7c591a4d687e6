//go:build !linux

package api

import "net"

// peer is the user that runs this process: the socket is in a directory that
// nobody else can enter.
func peer(net.Conn) string { return currentUser() }
