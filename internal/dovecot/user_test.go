//go:build unix

package dovecot

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestServerRunsForAnOrdinaryUser runs some tests of this package again as
// nobody, if we are root.
func TestServerRunsForAnOrdinaryUser(t *testing.T) {
	Require(t)
	if os.Geteuid() != 0 {
		t.Skip("all tests run as an ordinary user here")
	}
	nobody, err := mailOwner()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "dctest") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	copyExecutable(t, program)
	cmd := exec.CommandContext(t.Context(), program, "-test.run", "^(TestServerServesWhatWasDelivered|TestCertificate.*|TestStop.*)$")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "POSTKEEP_REAL=required", "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(nobody.uid), Gid: uint32(nobody.gid)}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func copyExecutable(t *testing.T, dst string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
