package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
)

// sealedSet returns a set whose first volume is sealed, of many small commits, and whose second is being written.
func sealedSet(t testing.TB, o Options) (*Set, *book) {
	t.Helper()
	s := mustOpen(t, o, nil)
	b := newBook()
	for i := range 12 {
		err := errors.Join(b.append(t, s, mail(uint64(i), 100+50*i)), b.deposit(t, s, idOf(mail(uint64(i), 100+50*i)), i))
		if i == 5 {
			err = errors.Join(err, b.append(t, s, mail(50, 3*testFrame)))
		}
		if err := errors.Join(err, b.commit(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := s.Seal(t.Context()); err != nil || c != (Committed{Volume: 1, End: b.known[1], Sealed: 1}) {
		t.Fatalf("sealing gives %+v, %v", c, err)
	}
	if err := errors.Join(b.append(t, s, mail(70, 300)), b.commit(t, s)); err != nil {
		t.Fatal(err)
	}
	return s, b
}

func noLeftover(t testing.TB, o Options) {
	t.Helper()
	if names, err := filepath.Glob(filepath.Join(o.Dir, "*"+tmpSuffix)); err != nil || len(names) > 0 {
		t.Errorf("left over are %q, %v", names, err)
	}
}

func TestSealWithoutAnOpenVolumeDoesNothing(t *testing.T) {
	s := mustOpen(t, testOptions(t.TempDir()), nil)
	if c, err := s.Seal(t.Context()); err != nil || c != (Committed{}) {
		t.Errorf("sealing nothing gives %+v, %v", c, err)
	}
	if _, _, err := s.Append(t.Context(), Message{ID: idOf(nil), Size: 1, Body: strings.NewReader("")}); err == nil {
		t.Fatal("a short body is taken")
	}
	if c, err := s.Seal(t.Context()); err != nil || c != (Committed{}) { // the volume is there, but empty
		t.Errorf("sealing an empty volume gives %+v, %v", c, err)
	}
}

func TestRepackMovesNothing(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b := sealedSet(t, o)
	before, frames := s.Volumes(), len(s.vols[0].frames)
	s.o.frameBytes = FrameBytes
	r, err := s.Repack(t.Context(), 1, RepackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := readFile(t, volumePath(o, 1))
	if want := (Rewritten{Volume: 1, SHA256: idOf(data), Bytes: int64(len(data)), Was: before[0].Bytes, Entries: 25}); r != want {
		t.Errorf("repacking gives %+v, want %+v", r, want)
	}
	if r.Bytes >= r.Was || len(s.vols[0].frames) >= frames {
		t.Errorf("%d bytes in %d frames have become %d in %d", r.Was, frames, r.Bytes, len(s.vols[0].frames))
	}
	if sum, size, err := s.HashFile(t.Context(), 1); err != nil || sum != r.SHA256 || size != r.Bytes {
		t.Errorf("hash of the file is %s, %d, %v", sum, size, err)
	}
	if info, err := os.Stat(volumePath(o, 1)); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o400 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	b.check(t, s)
	before[0].Bytes = r.Bytes
	if got := s.Volumes(); got[0] != before[0] || got[1] != before[1] {
		t.Errorf("volumes are %+v, want %+v", got, before)
	}
	if out, err := exec.Command("sh", "-c", `zstd -dcq "$1" | tar -tf -`, "sh", volumePath(o, 1)).CombinedOutput(); err != nil ||
		bytes.Count(out, []byte("\n")) != 25 {
		t.Errorf("stock tools give %v %s", err, out)
	}
	noLeftover(t, o)
	_ = s.Close()
	b.check(t, mustOpen(t, o, b.known))
}

func TestRepackKeepsEntriesOfLaterVersions(t *testing.T) {
	o := testOptions(t.TempDir())
	s := mustOpen(t, o, nil)
	entry := newEntry{name: "notes/later", sha256: idOf([]byte("x")), size: 1, time: testTime, body: strings.NewReader("x")}
	if _, _, err := s.append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := places(t, func(fn func(Entry, io.Reader) error) error { return s.Scan(t.Context(), Place{}, fn) })
	if _, err := s.Repack(t.Context(), 1, RepackOptions{}); err != nil {
		t.Fatal(err)
	}
	after := places(t, func(fn func(Entry, io.Reader) error) error { return s.Scan(t.Context(), Place{}, fn) })
	if len(after) != 1 || after[0] != before[0] {
		t.Errorf("entries were %q and are %q", before, after)
	}
}

func TestDamagedVolumeIsNotRepacked(t *testing.T) {
	o := testOptions(t.TempDir())
	s, _ := sealedSet(t, o)
	data := readFile(t, volumePath(o, 1))
	f := s.vols[0].frames[7]
	data[f.end()-checksumBytes-1] ^= 0x10
	if err := os.Chmod(volumePath(o, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, volumePath(o, 1), data)
	var damage *DamageError
	if _, err := s.Repack(t.Context(), 1, RepackOptions{}); !errors.As(err, &damage) || damage.Offset != f.off {
		t.Errorf("repacking gives %v, want damage at %d", err, f.off)
	}
	if !bytes.Equal(readFile(t, volumePath(o, 1)), data) {
		t.Error("the file was changed")
	}
	noLeftover(t, o)
}

func TestOnlySealedVolumesAreRewritten(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b := sealedSet(t, o)
	for volume, want := range map[uint32]error{2: ErrNotSealed, 3: ErrNoEntry} {
		if _, err := s.Repack(t.Context(), volume, RepackOptions{}); !errors.Is(err, want) {
			t.Errorf("repacking volume %d gives %v, want %v", volume, err, want)
		}
		if _, _, err := s.HashFile(t.Context(), volume); !errors.Is(err, want) {
			t.Errorf("hashing volume %d gives %v, want %v", volume, err, want)
		}
	}
	_ = s.Close()
	if _, err := s.Repack(t.Context(), 1, RepackOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("repacking in a closed set gives %v", err)
	}
	o.ReadOnly = true
	if _, err := mustOpen(t, o, b.known).Repack(t.Context(), 1, RepackOptions{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("repacking in a read-only set gives %v", err)
	}
}

func TestUnfinishedRewriteIsRemovedWhenOpening(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b := sealedSet(t, o)
	_ = s.Close()
	writeFile(t, volumePath(o, 1)+tmpSuffix, []byte("half"))
	writeFile(t, filepath.Join(o.Dir, "notes.tmp"), []byte("not ours"))
	ro := o
	ro.ReadOnly = true
	b.check(t, mustOpen(t, ro, b.known))
	if _, err := os.Stat(volumePath(o, 1) + tmpSuffix); err != nil {
		t.Errorf("opened read-only: %v", err)
	}
	b.check(t, mustOpen(t, o, b.known))
	if _, err := os.Stat(volumePath(o, 1) + tmpSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "notes.tmp")); err != nil {
		t.Error(err)
	}
}

func TestReadersAndWriterGoOnWhileVolumesAreRewritten(t *testing.T) {
	o := testOptions(t.TempDir())
	o.FrameCache = 3 * testFrame // so that most reads decode
	s, b := sealedSet(t, o)
	large := Place{}
	for at, d := range b.kept {
		if len(d) == 3*testFrame {
			large = at
		}
	}
	_, slow, err := s.Open(t.Context(), large) // begins in the first file, and is read on in it
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				for at, want := range b.kept {
					_, body, err := s.Open(t.Context(), at)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(body)
					if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%v: %d other bytes, %v", at, len(got), err)
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 15 {
				if _, err := s.Repack(t.Context(), 1, RepackOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 30 {
		if _, _, err := s.Append(t.Context(), message(mail(uint64(200+i), 900))); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if got, err := io.ReadAll(slow); err != nil || !bytes.Equal(got, mail(50, 3*testFrame)) {
		t.Errorf("what was opened before is read as %d other bytes, %v", len(got), err)
	}
	_ = slow.Close()
}

func TestCloseStopsRepacking(t *testing.T) {
	o := testOptions(t.TempDir())
	block := &blockingFS{FS: o.FS, reached: make(chan struct{}), release: make(chan struct{})}
	o.FS = block
	s, b := sealedSet(t, o)
	block.name = volumePath(o, 1) + tmpSuffix
	repacked, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.Repack(t.Context(), 1, RepackOptions{})
		repacked <- err
	}()
	<-block.reached
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Repack(ctx, 1, RepackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for another rewrite ends with %v", err)
	}
	go func() { closed <- s.Close() }()
	for {
		if _, _, err := s.HashFile(t.Context(), 1); errors.Is(err, ErrClosed) {
			break
		}
		runtime.Gosched()
	}
	select {
	case err := <-closed:
		t.Errorf("close did not wait: %v", err)
	default:
	}
	close(block.release)
	if err := <-repacked; !errors.Is(err, ErrClosed) {
		t.Errorf("repacking ends with %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	noLeftover(t, o)
	b.check(t, mustOpen(t, testOptions(filepath.Dir(o.Dir)), b.known))
}

// A blockingFS stops before it makes the file.
type blockingFS struct {
	disk.FS
	name             string
	reached, release chan struct{}
}

func (f *blockingFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if name == f.name {
		close(f.reached)
		<-f.release
	}
	return f.FS.OpenFile(name, flag, perm)
}

// rewriteFaults lets every changing call of a rewrite fail in every way, and looks at the set that goes on, at
// what is on the disk, and at what a power cut would leave there.
func rewriteFaults(t *testing.T, rewrite func(s *Set, b *book) error, check func(t *testing.T, s *Set, b *book)) {
	from := testOptions(t.TempDir())
	first, b := sealedSet(t, from)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for at := 1; ; at++ {
		for _, fault := range []disktest.Fault{
			{Mode: disktest.Fail}, {Mode: disktest.FailPersisted}, {Mode: disktest.Torn, Bytes: 1}, {Mode: disktest.Torn, Bytes: 40},
			{Mode: disktest.Fail, Crash: true}, {Mode: disktest.FailPersisted, Crash: true}, {Mode: disktest.Torn, Bytes: 7, Crash: true},
		} {
			dir := t.TempDir()
			o := testOptions(dir)
			o.frameBytes = 4 * testFrame // fewer calls
			if err := os.CopyFS(o.Dir, os.DirFS(from.Dir)); err != nil {
				t.Fatal(err)
			}
			recorder, err := disktest.NewRecorder(disk.OS(), dir)
			if err != nil {
				t.Fatal(err)
			}
			quiet := disktest.NewFaulty(recorder, disktest.Fault{})
			o.FS = quiet
			_ = mustOpen(t, o, b.known).Close() // counts what opening does
			fault.At = at + quiet.Count()
			faulty := disktest.NewFaulty(recorder, fault)
			o.FS = faulty
			s, err := OpenSet(t.Context(), o, b.known)
			if err != nil {
				t.Fatal(err)
			}
			err = rewrite(s, b)
			op, fired := faulty.Fired()
			what := fmt.Sprintf("call %d (%s %s), %v, crash %t", at, op.Kind, filepath.Base(op.Path), fault.Mode, fault.Crash)
			if !fired {
				if err != nil {
					t.Fatalf("without a fault: %v", err)
				}
				if at < 8 {
					t.Fatalf("only %d calls", at)
				}
				return
			}
			if err == nil {
				t.Errorf("%s: no error", what)
			}
			if !fault.Crash {
				check(t, s, b)
			}
			_ = s.Close()
			image := t.TempDir()
			if err := recorder.CrashImage(image); err != nil {
				t.Fatal(err)
			}
			for _, left := range []string{dir, image} {
				o := testOptions(left)
				s, err := OpenSet(t.Context(), o, b.known)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				check(t, s, b)
				noLeftover(t, o)
				err = rewrite(s, b)
				if err != nil {
					t.Errorf("%s: the next time: %v", what, err)
				}
				check(t, s, b)
				_ = s.Close()
			}
		}
	}
}

func TestNoFaultWhileRepackingLosesAnything(t *testing.T) {
	t.Parallel()
	rewriteFaults(t, func(s *Set, _ *book) error {
		_, err := s.Repack(t.Context(), 1, RepackOptions{})
		return err
	}, func(t *testing.T, s *Set, b *book) { b.check(t, s) })
}
