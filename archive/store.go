// Package archive keeps messages for ever and gives receipts for them.
//
// What is precious lies in volumes (the bytes), the ledger with its sidecar
// (what happened to them) and the keys; the catalog is derived. A message is
// kept once however often it is deposited. See docs/ARCHITECTURE.md for the
// order of writes that every promise rests on.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"github.com/gofrs/flock"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// Options are the settings of a store. The zero value is fine.
type Options struct {
	// FS is the file system under volumes and ledger; disk.OS() if nil.
	FS disk.FS
	// VolumeBytes is the compressed size at which a volume is sealed; 0 is
	// the volume package's default.
	VolumeBytes int64
	// Recipients encrypt new volumes, and encrypted ones that are repacked; without any, volumes are not encrypted.
	Recipients []age.Recipient
	// Identities open encrypted volumes. Without them messages can be put, but not read.
	Identities []age.Identity
	// MinFree is how many bytes the file system must have free for the archive
	// to take messages; 0 is DefaultMinFree. Below it pollers leave mail on
	// their servers, while there is still room for ledger and index.
	MinFree int64
	// Free tells the free bytes at a path; disk.Free if nil.
	Free func(path string) (int64, error)
	// Broken is told when the store breaks, once, if it is not nil. It must not
	// block: a lock is held.
	Broken func(error)
	// RebuildCatalog makes the catalog anew from ledger and volumes.
	RebuildCatalog bool
	// Claim is what to do about other copies of the archive.
	Claim Claim
	// Reading opens a data directory that cannot be written to all the same; see Medium.
	Reading bool
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Boot is the clock that tells whether Now has jumped, false where there is none. If it is nil it is the system's, and none
	// if Now is not the system's.
	Boot func() (BootClock, bool)
	// Logger gets what an operator should know; nothing is logged if nil.
	Logger *slog.Logger
}

func (o *Options) fill() {
	if o.FS == nil {
		o.FS = disk.OS()
	}
	o.FS = disk.Patient(o.FS)
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Free == nil {
		o.Free = disk.Free
	}
	if o.Boot == nil {
		o.Boot = func() (BootClock, bool) { return BootClock{}, false }
		if o.Now == nil {
			o.Boot = systemBoot
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// DefaultMinFree leaves room for what is in the streams (up to 4 GiB only when
// the archive stands still), the index and the ledger of some days.
const DefaultMinFree int64 = 256 << 20

// Names inside the data directory.
const (
	lockName       = "lock"
	catalogName    = "catalog.db"
	volumesName    = "volumes"
	ledgerName     = "ledger"
	keysName       = "keys"
	quarantineName = "quarantine" // what recovery cut off
	systemActor    = "postkeep"   // the actor of what nobody asked for
	verifierMeta   = "ledger"     // catalog: the ledger that it was made from
)

// Store is an open archive. It is safe for concurrent use; writing calls take
// turns.
type Store struct {
	dir  string
	opts Options
	lock *flock.Flock

	volumes *volume.Set
	ledger  *ledger.Log
	catalog *catalog.Catalog
	totals  *ledgerTotals

	rewrites *turn      // held while a sealed volume is written anew; taken before mu
	rebuild  sync.Mutex // held while the catalog is made anew; taken before mu
	mu       sync.Mutex // held while writing

	clock    clockState
	flying   flying       // what is in batches to be put
	reserved atomic.Int64 // bytes of disk that their large messages will take

	state    sync.Mutex // of broken, closed, verifying, disagreement and epoch; taken after mu, and for moments only
	broken   error      // the first failure that left the disk in an unknown state
	readOnly error      // why nothing new is taken, found when opening
	unsigned error      // why not even an event can be written, found when opening
	closed   bool

	copied     error  // why the directory counts as a copy; set by Open
	takingOver string // why it did, when it is taken over; of Open
	peeking    bool   // the ledger is open for reading only until it is known whose it is; of Open
	known      bool   // it is known that the ledger is ours; of Open
	noted      *place // in the data directory, nil if not claimed; set by Open
	epoch      Epoch  // guarded by state

	medium  error  // why the data directory cannot be written to; set by Open
	scratch string // a temporary directory in place of it, "" as long as none is needed
	trail   trail  // what the ledger cannot take

	unreadable error // set by Open
	// verifying is whether a verification runs, of which there is one at a time.
	verifying bool
	// disagreement is why the catalog is not trusted.
	disagreement error
	mend         chan struct{} // of Disagreed; has room for one

	adopted int           // set by Open
	wake    chan struct{} // of Maintain; has room for one

	queue   sync.Mutex
	reports []*queuedReport // of polls, to be written in one commit

	exports openExports

	deadLetters sync.Mutex // held while one is recorded, which counts them; taken before mu
}

// Create makes an empty archive in dir: directories, keys and an empty ledger
// with its first checkpoint. It fails when there is one already.
func Create(ctx context.Context, dir string, opts Options) error {
	opts.fill()
	if err := opts.FS.MkdirAll(dir, disk.DirPerm); err != nil {
		return fmt.Errorf("create archive: %w", err)
	}
	lock, err := acquire(dir)
	if err != nil {
		return err
	}
	volumes := filepath.Join(dir, volumesName)
	if err := opts.FS.Remove(filepath.Join(dir, placeName)); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was here
		return errors.Join(fmt.Errorf("create archive: %w", err), lock.Close())
	}
	if err := opts.FS.MkdirAll(volumes, disk.DirPerm); err != nil {
		return errors.Join(fmt.Errorf("create archive: %w", err), lock.Close())
	}
	if err := ledger.Create(ctx, ledgerOptions(dir, &opts)); err != nil {
		return errors.Join(fmt.Errorf("create archive in %s: %w", dir, err), lock.Close())
	}
	err = opts.FS.SyncDir(dir)
	if err == nil {
		err = opts.FS.SyncDir(filepath.Dir(dir))
	}
	return errors.Join(err, lock.Close())
}

// Exists reports whether dir holds an archive.
func Exists(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, ledgerName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func acquire(dir string) (*flock.Flock, error) {
	lock := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(disk.FilePerm))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	if !ok {
		return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
	}
	return lock, nil
}

func ledgerOptions(dir string, opts *Options) ledger.Options {
	return ledger.Options{
		FS: opts.FS, Dir: filepath.Join(dir, ledgerName), KeyDir: filepath.Join(dir, keysName),
		Now: opts.Now, Logger: opts.Logger,
	}
}

// Open opens the archive in dir and takes the data directory's lock. Opening
// is the recovery: the catalog replays what it lacks, whole frames that the
// ledger does not know are adopted, a torn end is cut off and kept in
// quarantine.
//
// An archive that is older than its own ledger or checkpoint says opens
// read-only; ReadOnly tells why.
func Open(ctx context.Context, dir string, opts Options) (_ *Store, err error) {
	opts.fill()
	if ok, err := Exists(dir); err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("%s holds no archive (postkeep init makes one)", dir), err)
	}
	s := &Store{dir: dir, opts: opts, wake: make(chan struct{}, 1), mend: make(chan struct{}, 1), rewrites: newTurn(), flying: flying{pieces: map[uint64]string{}}}
	if s.findMedium(); s.medium == nil {
		s.lock, err = acquire(dir)
	} else {
		err = s.lockMedium()
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open archive %s: %w", dir, err), s.Close())
		}
	}()
	if err := removeSpooled(dir); err != nil && s.medium == nil {
		opts.Logger.Warn("leftovers of an earlier run are not removed", "dir", dir, "error", err)
	}
	if err := s.findPlace(); err != nil {
		return nil, err
	}
	if err := s.openLedger(ctx); err != nil {
		return nil, err
	}
	if err := s.openCatalog(ctx); err != nil {
		return nil, err
	}
	if err := s.recognise(ctx); err != nil {
		return nil, err
	}
	if err := s.reconcile(ctx); err != nil {
		return nil, err
	}
	if err := s.openVolumes(ctx); err != nil {
		return nil, err
	}
	if err := s.findUnreadable(ctx); err != nil {
		return nil, err
	}
	if err := s.refill(ctx); err != nil {
		opts.Logger.Error("archive lists less than it holds", "dir", dir, "error", err)
	}
	if err := s.openClock(ctx); err != nil {
		return nil, err
	}
	if s.readOnly != nil {
		opts.Logger.Error("archive is read-only", "dir", dir, "reason", s.readOnly)
		return s, s.claim(ctx)
	}
	if err := s.adopt(ctx); err != nil {
		return nil, err
	}
	return s, s.claim(ctx)
}

