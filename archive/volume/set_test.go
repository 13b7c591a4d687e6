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
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestRandomBatchesComeBackByteForByte(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "volume")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o := testOptions(dir)
		o.MaxBytes = rapid.Int64Range(1, 64<<10).Draw(rt, "max bytes")
		o.FrameCache = rapid.Int64Range(1, 32<<10).Draw(rt, "cache")
		b := newBook()
		s := mustOpen(t, o, b.known)
		for i := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			var err error
			switch rapid.SampledFrom([]string{"message", "message", "message", "deposit", "commit", "rollback", "reopen"}).Draw(rt, "step") {
			case "message":
				size := rapid.OneOf(rapid.IntRange(0, 3000), rapid.IntRange(2000, 5*testFrame)).Draw(rt, "size")
				err = b.append(t, s, mail(uint64(i), size))
			case "deposit":
				err = b.deposit(t, s, idOf(nil), i)
			case "commit":
				err = b.commit(t, s)
			case "rollback":
				err = s.Rollback()
				clear(b.pending)
			case "reopen":
				err = s.Close()
				clear(b.pending)
				s = mustOpen(t, o, b.known)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		if err := b.commit(t, s); err != nil {
			rt.Fatal(err)
		}
		b.check(t, s)
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
		s = mustOpen(t, o, nil)
		b.check(t, s)
		if names := places(t, func(fn func(Entry, io.Reader) error) error { return s.Unknown(t.Context(), fn) }); len(names) != len(b.kept) {
			rt.Fatalf("nothing is known, yet %d of %d entries are unknown", len(names), len(b.kept))
		}
		_ = s.Close()
	})
}

func TestEntryDescribesWhatWasWritten(t *testing.T) {
	s := mustOpen(t, testOptions(t.TempDir()), nil)
	data := mail(1, 1000)
	at, end, err := s.Append(t.Context(), message(data))
	if err != nil {
		t.Fatal(err)
	}
	record := []byte(`{"mailbox":"sales"}`)
	at2, end2, err := s.AppendDeposit(t.Context(), idOf(data), 12, testTime, record)
	if err != nil {
		t.Fatal(err)
	}
	if at != (Place{Volume: 1}) || at2 != (Place{Volume: 1, Offset: end}) {
		t.Errorf("places are %v and %v", at, at2)
	}
	if _, _, err := s.Open(t.Context(), at); !errors.Is(err, ErrNoEntry) {
		t.Errorf("an entry that is not committed can be opened: %v", err)
	}
	c, err := s.Commit(t.Context())
	if err != nil || c != (Committed{Volume: 1, End: end2}) {
		t.Fatalf("commit gives %+v, %v; want the end %d", c, err, end2)
	}
	if c, err := s.Commit(t.Context()); err != nil || c != (Committed{}) {
		t.Errorf("an empty commit gives %+v, %v", c, err)
	}
	e, _ := read(t, s, at)
	if want := (Entry{Place: at, Kind: KindMessage, Name: idOf(data) + ".eml", ID: idOf(data),
		Size: 1000, End: end, ModTime: testTime, SHA256: idOf(data)}); e != want {
		t.Errorf("message is %+v, want %+v", e, want)
	}
	e, _ = read(t, s, at2)
	if want := (Entry{Place: at2, Kind: KindDeposit, Name: "deposits/" + idOf(data) + ".12.json", ID: idOf(data), N: 12,
		Size: int64(len(record)), End: end2, ModTime: testTime, SHA256: idOf(record)}); e != want {
		t.Errorf("deposit is %+v, want %+v", e, want)
	}
}

