//go:build linux || darwin

package disk

import "golang.org/x/sys/unix"

// Free returns how many bytes an ordinary user can still write to the file
// system that holds path.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return product(st.Bavail, st.Bsize), nil
}

// product multiplies what has other types on other systems.
func product[A uint64, B int64 | uint32](blocks A, size B) int64 { return int64(blocks) * int64(size) }
