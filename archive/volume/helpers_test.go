package volume

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/archive/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testFrame = 2048

var testTime = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

func testOptions(dir string) Options {
	return Options{
		FS: unsynced{disk.OS()}, Dir: filepath.Join(dir, "volumes"), Quarantine: filepath.Join(dir, "quarantine"),
		frameBytes: testFrame,
	}
}

func mustOpen(t testing.TB, o Options, known map[uint32]int64) *Set {
	t.Helper()
	s, err := OpenSet(t.Context(), o, known)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func idOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// mail returns size bytes that compress like text, different for every seed.
func mail(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := []string{"invoice ", "Received: by ", "\r\n", "the ", "of ", "\x00", "meeting ", "=C3=A9", "From "}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Subject: %d\r\n", seed)
	for b.Len() < size {
		b.WriteString(words[r.IntN(len(words))])
		fmt.Fprintf(&b, "%x", r.Uint32())
	}
	return b.Bytes()[:size]
}

func message(data []byte) Message {
	return Message{ID: idOf(data), Size: int64(len(data)), Time: testTime, Body: bytes.NewReader(data)}
}

// A book notes what was appended where.
type book struct {
	pending, kept map[Place][]byte
	known         map[uint32]int64
}

func newBook() *book {
	return &book{pending: map[Place][]byte{}, kept: map[Place][]byte{}, known: map[uint32]int64{}}
}

func (b *book) append(t testing.TB, s *Set, data []byte) error {
	t.Helper()
	at, _, err := s.Append(t.Context(), message(data))
	if err == nil {
		b.pending[at] = data
	}
	return err
}

func (b *book) deposit(t testing.TB, s *Set, id string, n int) error {
	t.Helper()
	record := fmt.Appendf(nil, `{"mailbox":"sales","n":%d}`, n)
	at, _, err := s.AppendDeposit(t.Context(), id, n, testTime, record)
	if err == nil {
		b.pending[at] = record
	}
	return err
}

func (b *book) commit(t testing.TB, s *Set) error {
	t.Helper()
	c, err := s.Commit(t.Context())
	if err != nil {
		return err
	}
	for at, data := range b.pending {
		b.kept[at] = data
	}
	clear(b.pending)
	if c.Volume != 0 {
		b.known[c.Volume] = c.End
	}
	return nil
}

// check reads everything that was committed, by place and by scanning.
func (b *book) check(t testing.TB, s *Set) {
	t.Helper()
	for at, want := range b.kept {
		e, got := read(t, s, at)
		if !bytes.Equal(got, want) || e.Place != at || e.Size != int64(len(want)) || e.SHA256 != idOf(want) {
			t.Fatalf("%v holds %d bytes, want the %d that were written; entry %+v", at, len(got), len(want), e)
		}
	}
	seen := 0
	err := s.Scan(t.Context(), Place{}, func(e Entry, body io.Reader) error {
		got, err := io.ReadAll(body)
		if want, ok := b.kept[e.Place]; ok {
			seen++
			if !bytes.Equal(got, want) {
				t.Errorf("scan gives other bytes at %v", e.Place)
			}
		}
		return err
	})
	if err != nil || seen != len(b.kept) {
		t.Fatalf("scan found %d of %d entries: %v", seen, len(b.kept), err)
	}
}

func read(t testing.TB, s *Set, at Place) (Entry, []byte) {
	t.Helper()
	e, body, err := s.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	return e, data
}

func places(t testing.TB, scan func(fn func(Entry, io.Reader) error) error) []string {
	t.Helper()
	var names []string
	if err := scan(func(e Entry, _ io.Reader) error { names = append(names, e.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

func volumePath(o Options, number uint32) string {
	return filepath.Join(o.Dir, fmt.Sprintf("%08d%s", number, volumeSuffix))
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// unsynced is a file system that does not wait for the disk, for tests that open
// thousands of volumes.
type unsynced struct{ disk.FS }

func (unsynced) SyncDir(string) error { return nil }

func (u unsynced) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ disk.File }

func (unsyncedFile) Sync() error { return nil }

var errInjected = errors.New("injected fault")

type faultMode int

const (
	failBefore faultMode = iota // nothing happens
	failAfter                   // it happens all the same
	failTorn                    // half of a write happens
)

// A faultFS fails its k-th changing call, and knows what a power cut would leave.
type faultFS struct {
	disk.FS
	mode faultMode
	dead bool // fail everything from there on

	mu    sync.Mutex
	left  int // calls until the fault
	calls int
	data  map[string][]byte // as of the last fsync
	names map[string]bool   // that a directory fsync has made durable
}

func newFaultFS(k int, mode faultMode) *faultFS {
	return &faultFS{FS: unsynced{disk.OS()}, mode: mode, left: k, data: map[string][]byte{}, names: map[string]bool{}}
}

// do runs a changing call, or fails. torn is run instead in mode failTorn.
func (f *faultFS) do(call, torn func() error) error {
	f.mu.Lock()
	f.calls++
	f.left--
	hit, after := f.left == 0, f.dead && f.left < 0
	f.mu.Unlock()
	switch {
	case after:
		return errInjected
	case !hit:
		return call()
	case f.mode == failAfter:
		return errors.Join(errInjected, call())
	case f.mode == failTorn && torn != nil:
		return errors.Join(errInjected, torn())
	}
	return errInjected
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (file disk.File, err error) {
	open := func() error { file, err = f.FS.OpenFile(name, flag, perm); return err }
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		err = f.do(open, nil)
	} else {
		err = open()
	}
	if err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, err
	}
	return &faultFile{File: file, fs: f}, nil
}

func (f *faultFS) Rename(a, b string) error {
	return f.do(func() error { return f.FS.Rename(a, b) }, nil)
}
func (f *faultFS) Remove(name string) error {
	return f.do(func() error { return f.FS.Remove(name) }, nil)
}
func (f *faultFS) MkdirAll(name string, perm fs.FileMode) error {
	return f.do(func() error { return f.FS.MkdirAll(name, perm) }, nil)
}
func (f *faultFS) Chmod(name string, mode fs.FileMode) error {
	return f.do(func() error { return f.FS.Chmod(name, mode) }, nil)
}

func (f *faultFS) SyncDir(name string) error {
	return f.do(func() error {
		entries, err := f.ReadDir(name)
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range entries {
			f.names[filepath.Join(name, e.Name())] = true
		}
		return err
	}, nil)
}

// powerCut leaves of the volumes what was synced, and the side files as they are.
func (f *faultFS) powerCut(t testing.TB, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+volumeSuffix))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
		if !f.names[name] {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			continue
		}
		writeFile(t, name, f.data[name])
	}
}

type faultFile struct {
	disk.File
	fs *faultFS
}

func (f *faultFile) Write(p []byte) (n int, err error) {
	err = f.fs.do(func() error { n, err = f.File.Write(p); return err },
		func() error { n, err = f.File.Write(p[:len(p)/2]); return err })
	return n, err
}

func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.do(func() error { n, err = f.File.WriteAt(p, off); return err },
		func() error { n, err = f.File.WriteAt(p[:len(p)/2], off); return err })
	return n, err
}

func (f *faultFile) Truncate(size int64) error {
	return f.fs.do(func() error { return f.File.Truncate(size) }, nil)
}

func (f *faultFile) Sync() error {
	return f.fs.do(func() error {
		data, err := os.ReadFile(f.Name())
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		f.fs.data[f.Name()] = data
		return errors.Join(err, f.File.Sync())
	}, nil)
}

func idOfReader(t testing.TB, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
