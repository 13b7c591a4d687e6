package volume

import (
	"fmt"
	"path/filepath"
)

// A Location says where a place is in the file of a volume. It changes when the
// volume is written anew; the place does not.
type Location struct {
	Name   string // of the file, without its folder
	Frame  int    // number of the frame in which the entry begins, from 0
	Offset int64  // of that frame in the file, in bytes
	Within int64  // of the entry in what the frame unpacks to, in bytes
	Sealed bool   // the volume is finished
}

// Locate returns where a place is, from the seek table. It does not look at the
// file.
func (s *Set) Locate(p Place) (Location, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.find(p.Volume)
	if !ok {
		return Location{}, fmt.Errorf("locate %v: %w", p, ErrNoEntry)
	}
	v := s.vols[i]
	n, ok := frameAt(v.frames, p.Offset)
	if !ok || p.Offset < 0 || p.Offset >= v.end {
		return Location{}, fmt.Errorf("locate %v: %w", p, ErrNoEntry)
	}
	f := v.frames[n]
	return Location{Name: filepath.Base(v.path), Frame: n, Offset: f.off, Within: p.Offset - f.tar, Sealed: v.sealed}, nil
}
