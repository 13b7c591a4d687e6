package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
)

// smallVolume writes a volume of a few entries in three commits, one entry with frames of its own, and
// returns the file, its side file and what was kept after each commit.
func smallVolume(t testing.TB, o Options) (data, side []byte, commits []*book) {
	t.Helper()
	return smallVolumeAt(t, o, volumePath(o, 1))
}

func smallVolumeAt(t testing.TB, o Options, path string) (data, side []byte, commits []*book) {
	t.Helper()
	s := mustOpen(t, o, nil)
	b := newBook()
	for i := range 3 {
		err := b.append(t, s, mail(uint64(i), 60))
		if i == 1 {
			err = errors.Join(err, b.append(t, s, mail(20, testFrame+500)))
		}
		if err := errors.Join(err, b.deposit(t, s, idOf(mail(uint64(i), 60)), 1), b.commit(t, s)); err != nil {
			t.Fatal(err)
		}
		snap := newBook()
		for at, d := range b.kept {
			snap.kept[at] = d
		}
		snap.known[1] = b.known[1]
		commits = append(commits, snap)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return readFile(t, path), readFile(t, filepath.Join(o.Dir, "00000001.seek")), commits
}

// wholeAt returns the entries whose frames, and those before, are in the first cut bytes.
func wholeAt(all *book, frames []frame, cut int64) (kept map[Place][]byte, end int64) {
	kept = map[Place][]byte{}
	var bounds []int64 // tar offsets at which an entry ends
	for at, d := range all.kept {
		head, err := headerBytes(messageName(idOf(d)), int64(len(d)), idOf(d), testTime)
		if err != nil {
			panic(err)
		}
		bounds = append(bounds, at.Offset+int64(len(head)+len(d))+padding(int64(len(d))))
	}
	for _, f := range frames {
		if f.end() <= cut && slices.Contains(bounds, f.tarEnd()) {
			end = f.tarEnd()
		}
	}
	for at, d := range all.kept {
		if at.Offset < end {
			kept[at] = d
		}
	}
	return kept, end
}

func TestVolumeTornAtAnyByteKeepsEveryWholeEntry(t *testing.T) {
	t.Parallel()
	o := testOptions(t.TempDir())
	data, side, commits := smallVolume(t, o)
	all := commits[len(commits)-1]
	frames, _, err := walk(bytesAt(data), nil, int64(len(data)))
	if err != nil || last(frames).end() != int64(len(data)) {
		t.Fatalf("walk: %d frames, %v", len(frames), err)
	}
	o = testOptions(t.TempDir())
	sidePath := filepath.Join(o.Dir, "00000001.seek")
	for cut := range len(data) + 1 {
		atFrame := slices.ContainsFunc(frames, func(f frame) bool { return f.end() >= int64(cut)-1 && f.end() <= int64(cut)+1 })
		for _, with := range []string{"a side file", "no side file"} {
			if !atFrame && (cut%2 == 0) == (with == "a side file") {
				continue // one of the two is enough inside a frame
			}
			if err := errors.Join(os.RemoveAll(o.Quarantine), os.RemoveAll(sidePath)); err != nil {
				t.Fatal(err)
			}
			writeFile(t, volumePath(o, 1), data[:cut])
			if with == "a side file" {
				writeFile(t, sidePath, side)
			}
			b := newBook()
			b.kept, b.known[1] = wholeAt(all, frames, int64(cut))
			s, err := OpenSet(t.Context(), o, nil)
			if err != nil {
				t.Fatalf("cut at %d, %s: %v", cut, with, err)
			}
			info := s.Volumes()[0]
			if info.End != b.known[1] {
				t.Fatalf("cut at %d, %s: ends at %d, want %d", cut, with, info.End, b.known[1])
			}
			checkQuarantine(t, o, data[info.Bytes:cut])
			if atFrame || cut%61 == 0 {
				if err := errors.Join(b.append(t, s, mail(50, 700)), b.commit(t, s), s.Close()); err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				s = mustOpen(t, o, b.known)
				b.check(t, s)
			}
			_ = s.Close()
		}
	}
}

// checkQuarantine looks for one file with what was cut, or none if nothing was.
func checkQuarantine(t testing.TB, o Options, cut []byte) {
	t.Helper()
	pieces, err := filepath.Glob(filepath.Join(o.Quarantine, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(cut) == 0 && len(pieces) == 0 {
		return
	}
	if len(cut) == 0 || len(pieces) != 1 || !bytes.Equal(readFile(t, pieces[0]), cut) {
		t.Fatalf("quarantine %q does not hold the %d bytes that were cut", pieces, len(cut))
	}
}

func TestUnknownEntriesAreThoseAfterTheKnownEnd(t *testing.T) {
	o := testOptions(t.TempDir())
	_, _, commits := smallVolume(t, o)
	for i, c := range commits {
		s := mustOpen(t, o, c.known)
		got := len(places(t, func(fn func(Entry, io.Reader) error) error { return s.Unknown(t.Context(), fn) }))
		if want := len(commits[2].kept) - len(c.kept); got != want {
			t.Errorf("after commit %d: %d entries are unknown, want %d", i, got, want)
		}
		_ = s.Close()
	}
	// A ledger may know a part of a batch, up to the end of an entry within a frame.
	s := mustOpen(t, o, nil)
	e, _ := read(t, s, Place{Volume: 1})
	_ = s.Close()
	for _, side := range []bool{true, false} {
		if !side {
			if err := os.Remove(filepath.Join(o.Dir, "00000001.seek")); err != nil {
				t.Fatal(err)
			}
		}
		s = mustOpen(t, o, map[uint32]int64{1: e.End})
		if got := len(places(t, func(fn func(Entry, io.Reader) error) error { return s.Unknown(t.Context(), fn) })); got != len(commits[2].kept)-1 {
			t.Errorf("%d entries are unknown, want all but one", got)
		}
		_ = s.Close()
	}
}

func TestShortVolumeIsNotTouched(t *testing.T) {
	o := testOptions(t.TempDir())
	data, _, commits := smallVolume(t, o)
	known := commits[2].known
	tests := map[string][]byte{"missing": nil, "older copy": data[:len(data)/2], "cut by a byte": data[:len(data)-1], "empty": {}}
	damaged := bytes.Clone(data)
	damaged[0] ^= 1
	tests["damaged at the start"] = damaged
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t.TempDir())
			if content != nil {
				writeFile(t, volumePath(o, 1), content)
			}
			if s, err := OpenSet(t.Context(), o, known); !errors.Is(err, ErrShort) {
				t.Fatalf("open gives %v, %v", s, err)
			}
			if content != nil && !bytes.Equal(readFile(t, volumePath(o, 1)), content) {
				t.Error("the volume was changed")
			}
			o.ReadOnly = true
			s := mustOpen(t, o, known)
			if err := s.Scan(t.Context(), Place{}, func(Entry, io.Reader) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
}

// What the ledger knows is not cut because it is damaged: only reading it fails.
func TestDamageInKnownPartIsKept(t *testing.T) {
	o := testOptions(t.TempDir())
	data, side, commits := smallVolume(t, o)
	frames, _, _ := walk(bytesAt(data), nil, int64(len(data)))
	data[frames[0].end()-checksumBytes-1] ^= 0x10
	for _, known := range []map[uint32]int64{commits[2].known, nil} {
		o := testOptions(t.TempDir())
		writeFile(t, volumePath(o, 1), data)
		writeFile(t, filepath.Join(o.Dir, "00000001.seek"), side)
		s := mustOpen(t, o, known)
		if info := s.Volumes()[0]; info.Bytes != int64(len(data)) {
			t.Errorf("volume was cut to %d of %d bytes", info.Bytes, len(data))
		}
		_, _, err := s.Open(t.Context(), Place{Volume: 1})
		var damage *DamageError
		if !errors.As(err, &damage) || damage.Volume != 1 || damage.Offset != 0 || damage.Size != int64(frames[0].packed) {
			t.Errorf("reading the damaged entry gives %v", err)
		}
		for at, want := range commits[2].kept {
			if at.Offset >= frames[0].tarEnd() {
				if _, got := read(t, s, at); !bytes.Equal(got, want) {
					t.Errorf("%v is not read", at)
				}
			}
		}
		_ = s.Close()
	}
}

func TestSideFileIsRebuilt(t *testing.T) {
	t.Parallel()
	base := testOptions(t.TempDir())
	data, side, commits := smallVolume(t, base)
	all := commits[2]
	other, _ := appendSideHead(nil, 2)
	tests := map[string][]byte{
		"empty": {}, "head only": side[:sideHead], "of another volume": append(other, side[sideHead:]...),
		"a record short": side[:len(side)-sideRecord], "garbage after it": append(bytes.Clone(side), "garbage"...),
		"zeros": make([]byte, len(side)),
	}
	for i := range side {
		flipped := bytes.Clone(side)
		flipped[i] ^= 1 << (i % 8)
		tests[fmt.Sprintf("bit flipped in byte %d", i)] = flipped
	}
	// A side file that is right in itself, of another volume file with the same number.
	wrong := parseSide(side, 1, int64(len(data))).frames
	wrong = slices.Clone(wrong)
	wrong[len(wrong)-1].sum++
	head, crc := appendSideHead(nil, 1)
	tests["of other frames"], _ = appendSide(head, crc, wrong)
	for name, content := range tests {
		for _, known := range []map[uint32]int64{nil, all.known} {
			o := testOptions(t.TempDir())
			writeFile(t, volumePath(o, 1), data)
			writeFile(t, filepath.Join(o.Dir, "00000001.seek"), content)
			s, err := OpenSet(t.Context(), o, known)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all.check(t, s)
			_ = s.Close()
			got := parseSide(readFile(t, filepath.Join(o.Dir, "00000001.seek")), 1, int64(len(data)))
			frames, whole := got.frames, got.whole
			if !whole || last(frames).end() != int64(len(data)) {
				t.Errorf("%s: the side file was not made again", name)
			}
		}
	}
}

func TestCrashAtAnyByteOfSealingReopens(t *testing.T) {
	t.Parallel()
	o := testOptions(t.TempDir())
	open, side, commits := smallVolume(t, o)
	all := commits[2]
	s := mustOpen(t, o, all.known)
	if err := s.seal(); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	sealed := readFile(t, volumePath(o, 1))
	for cut := len(open); cut <= len(sealed); cut++ {
		for _, zeros := range []bool{false, true} { // the size of a file may be durable before its bytes
			o := testOptions(t.TempDir())
			data := bytes.Clone(sealed[:cut])
			if zeros {
				data = append(data, make([]byte, len(sealed)-cut)...)
			}
			writeFile(t, volumePath(o, 1), data)
			writeFile(t, filepath.Join(o.Dir, "00000001.seek"), side)
			s, err := OpenSet(t.Context(), o, all.known)
			if err != nil {
				t.Fatalf("crash after %d bytes: %v", cut, err)
			}
			if got := s.Volumes()[0]; got.Sealed != (cut == len(sealed)) || got.End != all.known[1] {
				t.Fatalf("crash after %d of %d bytes: %+v", cut, len(sealed), got)
			}
			b := newBook()
			for at, d := range all.kept {
				b.kept[at] = d
			}
			if err := errors.Join(b.append(t, s, mail(60, 100)), b.commit(t, s)); err != nil {
				t.Fatal(err)
			}
			b.check(t, s)
			_ = s.Close()
		}
	}
}

func TestDamagedSeekTableIsReplacedByReadingTheVolume(t *testing.T) {
	t.Parallel()
	o := testOptions(t.TempDir())
	_, _, commits := smallVolume(t, o)
	all := commits[2]
	s := mustOpen(t, o, all.known)
	if err := s.seal(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), os.Chmod(volumePath(o, 1), 0o600)); err != nil {
		t.Fatal(err)
	}
	sealed := readFile(t, volumePath(o, 1))
	table := bytes.LastIndex(sealed, []byte{0x5E, 0x2A, 0x4D, 0x18}) + tableHead
	for i := table; i < len(sealed); i++ {
		data := bytes.Clone(sealed)
		data[i] ^= 0x04
		for _, newest := range []bool{true, false} {
			o := testOptions(t.TempDir())
			writeFile(t, volumePath(o, 1), data)
			if err := os.Chmod(volumePath(o, 1), disk.SealedPerm); err != nil {
				t.Fatal(err)
			}
			if !newest {
				writeFile(t, volumePath(o, 2), nil)
			}
			s, err := OpenSet(t.Context(), o, all.known)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Volumes()[0]; !got.Sealed || got.End != all.known[1] {
				t.Fatalf("byte %d of the table flipped: %+v", i-table, got)
			}
			all.check(t, s)
			_ = s.Close()
		}
	}
}

// A few bits of compressed data mean nothing: flipped, they give the same bytes.
func TestFlippedBitNeverGivesOtherBytes(t *testing.T) {
	t.Parallel()
	o := testOptions(t.TempDir())
	data, _, commits := smallVolume(t, o)
	all := commits[2]
	o = testOptions(t.TempDir())
	o.ReadOnly = true
	for i := 0; i < 8*len(data); i += 13 {
		flipped := bytes.Clone(data)
		flipped[i/8] ^= 1 << (i % 8)
		writeFile(t, volumePath(o, 1), flipped)
		s, err := OpenSet(t.Context(), o, nil)
		if err != nil {
			t.Fatalf("bit %d: %v", i, err)
		}
		err = s.Scan(t.Context(), Place{}, func(e Entry, body io.Reader) error {
			if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, all.kept[e.Place]) {
				t.Errorf("bit %d flipped: other bytes at %v, %v", i, e.Place, err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("bit %d: %v", i, err)
		}
		_ = s.Close()
	}
}

// workload drives a set through everything that writes, and stops when the
// writer breaks. It returns an error only if it cannot go on.
func workload(t testing.TB, o Options, b *book) error {
	s, err := OpenSet(t.Context(), o, b.known)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	for i := range 6 {
		err := b.append(t, s, mail(uint64(i), 900))
		if i%2 == 1 && err == nil {
			err = b.append(t, s, mail(uint64(100+i), 3*testFrame))
		}
		if i == 2 && err == nil { // large, of other bytes: rolled back by truncating
			m := message(mail(7, 8*testFrame))
			m.ID = idOf(nil)
			_, _, e := s.Append(t.Context(), m)
			var mismatch *MismatchError
			if !errors.As(e, &mismatch) {
				err = e
			}
		}
		if i == 3 && err == nil {
			err = s.Rollback()
			clear(b.pending)
		}
		if err == nil {
			err = b.commit(t, s)
		}
		if errors.Is(err, ErrBroken) {
			if again := b.append(t, s, mail(1, 1)); !errors.Is(again, ErrBroken) {
				t.Errorf("the writer is broken, and yet appends: %v", again)
			}
			clear(b.pending)
			b.check(t, s)
			return err
		}
		if err != nil {
			clear(b.pending)
			err = s.Rollback()
		}
		if err != nil {
			return err
		}
	}
	return s.Close()
}

// TestNoFaultLosesWhatWasCommitted lets every single changing call of a workload, and of the
// recovery after it, fail in every way, and then cuts the power or not.
func TestNoFaultLosesWhatWasCommitted(t *testing.T) {
	t.Parallel()
	counter := newFaultFS(0, failBefore)
	run := func(dir string, fsys *faultFS) (Options, *book) {
		o := testOptions(dir)
		o.MaxBytes = 4 << 10
		o.FS = fsys
		// A tail that recovery has to cut.
		writeFile(t, volumePath(o, 1), append(frameMagic(false), "torn"...))
		b := newBook()
		if err := workload(t, o, b); err != nil && !errors.Is(err, errInjected) {
			t.Fatalf("workload: %v", err)
		}
		return o, b
	}
	o, b := run(t.TempDir(), counter)
	if len(b.kept) < 6 || len(b.known) < 2 {
		t.Fatalf("workload keeps %d entries in %d volumes", len(b.kept), len(b.known))
	}
	b.check(t, mustOpen(t, o, b.known))
	for k := 1; k <= counter.calls; k++ {
		for _, mode := range []faultMode{failBefore, failAfter, failTorn} {
			for _, dead := range []bool{false, true} {
				if dead && mode != failTorn {
					continue // the same as being torn at the next call
				}
				fsys := newFaultFS(k, mode)
				fsys.dead = dead
				o, b := run(t.TempDir(), fsys)
				o.FS = unsynced{disk.OS()}
				for _, cut := range []bool{false, true} {
					if cut {
						fsys.powerCut(t, o.Dir)
					}
					s, err := OpenSet(t.Context(), o, b.known)
					if err != nil {
						t.Fatalf("call %d, mode %d, power cut %t: %v", k, mode, cut, err)
					}
					b.check(t, s)
					if !cut { // what is adopted now need not be durable in the power cut's snapshot
						_ = s.Close()
						continue
					}
					if err := errors.Join(b.append(t, s, mail(70, 500)), b.commit(t, s)); err != nil {
						t.Fatalf("call %d, mode %d: %v", k, mode, err)
					}
					b.check(t, s)
					_ = s.Close()
				}
			}
		}
	}
}

// TestAdoptedEntriesAreDurable: what Unknown gives goes into the ledger, and must survive a power cut then.
func TestAdoptedEntriesAreDurable(t *testing.T) {
	o := testOptions(t.TempDir())
	data, _, commits := smallVolume(t, o)
	o = testOptions(t.TempDir())
	writeFile(t, volumePath(o, 1), data)
	fsys := newFaultFS(0, failBefore)
	o.FS = fsys
	s := mustOpen(t, o, nil)
	_ = s.Close()
	fsys.powerCut(t, o.Dir)
	s = mustOpen(t, o, commits[2].known)
	commits[2].check(t, s)
}

// A read error says nothing about the bytes: nothing may be cut for it.
func TestReadErrorCutsNothing(t *testing.T) {
	o := testOptions(t.TempDir())
	data, _, _ := smallVolume(t, o)
	for k := 1; ; k++ {
		o := testOptions(t.TempDir())
		writeFile(t, volumePath(o, 1), data)
		fsys := &readFaultFS{FS: disk.OS(), left: k}
		o.FS = fsys
		s, err := OpenSet(t.Context(), o, nil)
		if err == nil {
			_ = s.Close()
		}
		if fsys.left > 0 {
			if k < 10 {
				t.Fatalf("opening takes only %d reads", k)
			}
			return
		}
		if !errors.Is(err, errInjected) {
			t.Errorf("read %d failed, open gives %v", k, err)
		}
		if !bytes.Equal(readFile(t, volumePath(o, 1)), data) {
			t.Fatalf("read %d failed, and the volume was changed", k)
		}
	}
}

type readFaultFS struct {
	disk.FS
	left int
}

func (f *readFaultFS) OpenFile(name string, flag int, perm os.FileMode) (disk.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &readFaultFile{file, f}, nil
}

type readFaultFile struct {
	disk.File
	fs *readFaultFS
}

func (f *readFaultFile) ReadAt(p []byte, off int64) (int, error) {
	if f.fs.left--; f.fs.left == 0 {
		return 0, errInjected
	}
	return f.File.ReadAt(p, off)
}

func FuzzOpenSet(f *testing.F) {
	o := testOptions(f.TempDir())
	data, side, _ := smallVolume(f, o)
	f.Add(data, side)
	f.Add(data[:100], []byte{})
	f.Add([]byte{0x5E, 0x2A, 0x4D, 0x18, 0, 0, 0, 0}, side)
	f.Add([]byte{0x28, 0xB5, 0x2F, 0xFD, 0x64, 0, 1, 0x03, 0, 0}, side[:sideHead])
	frames, _, _ := walk(bytesAt(data), nil, int64(len(data)))
	f.Add(appendTable(bytes.Clone(data), frames), side)
	f.Fuzz(func(t *testing.T, data, side []byte) {
		frames, _, err := walk(bytesAt(data), nil, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		var before frame
		for _, f := range frames {
			if f.off != before.end() || f.tar != before.tarEnd() || f.packed == 0 || f.end() > int64(len(data)) || f.bytes%tarBlock != 0 {
				t.Fatalf("frame %+v does not follow %+v", f, before)
			}
			before = f
		}
		if err := os.Chmod(volumePath(o, 1), disk.FilePerm); err != nil {
			t.Fatal(err)
		}
		writeFile(t, volumePath(o, 1), data)
		writeFile(t, filepath.Join(o.Dir, "00000001.seek"), side)
		o := o
		for _, o.ReadOnly = range []bool{true, false} {
			s, err := OpenSet(t.Context(), o, nil)
			if err != nil {
				continue
			}
			_ = s.Scan(t.Context(), Place{}, func(e Entry, body io.Reader) error {
				_, err := io.Copy(io.Discard, body)
				return err
			})
			for _, info := range s.Volumes() {
				_, err := s.Verify(t.Context(), info.Number, VerifyOptions{Deep: true, Damage: func(d Damage) {
					if d.Offset < 0 || d.Size < 0 || d.Tar > d.TarEnd || d.Err == nil {
						t.Errorf("damage is %+v", d)
					}
				}})
				if err != nil {
					t.Error(err)
				}
			}
			_ = s.Close()
		}
	})
}
