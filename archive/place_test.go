package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/ledger"
)

// claimed opens an archive as a command does, and closes it at the end of the test.
func claimed(t *testing.T, dir string, claim Claim) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, Options{Claim: claim})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// atHome makes an archive with a message that has been opened where it is.
func atHome(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s := claimed(t, dir, ClaimOwn)
	if err := s.Copied(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "1", "first")}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	return dir
}

func cloneOf(t *testing.T, dir string, without ...string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range without {
		if err := os.RemoveAll(filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestACopyIsOnlyReadUntilItIsTakenOver(t *testing.T) {
	dir := atHome(t)
	for name, without := range map[string][]string{
		"all of it":         nil,
		"what is precious":  {placeName, catalogName, lockName},
		"without the place": {placeName},
	} {
		t.Run(name, func(t *testing.T) {
			clone := cloneOf(t, dir, without...)
			before, err := os.ReadFile(filepath.Join(clone, ledgerName, "checkpoint"))
			if err != nil {
				t.Fatal(err)
			}
			s := claimed(t, clone, ClaimOwn)
			if err := s.Copied(); !errors.Is(err, ErrCopied) || !strings.Contains(err.Error(), dir) {
				t.Errorf("copied: %v", err)
			}
			if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "2", "second")}); !errors.Is(err, ErrReadOnly) || !errors.Is(err, ErrCopied) {
				t.Errorf("put: %v", err)
			}
			if _, err := s.Record(t.Context(), Action{Type: ActionView, Actor: "a"}); err != nil {
				t.Errorf("a view: %v", err)
			}
			if _, err := s.Message(t.Context(), delivery("", "", "first").ID); err != nil {
				t.Error(err)
			}
			if st, err := s.Status(t.Context()); err != nil || st.Messages != 1 || st.Copied == "" {
				t.Errorf("status %+v, %v", st, err)
			}
			closed(t, s)
			after, err := os.ReadFile(filepath.Join(clone, ledgerName, "checkpoint"))
			if err != nil || string(before) != string(after) {
				t.Errorf("a copy has signed: %s %v", after, err)
			}

			s = claimed(t, clone, ClaimTakeOver)
			if e := s.Epoch(); s.Copied() != nil || e.Number != 2 || e.Reason != epochTakeOver || e.Identity != s.Identity() {
				t.Errorf("taken over: %v, %+v", s.Copied(), e)
			}
			if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "2", "second")}); err != nil {
				t.Error(err)
			}
			closed(t, s)
			s = claimed(t, clone, ClaimTakeOver) // nothing is left to take over
			if e := s.Epoch(); s.Copied() != nil || e.Number != 2 {
				t.Errorf("again: %v, %+v", s.Copied(), e)
			}
			closed(t, s)
		})
	}
	s := claimed(t, dir, ClaimOwn)
	if e := s.Epoch(); s.Copied() != nil || e.Number != 1 {
		t.Errorf("the original: %v, %+v", s.Copied(), e)
	}
}

func TestAnOlderLedgerPutBackIsACopy(t *testing.T) {
	dir := atHome(t)
	older := cloneOf(t, dir, keysName, lockName)
	s := claimed(t, dir, ClaimOwn)
	if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "2", "second")}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	// Into the same directory, with the files removed before: their inode numbers may come again.
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := f.Name(); name != keysName && name != lockName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	s = claimed(t, dir, ClaimOwn)
	if !errors.Is(s.Copied(), ErrCopied) {
		t.Errorf("copied: %v", s.Copied())
	}
}

func TestARenamedDirectoryIsNoCopy(t *testing.T) {
	dir := atHome(t)
	to := filepath.Join(t.TempDir(), "elsewhere", "data")
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, to); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := claimed(t, to, ClaimOwn)
		if err := s.Copied(); err != nil || s.Epoch().Number != 1 {
			t.Errorf("copied: %v", err)
		}
		closed(t, s)
	}
	var p place
	if q, err := (&Store{dir: to, opts: Options{FS: disk.OS()}}).readPlace(); err != nil {
		t.Error(err)
	} else if p = *q; p.Path != to {
		t.Errorf("noted %s", p.Path)
	}
}

