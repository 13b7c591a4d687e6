package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/postkeep/postkeep/archive/volume"
)

// ErrSetAside means that nothing is disposed of before somebody has looked at messages that recovery cut off: to dispose of
// everything they would have to go, too, and nobody else may have them.
var ErrSetAside = errors.New("recovery has set whole messages aside that lay behind damage; look at them " +
	"(zstd -dc FILE | tar -x) and remove the file")

// SetAside lists the files with whole messages in the quarantine, relative to the data directory and with slashes.
func (s *Store) SetAside() ([]string, error) {
	entries, err := s.opts.FS.ReadDir(filepath.Join(s.dir, quarantineName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), volume.RestSuffix) {
			names = append(names, path.Join(quarantineName, e.Name()))
		}
	}
	return names, nil
}

// setAside returns ErrSetAside if there are such files.
func (s *Store) setAside() error {
	names, err := s.SetAside()
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%w: %s", ErrSetAside, strings.Join(names, ", "))
	}
	return err
}
