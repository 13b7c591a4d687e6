package popservers

import (
	"os"
	"os/exec"
)

// The servers do not exist on Windows; these let the tests that use them compile there.

func ownGroup(*exec.Cmd) {}

func killGroup(p *os.Process) error { return p.Kill() }
