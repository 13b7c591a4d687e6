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

// limits are the means that all of them have.
func limits() []means {
	return []means{
		{name: "no core", use: func() error { return setLimit(unix.RLIMIT_CORE, 0) }},
		{name: "no files", use: func() error { return setLimit(unix.RLIMIT_FSIZE, 0) }}, // pipes are none
	}
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
