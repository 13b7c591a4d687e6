package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// sampleEvery is how often memory is looked at.
	sampleEvery = 50 * time.Millisecond
	// startWait bounds the start and the indexing of everything.
	startWait = 30 * time.Minute
	stopWait  = 2 * time.Minute
)

// measure runs the program and searches.
func (o options) measure(ctx context.Context, token string, words []string, messages int) error {
	address, err := free(ctx)
	if err != nil {
		return err
	}
	config := filepath.Join(o.dir, "postkeep.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "data_dir: data\nlog: { level: error }\nweb: { listen: %q }\n", address), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.binary, "run", "-c", config)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWait
	if err := cmd.Start(); err != nil {
		return err
	}
	c := &client{http: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.clients}}, url: "http://" + address, token: token, words: words}
	begun := time.Now()
	err = c.ready(ctx, messages)
	if err == nil {
		fmt.Printf("indexed in %s\n", time.Since(begun).Round(time.Second))
		err = o.load(ctx, c, cmd.Process.Pid)
	}
	cancel()
	_ = cmd.Wait() // interrupted
	return err
}

func free(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// client searches. It is safe for concurrent use.
type client struct {
	http       http.Client
	url, token string
	words      []string
}

func (c *client) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.300s", path, resp.Status, b)
	}
	return b, nil
}

// ready waits until all messages are in the index.
func (c *client) ready(ctx context.Context, messages int) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var st struct {
			Index struct {
				Documents int
				Behind    bool
			}
		}
		b, err := c.get(ctx, "/api/v1/status")
		if err == nil {
			err = json.Unmarshal(b, &st)
		}
		if err == nil && !st.Index.Behind && st.Index.Documents > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages are in the index: %w", st.Index.Documents, messages, errors.Join(ctx.Err(), err))
		}
	}
}

// query is one of the kinds that people ask.
func (c *client) query(rng *rand.Rand) string {
	word := func() string { return c.words[rng.IntN(len(c.words))] }
	switch rng.IntN(6) {
	case 0:
		return word() + " " + word()
	case 1:
		return "subject:" + word()
	case 2:
		return `"` + word() + " " + word() + `"`
	case 3:
		return word()[:4] + "*"
	case 4:
		return word() + " has:attachment"
	}
	return word()
}

// load searches for a while and prints what came of it.
func (o options) load(ctx context.Context, c *client, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		times []time.Duration
		first error
	)
	before := rssAnon(pid)
	for n := range o.clients {
		rng := rand.New(rand.NewPCG(uint64(n), 2)) //nolint:gosec // the same searches every time
		group.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				_, err := c.get(ctx, "/api/v1/search?"+url.Values{"q": {c.query(rng)}, "limit": {"50"}, "facets": {"mailbox,domain,year,month,filetype,flag"}}.Encode())
				took := time.Since(begun)
				mu.Lock()
				switch {
				case err == nil:
					times = append(times, took)
				case ctx.Err() == nil && first == nil && !strings.Contains(err.Error(), "400 Bad Request"): // a prefix may have too many words
					first = err
				}
				mu.Unlock()
			}
		})
	}
	peak := before
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			peak = max(peak, rssAnon(pid))
		case <-ctx.Done():
		}
	}
	group.Wait()
	if first != nil || len(times) == 0 {
		return fmt.Errorf("%d searches: %w", len(times), first)
	}
	slices.Sort(times)
	at := func(share float64) time.Duration {
		return times[int(share*float64(len(times)-1))].Round(time.Millisecond)
	}
	fmt.Printf("%d clients, %s: %d searches, %.0f a second; half within %s, 90 %% within %s, 99 %% within %s, the slowest %s\n", o.clients, o.time,
		len(times), float64(len(times))/o.time.Seconds(), at(0.5), at(0.9), at(0.99), at(1))
	fmt.Printf("RssAnon %d MiB before, at most %d MiB\n", before>>20, peak>>20)
	return nil
}

// rssAnon is the memory of a process that is backed by no file, in bytes; 0 where
// /proc does not say.
func rssAnon(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	var kib int64
	for line := range strings.Lines(string(b)) {
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}
