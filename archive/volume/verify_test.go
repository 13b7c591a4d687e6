package volume

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

// verify returns all damage that a check finds.
func verify(t testing.TB, s *Set, o VerifyOptions) (Verified, []Damage) {
	t.Helper()
	var damages []Damage
	o.Damage = func(d Damage) { damages = append(damages, d) }
	r, err := s.Verify(t.Context(), 1, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Damages != len(damages) {
		t.Errorf("%d damages are counted, %d reported", r.Damages, len(damages))
	}
	return r, damages
}

func TestVerifyFindsNothingInWholeVolumes(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b, targets, _ := redactable(t, o)
	check := func(sum string) {
		t.Helper()
		for _, deep := range []bool{true, false} {
			r, damages := verify(t, s, VerifyOptions{Deep: deep, SHA256: []string{sum}})
			if len(damages) > 0 {
				t.Errorf("deep %t: found %+v", deep, damages)
			}
			if want := len(b.kept) + len(targets); deep && r.Entries != want {
				t.Errorf("%d entries were checked, want %d", r.Entries, want)
			}
		}
	}
	sum, _, err := s.HashFile(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	check(sum)
	_ = s.Close()
	s = mustOpen(t, o, b.known)
	check(sum)
	r, err := s.Redact(t.Context(), 1, targets, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(r.SHA256)
	if r, err = s.Repack(t.Context(), 1, RepackOptions{}); err != nil {
		t.Fatal(err)
	}
	check(r.SHA256)
	if _, damages := verify(t, s, VerifyOptions{Deep: true, SHA256: []string{sum}}); len(damages) != 1 || damages[0].Size != r.Bytes {
		t.Errorf("another file than the ledger knows: %+v", damages)
	}
}

// flips calls fn for single bits of n bytes: a sample of 300, or all with POSTKEEP_TORTURE=1.
func flips(n int, fn func(bit int)) {
	bits := make([]int, 8*n)
	for i := range bits {
		bits[i] = i
	}
	if os.Getenv("POSTKEEP_TORTURE") == "" {
		r := rand.New(rand.NewPCG(1, uint64(n)))
		r.Shuffle(len(bits), func(i, j int) { bits[i], bits[j] = bits[j], bits[i] })
		bits = bits[:300]
	}
	for _, bit := range bits {
		fn(bit)
	}
}

func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	t.Parallel()
	o := testOptions(t.TempDir())
	open, side, commits := smallVolume(t, o)
	known := commits[2].known
	s := mustOpen(t, o, known)
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	sealed := readFile(t, volumePath(o, 1))
	frames, err := readTable(bytesAt(sealed), int64(len(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"open": open, "sealed": sealed} {
		o := testOptions(t.TempDir())
		o.ReadOnly = true
		if name == "open" {
			writeFile(t, filepath.Join(o.Dir, "00000001.seek"), side)
		}
		flips(len(data), func(bit int) {
			flipped := bytes.Clone(data)
			flipped[bit/8] ^= 1 << (bit % 8)
			writeFile(t, volumePath(o, 1), flipped)
			s, err := OpenSet(t.Context(), o, known)
			if err != nil {
				t.Fatalf("%s, bit %d: %v", name, bit, err)
			}
			_, damages := verify(t, s, VerifyOptions{Deep: true})
			at := int64(bit / 8)
			hit := slices.ContainsFunc(damages, func(d Damage) bool { return d.Offset <= at && at < d.Offset+d.Size })
			i := slices.IndexFunc(frames, func(f frame) bool { return at < f.end() })
			named := i < 0 || i == len(frames)-1 || // seek table or trailer: nothing to name
				slices.ContainsFunc(damages, func(d Damage) bool { return d.Tar <= frames[i].tar && d.Offset <= at })
			if !hit || !named {
				t.Errorf("%s, bit %d of byte %d (frame %d) flipped: %+v", name, bit%8, at, i, damages)
			}
			if name == "sealed" && len(damages) != 1 {
				t.Errorf("bit %d of byte %d flipped: %d damages %+v", bit%8, at, len(damages), damages)
			}
			_ = s.Close()
		})
	}
}

func TestVerifyFindsEveryFlippedBitOfTheSideFile(t *testing.T) {
	o := testOptions(t.TempDir())
	data, side, commits := smallVolume(t, o)
	o = testOptions(t.TempDir())
	o.ReadOnly = true
	writeFile(t, volumePath(o, 1), data)
	sidePath := filepath.Join(o.Dir, "00000001.seek")
	for bit := range 8 * len(side) {
		flipped := bytes.Clone(side)
		flipped[bit/8] ^= 1 << (bit % 8)
		writeFile(t, sidePath, flipped)
		s := mustOpen(t, o, commits[2].known)
		_, damages := verify(t, s, VerifyOptions{})
		at := int64(bit / 8)
		if len(damages) != 1 || damages[0].File != "00000001.seek" || at < damages[0].Offset || at >= damages[0].Offset+damages[0].Size {
			t.Fatalf("bit %d of byte %d flipped: %+v", bit%8, at, damages)
		}
		_ = s.Close()
	}
	for name, side := range map[string][]byte{"whole": side, "cut": side[:len(side)-sideRecord]} {
		writeFile(t, sidePath, side)
		s := mustOpen(t, o, commits[2].known)
		if _, damages := verify(t, s, VerifyOptions{}); len(damages) > 0 {
			t.Errorf("%s: %+v", name, damages)
		}
		_ = s.Close()
	}
}

func TestVerifyGoesOnBehindDamage(t *testing.T) {
	o := testOptions(t.TempDir())
	s := mustOpen(t, o, nil)
	b := newBook()
	var at []Place
	for i, size := range []int{500, 700, 6 * testFrame, 600, 4 * testFrame, 4 * testFrame, 900} {
		p, _, err := s.Append(t.Context(), message(mail(uint64(i), size)))
		if err := errors.Join(err, b.commit(t, s)); err != nil {
			t.Fatal(err)
		}
		at = append(at, p)
	}
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	frames := s.vols[0].frames
	frameOf := func(i int, n int) frame { k, _ := frameAt(frames, at[i].Offset); return frames[k+n] }
	data := readFile(t, volumePath(o, 1))
	bad := []frame{frameOf(0, 0), frameOf(2, 2), frameOf(2, 4), frameOf(4, 0), frameOf(4, 1)}
	for _, f := range bad {
		data[f.end()-1] ^= 1 // its content checksum
	}
	if err := os.Chmod(volumePath(o, 1), disk.FilePerm); err != nil {
		t.Fatal(err)
	}
	writeFile(t, volumePath(o, 1), data)
	r, damages := verify(t, s, VerifyOptions{Deep: true})
	if r.Entries != 4 || len(damages) != len(bad) {
		t.Fatalf("%d entries are whole, want 4; damage %+v", r.Entries, damages)
	}
	for i, f := range bad {
		d, end := damages[i], f.tarEnd()
		if i == 4 {
			end = at[5].Offset // the rest of an entry whose header is lost
		}
		if d.Offset != f.off || d.Size != int64(f.packed) || d.Tar != f.tar || d.TarEnd != end || d.Volume != 1 || d.Err == nil {
			t.Errorf("damage %d is %+v, want frame %+v", i, d, f)
		}
		if named := d.Entry.ID == idOf(mail(2, 6*testFrame)); named != (i == 1 || i == 2) {
			t.Errorf("damage %d hits %q", i, d.Entry.ID)
		}
	}
	if _, damages := verify(t, s, VerifyOptions{}); len(damages) != len(bad) {
		t.Errorf("the quick check finds %+v", damages)
	}
}

func TestVerifyComparesBodiesWithTheirSHA256(t *testing.T) {
	o := testOptions(t.TempDir())
	s := mustOpen(t, o, nil)
	wrong := newEntry{name: depositName(idOf(nil), 1), size: 3, time: testTime, body: bytes.NewReader([]byte("abc"))}
	head, err := headerBytes(wrong.name, 3, idOf([]byte("abd")), testTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.create(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.w.place(t.Context(), head, wrong); err != nil {
		t.Fatal(err)
	}
	b := newBook()
	if err := errors.Join(b.append(t, s, mail(1, 100)), b.commit(t, s)); err != nil {
		t.Fatal(err)
	}
	r, damages := verify(t, s, VerifyOptions{Deep: true})
	if r.Entries != 2 || len(damages) != 1 || damages[0].Entry.Name != wrong.name || damages[0].TarEnd != damages[0].Entry.End {
		t.Errorf("%+v, %+v", r, damages)
	}
}

func TestVerifyGoesOnWhereItStopped(t *testing.T) {
	o := testOptions(t.TempDir())
	s, b := sealedSet(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var at Progress
	n := 0
	_, err := s.Verify(ctx, 1, VerifyOptions{Deep: true, Damage: func(d Damage) { t.Errorf("%+v", d) }, Progress: func(p Progress) {
		if at, n = p, n+1; n == 10 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || at.Next == 0 || at.Next >= b.known[1] || at.Done >= at.Total {
		t.Fatalf("canceled at %+v: %v", at, err)
	}
	if _, err := s.Repack(t.Context(), 1, RepackOptions{}); err != nil { // places stay
		t.Fatal(err)
	}
	before := 0
	for place := range b.kept {
		if place.Volume == 1 && place.Offset < at.Next {
			before++
		}
	}
	rest, damages := verify(t, s, VerifyOptions{Deep: true, From: at.Next, Progress: func(p Progress) { at = p }})
	if len(damages) > 0 || before == 0 || rest.Entries+before != 25 || at.Next != b.known[1] || at.Done != at.Total {
		t.Errorf("%d and %d entries of 25, %+v, at %+v", before, rest.Entries, damages, at)
	}
}

func TestVerifyKeepsToItsPace(t *testing.T) {
	o := testOptions(t.TempDir())
	s, _ := sealedSet(t, o)
	size := s.Volumes()[0].Bytes
	start := time.Now()
	_, damages := verify(t, s, VerifyOptions{Deep: true, BytesPerSecond: size * 10})
	if took := time.Since(start); len(damages) > 0 || took < 90*time.Millisecond {
		t.Errorf("a tenth of a second took %v; %+v", took, damages)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Verify(ctx, 1, VerifyOptions{Deep: true, BytesPerSecond: 1, Damage: func(Damage) {}, Progress: func(Progress) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ends with %v", err)
	}
}

func TestVerifyReportsShortAndOverlongFiles(t *testing.T) {
	o := testOptions(t.TempDir())
	data, _, commits := smallVolume(t, o)
	for name, file := range map[string][]byte{"cut": data[:len(data)-3], "older": data[:len(data)/3], "longer": append(bytes.Clone(data), "more"...)} {
		o := testOptions(t.TempDir())
		o.ReadOnly = true
		writeFile(t, volumePath(o, 1), file)
		s := mustOpen(t, o, commits[2].known)
		_, damages := verify(t, s, VerifyOptions{})
		short := slices.ContainsFunc(damages, func(d Damage) bool {
			return errors.Is(d.Err, ErrShort) && d.TarEnd == commits[2].known[1] && d.Tar < d.TarEnd
		})
		if len(damages) == 0 || short == (name == "longer") {
			t.Errorf("%s: %+v", name, damages)
		}
	}
}
