package indexer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/postkeep/postkeep/archive/disk"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	generationPrefix = "gen-"
	damagedSuffix    = ".damaged"
	// slotsFile names the generations. A directory that is not in it is what was
	// left of one that was not finished, or not removed.
	slotsFile = "index.json"
	// open is the last ledger index of the slot that takes new messages.
	open = math.MaxInt64
)

// slot is the part of the archive that one generation is for: the messages whose
// first deposit has a ledger index from first to last. Slots touch each other, and
// the last one is open, so that every message has its place for good: also
// when it is deposited again.
type slot struct {
	first, last int64
	gen         *generation
	// next takes the place of gen when it has all that gen should have. Most
	// often there is none.
	next *generation
	// rebuild asks for a next.
	rebuild bool
	// purge says that gen holds what must not be found any more.
	purge bool
}

// target is the ledger index that a generation has to reach before it can stand
// for the slot.
func (s *slot) target() int64 {
	if s.last == open {
		return s.gen.state.Load().Position
	}
	return s.last
}

// lacking reports whether messages may be missing from the slot's generation.
func (s *slot) lacking() bool {
	st := s.gen.state.Load()
	return s.last == open && !st.Complete || s.last != open && st.Position < s.last || s.gen.usable() != nil
}

func (s *slot) generations() []*generation {
	if s.next == nil {
		return []*generation{s.gen}
	}
	return []*generation{s.gen, s.next}
}

// slotRecord is a slot in index.json; Last is -1 for the open one.
type slotRecord struct {
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
	Dir     string `json:"dir"`
	Next    string `json:"next,omitempty"`
	Rebuild bool   `json:"rebuild,omitempty"`
	Purge   bool   `json:"purge,omitempty"`
}

type slotsRecord struct {
	Format int          `json:"format"`
	Slots  []slotRecord `json:"slots"`
}

// valid reports whether the slots are what this package writes.
func (r slotsRecord) valid() bool {
	next := int64(0)
	for i, s := range r.Slots {
		isLast := i == len(r.Slots)-1
		if s.First != next || isLast != (s.Last == -1) || !isLast && s.Last < s.First || !isName(s.Dir) || s.Next != "" && !isName(s.Next) {
			return false
		}
		next = s.Last + 1
	}
	return r.Format == formatVersion && len(r.Slots) > 0
}

// isName keeps a damaged file from leading out of the directory.
func isName(dir string) bool {
	return strings.HasPrefix(dir, generationPrefix) && filepath.Base(dir) == dir && !strings.HasSuffix(dir, damagedSuffix)
}

