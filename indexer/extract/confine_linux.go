package extract

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nobody is the user and the group of a child whose parent is root: the number
// that the kernel itself uses for users without a name.
const nobody = 65534

// runtimeMemory is what a process may map beyond its limit: stacks of threads,
// and room until the watch notices.
const runtimeMemory = 256 << 20

// platformMeans are the means of Linux, in the order in which they can be used:
// what comes later takes away what the earlier ones need.
func platformMeans(memory int64) []means {
	return []means{
		{name: "memory", use: func() error { return limitMemory(memory) }},
		{name: "user " + fmt.Sprint(nobody), use: changeUser},
		{name: "no capabilities", essential: true, use: dropCapabilities},
		{name: "not traceable", use: func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }},
		{name: "no new privileges", essential: true, use: func() error { return onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0) }},
		{name: "landlock", use: restrictFiles},
		{name: "system calls", essential: true, use: filterSystemCalls}, // the last: it refuses what the others do
	}
}

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

// changeUser makes root nobody. The program was started by then: nobody need
// not be able to read its file.
func changeUser() error {
	if os.Geteuid() != 0 && os.Getuid() != 0 {
		return errUnneeded
	}
	caps, err := capabilities()
	if err != nil {
		return err
	}
	if caps[0].Effective&(1<<unix.CAP_KILL) == 0 {
		// The parent has the same capabilities: as nobody, the child could not be ended by it.
		return errors.New("root without CAP_KILL")
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("setresgid: %w", err)
	}
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	return nil
}

func capabilities() (data [2]unix.CapUserData, err error) {
	err = unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return data, err
}

// dropCapabilities leaves none to any thread, and looks whether that is so.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0); err != nil {
		return err
	}
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		return errors.Join(errors.New("/proc/self/task does not list the threads"), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file) //nolint:gosec // of this process
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return err
		}
		for line := range bytes.Lines(data) {
			name, value, _ := bytes.Cut(line, []byte(":"))
			has := len(bytes.Trim(value, "0 \t\n")) > 0
			if has && (string(name) == "CapPrm" || string(name) == "CapEff" || string(name) == "CapAmb") {
				return fmt.Errorf("a thread still has capabilities: %s", bytes.TrimSpace(line))
			}
		}
	}
	return nil
}

// onAllThreads makes a system call in every thread. A program that is linked
// with a C library makes it in this one only: what starts this way has to be
// made complete by filterSystemCalls, or looked at.
func onAllThreads(trap, a1, a2, a3 uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(trap, a1, a2, a3, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		_, _, errno = syscall.RawSyscall6(trap, a1, a2, a3, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}
