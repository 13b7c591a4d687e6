//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/postkeep/postkeep/internal/corpus"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/api"
)

func TestMemoryLimitOfTheControlGroup(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want int64
	}{
		{"none", fstest.MapFS{}, math.MaxInt64},
		{"unlimited", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("max\n")}, math.MaxInt64},
		{"version 2", fstest.MapFS{"proc/self/cgroup": file("0::/system.slice/postkeep.service\n"),
			"sys/fs/cgroup/system.slice/postkeep.service/memory.max": file("314572800\n"), "sys/fs/cgroup/system.slice/memory.max": file("max\n")}, 300 << 20},
		{"the group above", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("400000000\n"), "sys/fs/cgroup/a/memory.max": file("300000000\n")}, 300_000_000},
		{"a container", fstest.MapFS{"proc/self/cgroup": file("0::/docker/0123\n"), "sys/fs/cgroup/memory.max": file("209715200\n")}, 200 << 20},
		{"version 1", fstest.MapFS{"proc/self/cgroup": file("9:name=systemd:/\n4:cpu,memory:/x\n"),
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("314572800\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, 300 << 20},
		{"hybrid", fstest.MapFS{"proc/self/cgroup": file("0::/x\n"), "sys/fs/cgroup/unified/x/memory.max": file("314572800\n")}, 300 << 20},
		{"damaged", fstest.MapFS{"proc/self/cgroup": file("0\n\n::::\n0::/x\n"), "sys/fs/cgroup/x/memory.max": file("many\n")}, math.MaxInt64},
	} {
		if got := cgroupMemory(c.fs); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for hard, want := range map[int64]int64{math.MaxInt64: softMemory, 300 << 20: 200 << 20, 1 << 20: minSoftMemory} {
		if got := softLimit(hard); got != want {
			t.Errorf("soft limit of %d: %d, want %d", hard, got, want)
		}
	}
}

// memoryGroup makes a control group with a limit, "" without the right to do so.
func memoryGroup(t *testing.T, limit int64) (procs string) {
	t.Helper()
	for root, name := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(root, fmt.Sprintf("postkeep-test-%d", os.Getpid()))
		if os.Mkdir(dir, 0o700) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, name), []byte(strconv.FormatInt(limit, 10)), 0o600) == nil {
			return filepath.Join(dir, "cgroup.procs")
		}
	}
	return ""
}

// within makes commands of the site run with a limit of memory: that of a control group if one can be made, else what they would
// read from it.
func (s *site) within(limit int64) {
	s.t.Helper()
	procs := memoryGroup(s.t, limit)
	s.t.Logf("control group: %q", procs)
	s.wrap = func(cmd *exec.Cmd) {
		if procs == "" {
			cmd.Env = append(cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", softLimit(limit)))
			return
		}
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, procs}, append([]string{binary}, cmd.Args[1:]...)...)
	}
}

// muchMail is 4,000 generated messages; with POSTKEEP_TORTURE 20,000, and in place of the first of them real ones with attachments where
// there are any.
func muchMail(t *testing.T) (mail []pop3test.Message) {
	t.Helper()
	n := 4_000
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		n = 20_000
		for _, name := range []string{"bench-list", "natural-small"} {
			if !corpus.Available(t, name) {
				continue
			}
			if err := corpus.Load(t.Context(), name, func(_ string, msg []byte) error {
				mail = append(mail, pop3test.Bytes(bytes.Clone(msg)))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, m := range generated(t, max(n-len(mail), 0)) {
		mail = append(mail, pop3test.Bytes(m))
	}
	return mail
}

// 300 MiB are enough for polling many messages (20,000 with POSTKEEP_TORTURE) with 50 people searching. The kernel used to end the process.
func TestPollingAndSearchingInThreeHundredMiB(t *testing.T) {
	const searches, limit = 50, 300 << 20
	mail := muchMail(t)
	server := startScripted(t, pop3test.Config{}, mail...)
	s := newSite(t, scriptedYAML(server, ""))
	s.within(limit)
	client, stop := s.daemon()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var answered sync.Map
	queries := []string{"meeting", "invoice OR report", "from:a*", "has:attachment", "subject:re", `"thank you"`, "size:>10k", "-the"}
	facets := []string{"mailbox", "domain", "year"}
	for n := range searches {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := client.Search(ctx, api.SearchRequest{Query: queries[n%len(queries)], Limit: 20, Facets: facets}); err != nil && ctx.Err() == nil {
					t.Errorf("search: %v", err)
					return
				}
				answered.Store(n, true)
			}
		})
	}
	var peak int64
	done := make(chan error, 1)
	go func() {
		done <- client.Poll(ctx, api.PollRequest{}, func(e api.PollEvent) {
			if e.Report != nil && e.Report.Deleted != len(mail) {
				t.Errorf("poll: %+v", e.Report)
			}
		})
	}()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for polling := true; polling; {
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			polling = false
		case <-tick.C:
			peak = max(peak, rssAnon(s.process.Pid))
		}
	}
	cancel()
	wg.Wait()
	n := 0
	answered.Range(func(any, any) bool { n++; return true })
	if code, log := stop(os.Interrupt); code != 0 {
		t.Errorf("run: exit code %d\n%s", code, log)
	}
	t.Logf("peak RssAnon %d MiB, %d of %d got answers", peak>>20, n, searches)
	if peak == 0 || peak > limit || n != searches {
		t.Errorf("peak RssAnon %d MiB, want at most %d; %d of %d got answers", peak>>20, limit>>20, n, searches)
	}
}