func TestStockToolsUnpackVolumes(t *testing.T) {
	o := testOptions(t.TempDir())
	s := mustOpen(t, o, nil)
	b := newBook()
	want := map[string][]byte{}
	for i, size := range []int{0, 1, 511, 512, 513, 3000, 5 * testFrame} {
		data := mail(uint64(i), size)
		if err := errors.Join(b.append(t, s, data), b.deposit(t, s, idOf(data), i), b.commit(t, s)); err != nil {
			t.Fatal(err)
		}
		want[idOf(data)+".eml"] = data
	}
	unpack := func() (string, string) {
		dir := t.TempDir()
		cmd := exec.Command("sh", "-c", `zstd -dcq "$1" | tar -xvf - -C "$2"`, "sh", volumePath(o, 1), dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil {
			t.Fatalf("zstd and tar are needed: %v: %s%s", err, out, &stderr)
		}
		return dir, stderr.String()
	}
	open, _ := unpack() // GNU tar mentions the missing end of an open volume
	s.o.MaxBytes = 1
	if err := errors.Join(b.append(t, s, mail(99, 10)), b.commit(t, s)); err != nil {
		t.Fatal(err)
	}
	want[idOf(mail(99, 10))+".eml"] = mail(99, 10)
	sealed, stderr := unpack()
	if stderr != "" {
		t.Errorf("unpacking a sealed volume warns: %s", stderr)
	}
	for name, data := range want {
		if got := readFile(t, filepath.Join(sealed, name)); !bytes.Equal(got, data) {
			t.Errorf("%s is unpacked as %d other bytes", name, len(got))
		}
		info, err := os.Stat(filepath.Join(sealed, name))
		if err != nil || !info.ModTime().Equal(testTime) {
			t.Errorf("%s has time %v, %v", name, info.ModTime(), err)
		}
	}
	for _, dir := range []string{open, sealed} {
		if names, err := os.ReadDir(filepath.Join(dir, "deposits")); err != nil || len(names) != 7 {
			t.Errorf("%d deposits are unpacked, want 7: %v", len(names), err)
		}
	}
	if out, err := exec.Command("zstd", "-tq", volumePath(o, 1)).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("zstd -t: %v %s", err, out)
	}
}

func TestWhatIsNotAsAnnouncedLeavesNothing(t *testing.T) {
	small, large := mail(1, 1000), mail(2, 12*testFrame)
	whole := func(data []byte) func(func()) io.Reader {
		return func(func()) io.Reader { return bytes.NewReader(data) }
	}
	fails := func(data []byte) func(func()) io.Reader {
		return func(func()) io.Reader { return failing(data) }
	}
	tests := map[string]struct {
		id       string
		size     int64
		body     func(cancel func()) io.Reader
		mismatch bool
	}{
		"other bytes":           {idOf(small), 1000, whole(mail(3, 1000)), true},
		"other bytes, large":    {idOf(large), 12 * testFrame, whole(mail(3, 12*testFrame)), true},
		"too short":             {idOf(small), 1001, whole(small), true},
		"empty":                 {idOf(small), 1000, whole(nil), true},
		"too short, large":      {idOf(large), 13 * testFrame, whole(large), true},
		"too long":              {idOf(small), 999, whole(small), true},
		"too long, large":       {idOf(large), 11 * testFrame, whole(large), true},
		"body fails":            {idOf(small), 1000, fails(small[:500]), false},
		"body fails, large":     {idOf(large), 12 * testFrame, fails(large[:9*testFrame]), false},
		"body fails at the end": {idOf(small), 1000, fails(small), false},
		"canceled": {idOf(large), 12 * testFrame, func(cancel func()) io.Reader {
			return io.MultiReader(bytes.NewReader(large[:9*testFrame]), call(cancel), bytes.NewReader(large[9*testFrame:]))
		}, false},
		"bad id":        {strings.ToUpper(idOf(small)), 1000, whole(small), false},
		"negative size": {idOf(small), -1, whole(small), false},
		"too large":     {idOf(small), MaxMessageBytes + 1, whole(small), false},
	}
	for name, test := range tests {
		for _, before := range []int{0, 1, 9} { // entries in the batch already
			t.Run(fmt.Sprintf("%s after %d", name, before), func(t *testing.T) {
				o := testOptions(t.TempDir())
				s := mustOpen(t, o, nil)
				b := newBook()
				for i := range before {
					if err := b.append(t, s, mail(uint64(100+i), 1500)); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				_, _, err := s.Append(ctx, Message{ID: test.id, Size: test.size, Body: test.body(cancel)})
				var mismatch *MismatchError
				if err == nil || errors.Is(err, ErrBroken) || errors.As(err, &mismatch) != test.mismatch {
					t.Fatalf("append gives %v", err)
				}
				if err := errors.Join(b.append(t, s, large), b.append(t, s, mail(7, 100)), b.commit(t, s)); err != nil {
					t.Fatal(err)
				}
				b.check(t, s)
				if names := places(t, func(fn func(Entry, io.Reader) error) error { return s.Scan(t.Context(), Place{}, fn) }); len(names) != before+2 {
					t.Errorf("the volume holds %d entries, want %d", len(names), before+2)
				}
				_ = s.Close()
				b.check(t, mustOpen(t, o, b.known))
			})
		}
	}
}

// failing yields data and then an error.
func failing(data []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(data), readerFunc(func([]byte) (int, error) { return 0, errInjected }))
}

