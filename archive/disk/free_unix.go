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
	// The types of the fields differ between systems.
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert
}
