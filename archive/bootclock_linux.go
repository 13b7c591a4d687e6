package archive

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// systemBoot reads CLOCK_BOOTTIME, which goes on while the machine sleeps, and the boot id of the kernel.
func systemBoot() (BootClock, bool) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return BootClock{}, false
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return BootClock{}, false
	}
	return BootClock{ID: strings.TrimSpace(string(id)), Up: time.Duration(up.Nano())}, true
}
