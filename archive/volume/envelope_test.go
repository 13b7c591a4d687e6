package volume

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// encrypted returns options for a directory with the recipient of id, and no identity.
func encrypted(dir string, id *age.X25519Identity) Options {
	o := testOptions(dir)
	o.Recipients = []age.Recipient{id.Recipient()}
	return o
}

func cipherPath(o Options, volume string) string { return filepath.Join(o.Dir, volume+cipherSuffix) }

func TestEncryptedVolumesAreWrittenWithoutAnIdentityAndReadWithOne(t *testing.T) {
	id := newIdentity(t)
	o := encrypted(t.TempDir(), id)
	s, b := sealedSet(t, o)
	if _, _, err := s.Open(t.Context(), Place{Volume: 1}); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("opened without an identity: %v", err)
	}
	_ = s.Close()
	s = mustOpen(t, o, b.known)
	if err := errors.Join(b.append(t, s, mail(80, 4*testFrame)), b.append(t, s, secret(1, 900)), b.commit(t, s)); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	for _, name := range []string{"00000001", "00000002"} {
		file := readFile(t, cipherPath(o, name))
		for _, plain := range [][]byte{[]byte("Received: "), []byte("ustar"), secret(1, 900)[:16], []byte(idOf(mail(1, 150)))} {
			if bytes.Contains(file, plain) {
				t.Errorf("%q is to be seen in volume %s", plain, name)
			}
		}
	}
	o.Identities = []age.Identity{newIdentity(t)}
	if _, _, err := mustOpen(t, o, b.known).Open(t.Context(), Place{Volume: 1}); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("opened with another identity: %v", err)
	}
	o.Identities = append(o.Identities, id)
	s = mustOpen(t, o, b.known)
	b.check(t, s)
	for _, info := range s.Volumes() {
		if !info.Encrypted {
			t.Errorf("volume %d is not encrypted", info.Number)
		}
	}
}

func TestEnvelopeIsAsDocumented(t *testing.T) {
	id := newIdentity(t)
	o := encrypted(t.TempDir(), id)
	s, b := sealedSet(t, o)
	whole := readFile(t, cipherPath(o, "00000001"))
	file, frames := whole, s.vols[0].frames
	zr, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	var stream []byte
	for i := 0; binary.LittleEndian.Uint32(file) == 0x184D2A5C; i++ {
		size := 8 + binary.LittleEndian.Uint32(file[4:])
		r, err := age.Decrypt(bytes.NewReader(file[20:size]), id)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := zr.DecodeAll(packed, nil)
		if err != nil || len(data) != int(binary.LittleEndian.Uint32(file[8:])) || frames[i].packed != size {
			t.Fatalf("frame %d holds %d bytes, %v", i, len(data), err)
		}
		stream, file = append(stream, data...), file[size:]
		_, ends := b.kept[Place{1, int64(len(stream))}]
		ends = ends || int64(len(stream)) == b.known[1]
		if flags := binary.LittleEndian.Uint32(flagsOf(frames[i], whole)); flags > 1 || ends != (flags == 1) {
			t.Errorf("frame %d says of its end what is not so", i)
		}
	}
	checkTar(t, stream, 25)
	var cat bytes.Buffer
	if err := Cat(t.Context(), &cat, bytes.NewReader(whole), int64(len(whole)), id); err != nil || !bytes.Equal(cat.Bytes(), append(stream, make([]byte, trailerBytes)...)) {
		t.Errorf("cat gives %d bytes, %v", cat.Len(), err)
	}
}

// flagsOf returns the flags of an envelope.
func flagsOf(f frame, file []byte) []byte { return file[f.off+12 : f.off+16] }

func checkTar(t testing.TB, stream []byte, want int) {
	t.Helper()
	r, n := tar.NewReader(bytes.NewReader(stream)), 0
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != want {
		t.Errorf("tar stream has %d entries, want %d", n, want)
	}
}

