package volume

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

// TestWhatIsSetAsideBeginsWithTheFirstWholeEntry: with a key, without one, and where nothing is whole.
func TestWhatIsSetAsideBeginsWithTheFirstWholeEntry(t *testing.T) {
	for _, key := range []string{"none needed", "there", "not there"} {
		for _, whole := range []bool{true, false} {
			dir := t.TempDir()
			o, path := testOptions(dir), ""
			if key != "none needed" {
				id := newIdentity(t)
				o = encrypted(dir, id)
				o.Identities = []age.Identity{id}
			}
			s := mustOpen(t, o, nil)
			b := newBook()
			var ends []int64
			add := func(size int) {
				t.Helper()
				if err := b.append(t, s, mail(uint64(len(ends)), size)); err != nil {
					t.Fatal(err)
				}
				if err := b.commit(t, s); err != nil {
					t.Fatal(err)
				}
				path = filepath.Join(o.Dir, "00000001.tar.zst")
				if key != "none needed" {
					path = cipherPath(o, "00000001")
				}
				ends = append(ends, int64(len(readFile(t, path))))
			}
			add(2000)
			add(2000) // the one that is damaged
			if whole {
				add(3000)
				add(2000)
			}
			add(3 << 20) // is torn
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			data := readFile(t, path)
			data = data[:len(data)-1000]
			data[(ends[0]+ends[1])/2] ^= 4
			writeFile(t, path, data)
			if err := os.Remove(filepath.Join(o.Dir, "00000001.seek")); err != nil {
				t.Fatal(err)
			}
			if key == "not there" {
				o.Identities = nil
			}
			s = mustOpen(t, o, nil)
			if got := s.Volumes()[0].Bytes; got != ends[0] {
				t.Errorf("key %s: the volume has %d bytes, want %d", key, got, ends[0])
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			var tail, rest []byte
			names, err := filepath.Glob(filepath.Join(o.Quarantine, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.HasSuffix(name, RestSuffix) {
					rest = append(rest, readFile(t, name)...)
				} else {
					tail = append(tail, readFile(t, name)...)
				}
			}
			want := data[len(data):]
			if whole {
				want = data[ends[1]:]
			}
			if !bytes.Equal(rest, want) || !bytes.Equal(append(tail, rest...), data[ends[0]:]) {
				t.Errorf("key %s, whole %t: %d bytes of whole entries are set aside behind %d, want %d of %d",
					key, whole, len(rest), len(tail), len(want), int64(len(data))-ends[0])
			}
		}
	}
}
