//go:build unix

package main

import "syscall"

// restrictFiles keeps every file that the process makes to its user, also those
// of libraries that know no better: the index holds the words of all mail.
func restrictFiles() { syscall.Umask(0o077) }
