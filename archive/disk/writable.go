package disk

import (
	"errors"
	"os"
)

// probeBytes is what Writable writes: a full disk may still take a small file.
const probeBytes = 1 << 20

// Writable returns why nothing can be written to a directory, such as EROFS or ENOSPC, nil if that is possible.
func Writable(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, probeBytes))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