func TestCatGivesTheTarStreamOfAnyVolume(t *testing.T) {
	id := newIdentity(t)
	for _, o := range []Options{testOptions(t.TempDir()), encrypted(t.TempDir(), id)} {
		s, _ := sealedSet(t, o)
		for i, want := range []int{25, 1} { // sealed, and being written
			data := readFile(t, s.vols[i].path)
			var b bytes.Buffer
			if err := Cat(t.Context(), &b, bytes.NewReader(data), int64(len(data)), id); err != nil {
				t.Fatal(err)
			}
			checkTar(t, b.Bytes(), want)
			var damage *DamageError
			for _, bad := range [][]byte{data[:len(data)-3], append(slices.Clone(data[:60]), data[61:]...)} {
				if err := Cat(t.Context(), io.Discard, bytes.NewReader(bad), int64(len(bad)), id); i == 1 && !errors.As(err, &damage) {
					t.Errorf("a damaged volume is written out: %v", err)
				}
			}
			if err := Cat(t.Context(), io.Discard, bytes.NewReader(data), int64(len(data))); s.vols[i].encrypted != errors.Is(err, ErrNoIdentity) {
				t.Errorf("without an identity: %v", err)
			}
		}
	}
}

// Without a key a torn volume is cut where with a key it would be.
func TestEncryptedVolumeTornAtAnyByteKeepsEveryWholeEntry(t *testing.T) {
	t.Parallel()
	id := newIdentity(t)
	o := encrypted(t.TempDir(), id)
	data, side, commits := smallVolumeAt(t, o, cipherPath(o, "00000001"))
	all := commits[len(commits)-1]
	frames, _, err := walk(bytesAt(data), nil, int64(len(data)))
	if err != nil || last(frames).end() != int64(len(data)) {
		t.Fatalf("walk: %d frames, %v", len(frames), err)
	}
	o = encrypted(t.TempDir(), id)
	sidePath := filepath.Join(o.Dir, "00000001.seek")
	for cut := 0; cut <= len(data); cut++ {
		atFrame := slices.ContainsFunc(frames, func(f frame) bool { return f.end() >= int64(cut)-1 && f.end() <= int64(cut)+1 })
		if !atFrame && cut%23 != 0 {
			continue
		}
		for _, key := range []bool{false, true} {
			if err := errors.Join(os.RemoveAll(o.Quarantine), os.RemoveAll(sidePath)); err != nil {
				t.Fatal(err)
			}
			writeFile(t, cipherPath(o, "00000001"), data[:cut])
			if cut%2 == 0 {
				writeFile(t, sidePath, side)
			}
			o := o
			if key {
				o.Identities = []age.Identity{id}
			}
			b := newBook()
			b.kept, b.known[1] = wholeAt(all, frames, int64(cut))
			s, err := OpenSet(t.Context(), o, nil)
			if err != nil {
				t.Fatalf("cut at %d, key %t: %v", cut, key, err)
			}
			if info := s.Volumes()[0]; info.End != b.known[1] {
				t.Fatalf("cut at %d, key %t: ends at %d, want %d", cut, key, info.End, b.known[1])
			}
			if err := errors.Join(b.append(t, s, mail(50, 700)), b.commit(t, s), s.Close()); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			o.Identities = []age.Identity{id}
			s = mustOpen(t, o, b.known)
			b.check(t, s)
			_ = s.Close()
		}
	}
}

func TestFlippedBitsAreFoundWithoutAKey(t *testing.T) {
	t.Parallel()
	id := newIdentity(t)
	o := encrypted(t.TempDir(), id)
	open, side, commits := smallVolumeAt(t, o, cipherPath(o, "00000001"))
	known := commits[2].known
	s := mustOpen(t, o, known)
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	sealed := readFile(t, cipherPath(o, "00000001"))
	for name, data := range map[string][]byte{"open": open, "sealed": sealed} {
		for _, key := range []bool{false, true} {
			o := encrypted(t.TempDir(), id)
			o.ReadOnly = true
			if key {
				o.Identities = []age.Identity{id}
			}
			if name == "open" {
				writeFile(t, filepath.Join(o.Dir, "00000001.seek"), side)
			}
			check := func(data []byte) (Verified, []Damage) {
				writeFile(t, cipherPath(o, "00000001"), data)
				s, err := OpenSet(t.Context(), o, known)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				return verify(t, s, VerifyOptions{Deep: true})
			}
			if r, damages := check(data); len(damages) > 0 || r.Opaque == key || (r.Entries > 0) != key {
				t.Fatalf("%s, key %t: %+v, %+v", name, key, r, damages)
			}
			flips(len(data), func(bit int) {
				flipped := bytes.Clone(data)
				flipped[bit/8] ^= 1 << (bit % 8)
				_, damages := check(flipped)
				at := int64(bit / 8)
				if !slices.ContainsFunc(damages, func(d Damage) bool { return d.Offset <= at && at < d.Offset+d.Size }) {
					t.Errorf("%s, key %t: bit %d of byte %d flipped: %+v", name, key, bit%8, at, damages)
				}
			})
		}
	}
}

