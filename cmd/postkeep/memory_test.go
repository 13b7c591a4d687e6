//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// sampleEvery is how often the memory of the program is looked at.
const sampleEvery = 50 * time.Millisecond

// peakRSSAnon runs a command and returns its highest anonymous memory in bytes.
func (s *site) peakRSSAnon(stdout io.Writer, args ...string) int64 {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := s.command(ctx, args...)
	cmd.Stdout = stdout
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var peak int64
	for {
		select {
		case <-tick.C:
			peak = max(peak, rssAnon(cmd.Process.Pid))
		case err := <-exited:
			if err != nil {
				s.t.Fatalf("postkeep %v: %v\n%s", args, err, stderr.String())
			}
			return peak
		}
	}
}

// rssAnon reads proc_pid_status(5); 0 when the process has just ended.
func rssAnon(pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var kib int64
		if _, err := fmt.Sscanf(lines.Text(), "RssAnon: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

func TestLargeMessageNeedsLittleMemory(t *testing.T) {
	const size, limit = 200 << 20, 200 << 20
	large := pop3test.Message{Size: size, Open: func() (io.ReadCloser, error) { return io.NopCloser(mailgen.Large(size)), nil }}
	server := startScripted(t, pop3test.Config{}, append(small(20), large)...)
	s := newSite(t, scriptedYAML(server, ""))
	sum := sha256.New()
	if _, err := io.Copy(sum, mailgen.Large(size)); err != nil {
		t.Fatal(err)
	}
	id := hex.EncodeToString(sum.Sum(nil))

	raw := sha256.New()
	for _, c := range []struct {
		stdout io.Writer
		args   []string
	}{
		{io.Discard, []string{"poll"}},
		{raw, []string{"show", "--raw", id}},
		{io.Discard, []string{"show", id}},
		{io.Discard, []string{"export", "--format", "eml", "--out", "eml"}},
		{io.Discard, []string{"export", "--format", "mbox", "--out", "all.mbox"}},
		{io.Discard, []string{"export", "--format", "concordance", "--out", "load.zip"}},
	} {
		peak := s.peakRSSAnon(c.stdout, c.args...)
		t.Logf("postkeep %s: peak RssAnon %d MiB", strings.Join(c.args, " "), peak>>20)
		if peak == 0 || peak > limit {
			t.Errorf("postkeep %v: peak RssAnon %d MiB, want at most %d", c.args, peak>>20, limit>>20)
		}
	}
	if got := hex.EncodeToString(raw.Sum(nil)); got != id {
		t.Errorf("show --raw gave %s, want %s", got, id)
	}
	if info, err := os.Stat(filepath.Join(s.dir, "eml", id+".eml")); err != nil || info.Size() != size {
		t.Errorf("exported file: %v, %v", info, err)
	}
}
