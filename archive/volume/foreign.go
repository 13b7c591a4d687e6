package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// leaveForeign looks for files that are named like volumes, and that neither the ledger knows nor this program can have begun: the number
// is not the next one, or they do not begin like one. Recovery would take what is in them for a torn write, or for mail of this
// archive. They give ErrForeign; with ReadOnly they are left out.
func (s *Set) leaveForeign(known map[uint32]int64) error {
	highest := uint32(0)
	for n := range known {
		highest = max(highest, n)
	}
	var foreign error
	kept := s.vols[:0:0]
	for _, v := range s.vols {
		_, ours := known[v.number]
		if !ours {
			begun, err := s.begunAsVolume(v)
			if err != nil {
				return err
			}
			ours = begun && v.number <= highest+1
		}
		if ours {
			kept, highest = append(kept, v), max(highest, v.number)
			continue
		}
		name := filepath.Base(v.path)
		s.foreign = append(s.foreign, name)
		foreign = errors.Join(foreign, fmt.Errorf("%s is %w", filepath.Join(filepath.Base(s.o.Dir), name), ErrForeign))
	}
	if foreign != nil && !s.o.ReadOnly {
		return foreign
	}
	s.vols = kept
	return nil
}

// begunAsVolume reports whether a file may be what a crash has left of a new volume: it begins with a frame of its kind, or a piece of
// one, or with zeros in the place of what did not get to the disk.
func (s *Set) begunAsVolume(v *vol) (begun bool, err error) {
	f, err := s.o.FS.OpenFile(v.path, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const enough = 4 << 10 // a block of most file systems
	head, err := io.ReadAll(io.LimitReader(f, enough))
	if err != nil {
		return false, err
	}
	magic := frameMagic(v.encrypted)
	n := min(len(head), len(magic))
	return bytes.Equal(head[:n], magic[:n]) || !slices.ContainsFunc(head, func(b byte) bool { return b != 0 }), nil
}

// Foreign lists files that a set that was opened with ReadOnly leaves out, because they are no volumes of this archive.
func (s *Set) Foreign() []string { return slices.Clone(s.foreign) }