// save makes slots what the next start finds. Call it before x.slots is theirs.
func (x *Index) save(slots []*slot) error {
	r := slotsRecord{Format: formatVersion}
	for _, s := range slots {
		one := slotRecord{First: s.first, Last: s.last, Dir: filepath.Base(s.gen.dir), Rebuild: s.rebuild, Purge: s.purge}
		if s.last == open {
			one.Last = -1
		}
		if s.next != nil {
			one.Next = filepath.Base(s.next.dir)
		}
		r.Slots = append(r.Slots, one)
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := disk.WriteFile(disk.OS(), filepath.Join(x.opts.Dir, slotsFile), append(data, '\n'), disk.FilePerm); err != nil {
		return fmt.Errorf("save the list of index generations: %w", err)
	}
	return nil
}

// maxSlotsFile bounds reading: a slot is a hundred bytes, and a million of them
// would be too many to search.
const maxSlotsFile = 100 << 20

// load opens the slots that index.json names, or makes an empty one.
func (x *Index) load() error {
	var r slotsRecord
	name := filepath.Join(x.opts.Dir, slotsFile)
	data, err := disk.ReadFile(disk.OS(), name, maxSlotsFile)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if isEnvironment(err) || err != nil && x.opts.ReadOnly {
		return fmt.Errorf("open search index: %w", err)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && !r.valid() {
		x.opts.Logger.Warn("the search index is built anew: its list is damaged or of another version", "file", name, "error", err)
	}
	if err != nil || !r.valid() {
		r = slotsRecord{Slots: []slotRecord{{Last: -1}}}
	}
	for _, one := range r.Slots {
		s, err := x.openSlot(one)
		if s != nil {
			x.slots = append(x.slots, s)
		}
		if err != nil {
			return err
		}
	}
	if x.opts.ReadOnly {
		return nil
	}
	// What follows must not lose a generation to a crash: the list first.
	if err := x.save(x.slots); err != nil {
		return err
	}
	return x.sweep(false)
}

// openSlot opens the generations of a slot. One that is damaged is moved aside
// and begun anew.
func (x *Index) openSlot(r slotRecord) (*slot, error) {
	s := &slot{first: r.First, last: r.Last, rebuild: r.Rebuild, purge: r.Purge}
	if s.last == -1 {
		s.last = open
	}
	var err error
	if s.gen, err = x.openOrCreate(r.Dir, s.first); err != nil {
		return nil, err
	}
	s.rebuild = s.rebuild || s.gen.mapping != mappingVersion
	if r.Next == "" || x.opts.ReadOnly {
		return s, nil
	}
	if s.next, err = x.openOrCreate(r.Next, s.first); err == nil && s.next.mapping != mappingVersion {
		err = s.next.close() // begun by another version
		s.next = nil
	}
	return s, err
}

func (x *Index) openOrCreate(name string, first int64) (*generation, error) {
	if name == "" && x.opts.ReadOnly {
		return nil, errors.New("open search index: its list is damaged or of another version")
	}
	if name == "" {
		return x.create(first)
	}
	dir := filepath.Join(x.opts.Dir, name)
	g, err := openGeneration(dir, first, x.opts.ReadOnly, x.opts.Logger, x.stir)
	switch {
	case err == nil:
		g.columns.pool = &x.columns
		return g, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	case isEnvironment(err), x.opts.ReadOnly:
		return nil, err
	}
	x.opts.Logger.Warn("a part of the search index is rebuilt", "index", dir, "reason", err)
	if err := x.discard(dir); err != nil {
		return nil, err
	}
	return x.create(first)
}

// isEnvironment reports whether an index could not be opened for a reason
// that has nothing to do with its files.
func isEnvironment(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// create makes an empty generation with a number above all that are there.
func (x *Index) create(first int64) (*generation, error) {
	names, err := filepath.Glob(filepath.Join(x.opts.Dir, generationPrefix+"*"))
	if err != nil {
		return nil, err
	}
	last := 0
	for _, name := range names {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(name), generationPrefix+"%d", &n); err == nil {
			last = max(last, n)
		}
	}
	dir := filepath.Join(x.opts.Dir, fmt.Sprintf("%s%06d", generationPrefix, last+1))
	g, err := createGeneration(dir, first, x.opts.Now(), x.opts.Logger, x.stir)
	if err == nil {
		g.columns.pool = &x.columns
	}
	return g, err
}

// discard moves a damaged generation aside for whoever wants to know why, the
// latest one only: it may be large. One that was never finished or is of another
// version tells nothing and goes.
func (x *Index) discard(dir string) error {
	m, err := readManifest(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !m.readable() {
		return x.remove(dir)
	}
	if err := x.removeDamaged(); err != nil {
		return err
	}
	if err := os.Rename(dir, dir+damagedSuffix); err != nil {
		return fmt.Errorf("move damaged search index aside: %w", err)
	}
	return nil
}

func (x *Index) removeDamaged() error {
	damaged, err := filepath.Glob(filepath.Join(x.opts.Dir, generationPrefix+"*"+damagedSuffix))
	if err != nil {
		return err
	}
	for _, dir := range damaged {
		if err := x.remove(dir); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a directory for good.
func (x *Index) remove(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove old search index: %w", err)
	}
	return disk.OS().SyncDir(x.opts.Dir)
}

// sweep removes generations that no slot has, damaged ones only if asked.
func (x *Index) sweep(damaged bool) error {
	used := map[string]bool{}
	for _, s := range x.slots {
		for _, g := range s.generations() {
			used[filepath.Base(g.dir)] = true
		}
	}
	entries, err := os.ReadDir(x.opts.Dir)
	if err != nil {
		return fmt.Errorf("open search index: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), generationPrefix) || used[e.Name()] || strings.HasSuffix(e.Name(), damagedSuffix) {
			continue
		}
		if err := x.remove(filepath.Join(x.opts.Dir, e.Name())); err != nil {
			return err
		}
	}
	if damaged {
		return x.removeDamaged()
	}
	return nil
}

// slotOf returns the slot of a message by the ledger index of its first deposit.
func slotOf(slots []*slot, first int64) *slot {
	for i := len(slots) - 1; i > 0; i-- {
		if slots[i].first <= first {
			return slots[i]
		}
	}
	return slots[0]
}
