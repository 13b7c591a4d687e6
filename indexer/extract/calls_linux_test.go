package extract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call that a confined child makes.
type call struct {
	name   string
	number uintptr
	args   [6]uintptr
	want   unix.Errno
}

const refused = unix.EPERM

// callsToTry are system calls with arguments with which most of them succeed if nothing refuses them.
func callsToTry(victim string) []call {
	at := func(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s + "\x00"))) }
	path, other := at(victim), at(victim+"-other")
	at0 := unix.AT_FDCWD
	cwd := uintptr(at0)
	parent, self := uintptr(os.Getppid()), uintptr(os.Getpid())
	buf := uintptr(unsafe.Pointer(new([4096]byte)))
	page := uintptr(os.Getpagesize())
	const rw, anonymous = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_ANON | unix.MAP_PRIVATE
	none := ^uintptr(0)
	args := func(a ...uintptr) (out [6]uintptr) { copy(out[:], a); return out }
	return append(oldCalls(path, buf), []call{
		{"openat", unix.SYS_OPENAT, args(cwd, path), refused},
		{"openat2", unix.SYS_OPENAT2, args(cwd, path, buf, 24), refused},
		{"fchmodat", unix.SYS_FCHMODAT, args(cwd, path, 0o777), refused},
		{"fchmodat2", unix.SYS_FCHMODAT2, args(cwd, path, 0o777), refused},
		{"fchownat", unix.SYS_FCHOWNAT, args(cwd, path, 1, 1), refused},
		{"setxattr", unix.SYS_SETXATTR, args(path, at("user.a"), buf, 1), refused},
		{"lsetxattr", unix.SYS_LSETXATTR, args(path, at("user.a"), buf, 1), refused},
		{"getxattr", unix.SYS_GETXATTR, args(path, at("user.a"), buf, 1), refused},
		{"utimensat", unix.SYS_UTIMENSAT, args(cwd, path), refused},
		{"newfstatat or statx", unix.SYS_STATX, args(cwd, path, 0, 0xfff, buf), refused},
		{"statfs", unix.SYS_STATFS, args(path, buf), refused},
		{"faccessat", unix.SYS_FACCESSAT, args(cwd, path), refused},
		{"readlinkat", unix.SYS_READLINKAT, args(cwd, at("/proc/self/exe"), buf, 4096), refused},
		{"truncate", unix.SYS_TRUNCATE, args(path), refused},
		{"mkdirat", unix.SYS_MKDIRAT, args(cwd, other, 0o700), refused},
		{"mknodat", unix.SYS_MKNODAT, args(cwd, other, unix.S_IFIFO|0o600), refused},
		{"symlinkat", unix.SYS_SYMLINKAT, args(path, cwd, other), refused},
		{"linkat", unix.SYS_LINKAT, args(cwd, path, cwd, other), refused},
		{"renameat2", unix.SYS_RENAMEAT2, args(cwd, path, cwd, other), refused},
		{"unlinkat", unix.SYS_UNLINKAT, args(cwd, path), refused},
		{"chdir", unix.SYS_CHDIR, args(at("/")), refused},
		{"chroot", unix.SYS_CHROOT, args(at("/")), refused},
		{"umask", unix.SYS_UMASK, args(0), refused},
		{"inotify_init1", unix.SYS_INOTIFY_INIT1, args(), refused},
		{"memfd_create", unix.SYS_MEMFD_CREATE, args(at("x")), refused},
		{"socket", unix.SYS_SOCKET, args(unix.AF_INET, unix.SOCK_STREAM), refused},
		{"socket (packet)", unix.SYS_SOCKET, args(unix.AF_PACKET, unix.SOCK_RAW), refused},
		{"socketpair", unix.SYS_SOCKETPAIR, args(unix.AF_UNIX, unix.SOCK_STREAM, 0, buf), refused},
		{"connect", unix.SYS_CONNECT, args(0, buf, 16), refused},
		{"sendmsg", unix.SYS_SENDMSG, args(0, buf), refused},
		{"execve", unix.SYS_EXECVE, args(at("/bin/true")), refused},
		{"execveat", unix.SYS_EXECVEAT, args(cwd, at("/bin/true")), refused},
		{"clone (process)", unix.SYS_CLONE, args(uintptr(unix.SIGCHLD)), refused},
		{"clone (thread in a new network)", unix.SYS_CLONE, args(unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_NEWNET), refused},
		{"clone3", unix.SYS_CLONE3, args(buf, 0), unix.ENOSYS},
		{"unshare", unix.SYS_UNSHARE, args(unix.CLONE_NEWUTS), refused},
		{"setns", unix.SYS_SETNS, args(0), refused},
		{"kill (parent)", unix.SYS_KILL, args(parent, 0), refused},
		{"tkill (parent)", unix.SYS_TKILL, args(parent, 0), refused},
		{"tgkill (parent)", unix.SYS_TGKILL, args(parent, parent, 0), refused},
		{"tgkill (itself)", unix.SYS_TGKILL, args(self, self, 0), 0},
		{"rt_sigqueueinfo (parent)", unix.SYS_RT_SIGQUEUEINFO, args(parent, 0, buf), refused},
		{"pidfd_open (parent)", unix.SYS_PIDFD_OPEN, args(parent), refused},
		{"pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, args(0, 0), refused},
		{"prlimit64 (parent)", unix.SYS_PRLIMIT64, args(parent, unix.RLIMIT_CPU, 0, buf), refused},
		{"prlimit64 (files)", unix.SYS_PRLIMIT64, args(0, unix.RLIMIT_NOFILE, 0, buf), refused},
		{"prlimit64 (processor)", unix.SYS_PRLIMIT64, args(0, unix.RLIMIT_CPU, 0, buf), 0},
		{"setpriority (parent)", unix.SYS_SETPRIORITY, args(0, parent, 10), refused},
		{"sched_setaffinity (parent)", unix.SYS_SCHED_SETAFFINITY, args(parent, 8, buf), refused},
		{"ptrace (parent)", unix.SYS_PTRACE, args(unix.PTRACE_SEIZE, parent), refused},
		{"process_vm_readv (parent)", unix.SYS_PROCESS_VM_READV, args(parent, 0, 0, 0, 0), refused},
		{"process_madvise", unix.SYS_PROCESS_MADVISE, args(none, 0, 0, 0, 0), refused},
		{"kcmp", unix.SYS_KCMP, args(self, self, 0), refused},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, args(8, buf), refused},
		{"bpf", unix.SYS_BPF, args(0, buf, 64), refused},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, args(buf, 0, none, none), refused},
		{"userfaultfd", unix.SYS_USERFAULTFD, args(0), refused},
		{"keyctl", unix.SYS_KEYCTL, args(0, none), refused},
		{"shmget", unix.SYS_SHMGET, args(0, 4096, 0o600|unix.IPC_CREAT), refused},
		{"prctl (traceable again)", unix.SYS_PRCTL, args(unix.PR_SET_DUMPABLE, 1), refused},
		{"personality", unix.SYS_PERSONALITY, args(0xffffffff), refused},
		{"setresuid", unix.SYS_SETRESUID, args(none, none, none), refused},
		{"capset", unix.SYS_CAPSET, args(buf), refused},
		{"mount", unix.SYS_MOUNT, args(at("x"), at("/nonexistent"), at("tmpfs")), refused},
		{"seccomp", unix.SYS_SECCOMP, args(unix.SECCOMP_GET_ACTION_AVAIL, 0, buf), refused},
		{"mmap (executable)", unix.SYS_MMAP, args(0, page, rw|unix.PROT_EXEC, anonymous, none), refused},
		{"mmap", unix.SYS_MMAP, args(0, page, rw, anonymous, none), 0},
		{"mprotect (executable)", unix.SYS_MPROTECT, args(buf&^(page-1), 0, unix.PROT_READ|unix.PROT_EXEC), refused},
		{"getpid", unix.SYS_GETPID, args(), 0},
		{"getrandom", unix.SYS_GETRANDOM, args(buf, 16), 0},
		{"write", unix.SYS_WRITE, args(2, buf, 0), 0},
		{"a number that does not exist yet", 4000, args(), refused},
	}...)
}

