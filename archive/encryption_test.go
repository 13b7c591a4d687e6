package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"

	"github.com/postkeep/postkeep/archive/volume"
)

func newKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// encrypted opens a new archive that is encrypted for the key.
func encrypted(t *testing.T, key *age.X25519Identity) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, Options{VolumeBytes: 8 << 10, Recipients: []age.Recipient{key.Recipient()}, Identities: []age.Identity{key}}), dir
}

func again(t *testing.T, s *Store, dir string, o Options) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, o)
}

func TestMessagesAreArchivedWithoutTheKeyAndReadWithIt(t *testing.T) {
	key := newKey(t)
	public := Options{VolumeBytes: 8 << 10, Recipients: []age.Recipient{key.Recipient()}}
	s, dir := encrypted(t, key)
	if err := s.Unreadable(); err != nil {
		t.Error(err)
	}
	s = again(t, s, dir, public)
	if err := s.Unreadable(); !errors.Is(err, volume.ErrNoIdentity) {
		t.Errorf("Unreadable gives %v", err)
	}
	bodies := fill(t, s, 2)
	file := noise(1, 40_000)
	for i, mailbox := range []string{"x", "y", "x"} { // the last is known, the second shares the file
		body := attach(mailbox, file)
		d := delivery(mailbox, "1", body)
		bodies[d.ID] = body
		if r := mustPut(t, s, d)[0]; r.Known != (i == 2) {
			t.Errorf("receipt %d is %+v", i, r)
		}
		if got, err := s.Damaged(t.Context(), []string{d.ID}); err != nil || len(got) > 0 {
			t.Errorf("damaged without the key: %v, %v", got, err)
		}
		if _, err := s.OpenMessage(t.Context(), d.ID); !errors.Is(err, volume.ErrNoIdentity) {
			t.Errorf("opened without the key: %v", err)
		}
	}
	if err := s.ReadOnly(); err != nil {
		t.Error(err)
	}
	sound(t, s)
	private := public
	private.Identities = []age.Identity{key}
	s = again(t, s, dir, private)
	for id, body := range bodies {
		if content(t, s, id) != body {
			t.Errorf("message %s has other bytes", id)
		}
	}
	if count, _ := entries(t, s); count[volume.KindPart] != 1 {
		t.Errorf("entries %v, want the file once", count)
	}
	files, err := filepath.Glob(filepath.Join(dir, volumesName, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || bytes.Contains(data, []byte("compresses well")) {
			t.Errorf("%s has plaintext, %v", f, err)
		}
	}
}

func TestDamageOfWhatIsEncryptedIsFoundWithoutTheKey(t *testing.T) {
	key := newKey(t)
	s, dir := encrypted(t, key)
	d := delivery("a", "1", "a message")
	mustPut(t, s, d)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, volumesName, "00000001.pkv")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{Recipients: []age.Recipient{key.Recipient()}})
	if got, err := s.Damaged(t.Context(), []string{d.ID}); err != nil || len(got) != 1 {
		t.Errorf("damaged: %v, %v", got, err)
	}
}

func TestKeysAreRotatedByRepacking(t *testing.T) {
	old, next := newKey(t), newKey(t)
	s, dir := encrypted(t, old)
	bodies := fill(t, s, 2)
	s = again(t, s, dir, Options{Recipients: []age.Recipient{next.Recipient()}, Identities: []age.Identity{old, next}})
	if err := s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Repack(t.Context(), RepackOptions{Actor: "eve", Encrypted: true, Done: func(volume.Info) { n++ }}); err != nil || n != 3 {
		t.Errorf("%d volumes, %v", n, err)
	}
	sound(t, s)
	s = again(t, s, dir, Options{Recipients: []age.Recipient{next.Recipient()}, Identities: []age.Identity{next}})
	for id, body := range bodies {
		if content(t, s, id) != body {
			t.Errorf("message %s has other bytes", id)
		}
	}
	s = again(t, s, dir, Options{Recipients: []age.Recipient{next.Recipient()}, Identities: []age.Identity{old}})
	if err := s.Unreadable(); !errors.Is(err, volume.ErrNoIdentity) {
		t.Errorf("with the old key alone Unreadable gives %v", err)
	}
}

func TestCrashThatNeedsTheKeyIsExplainedAndRepairedWithIt(t *testing.T) {
	key := newKey(t)
	s, dir := encrypted(t, key)
	mustPut(t, s, delivery("a", "1", "known"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d := delivery("a", "2", "written before the crash, and not in the ledger")
	set, err := volume.OpenSet(t.Context(), volume.Options{
		FS: s.opts.FS, Dir: filepath.Join(dir, volumesName), Quarantine: filepath.Join(dir, quarantineName),
		Recipients: []age.Recipient{key.Recipient()}, Identities: []age.Identity{key},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = set.Append(t.Context(), volume.Message{ID: d.ID, Size: d.Size, Time: received, Body: d.Body})
	if err == nil {
		_, err = set.Commit(t.Context())
	}
	if err := errors.Join(err, set.Close()); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{Recipients: []age.Recipient{key.Recipient()}})
	if err := s.ReadOnly(); !errors.Is(err, ErrReadOnly) || !errors.Is(err, volume.ErrNoIdentity) {
		t.Errorf("without the key it is %v, want it read-only", err)
	}
	s = again(t, s, dir, Options{Recipients: []age.Recipient{key.Recipient()}, Identities: []age.Identity{key}})
	if err := s.ReadOnly(); err != nil || s.Adopted() != 1 {
		t.Errorf("with the key %d messages are adopted, %v", s.Adopted(), err)
	}
	s = again(t, s, dir, Options{Recipients: []age.Recipient{key.Recipient()}})
	if r := mustPut(t, s, delivery("b", fmt.Sprint(1), "then it goes on without"))[0]; !r.Stored {
		t.Errorf("receipt %+v", r)
	}
}
