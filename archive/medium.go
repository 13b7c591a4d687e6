package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/disk"
)

// ErrMedium means that nothing can be written to the data directory: it lies on a read-only medium or snapshot, or its disk is full.
var ErrMedium = errors.New("the data directory cannot be written to")

// findMedium finds out whether the data directory can be written to. It comes before everything else that Open does.
func (s *Store) findMedium() {
	if !s.opts.Reading {
		return
	}
	if err := disk.Writable(s.dir); err != nil {
		s.medium = fmt.Errorf("%w: %w", ErrMedium, err)
		s.readOnly, s.unsigned = s.medium, s.medium
		s.opts.Claim = Unclaimed // wherever it is, nobody writes to it
	}
}

// Medium is why nothing can be written to the data directory, which a store that was opened with Options.Reading reads all the
// same; nil if it can.
func (s *Store) Medium() error { return s.medium }

// outside reports whether what is done is noted outside of the ledger: that of a copy goes on elsewhere, and a medium takes nothing.
func (s *Store) outside() bool { return s.medium != nil || s.copied != nil }

// lockMedium takes the lock where there is one. Where none can be made, nobody writes.
func (s *Store) lockMedium() (err error) {
	if s.lock, err = acquire(s.dir); errors.Is(err, ErrLocked) {
		return err
	}
	return nil
}

// workDir is where files are made that are not meant to last: the data directory, or a temporary one where that cannot be written to.
func (s *Store) workDir() (string, error) {
	if s.medium == nil {
		return s.dir, nil
	}
	if s.scratch == "" {
		dir, err := os.MkdirTemp("", "postkeep-")
		if err != nil {
			return "", fmt.Errorf("%w, nor is there a temporary directory (TMPDIR names one): %w", s.medium, err)
		}
		s.scratch = dir
	}
	return s.scratch, nil
}

func (s *Store) removeScratch() error {
	if s.scratch == "" {
		return nil
	}
	return os.RemoveAll(s.scratch)
}

// mediumCatalog opens the catalog where it is, if it is complete and closed, and reports whether it could.
func (s *Store) mediumCatalog(ctx context.Context, path string) bool {
	c, err := catalog.OpenImmutable(ctx, path)
	if err != nil {
		return false
	}
	s.catalog = c
	position, err := c.Position(ctx)
	if err == nil && position == s.ledger.Size() && s.catalogFits(ctx) == nil {
		return true
	}
	s.catalog = nil
	_ = c.Close() // it was only read
	return false
}

// copyCatalog copies the catalog to where what it lacks can be added.
func (s *Store) copyCatalog(from string) (path string, err error) {
	dir, err := s.workDir()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, catalogName)
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(from+suffix, path+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("copy the catalog, which lacks events, to %s (TMPDIR names another place): %w", dir, err)
		}
	}
	return path, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, disk.FilePerm)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, in.Close(), out.Close())
}

// trail takes what the ledger of a data directory that cannot be written to would have.
type trail struct {
	mu sync.Mutex
	f  *os.File // guarded by mu
}

// trailEntry is a line of it.
type trailEntry struct {
	Time    time.Time  `json:"time"`
	Type    ActionType `json:"type"`
	Actor   string     `json:"actor"`
	IDs     []string   `json:"ids,omitempty"`
	Details any        `json:"details,omitempty"`
}

// note keeps an action outside of the ledger, in a temporary file that stays: nobody reads mail without a trace.
func (s *Store) note(a Action) error {
	line, err := json.Marshal(trailEntry{s.opts.Now().UTC(), a.Type, a.Actor, a.IDs, a.Details})
	if err != nil {
		return err
	}
	s.trail.mu.Lock()
	defer s.trail.mu.Unlock()
	if s.trail.f == nil {
		if s.trail.f, err = os.CreateTemp("", "postkeep-trail-*.jsonl"); err != nil {
			return fmt.Errorf("note what is done, outside of the ledger (TMPDIR names another place): %w", err)
		}
		s.opts.Logger.Warn("what is done here is not in the ledger, but noted in a file", "file", s.trail.f.Name(), "reason", s.unsigned)
	}
	_, err = s.trail.f.Write(append(line, '\n'))
	return err
}

// Close closes the file, which stays.
func (t *trail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.f == nil {
		return nil
	}
	return t.f.Close()
}
