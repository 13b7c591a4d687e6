package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/postkeep/postkeep/archive/disk"
)

// A Set is the volumes of a directory. Append, AppendDeposit, Commit, Rollback
// and Close are called by one goroutine; everything else is safe for concurrent
// use beside it. The owner of the directory sees to it that there is one Set
// for it.
type Set struct {
	o     Options
	codec *codec
	cache *frameCache

	// rewriting is held, by sending to it, while a sealed volume is written anew: one at a time.
	rewriting chan struct{}

	mu          sync.RWMutex
	vols        []*vol   // ascending; only the last may grow
	foreign     []string // names of files that are no volumes of this archive
	closed      bool
	broken      error                   // sticky
	stopRewrite context.CancelCauseFunc // nil when none is running

	// The rest belongs to the writing goroutine.
	packer *packer
	w      *writer // of the last volume; nil when the next append begins a new one
}

// A vol is a volume as far as it is committed. Set.mu guards what changes.
type vol struct {
	number uint32
	path   string
	known  int64 // end as told to OpenSet

	encrypted bool // the suffix says so

	frames []frame // up to end
	gen    int     // how often the file was replaced
	size   int64   // of the file
	end    int64   // of the last entry, in the tar stream
	sealed bool
}

func (v *vol) sidePath() string {
	return filepath.Join(filepath.Dir(v.path), fmt.Sprintf("%08d%s", v.number, sideSuffix))
}

const (
	volumeSuffix = ".tar.zst"
	cipherSuffix = ".pkv" // of encrypted volumes
	sideSuffix   = ".seek"
	tmpSuffix    = ".tmp" // behind the name of a volume that is being written anew
	// maxParallel bounds how many frames are compressed at a time, and so the memory of a
	// writer, to about 4 MiB for each.
	maxParallel = 4
)

// OpenSet opens the volumes of a directory. known gives for every volume the end,
// in the uncompressed tar stream, up to which the ledger knows it.
//
// There is one way to open, after a crash or not. Of the last volume, unless it is sealed, only what
// follows the last frame that ends with a whole, undamaged entry is cut, after it was copied to the
// quarantine; what then lies beyond known is what Unknown gives, and durable. A volume that is shorter than known gives ErrShort
// before anything is changed.
func OpenSet(ctx context.Context, o Options, known map[uint32]int64) (*Set, error) {
	o = o.withDefaults()
	parallel := min(runtime.GOMAXPROCS(0), maxParallel)
	codec, err := newCodec(o.Level, parallel)
	if err != nil {
		return nil, err
	}
	codec.recipients, codec.identities = o.Recipients, o.Identities
	s := &Set{o: o, codec: codec, cache: newFrameCache(o.FrameCache), packer: &packer{codec: codec, parallel: parallel},
		rewriting: make(chan struct{}, 1)}
	if !o.ReadOnly {
		err := o.FS.MkdirAll(o.Dir, disk.DirPerm)
		if err == nil {
			err = o.FS.SyncDir(filepath.Dir(o.Dir))
		}
		if err == nil {
			// What is found now may be a rename that a crash came before: nobody may rely on it
			// until it cannot be taken back.
			err = o.FS.SyncDir(o.Dir)
		}
		if err != nil {
			return nil, fmt.Errorf("volume directory: %w", err)
		}
	}
	if err := s.list(known); err != nil {
		return nil, err
	}
	if err := s.leaveForeign(known); err != nil {
		return nil, err
	}
	for i, v := range s.vols {
		if err := s.openVolume(ctx, v, i == len(s.vols)-1); err != nil {
			return nil, errors.Join(fmt.Errorf("open volume %d: %w", v.number, err), s.Close())
		}
	}
	if s.w != nil && s.w.v.encrypted != (len(o.Recipients) > 0) {
		if err := s.seal(); err != nil { // what comes now goes into one of the other kind
			return nil, errors.Join(fmt.Errorf("seal volume: %w", err), s.Close())
		}
	}
	return s, nil
}

