package extract

import "golang.org/x/sys/unix"

// oldCalls are those that newer processors never had.
func oldCalls(path, buf uintptr) []call {
	return []call{
		{"open", unix.SYS_OPEN, [6]uintptr{path}, refused},
		{"stat", unix.SYS_STAT, [6]uintptr{path, buf}, refused},
		{"lstat", unix.SYS_LSTAT, [6]uintptr{path, buf}, refused},
		{"access", unix.SYS_ACCESS, [6]uintptr{path}, refused},
		{"chmod", unix.SYS_CHMOD, [6]uintptr{path, 0o777}, refused},
		{"lchown", unix.SYS_LCHOWN, [6]uintptr{path, 1, 1}, refused},
		{"utime", unix.SYS_UTIME, [6]uintptr{path}, refused},
		{"unlink", unix.SYS_UNLINK, [6]uintptr{path}, refused},
		{"fork (process)", unix.SYS_FORK, [6]uintptr{}, refused},
		{"getpid by the x32 convention", 0x40000000 | unix.SYS_GETPID, [6]uintptr{}, refused},
	}
}
