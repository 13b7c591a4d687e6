package main

import (
	"bufio"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// softMemory is the size in bytes above which the garbage collector works
	// harder. With it, polling and indexing a gigabyte takes 375 MiB of anonymous memory at most, half of it buffers
	// of NATS; with 450 MiB it took 485, and no less processor time.
	softMemory = 340 << 20
	// minSoftMemory is as small as the limit gets: below it the collector would run all the time, to no avail.
	minSoftMemory = 96 << 20
	// maxLimitBytes bounds a file of the control group, which holds a number or "max".
	maxLimitBytes = 64
)

// limitMemory keeps the heap below what the control group (a container, a service with MemoryMax) allows, unless GOMEMLIMIT says otherwise.
func limitMemory() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // GOMEMLIMIT is not set
		debug.SetMemoryLimit(softLimit(cgroupMemory(os.DirFS("/"))))
	}
}

// softLimit leaves a third of what the process may have for what the runtime does not count or cannot hold back: the files of the
// index that are mapped, the child that reads attachments, and what is allocated while the collector runs.
func softLimit(hard int64) int64 {
	return max(min(softMemory, hard/3*2), minSoftMemory)
}

// cgroupMemory is the smallest limit of memory in bytes on the way from the control group of this process to the root (cgroups(7),
// both versions); math.MaxInt64 without any.
func cgroupMemory(root fs.FS) int64 {
	f, err := root.Open("proc/self/cgroup")
	if err != nil {
		return math.MaxInt64
	}
	defer func() { _ = f.Close() }()
	least := int64(math.MaxInt64)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, rest, _ := strings.Cut(lines.Text(), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		switch {
		case controllers == "":
			for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
				least = min(least, leastLimit(root, mount, group, "memory.max"))
			}
		case strings.Contains(","+controllers+",", ",memory,"):
			least = min(least, leastLimit(root, "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
		}
	}
	return least
}

// leastLimit is the smallest limit of a group and those above it. Inside of a container the group's own name may not be there, but the
// mount is the container's group.
func leastLimit(root fs.FS, mount, group, name string) int64 {
	least := int64(math.MaxInt64)
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		if n, ok := readLimit(root, path.Join(mount, group, name)); ok {
			least = min(least, n)
		}
		if group == "/" {
			return least
		}
	}
}

func readLimit(root fs.FS, name string) (int64, bool) {
	f, err := root.Open(name)
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, maxLimitBytes)
	n, err := f.Read(b)
	if err != nil {
		return 0, false
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(b[:n])), 10, 64)
	return limit, err == nil && limit > 0
}