// ReadOnly is why the archive takes no messages, nil when it does.
func (s *Store) ReadOnly() error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.room(0)
}

// Adopted is how many entries Open found in the volumes that the ledger did not
// know: more than none means that the last owner crashed between its fsyncs, or
// that the ledger is an older copy.
func (s *Store) Adopted() int { return s.adopted }

func (s *Store) writable() error {
	if err := s.whole(); err != nil {
		return err
	}
	if s.readOnly != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, s.readOnly)
	}
	return nil
}

// whole returns an error when the store is closed or broken.
func (s *Store) whole() error {
	s.state.Lock()
	defer s.state.Unlock()
	switch {
	case s.closed:
		return fs.ErrClosed
	case s.broken != nil:
		return fmt.Errorf("%w: %w", ErrBroken, s.broken)
	}
	return nil
}

// room returns an error while a file system is too full to take messages, or so many bytes
// more: that of the data directory, or of the volumes, which may be on another. What people do is still recorded: that needs little.
func (s *Store) room(more int64) error {
	for _, dir := range []string{s.dir, filepath.Join(s.dir, volumesName)} {
		free, err := s.opts.Free(dir)
		if err != nil {
			return fmt.Errorf("free space of %s: %w", dir, err)
		}
		if need := s.opts.MinFree + more; free < need {
			return fmt.Errorf("%w: %s has %d MiB free, less than the %d MiB that have to be: make room", ErrReadOnly, dir, free>>20, need>>20)
		}
	}
	return nil
}

// breaks remembers a failure after which only opening again can tell what is
// on the disk.
func (s *Store) breaks(err error) error {
	s.state.Lock()
	defer s.state.Unlock()
	if s.broken == nil {
		s.broken = err
		if s.opts.Broken != nil {
			s.opts.Broken(err)
		}
		s.opts.Logger.Error("archive writer is broken until it is opened again", "dir", s.dir, "error", err)
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// Close closes the archive and releases the lock. It is idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Lock()
	was := s.closed
	s.closed = true
	s.state.Unlock()
	if was {
		return nil
	}
	s.totals.close()
	var errs []error
	for _, c := range []io.Closer{closer(s.volumes), closer(s.catalog), closer(s.ledger), closer(s.lock), &s.trail} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(append(errs, s.removeScratch())...)
}

// closer keeps a nil pointer from becoming an interface that is not nil.
func closer[T any, P interface {
	*T
	io.Closer
}](p P) io.Closer {
	if p == nil {
		return nil
	}
	return p
}