// A clone of a file system, such as a snapshot that is mounted writable, keeps what the place is recognised by. Here the
// note is changed instead.
func TestACloneBesideTheOriginalIsACopy(t *testing.T) {
	dir := atHome(t)
	clone := cloneOf(t, dir)
	asCloned := func(clone string) {
		original, err := (&Store{dir: dir, opts: Options{FS: disk.OS()}}).readPlace()
		if err != nil {
			t.Fatal(err)
		}
		p, err := hereAndNow(clone)
		if err != nil {
			t.Fatal(err)
		}
		p.Holder, p.Path = original.Holder, original.Path
		if err := (&Store{dir: clone, opts: Options{FS: disk.OS()}}).writePlace(p); err != nil {
			t.Fatal(err)
		}
	}
	asCloned(clone)
	s := claimed(t, clone, ClaimOwn)
	if err := s.Copied(); !errors.Is(err, ErrCopied) || !strings.Contains(err.Error(), dir) {
		t.Errorf("copied: %v", err)
	}
	closed(t, s)
	s = claimed(t, dir, ClaimOwn)
	if err := s.Copied(); err != nil {
		t.Errorf("the original: %v", err)
	}
	closed(t, s)
	again := filepath.Join(t.TempDir(), "again") // the same directory by another path
	if err := os.Symlink(dir, again); err != nil {
		t.Fatal(err)
	}
	s = claimed(t, again, ClaimOwn)
	if err := s.Copied(); err != nil {
		t.Errorf("by another path: %v", err)
	}
	closed(t, s)
	s = claimed(t, clone, ClaimTakeOver)
	if err := s.Copied(); err != nil || s.Epoch().Number != 2 {
		t.Errorf("taken over: %v, epoch %d", err, s.Epoch().Number)
	}
	closed(t, s)
	clone = cloneOf(t, dir)
	asCloned(clone)
	if err := os.RemoveAll(dir); err != nil { // it was moved with its file system
		t.Fatal(err)
	}
	s = claimed(t, clone, ClaimOwn)
	if err := s.Copied(); err != nil {
		t.Errorf("without the original: %v", err)
	}
	closed(t, s)
}

// An archive of an earlier version has no place and no epoch: whoever opens it first claims it. So does somebody whose first try ended
// between the two.
func TestAnArchiveOfAnEarlierVersionIsClaimed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s := claimed(t, dir, Unclaimed)
	if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "1", "first")}); err != nil {
		t.Fatal(err)
	}
	if s.Epoch().Number != 0 || s.Events() != 1 {
		t.Errorf("%+v, %d events", s.Epoch(), s.Events())
	}
	now, err := hereAndNow(dir)
	if err != nil {
		t.Fatal(err)
	}
	now.Holder = "interrupted"
	if err := s.writePlace(now); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s = claimed(t, dir, ClaimOwn)
	if e := s.Epoch(); s.Copied() != nil || e.Number != 1 || e.Holder != "interrupted" || s.Events() != 2 {
		t.Errorf("%v %+v, %d events", s.Copied(), e, s.Events())
	}
	e, err := s.ledger.Entry(t.Context(), 1)
	if err != nil || e.Type != ledger.TypeEpoch || !strings.Contains(string(e.Details), s.Identity()) {
		t.Errorf("event %+v, %v", e, err)
	}
	closed(t, s)
	s, err = Open(t.Context(), dir, Options{Claim: ClaimOwn, RebuildCatalog: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if s.Copied() != nil || s.Epoch().Holder != "interrupted" {
		t.Errorf("rebuilt: %v %+v", s.Copied(), s.Epoch())
	}
}

// What tells a copy: the files, and the machine where it has a name that stays.
func TestStrangePlaces(t *testing.T) {
	id := func(inode uint64, birth int) disk.FileID {
		f := disk.FileID{Inode: inode}
		if birth > 0 {
			f.Birth = f.Birth.AddDate(2000+birth, 0, 0)
		}
		return f
	}
	at := func(machine string, key, events disk.FileID) place {
		return place{Machine: machine, Files: map[string]disk.FileID{placeFiles()[0]: key, placeFiles()[1]: events}}
	}
	home := at("m", id(1, 1), id(2, 2))
	for name, test := range map[string]struct {
		then, now place
		strange   bool
	}{
		"the same":                              {home, home, false},
		"a container without a machine id":      {home, at("", id(1, 1), id(2, 2)), false},
		"it was noted in such a container":      {at("", id(1, 1), id(2, 2)), home, false},
		"the disk is in another machine":        {home, at("n", id(1, 1), id(2, 2)), true},
		"copied":                                {home, at("m", id(3, 3), id(4, 4)), true},
		"restored, with the same inode numbers": {home, at("m", id(1, 3), id(2, 4)), true},
		"only the ledger was put back":          {home, at("m", id(1, 1), id(2, 4)), true},
		"no times of birth, copied":             {at("m", id(1, 0), id(2, 0)), at("m", id(3, 0), id(4, 0)), true},
		"no times of birth, the same":           {at("m", id(1, 0), id(2, 0)), at("m", id(1, 0), id(2, 0)), false},
		"a kernel that has learned to tell":     {at("m", id(1, 0), id(2, 0)), home, false},
	} {
		if why := test.then.strange(test.now); (why != "") != test.strange {
			t.Errorf("%s: strange %q", name, why)
		}
	}
}
