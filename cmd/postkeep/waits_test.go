//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// soon is what a wait for something that is dead may take on a slow machine. It used to be ten minutes, or for ever.
const soon = 90 * time.Second

// A connection to the socket of a stopped process succeeds, but nothing answers.
func TestStatusOfAStoppedInstanceSaysSo(t *testing.T) {
	s := newSite(t, "")
	_, stop := s.daemon()
	pid := s.process.Pid
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := s.run("status")
	if took := time.Since(began); took > soon {
		t.Errorf("status took %s", took)
	}
	if r.code != exitFailed || !strings.Contains(r.stderr, "does not answer") || !strings.Contains(r.stderr, fmt.Sprintf("process %d", pid)) {
		t.Errorf("status of a stopped instance: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if err := s.process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code, log := stop(syscall.SIGTERM); code != 0 {
		t.Errorf("run: exit code %d\n%s", code, log)
	}
}

// A poll ends when the archive cannot write any more, and says why.
func TestPollEndsWhenTheWriterBreaks(t *testing.T) {
	server := startScripted(t, pop3test.Config{}, small(2000)...)
	s := newSite(t, scriptedYAML(server, ""))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.ok("status")         // makes the catalog
	const most = 300 << 10 // bytes of a file: the ledger becomes larger
	cmd := s.command(ctx, "poll")
	cmd.Args = append([]string{"prlimit", fmt.Sprintf("--fsize=%d", most), binary}, cmd.Args[1:]...)
	var err error
	if cmd.Path, err = exec.LookPath("prlimit"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("after %s: %v\n%s", time.Since(began), err, out)
	if took := time.Since(began); err == nil || took > soon || !strings.Contains(string(out), "file too large") {
		t.Errorf("poll with a writer that breaks took %s, error %v:\n%.4000s", took, err, out)
	}
	if r := s.run("poll"); r.code != 0 { // what was not receipted is still on the server
		t.Errorf("the next poll: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if got := strings.Count(s.ok("search", "--count", "size:>0"), "2000"); got != 1 {
		t.Errorf("not all messages are in the archive")
	}
}
