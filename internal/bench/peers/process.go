package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// sampleEvery is how often memory is looked at.
	sampleEvery = 25 * time.Millisecond
	// stopWait bounds the orderly end of a program.
	stopWait = 2 * time.Minute
	// maxOutput is how much of what a program says is kept for errors, in bytes.
	maxOutput = 16 << 10
)

// usage is what a program and its children took.
type usage struct {
	wall, cpu time.Duration
	// rss is the peak of resident memory, anon of the anonymous part of it, in bytes. They are sampled
	// (Linux only): what is shorter than sampleEvery may be missed.
	rss, anon int64
}

func (u usage) plus(v usage) usage {
	return usage{u.wall + v.wall, u.cpu + v.cpu, max(u.rss, v.rss), max(u.anon, v.anon)}
}

// postkeep is the measured program with the configuration of dir.
func (b *bench) postkeep(dir string, args ...string) *exec.Cmd {
	return b.configured(filepath.Join(dir, "postkeep.yaml"), args...)
}

func (b *bench) configured(config string, args ...string) *exec.Cmd {
	cmd := exec.Command(b.binary, args...) //nolint:noctx // measured ends it with its context
	cmd.Env = append(os.Environ(), "POSTKEEP_CONFIG="+config)
	return cmd
}

// measured runs a program to its end, and measures it. Its output goes into the error if it fails.
func (b *bench) measured(ctx context.Context, cmd *exec.Cmd) (usage, error) {
	p, err := start(cmd)
	if err != nil {
		return usage{}, err
	}
	return p.wait(ctx)
}

// process is a running program.
type process struct {
	cmd    *exec.Cmd
	began  time.Time
	output limited
	exited chan error
	u      usage
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan error, 1), began: time.Now()}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.output
	}
	cmd.Stderr = &p.output
	cmd.WaitDelay = stopWait
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.exited <- cmd.Wait() }()
	return p, nil
}

// wait samples memory until the program ends; it is ended when ctx is done.
func (p *process) wait(ctx context.Context) (usage, error) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	done := ctx.Done()
	for {
		select {
		case <-tick.C:
			p.sample()
		case <-done:
			done = nil
			_ = p.cmd.Process.Signal(os.Interrupt) // fails only after its end
		case err := <-p.exited:
			p.u.wall = time.Since(p.began)
			p.u.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				err = fmt.Errorf("%s: %w\n%s", strings.Join(p.cmd.Args, " "), err, p.output.kept)
			}
			return p.u, err
		}
	}
}

// stop ends the program as an operator does.
func (p *process) stop(ctx context.Context) (usage, error) {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return usage{}, err
	}
	return p.wait(ctx)
}

// sample looks at the memory of the program and its children.
func (p *process) sample() {
	var now usage
	addMemory(&now, p.cmd.Process.Pid)
	p.u.rss, p.u.anon = max(p.u.rss, now.rss), max(p.u.anon, now.anon)
}

// addMemory adds what proc_pid_status(5) says of a process and its children, nothing where there is
// no such file.
func addMemory(u *usage, pid int) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	data, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return
	}
	u.rss += kib(data, "VmRSS:")
	u.anon += kib(data, "RssAnon:")
	lists, _ := filepath.Glob(filepath.Join(dir, "task", "*", "children")) // the pattern is right
	for _, list := range lists {
		children, _ := os.ReadFile(list) // gone with its thread
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				addMemory(u, n)
			}
		}
	}
}

// kib reads a line of a status file that is in KiB, in bytes.
func kib(status []byte, name string) int64 {
	_, line, _ := bytes.Cut(status, []byte(name))
	var n int64
	if _, err := fmt.Sscan(string(line), &n); err != nil {
		return 0
	}
	return n << 10
}

// limited keeps the beginning of what is written.
type limited struct{ kept []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p[:min(len(p), maxOutput-len(l.kept))]...)
	return len(p), nil
}
