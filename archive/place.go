package archive

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postkeep/postkeep/archive/disk"
)

// Claim is what Open does about other copies of the archive.
type Claim int

const (
	// Unclaimed looks at nothing and notes nothing. It is for tools and tests that have the only copy.
	Unclaimed Claim = iota
	// ClaimOwn opens a directory that was copied or restored for reading only, and says so.
	ClaimOwn
	// ClaimTakeOver makes a directory that was copied or restored the archive, under the next epoch.
	ClaimTakeOver
)

// ErrCopied means that the data directory is a copy of one that may be in use elsewhere.
var ErrCopied = errors.New("this data directory is a copy, or was restored from one")

const (
	placeName   = "place"
	placeFormat = "postkeep-place/1"
	// maxPlace is far above what a place takes.
	maxPlace = 16 << 10
	// holderBytes are 128 random bits.
	holderBytes = 16
)

// A place is where the archive is at home. It is noted in the data directory, and moves along with it when that is renamed;
// what is copied takes along the note and not what the note is about. It is no protection against somebody who can write to
// the directory: they have the ledger's key.
type place struct {
	Format string `json:"format"`
	// Holder is a random name of this copy of the archive, which the ledger knows.
	Holder string `json:"holder"`
	// Host and Path are for people.
	Host string `json:"host"`
	Path string `json:"path"`
	// Machine is disk.Host.Machine.
	Machine string `json:"machine,omitempty"`
	// Files are ids of files that are never replaced.
	Files map[string]disk.FileID `json:"files"`
}

// placeFiles are there from the beginning and keep their inodes: the key is never written again, the events are appended to.
func placeFiles() []string { return []string{keysName + "/ledger.key", ledgerName + "/events.jsonl"} }

// hereAndNow is the place of the data directory, without a holder.
func hereAndNow(dir string) (place, error) {
	p := place{Format: placeFormat, Files: map[string]disk.FileID{}}
	host := disk.ThisHost()
	p.Host, p.Machine = host.Name, host.Machine
	var err error
	if p.Path, err = filepath.Abs(dir); err != nil {
		return p, err
	}
	for _, name := range placeFiles() {
		if p.Files[name], err = disk.IDOf(filepath.Join(dir, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p, err // one that is missing is damage, of which the ledger speaks
		}
	}
	return p, nil
}

// strange says why a place that was noted is not this one, "" if it is.
func (p place) strange(now place) string {
	for _, name := range placeFiles() {
		if !p.Files[name].Same(now.Files[name]) {
			return fmt.Sprintf("%s is not the file that it was in %s on %s", name, p.Path, p.Host)
		}
	}
	if p.Machine != "" && now.Machine != "" && p.Machine != now.Machine {
		return fmt.Sprintf("the machine is not %s, where it was in %s", p.Host, p.Path)
	}
	return ""
}

func (p place) equal(q place) bool {
	a, errA := json.Marshal(p)
	b, errB := json.Marshal(q)
	return errA == nil && errB == nil && string(a) == string(b)
}

// readPlace returns the place that is noted, nil if none is. One that cannot be read counts as none.
func (s *Store) readPlace() (*place, error) {
	data, err := disk.ReadFile(s.opts.FS, filepath.Join(s.dir, placeName), maxPlace)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p place
	if err := json.Unmarshal(data, &p); err != nil || p.Holder == "" {
		s.opts.Logger.Error("the note of where the archive is at home cannot be read", "path", filepath.Join(s.dir, placeName), "error", err)
		return nil, nil
	}
	if p.Format != placeFormat {
		return nil, fmt.Errorf("%s has the format %q, which a later version has written: use that", placeName, p.Format)
	}
	return &p, nil
}

func (s *Store) writePlace(p place) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := disk.WriteFile(s.opts.FS, filepath.Join(s.dir, placeName), append(data, '\n'), disk.FilePerm); err != nil {
		return fmt.Errorf("note where the archive is at home: %w", err)
	}
	s.noted = &p
	return nil
}

func newHolder() (string, error) {
	raw := make([]byte, holderBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	return hex.EncodeToString(raw), nil
}

// findPlace compares the place that was noted with the one where the directory is. It comes before anything is written.
func (s *Store) findPlace() (err error) {
	if s.opts.Claim == Unclaimed {
		return nil
	}
	if s.noted, err = s.readPlace(); err != nil || s.noted == nil {
		return err
	}
	now, err := hereAndNow(s.dir)
	if err != nil {
		return err
	}
	why := s.noted.strange(now)
	if why == "" && s.besideOriginal(now) {
		why = "it is the same as " + s.noted.Path + ", which is there too: a snapshot or a clone of its file system"
	}
	if why != "" {
		s.isCopy(why)
	}
	return nil
}

// besideOriginal reports whether the directory is that of a file system that was cloned, with the original where the place says it
// is. Snapshots and clones keep even the times of birth; a directory that was renamed, or is mounted twice, is not there twice.
func (s *Store) besideOriginal(now place) bool {
	if s.noted.Path == now.Path {
		return false
	}
	original := &Store{dir: s.noted.Path, opts: s.opts}
	other, err := original.readPlace()
	if err != nil || other == nil || other.Holder != s.noted.Holder {
		return false // what is there is not the archive
	}
	there, err := hereAndNow(s.noted.Path)
	if err != nil || other.strange(there) != "" {
		return false // or a copy itself
	}
	a, errA := os.Stat(filepath.Join(s.noted.Path, placeName))
	b, errB := os.Stat(filepath.Join(s.dir, placeName))
	return errA == nil && errB == nil && !os.SameFile(a, b)
}

// isCopy makes the archive read-only, unless it is to be taken over.
func (s *Store) isCopy(why string) {
	if s.opts.Claim == ClaimTakeOver {
		s.takingOver = why
		return
	}
	s.copied = fmt.Errorf("%w (%s)", ErrCopied, why)
	s.readOnly, s.unsigned = errors.Join(s.readOnly, s.copied), errors.Join(s.unsigned, s.copied)
}

// Copied is why the directory counts as a copy of another one that may be in use; nil if it does not. It has to be taken
// over, with ClaimTakeOver, before it is written to.
func (s *Store) Copied() error { return s.copied }
