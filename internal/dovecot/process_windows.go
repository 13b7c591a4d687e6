package dovecot

import (
	"os"
	"os/exec"
)

// Dovecot does not exist on Windows; these let the tests that use it compile there.

func ownGroup(*exec.Cmd) {}

func killGroup(p *os.Process) error { return p.Kill() }
