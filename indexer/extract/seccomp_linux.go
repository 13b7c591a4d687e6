package extract

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plainCalls are the system calls that a Go process needs that reads and writes
// descriptors that it has: those that strace shows after the start of a child, and
// those of runtime/sys_linux_*.s that depend on timing. None of them opens
// anything, names another process, or changes what this one may do.
var plainCalls = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, // timers sleep in the network poller
	unix.SYS_MUNMAP, unix.SYS_MADVISE,
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, // where the vDSO does not answer
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETRUSAGE, unix.SYS_GETRANDOM,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, // threads of a C library
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// threadFlags are what the runtime and the C libraries start threads with. A new
// process has other flags, a namespace has more.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD |
	unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_SETTID | unix.CLONE_CHILD_CLEARTID | unix.CLONE_DETACHED

// Offsets in struct seccomp_data (linux/seccomp.h); both systems are little
// endian, so that these are the lower halves of the arguments. The kernel takes no
// more of those that are looked at.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16
	dataArg1   = 24
	dataArg2   = 32
)

// filterSystemCalls makes the kernel refuse everything but what
// systemCallFilter allows, in all threads and for ever.
func filterSystemCalls() error {
	if auditArch == 0 {
		return errors.New("no filter was tried on this processor")
	}
	filter := systemCallFilter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]} //nolint:gosec // some hundred
	// With TSYNC the other threads also get no_new_privs.
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errno
	}
	return nil
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump goes forward by a number of instructions.
func jump(kind uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | kind, Jt: yes, Jf: no, K: k}
}

func give(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

// systemCallFilter is the program.
func systemCallFilter() []unix.SockFilter {
	allow := give(unix.SECCOMP_RET_ALLOW)
	deny := give(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	filter := []unix.SockFilter{
		load(dataArch),
		jump(unix.BPF_JEQ, auditArch, 1, 0),
		give(unix.SECCOMP_RET_KILL_PROCESS),
		load(dataNumber),
	}
	// on adds what happens at a system call.
	on := func(call uint32, then ...unix.SockFilter) {
		filter = append(filter, jump(unix.BPF_JEQ, call, 0, uint8(len(then)))) //nolint:gosec // a few
		filter = append(filter, then...)
	}
	// equal allows a call if an argument has a value.
	equal := func(offset, value uint32) []unix.SockFilter {
		return []unix.SockFilter{load(offset), jump(unix.BPF_JEQ, value, 0, 1), allow, deny}
	}
	for _, call := range plainCalls {
		on(call, allow)
	}
	notExecutable := []unix.SockFilter{load(dataArg2), jump(unix.BPF_JSET, unix.PROT_EXEC, 1, 0), allow, deny}
	on(unix.SYS_MMAP, notExecutable...)
	on(unix.SYS_MPROTECT, notExecutable...)
	on(unix.SYS_CLONE,
		load(dataArg0),
		jump(unix.BPF_JSET, ^uint32(threadFlags), 2, 0),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1),
		allow,
		deny)
	on(unix.SYS_CLONE3, give(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS))) // its flags cannot be seen; ENOSYS makes callers use clone
	on(unix.SYS_TGKILL, equal(dataArg0, uint32(os.Getpid()))...)          //nolint:gosec // the runtime interrupts its own threads
	on(unix.SYS_PRCTL, equal(dataArg0, unix.PR_SET_VMA)...)               // the runtime names its memory
	on(unix.SYS_PRLIMIT64,                                                // limitCPU, of this process only
		load(dataArg0), jump(unix.BPF_JEQ, 0, 0, 3),
		load(dataArg1), jump(unix.BPF_JEQ, unix.RLIMIT_CPU, 0, 1),
		allow,
		deny)
	return append(filter, deny)
}
