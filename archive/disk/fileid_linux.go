package disk

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// birthDecides: nothing but a copy of the whole file system gives a new file the time of birth of another, while
// the inode numbers of some file systems (FUSE, shared folders of virtual machines) change with every mount.
const birthDecides = true

// IDOf returns what tells a file from a copy of it.
func IDOf(path string) (FileID, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &st)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // some sandboxes
		var old unix.Stat_t
		if err := unix.Stat(path, &old); err != nil {
			return FileID{}, err
		}
		return FileID{Inode: old.Ino}, nil
	}
	if err != nil {
		return FileID{}, err
	}
	id := FileID{Inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 && st.Btime.Sec > 0 {
		id.Birth = time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)).UTC()
	}
	return id, nil
}
