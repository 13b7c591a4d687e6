//go:build unix

package popservers

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes the process and its children a process group of their own.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