func TestKeysAreRotatedByRepacking(t *testing.T) {
	old, now := newIdentity(t), newIdentity(t)
	o := encrypted(t.TempDir(), old)
	s, b := sealedSet(t, o)
	if _, err := s.Repack(t.Context(), 1, RepackOptions{}); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("repacking without an identity: %v", err)
	}
	if _, err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	o.Recipients, o.Identities = []age.Recipient{now.Recipient()}, []age.Identity{old, now}
	s = mustOpen(t, o, b.known)
	for volume := range uint32(2) {
		if _, err := s.Repack(t.Context(), volume+1, RepackOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.check(t, s)
	_ = s.Close()
	o.Identities = []age.Identity{now}
	b.check(t, mustOpen(t, o, b.known))
	o.Identities = []age.Identity{old}
	if _, _, err := mustOpen(t, o, b.known).Open(t.Context(), Place{Volume: 1}); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("the old key still opens: %v", err)
	}
	o.Recipients, o.Identities = nil, []age.Identity{now}
	if _, err := mustOpen(t, o, b.known).Repack(t.Context(), 1, RepackOptions{}); err == nil || !strings.Contains(err.Error(), "recipient") {
		t.Errorf("repacking for nobody: %v", err)
	}
	if _, err := os.Stat(volumePath(o, 1)); err == nil {
		t.Error("there is a plain volume")
	}
}

func TestEncryptedVolumesAreRedacted(t *testing.T) {
	id := newIdentity(t)
	o := encrypted(t.TempDir(), id)
	o.Identities = []age.Identity{id}
	s, b, targets, secrets := redactable(t, o)
	flags := func() (all []byte) {
		for _, f := range s.vols[0].frames {
			all = append(all, flagsOf(f, readFile(t, s.vols[0].path))...)
		}
		return all
	}
	before := flags()
	if _, err := s.Redact(t.Context(), 1, targets, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(flags(), before) {
		t.Error("redacted frames say something else of their ends")
	}
	data := readFile(t, s.vols[0].path)
	var stream bytes.Buffer
	if err := Cat(t.Context(), &stream, bytes.NewReader(data), int64(len(data)), id); err != nil {
		t.Fatal(err)
	}
	for i, secret := range secrets {
		if len(secret) > 12 && bytes.Contains(stream.Bytes(), secret[:12]) {
			t.Errorf("secret %d is still there", i)
		}
	}
	checkTar(t, stream.Bytes(), len(b.kept)+len(targets))
	b.check(t, s)
	_ = s.Close()
	o.Identities = nil
	if _, err := mustOpen(t, o, b.known).Redact(t.Context(), 1, targets, nil); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("redacting without an identity: %v", err)
	}
}

func TestTurningEncryptionOnOrOffBeginsANewVolume(t *testing.T) {
	id := newIdentity(t)
	plain := testOptions(t.TempDir())
	cipher := plain
	cipher.Recipients, cipher.Identities = []age.Recipient{id.Recipient()}, []age.Identity{id}
	off := cipher
	off.Recipients = nil
	b := newBook()
	for i, o := range []Options{plain, cipher, off, cipher} {
		s := mustOpen(t, o, b.known)
		if err := errors.Join(b.append(t, s, mail(uint64(i), 500)), b.commit(t, s), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, cipher, b.known)
	b.check(t, s)
	for i, info := range s.Volumes() {
		if info.Encrypted != (i%2 == 1) || info.Sealed == (i == 3) {
			t.Errorf("volume %d is %+v", i+1, info)
		}
	}
	_ = s.Close()
	writeFile(t, cipherPath(cipher, "00000001"), nil)
	if _, err := OpenSet(t.Context(), cipher, b.known); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a volume that is there twice: %v", err)
	}
}