// tried is the outcome of a call.
type tried struct {
	Name      string
	Got, Want unix.Errno
}

// tryCalls is confined as a child is, and writes what the calls gave.
func tryCalls(w io.Writer) error {
	calls := callsToTry(os.Args[2])
	confinement := confine(512 << 20)
	out := make([]tried, 0, len(calls))
	for _, c := range calls {
		r, _, errno := unix.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		if strings.Contains(c.name, "(process)") && errno == 0 && r == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		out = append(out, tried{c.name, errno, c.want})
	}
	return json.NewEncoder(w).Encode(struct {
		Confinement Confinement
		Tried       []tried
	}{confinement, out})
}

func TestConfinedChildMakesNoOtherSystemCalls(t *testing.T) {
	if auditArch == 0 {
		t.Skip("no filter was tried on this processor")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, roleCalls, victim)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var got struct {
		Confinement Confinement
		Tried       []tried
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	t.Log(got.Confinement)
	if got.Confinement.Unconfined != "" {
		t.Errorf("unconfined: %s", got.Confinement.Unconfined)
	}
	if len(got.Tried) < 60 {
		t.Errorf("%d calls were tried", len(got.Tried))
	}
	for _, c := range got.Tried {
		t.Logf("%-34s %s", c.Name, word(c.Got))
		if c.Got != c.Want {
			t.Errorf("%s: %s, want %s", c.Name, word(c.Got), word(c.Want))
		}
	}
	if b, err := os.ReadFile(victim); string(b) != "content" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

func word(errno unix.Errno) string {
	if errno == 0 {
		return "allowed"
	}
	return unix.ErrnoName(errno)
}

// A child of root is not root, in none of its threads, and has no capabilities.
func TestChildIsNobodyWithoutCapabilities(t *testing.T) {
	p := pool(t, roleServe, nil)
	p.want(t, "a.txt", []byte("text"), "text", "")
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.running()))
	if err != nil || len(files) < 2 {
		t.Fatalf("threads %v, %v", files, err)
	}
	uid := fmt.Sprint(os.Getuid())
	if uid == "0" {
		uid = fmt.Sprint(nobody)
	}
	want := map[string]string{
		"Uid": strings.Join([]string{uid, uid, uid, uid}, " "), "NoNewPrivs": "1", "Seccomp": "2",
		"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
	}
	if os.Getuid() == 0 {
		want["Groups"] = ""
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(line, ":")
			value = strings.Join(strings.Fields(value), " ")
			if w, ok := want[name]; ok && value != w {
				t.Errorf("%s: %s is %q, want %q", file, name, value, w)
			}
		}
	}
}

// Landlock stands also where the filter of system calls does not.
func TestLandlockTakesTheFileSystem(t *testing.T) {
	if os.Getenv("EXTRACT_LANDLOCK") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v") //nolint:gosec // this program
		cmd.Env = append(os.Environ(), "EXTRACT_LANDLOCK=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	file := os.Args[0] // not of TempDir, which could not be removed any more
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	if err == nil {
		err = restrictFiles()
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTSUP) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(file); !errors.Is(err, unix.EACCES) {
		t.Errorf("read: %v", err)
	}
	if err := os.WriteFile(file+"-new", nil, 0o600); !errors.Is(err, unix.EACCES) {
		t.Errorf("write: %v", err)
	}
	if c, err := net.Dial("tcp", "127.0.0.1:9"); c != nil || !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial: %v", err)
	}
}
