//go:build unix

package api

import (
	"io/fs"
	"os"
	"syscall"
)

// isPrivate reports whether nobody else can enter a directory, and whether it
// belongs to the owner of the data directory, or to root.
func isPrivate(info fs.FileInfo, dataDir string) bool {
	data, err := os.Stat(dataDir)
	if err != nil || info.Mode().Perm() != 0o700 {
		return false
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	want, also := data.Sys().(*syscall.Stat_t)
	return ok && also && (of.Uid == want.Uid || of.Uid == 0)
}
