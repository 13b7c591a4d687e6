package archive

import (
	"time"

	"golang.org/x/sys/unix"
)

// systemBoot reads CLOCK_MONOTONIC, which on macOS goes on while the machine sleeps, and the id of this boot.
func systemBoot() (BootClock, bool) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return BootClock{}, false
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &up); err != nil {
		return BootClock{}, false
	}
	return BootClock{ID: id, Up: time.Duration(up.Nano())}, true
}
