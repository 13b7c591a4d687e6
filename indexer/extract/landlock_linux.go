package extract

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlockAccess are the rights on files that a version of Landlock knows, by
// the version in which they came (Documentation/userspace-api/landlock.rst).
var landlockAccess = []struct {
	version uintptr
	files   uint64
	network uint64
}{
	{version: 1, files: 1<<13 - 1}, // LANDLOCK_ACCESS_FS_EXECUTE to LANDLOCK_ACCESS_FS_MAKE_SYM
	{version: 2, files: unix.LANDLOCK_ACCESS_FS_REFER},
	{version: 3, files: unix.LANDLOCK_ACCESS_FS_TRUNCATE},
	{version: 4, network: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP},
	{version: 5, files: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
}

// landlockAllThreads is the version from which on the kernel itself restricts
// all threads of a process.
const landlockAllThreads = 8

// restrictFiles takes all access to file systems and TCP ports from all threads,
// also should the filter of system calls have a hole.
func restrictFiles() error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return fmt.Errorf("landlock: %w", errno) // not built into this kernel, or switched off
	}
	var rules unix.LandlockRulesetAttr
	for _, a := range landlockAccess {
		if version >= a.version {
			rules.Handled_access_fs |= a.files
			rules.Handled_access_net |= a.network
		}
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&rules)), unsafe.Sizeof(rules), 0)
	if errno != 0 {
		return fmt.Errorf("landlock_create_ruleset: %w", errno)
	}
	if version >= landlockAllThreads {
		_, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, unix.LANDLOCK_RESTRICT_SELF_TSYNC, 0)
	} else {
		_, _, errno = syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
	}
	err := unix.Close(int(fd)) //nolint:gosec // a descriptor
	if errno != 0 {
		return errors.Join(fmt.Errorf("landlock_restrict_self: %w", errno), err)
	}
	return err
}
