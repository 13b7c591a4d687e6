package disk

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// birthDecides is false: some tools copy the time of creation.
const birthDecides = false

// IDOf returns what tells a file from a copy of it.
func IDOf(path string) (_ FileID, err error) {
	f, err := os.Open(path)
	if err != nil {
		return FileID{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return FileID{}, err
	}
	return FileID{
		Inode: uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow),
		Birth: time.Unix(0, info.CreationTime.Nanoseconds()).UTC(),
	}, nil
}
