package main

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startNATS builds nats-server from its Go module and starts it as a process
// of its own, on a free port of loopback.
func startNATS(t *testing.T) (url string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(addr, ":")
	var log bytes.Buffer
	cmd := exec.Command(program, "-a", host, "-p", port, "-js", "-sd", filepath.Join(dir, "store"))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return "nats://" + addr
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("nats-server does not answer:\n%s", log.String())
	return ""
}

func TestExternalNATSGivesTheSameResult(t *testing.T) {
	users := []string{"sales", "support", "archive"}
	server := startDovecot(t, users...)
	onWire := map[string]map[string]int{}
	yaml := "nats: { url: \"" + startNATS(t) + "\" }\nmailboxes:\n"
	for i, msg := range generated(t, 600) {
		deliver(t, server, users[i%len(users)], [][]byte{msg})
	}
	for _, u := range users {
		yaml += mailboxYAML(server, u, "")
		onWire[u] = rawHashes(t, server, u)
	}
	s := newSite(t, yaml)
	for name, r := range reports(t, s.ok("poll", "--json")) {
		if r.Listed != 200 || r.Archived != 200 || r.Deleted != 200 || r.Error != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	wantEmpty(t, server, users...)
	checkRaw(t, s, onWire)
	checkUnique(t, s, onWire)
	if out := s.ok("status"); !strings.Contains(out, "nats://127.0.0.1") || !strings.Contains(out, "0 waiting") {
		t.Errorf("status: %s", out)
	}
}