// call calls f when it is read.
func call(f func()) io.Reader {
	return readerFunc(func([]byte) (int, error) { f(); return 0, io.EOF })
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestFullVolumeIsSealedAndTheNextBegun(t *testing.T) {
	o := testOptions(t.TempDir())
	o.MaxBytes = 5000
	s := mustOpen(t, o, nil)
	b := newBook()
	for i := range 40 {
		if err := errors.Join(b.append(t, s, mail(uint64(i), 1000)), b.commit(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	b.check(t, s)
	infos := s.Volumes()
	if len(infos) < 3 {
		t.Fatalf("40 kB are in %d volumes of 5 kB", len(infos))
	}
	for i, info := range infos {
		newest := i == len(infos)-1
		file, err := os.Stat(volumePath(o, info.Number))
		if err != nil {
			t.Fatal(err)
		}
		if info.Number != uint32(i+1) || info.Sealed == newest || info.Bytes != file.Size() || info.End != b.known[info.Number] {
			t.Errorf("volume %d is %+v, its file has %d bytes, its end is %d", i+1, info, file.Size(), b.known[info.Number])
		}
		_, err = os.Stat(filepath.Join(o.Dir, fmt.Sprintf("%08d.seek", info.Number)))
		if newest && err != nil || !newest && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("side file of volume %d: %v", info.Number, err)
		}
		if !newest && runtime.GOOS != "windows" && file.Mode().Perm() != 0o400 {
			t.Errorf("sealed volume has mode %v", file.Mode())
		}
	}
	_ = s.Close()
	s = mustOpen(t, o, b.known)
	if got := s.Volumes(); !slices.Equal(got, infos) {
		t.Errorf("after opening again the volumes are %+v, were %+v", got, infos)
	}
	b.check(t, s)
}

func TestReadersSeeCommittedEntriesWhileWriting(t *testing.T) {
	o := testOptions(t.TempDir())
	o.MaxBytes, o.FrameCache = 100<<10, 20<<10
	s := mustOpen(t, o, nil)
	type item struct {
		at   Place
		data []byte
	}
	const readers, rounds = 4, 60
	var wg sync.WaitGroup
	feed := make([]chan item, readers)
	for i := range feed {
		feed[i] = make(chan item, rounds)
		wg.Go(func() {
			var seen []item
			for it := range feed[i] {
				seen = append(seen, it)
				for _, it := range seen[max(0, len(seen)-5):] {
					_, body, err := s.Open(t.Context(), it.at)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(body)
					if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, it.data) {
						t.Errorf("%v: %v", it.at, err)
					}
				}
				_ = s.Volumes()
			}
			if err := s.Scan(t.Context(), Place{}, func(Entry, io.Reader) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range rounds {
		data := mail(uint64(i), 500+i*97%9000)
		at, _, err := s.Append(t.Context(), message(data))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range feed {
			c <- item{at, data}
		}
	}
	for _, c := range feed {
		close(c)
	}
	wg.Wait()
}

func TestReaderOfOneEntryDecodesOnlyItsFrames(t *testing.T) {
	o := testOptions(t.TempDir())
	o.frameBytes = 8 << 10
	s := mustOpen(t, o, nil)
	b := newBook()
	var at Place
	for i := range 20 {
		data := mail(uint64(i), 2000)
		if err := b.append(t, s, data); err != nil {
			t.Fatal(err)
		}
		for p, d := range b.pending {
			if bytes.Equal(d, mail(10, 2000)) {
				at = p
			}
		}
	}
	if err := b.commit(t, s); err != nil {
		t.Fatal(err)
	}
	// With all other frames destroyed the entry is still there.
	v := s.vols[0]
	i, _ := frameAt(v.frames, at.Offset)
	data := readFile(t, v.path)
	for j := range data {
		if int64(j) < v.frames[i].off || int64(j) >= v.frames[i].end() {
			data[j] = 0xff
		}
	}
	writeFile(t, v.path, data)
	if _, got := read(t, s, at); !bytes.Equal(got, mail(10, 2000)) {
		t.Error("entry is not read")
	}
}

func TestClosedAndReadOnlySetsRefuseWrites(t *testing.T) {
	o := testOptions(t.TempDir())
	s := mustOpen(t, o, nil)
	b := newBook()
	if err := errors.Join(b.append(t, s, mail(1, 100)), b.commit(t, s), b.append(t, s, mail(2, 100)), s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := b.append(t, s, mail(3, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed set: %v", err)
	}
	if _, _, err := s.Open(t.Context(), Place{Volume: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("open in a closed set: %v", err)
	}
	o.ReadOnly = true
	s = mustOpen(t, o, b.known)
	b.check(t, s)
	if err := b.append(t, s, mail(3, 1)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("append to a read-only set: %v", err)
	}
}

func TestPlacesThatHoldNothing(t *testing.T) {
	s := mustOpen(t, testOptions(t.TempDir()), nil)
	b := newBook()
	if err := errors.Join(b.append(t, s, mail(1, 100)), b.commit(t, s)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []Place{{}, {Volume: 2}, {Volume: 1, Offset: -1}, {Volume: 1, Offset: b.known[1]}} {
		if _, _, err := s.Open(t.Context(), at); !errors.Is(err, ErrNoEntry) {
			t.Errorf("%v: %v", at, err)
		}
	}
	var damage *DamageError
	if _, _, err := s.Open(t.Context(), Place{Volume: 1, Offset: 3}); !errors.As(err, &damage) {
		t.Errorf("a place inside an entry: %v", err)
	}
}

func TestLargeMessageIsStreamed(t *testing.T) {
	const size, limit = 64 << 20, 40 << 20
	block := bytes.Repeat(mail(1, 64<<10), 16) // compresses well: the disk is not what is tested
	body := func() io.Reader {
		readers := make([]io.Reader, 0, size>>20)
		for range size >> 20 {
			readers = append(readers, bytes.NewReader(block))
		}
		return io.MultiReader(readers...)
	}
	h := idOfReader(t, body())
	o := testOptions(t.TempDir())
	o.frameBytes = FrameBytes
	s := mustOpen(t, o, nil)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak uint64
	n := 0
	src := body()
	watched := readerFunc(func(p []byte) (int, error) {
		if n++; n%20 == 0 {
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
		}
		return src.Read(p)
	})
	at, _, err := s.Append(t.Context(), Message{ID: h, Size: size, Time: testTime, Body: watched})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if peak > limit {
		t.Errorf("appending %d MiB took %d MiB of memory", size>>20, peak>>20)
	}
	t.Logf("peak %d KiB", peak>>10)
	_, r, err := s.Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if got := idOfReader(t, r); got != h {
		t.Error("other bytes come back")
	}
}
