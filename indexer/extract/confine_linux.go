package extract

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// runtimeMemory is what a process may map beyond its limit: stacks of threads,
// and room until the watch notices.
const runtimeMemory = 256 << 20

// limitMemory has the kernel refuse what goes far beyond the limit that the
// process keeps itself. Not by RLIMIT_AS: Go reserves much more address space
// than it uses.
func limitMemory(memory int64) error {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var size, resident, shared, text, lib, private uint64
	if _, err := fmt.Fscan(bytes.NewReader(data), &size, &resident, &shared, &text, &lib, &private); err != nil {
		return fmt.Errorf("read /proc/self/statm: %w", err)
	}
	return setLimit(unix.RLIMIT_DATA, private*uint64(os.Getpagesize())+uint64(max(memory, 0))+runtimeMemory) //nolint:gosec // not negative
}

// deniedCalls are the system calls that a process that only reads and writes
// its pipes has no use for. clone is looked at more closely: the runtime starts threads.
var deniedCalls = append([]uint32{
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_UNLINKAT,
	unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_FCHMODAT, unix.SYS_FCHOWNAT, unix.SYS_TRUNCATE,
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
	unix.SYS_KILL, unix.SYS_MOUNT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, // would do all of the above past the filter
	unix.SYS_MEMFD_CREATE, unix.SYS_SHMGET, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_CHROOT,
}, oldCalls...)

// Offsets in struct seccomp_data (linux/seccomp.h); both systems are little endian.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16
)

// x32Bit marks system calls of another ABI on amd64.
const x32Bit = 0x40000000

// filterSystemCalls makes the kernel refuse deniedCalls, in all threads and
// for ever.
func filterSystemCalls() error {
	if auditArch == 0 {
		return unix.ENOSYS
	}
	filter := systemCallFilter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]} //nolint:gosec // some fifty
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	return nil
}

// systemCallFilter is the program. Jumps go forward by a number of instructions.
func systemCallFilter() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(kind uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | kind, Jt: yes, Jf: no, K: k}
	}
	give := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	allow := give(unix.SECCOMP_RET_ALLOW)
	deny := give(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	filter := []unix.SockFilter{
		load(dataArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		give(unix.SECCOMP_RET_KILL_PROCESS),
		load(dataNumber),
		jump(unix.BPF_JGE, x32Bit, 0, 1),
		deny,
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), // its flags cannot be seen; ENOSYS makes callers use clone
		give(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
	}
	for _, call := range deniedCalls {
		filter = append(filter, jump(unix.BPF_JEQ, call, 0, 1), deny)
	}
	return append(filter,
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 1, 0),
		allow,
		load(dataArg0),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 1, 0),
		deny,
		allow,
	)
}
