package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// sampleEvery is how often memory is looked at.
	sampleEvery = 50 * time.Millisecond
	// stopWait bounds the orderly end of the program.
	stopWait = 2 * time.Minute
	// early is how long before its end the last interval is cut off, so that no
	// session of the next one begins.
	early = 2 * time.Second
	cores = 2
)

// measure runs the program for the rounds and prints what it took.
func measure(ctx context.Context, o options, f *farm) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log, err := os.Create(filepath.Join(o.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, o.binary, "run", "-c", filepath.Join(o.dir, "postkeep.yaml"))
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", cores))
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWait
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // the process state says more
	}()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var peak int64
	for round := 1; round <= o.rounds; {
		select {
		case <-exited:
			return fmt.Errorf("postkeep run ended: %s\n%s", cmd.ProcessState, tail(log.Name()))
		case <-tick.C:
			rss := rssAnon(cmd.Process.Pid)
			peak = max(peak, rss)
			if time.Since(start) >= time.Duration(round)*o.every-early {
				fmt.Printf("interval %d: %s; RssAnon %d MiB\n", round, f.interval(start, o.every, round), rss>>20)
				round++
			}
		}
	}
	wall := time.Since(start)
	cancel()
	<-exited
	if !cmd.ProcessState.Success() {
		return fmt.Errorf("postkeep run did not end properly: %s\n%s", cmd.ProcessState, tail(log.Name()))
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	fmt.Printf("%d mailboxes @every %s, %d sessions at once, %s\n", o.mailboxes, o.every, o.sessions, wall.Round(time.Second))
	fmt.Printf("CPU %.1f s (user %.1f, system %.1f), %.1f %% of one core, %.1f %% of %d\n", cpu.Seconds(),
		cmd.ProcessState.UserTime().Seconds(), cmd.ProcessState.SystemTime().Seconds(),
		100*cpu.Seconds()/wall.Seconds(), 100*cpu.Seconds()/wall.Seconds()/cores, cores)
	fmt.Printf("RssAnon at most %d MiB, sampled every %s\n", peak>>20, sampleEvery)
	if text := tail(log.Name()); text != "" {
		fmt.Printf("its log ends:\n%s\n", text)
	}
	return f.judge(start, o)
}

// interval says what happened in the n-th interval: its sessions, how many
// mailboxes they were for, and the most in one second.
func (f *farm) interval(start time.Time, every time.Duration, n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := start.Add(time.Duration(n-1) * every)
	bySecond := map[int]int{}
	sessions, mailboxes := 0, 0
	for _, opened := range f.opened {
		before := sessions
		for _, at := range opened {
			if since := at.Sub(from); since >= 0 && since < every {
				sessions++
				bySecond[int(since/time.Second)]++
			}
		}
		if sessions > before {
			mailboxes++
		}
	}
	most := 0
	for _, n := range bySecond {
		most = max(most, n)
	}
	return fmt.Sprintf("%d sessions for %d mailboxes, in %d of its seconds, at most %d in one", sessions, mailboxes, len(bySecond), most)
}

// judge prints how late polls were, and fails if a mailbox was polled too rarely.
func (f *farm) judge(start time.Time, o options) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var gaps, firsts []time.Duration
	fewest, sessions, archived := math.MaxInt, 0, 0
	for i, opened := range f.opened {
		fewest = min(fewest, len(opened))
		sessions += len(opened)
		archived += f.quits[i]
		for n, at := range opened {
			if n == 0 {
				firsts = append(firsts, at.Sub(start))
			} else {
				gaps = append(gaps, at.Sub(opened[n-1]))
			}
		}
	}
	fmt.Printf("%d sessions, %d ended with QUIT; each mailbox had at least %d in %d intervals\n", sessions, archived, fewest, o.rounds)
	fmt.Printf("first poll after %s\ntime between two polls of a mailbox: %s\n", spread(firsts), spread(gaps))
	if fewest < o.rounds {
		return fmt.Errorf("a mailbox was polled %d times in %d intervals", fewest, o.rounds)
	}
	return nil
}

func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "none"
	}
	slices.Sort(d)
	at := func(q float64) float64 { return d[int(q*float64(len(d)-1))].Seconds() }
	return fmt.Sprintf("least %.1f s, median %.1f s, 99 %% %.1f s, most %.1f s", at(0), at(0.5), at(0.99), at(1))
}

// rssAnon reads the anonymous memory of a process in bytes (proc_pid_status(5)); 0 if it
// is not known.
func rssAnon(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(data), "RssAnon:")
	var kib int64
	if _, err := fmt.Sscan(line, &kib); err != nil {
		return 0
	}
	return kib << 10
}

// tail returns the end of a file.
func tail(name string) string {
	const most = 4 << 10
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-most):])
}
