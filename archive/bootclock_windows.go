package archive

import (
	"strconv"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// systemBoot reads GetTickCount64, which goes on while the machine sleeps, and the number of this boot.
func systemBoot() (BootClock, bool) {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE,
		`SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters`, registry.QUERY_VALUE)
	if err != nil {
		return BootClock{}, false
	}
	defer func() { _ = key.Close() }() // it was only read
	id, _, err := key.GetIntegerValue("BootId")
	return BootClock{ID: strconv.FormatUint(id, 10), Up: windows.DurationSinceBoot()}, err == nil
}
