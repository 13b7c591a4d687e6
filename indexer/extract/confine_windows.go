package extract

import (
	"os"
	"syscall"
	"time"
)

func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP, HideWindow: true}
}

// Windows has no limits that a process sets for itself: the watch on memory and
// the time-outs remain.
func limits() []means { return nil }

func platformMeans(int64) []means { return nil }

func limitCPU(time.Duration) {}

func cpuExceeded() <-chan os.Signal { return nil }