// list finds the volumes in the directory.
func (s *Set) list(known map[uint32]int64) error {
	entries, err := s.o.FS.ReadDir(s.o.Dir)
	if err != nil {
		return fmt.Errorf("volume directory: %w", err)
	}
	pattern := regexp.MustCompile(`^([0-9]{8})(` + regexp.QuoteMeta(volumeSuffix) + `|` + regexp.QuoteMeta(cipherSuffix) + `|` +
		regexp.QuoteMeta(sideSuffix) + `)$`)
	leftover := regexp.MustCompile(`^[0-9]{8}(` + regexp.QuoteMeta(volumeSuffix) + `|` + regexp.QuoteMeta(cipherSuffix) + `)` + regexp.QuoteMeta(tmpSuffix) + `$`)
	missing := maps.Clone(known)
	for _, e := range entries {
		if e.Type().IsRegular() && leftover.MatchString(e.Name()) {
			_, missing := s.o.FS.Stat(filepath.Join(s.o.Dir, strings.TrimSuffix(e.Name(), tmpSuffix)))
			if !s.o.ReadOnly && missing == nil { // without the volume it may be all that is left of it
				s.removeLeftover(filepath.Join(s.o.Dir, e.Name()))
			}
			continue
		}
		m := pattern.FindStringSubmatch(e.Name())
		if m == nil || m[1] == "00000000" || !e.Type().IsRegular() {
			s.o.Logger.Warn("not a volume, left alone", "dir", s.o.Dir, "name", e.Name())
			continue
		}
		if m[2] == sideSuffix {
			continue
		}
		n, err := strconv.ParseUint(m[1], 10, 32)
		if err != nil {
			return err
		}
		number := uint32(n)
		s.vols = append(s.vols, &vol{number: number, path: filepath.Join(s.o.Dir, e.Name()), known: known[number], encrypted: m[2] == cipherSuffix})
		delete(missing, number)
	}
	slices.SortFunc(s.vols, func(a, b *vol) int { return int(a.number) - int(b.number) })
	for i := 1; i < len(s.vols); i++ {
		if s.vols[i].number == s.vols[i-1].number {
			return fmt.Errorf("volume %d is there twice, encrypted and not: move the one away that does not belong here", s.vols[i].number)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(missing)) {
		if err := s.checkShort(&vol{number: n, known: missing[n]}); err != nil {
			return err
		}
	}
	return nil
}

// removeLeftover removes an unfinished new file of a volume. The volume itself is whole.
func (s *Set) removeLeftover(name string) {
	if err := s.o.FS.Remove(name); err != nil {
		s.o.Logger.Warn("unfinished copy of a volume is not removed", "name", name, "error", err)
	}
}

// checkShort compares the end of v with what the ledger knows.
func (s *Set) checkShort(v *vol) error {
	if v.end >= v.known {
		return nil
	}
	err := fmt.Errorf("%w: volume %d ends at offset %d of its tar stream, known are %d; put the newest copy of the volume back, or go on read-only",
		ErrShort, v.number, v.end, v.known)
	if !s.o.ReadOnly {
		return err
	}
	s.o.Logger.Error("volume is short", "error", err)
	return nil
}

// Volumes returns the state of every volume, in the order of their numbers.
func (s *Set) Volumes() []Info {
	s.mu.RLock()
	defer s.mu.RUnlock()
	infos := make([]Info, 0, len(s.vols))
	for _, v := range s.vols {
		infos = append(infos, Info{Number: v.number, Bytes: v.size, End: v.end, Sealed: v.sealed, Encrypted: v.encrypted})
	}
	return infos
}

// Close drops what is not committed, stops a Repack or Redact and waits for it, and closes the
// writer. Bodies that are open can be read on. A second call does nothing.
func (s *Set) Close() error {
	s.mu.Lock()
	closed, brokenBy := s.closed, s.broken
	s.closed = true
	if s.stopRewrite != nil {
		s.stopRewrite(ErrClosed)
	}
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.rewriting <- struct{}{}
	<-s.rewriting
	if s.w == nil {
		return nil
	}
	var err error
	if brokenBy == nil {
		err = s.w.discard()
	}
	s.packer.drain()
	err = errors.Join(err, s.w.close())
	s.w = nil
	return err
}
