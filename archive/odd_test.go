package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/volume"
)

// filesIn reads all files below a directory.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestAFileThatIsNoVolumeOfThisArchiveIsLeftAlone puts files with the names of volumes beside the volumes. They were cut to nothing before,
// and written into.
func TestAFileThatIsNoVolumeOfThisArchiveIsLeftAlone(t *testing.T) {
	stray := map[string]string{
		"00000002.pkv":     "age-encryption.org/v1\n-> X25519 something of somebody else",
		"00000002.tar.zst": "not even compressed",
		"00000099.pkv":     "\x5c\x2a\x4d\x18 begins like an envelope, with a number that is not the next one",
		"00000099.tar.zst": "\x28\xb5\x2f\xfd begins like a frame",
	}
	for name, text := range maps.All(stray) {
		t.Run(name, func(t *testing.T) {
			s, dir := create(t)
			r := mustPut(t, s, delivery("sales", "1", "Subject: there\r\n\r\nx"))[0]
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, volumesName, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			report, err := VerifyDir(t.Context(), dir, Options{}, VerifyOptions{Deep: true})
			if err != nil || report.Damages > 0 || !strings.Contains(strings.Join(report.Notes, "\n"), name) {
				t.Errorf("verify: %v, damage %+v, notes %q", err, report.Damage, report.Notes)
			}
			s = reopen(t, dir, Options{})
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("the file holds %q, %v", got, err)
			}
			if files := filesIn(t, filepath.Join(dir, quarantineName)); len(files) > 0 {
				t.Errorf("in quarantine: %v", files)
			}
			if err := s.ReadOnly(); !errors.Is(err, volume.ErrForeign) || !strings.Contains(err.Error(), name) {
				t.Errorf("read-only: %v", err)
			}
			if got := content(t, s, r.ID); got != "Subject: there\r\n\r\nx" {
				t.Errorf("the message is %q", got)
			}
		})
	}
}

// sealedVolume makes an archive with one message in a sealed volume that the ledger knows, closes it, and makes the file writable, as a copy
// without modes is.
func sealedVolume(t *testing.T) (dir, path string, r Receipt) {
	t.Helper()
	s, dir := create(t)
	r = mustPut(t, s, delivery("sales", "1", "Subject: there\r\n\r\nx"))[0]
	if err := errors.Join(s.Seal(t.Context()), s.Repack(t.Context(), RepackOptions{}), s.Close()); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, volumesName, "00000001.tar.zst")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, path, r
}

// TestAChangedByteBehindTheEntriesOfASealedVolumeCutsNothing changes each byte of the seal and the seek table.
func TestAChangedByteBehindTheEntriesOfASealedVolumeCutsNothing(t *testing.T) {
	dir, path, r := sealedVolume(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := bytes.LastIndex(whole, []byte("\x5d\x2a\x4d\x18")) // the seal
	if begin < 0 {
		t.Fatal("no seal")
	}
	for at := begin; at < len(whole); at++ {
		changed := bytes.Clone(whole)
		changed[at] ^= 0x55
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), dir, Options{FS: unsynced{disk.OS()}})
		if err != nil {
			t.Fatalf("byte %d: %v", at-begin, err)
		}
		if got := content(t, s, r.ID); got != "Subject: there\r\n\r\nx" {
			t.Errorf("byte %d: the message is %q", at-begin, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, changed) {
			t.Errorf("byte %d: the file has %d bytes and had %d, %v", at-begin, len(got), len(changed), err)
		}
		if files := filesIn(t, filepath.Join(dir, quarantineName)); len(files) > 0 {
			t.Fatalf("byte %d: in quarantine: %v", at-begin, files)
		}
	}
}

// TestAVolumeOfANewerVersionIsRefusedInWords raises the version in the seal.
func TestAVolumeOfANewerVersionIsRefusedInWords(t *testing.T) {
	dir, path, _ := sealedVolume(t)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seal := file[bytes.LastIndex(file, []byte("\x5d\x2a\x4d\x18")):]
	const version, sum, head = 16, 20, 24
	binary.LittleEndian.PutUint32(seal[version:], 2)
	binary.LittleEndian.PutUint32(seal[sum:], crc32.Checksum(append(bytes.Clone(seal[:sum]), seal[head:]...), crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	before := filesIn(t, filepath.Join(dir, volumesName))
	report, err := VerifyDir(t.Context(), dir, Options{}, VerifyOptions{})
	if !errors.Is(err, volume.ErrNewer) || report.Damages > 0 {
		t.Errorf("verify: %v, damage %+v", err, report.Damage)
	}
	if s, err := Open(t.Context(), dir, Options{}); !errors.Is(err, volume.ErrNewer) || !strings.Contains(err.Error(), "volume 1") {
		t.Errorf("open: %v", err)
		if s != nil {
			_ = s.Close()
		}
	}
	if after := filesIn(t, filepath.Join(dir, volumesName)); !maps.Equal(before, after) {
		t.Error("the files are not as they were")
	}
}
