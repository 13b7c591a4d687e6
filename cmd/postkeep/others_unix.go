//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// whoElseWrites says who but root and the user of this process can replace what is in a directory, "" if nobody can. In a sticky
// directory such as /tmp others can put something there, but not replace what is ours: that is no place for our files themselves,
// but for their directory.
func whoElseWrites(dir string, ours bool) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	replace := ours || mode&fs.ModeSticky == 0
	switch {
	case mode.Perm()&0o002 != 0 && replace:
		return "everybody", nil
	case mode.Perm()&0o020 != 0 && replace && ok:
		return fmt.Sprintf("the group %d", st.Gid), nil
	case ok && st.Uid != 0 && int(st.Uid) != os.Getuid():
		return "its owner " + fmt.Sprint(st.Uid), nil
	}
	return "", nil
}
