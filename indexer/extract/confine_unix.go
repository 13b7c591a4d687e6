//go:build unix

package extract

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processAttributes keeps the signals of a terminal away from children: the pool
// ends them.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// confine takes from this process what reading a file does not need, and
// returns the names of what worked. What a system lacks is no error.
func confine(memory int64) []string {
	var done []string
	for _, means := range []struct {
		name string
		err  error
	}{
		{"no core", setLimit(unix.RLIMIT_CORE, 0)},
		{"no files", setLimit(unix.RLIMIT_FSIZE, 0)}, // pipes are none
		{"memory", limitMemory(memory)},
		{"system calls", filterSystemCalls()},
	} {
		if means.err == nil {
			done = append(done, means.name)
		}
	}
	return done
}

func setLimit(resource int, limit uint64) error {
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit})
}

// limitCPU bounds the processor time from now on, by the soft limit: a hard one
// could not be raised again for the next file.
func limitCPU(d time.Duration) {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return // the time-outs remain
	}
	seconds := int64(used.Utime.Sec) + int64(used.Stime.Sec) + int64((d+time.Second-1)/time.Second) + 1 //nolint:unconvert // not everywhere int64
	_ = unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: uint64(seconds), Max: unix.RLIM_INFINITY})    // the same
}

// cpuExceeded receives when the soft limit is reached. The runtime ignores the
// signal otherwise.
func cpuExceeded() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGXCPU)
	return c
}
