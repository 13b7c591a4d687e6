package archive

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// verifiable makes a closed archive with sealed volumes and an open one, a large message, and
// one that was deposited often.
func verifiable(t testing.TB) (dir string) {
	t.Helper()
	return verifiableOf(t, 24, 20_000)
}

func verifiableOf(t testing.TB, batches int, volumeBytes int64) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), dir, Options{VolumeBytes: volumeBytes})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := range batches {
		body := make([]byte, 3000)
		for i := range body {
			body[i] = 'a' + byte(random.IntN(26))
		}
		batch := []Delivery{
			delivery("sales", fmt.Sprint(n), fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", n, body)),
			delivery("support <&>", fmt.Sprint(n), fmt.Sprintf("Subject: note %d\r\n\r\nshort\r\n", n)),
			delivery("list", fmt.Sprint(n), "Subject: the same\r\n\r\nevery time\r\n"),
		}
		if n%3 == 1 { // in parts, from the second on
			batch = append(batch, delivery("list", fmt.Sprint("attached ", n), attach(fmt.Sprint("file ", n), noise(7, 33_000))))
		}
		if n == 3 {
			batch = append(batch, delivery("sales", "large", strings.Repeat(string(body), 20)))
		}
		if _, err := s.Put(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RecordPoll(t.Context(), PollReport{Mailbox: "sales"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(t.Context(), Action{Type: ActionSearch, Actor: "maria", Details: map[string]string{"query": "contract"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func verifyDir(t testing.TB, dir string, o VerifyOptions) VerifyReport {
	t.Helper()
	r, err := VerifyDir(t.Context(), dir, Options{}, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Damages != int64(len(r.Damage)) && r.Damages <= maxListed {
		t.Errorf("%d damages are counted, %d listed", r.Damages, len(r.Damage))
	}
	return r
}

// replace overwrites a file that may be sealed.
func replace(t testing.TB, path string, data []byte) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600), os.Chmod(path, info.Mode().Perm()))
	if err != nil {
		t.Fatal(err)
	}
}

// precious reads the files of an archive that are not the catalog, by their names in the directory.
func precious(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, sub := range []string{volumesName, ledgerName, keysName} {
		names, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[sub+"/"+filepath.Base(name)] = data
		}
	}
	return files
}

func TestVerifyFindsNothingInASoundArchive(t *testing.T) {
	dir := verifiable(t)
	before := precious(t, dir)
	for _, deep := range []bool{false, true} {
		r := verifyDir(t, dir, VerifyOptions{Deep: deep})
		if r.Damages != 0 || len(r.Notes) != 0 || r.Finished.IsZero() || r.Events < 70 || r.Volumes < 3 {
			t.Errorf("deep %t: %+v", deep, r)
		}
		if deep && (r.Messages != 58 || r.Entries < 120 || r.Bytes < 100_000) {
			t.Errorf("too little was read: %+v", r)
		}
	}
	s := reopen(t, dir, Options{VolumeBytes: 20_000})
	for _, deep := range []bool{false, true} {
		r, err := s.Verify(t.Context(), VerifyOptions{Deep: deep})
		if err != nil || r.Damages != 0 || len(r.Notes) != 0 {
			t.Errorf("opened, deep %t: %+v, %v", deep, r, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range precious(t, dir) {
		if !bytes.Equal(data, before[name]) {
			t.Errorf("verifying has changed %s", name)
		}
	}
	// What is derived may be missing: a backup need not have it.
	if err := os.Remove(filepath.Join(dir, catalogName)); err != nil {
		t.Fatal(err)
	}
	r := verifyDir(t, dir, VerifyOptions{Deep: true})
	if r.Damages != 0 || len(r.Notes) != 1 || r.Messages != 58 {
		t.Errorf("without a catalog: %+v", r)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.db*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Every flipped bit in any file is reported, with the file, the bytes, and what is in them.
func TestVerifyReportsEveryFlippedBit(t *testing.T) {
	flips := 300
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		flips = 10_000
	}
	dir := verifiableOf(t, 7, 7000)
	files := precious(t, dir)
	names := make([]string, 0, len(files))
	total := 0
	for name, data := range files {
		total += len(data)
		if len(data) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if total > 1<<20 || len(names) < 10 {
		t.Fatalf("%d bytes in %v", total, names)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range flips {
		name := names[random.IntN(len(names))]
		at, bit := random.IntN(len(files[name])), random.IntN(8)
		data := bytes.Clone(files[name])
		data[at] ^= 1 << bit
		path := filepath.Join(dir, filepath.FromSlash(name))
		replace(t, path, data)
		r := verifyDir(t, dir, VerifyOptions{Deep: true})
		replace(t, path, files[name])
		hit := slices.ContainsFunc(r.Damage, func(d Damage) bool {
			return d.File == name && (d.Bytes == 0 || d.Offset <= int64(at) && int64(at) < d.Offset+d.Bytes)
		})
		if !hit || !named(r, name, files[name], at) {
			t.Errorf("bit %d of byte %d of %d of %s flipped: %+v", bit, at, len(data), name, r.Damage)
		}
	}
	if r := verifyDir(t, dir, VerifyOptions{Deep: true}); r.Damages > 0 {
		t.Errorf("put back: %+v", r.Damage)
	}
}

// named says whether messages are named for damage that hits any.
func named(r VerifyReport, name string, data []byte, at int) bool {
	const trailer = 64 // at most, before the seal frame
	seal := bytes.LastIndex(data, []byte{0x5d, 0x2a, 0x4d, 0x18})
	if !strings.HasSuffix(name, ".tar.zst") || seal >= 0 && at >= seal-trailer {
		return true
	}
	return slices.ContainsFunc(r.Damage, func(d Damage) bool {
		return len(d.Messages) > 0 || strings.Contains(d.What, "decode to what they should")
	})
}

func TestVerifyNamesTheDamagedMessage(t *testing.T) {
	dir := verifiable(t)
	name := filepath.Join(dir, volumesName, "00000001.tar.zst")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[1500] ^= 4
	replace(t, name, data)
	s := reopen(t, dir, Options{})
	for _, deep := range []bool{false, true} {
		var told []Damage
		r, err := s.Verify(t.Context(), VerifyOptions{Deep: deep, Damage: func(d Damage) { told = append(told, d) }})
		if !deep {
			continue // the headers are whole
		}
		if err != nil || r.Damages != 1 || len(told) != 1 || r.Repairable != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		d := r.Damage[0]
		if d.File != "volumes/00000001.tar.zst" || d.Offset > 1500 || d.Offset+d.Bytes <= 1500 || len(d.Messages) == 0 || d.What == "" {
			t.Errorf("%+v", d)
		}
		for _, id := range d.Messages {
			if damaged, err := s.Damaged(t.Context(), []string{id}); err != nil || len(damaged) == 0 {
				t.Errorf("message %s is named and can be read: %v", id, err)
			}
		}
	}
}

func TestVerifyComparesTheCatalogInBothDirections(t *testing.T) {
	for name, spoil := range map[string]struct {
		sql  string
		what string
	}{
		"deposit gone":          {"DELETE FROM deposits WHERE idx = 3", "deposit of event 3 is missing"},
		"deposit invented":      {"INSERT INTO deposits SELECT (SELECT max(idx) + 2 FROM deposits), message, mailbox, uidl, listed, record, teller, told FROM deposits WHERE idx = 3", "is not in the ledger"},
		"deposit without place": {"UPDATE deposits SET teller = -1 WHERE idx = 5", "deposit of event 5 has no place"},
		"deposit altered":       {"UPDATE deposits SET record = CAST(replace(CAST(record AS TEXT), 'sales', 'SALES') AS BLOB) WHERE idx = 0", "deposit of event 0 is not what the ledger says"},
		"message misplaced":     {"UPDATE messages SET offset = offset + 512 WHERE n = 5", "where the catalog says"},
		"message far away":      {"UPDATE messages SET offset = 1000000000 WHERE n = 5", "which ends before"},
		"in no volume":          {"UPDATE messages SET volume = 99 WHERE n = 5", "which ends before"},
		"message not listed":    {"PRAGMA foreign_keys=OFF; DELETE FROM deposits WHERE message = 5; DELETE FROM messages WHERE n = 5", "is not in the catalog"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := verifiableOf(t, 7, 7000)
			db, err := sql.Open("sqlite", filepath.Join(dir, catalogName)) // the driver comes with the catalog
			if err != nil {
				t.Fatal(err)
			}
			_, err = db.ExecContext(t.Context(), spoil.sql)
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			r := verifyDir(t, dir, VerifyOptions{Deep: true})
			if !slices.ContainsFunc(r.Damage, func(d Damage) bool { return strings.Contains(d.What, spoil.what) && len(d.Messages) > 0 }) {
				t.Errorf("%+v", r.Damage)
			}
		})
	}
}

func TestRolledBackArchiveIsFoundWithAnEarlierCheckpoint(t *testing.T) {
	dir := verifiable(t)
	older := filepath.Join(t.TempDir(), "older")
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, dir, Options{})
	mustPut(t, s, delivery("sales", "new", "Subject: new\r\n\r\nto be forgotten\r\n"))
	st, err := s.Status(t.Context())
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	saved := []SavedCheckpoint{{Name: "saved", Note: []byte(st.Checkpoint)}}
	if r := verifyDir(t, dir, VerifyOptions{Checkpoints: saved}); r.Damages != 0 || r.Checkpoints != 1 {
		t.Fatalf("the archive itself: %+v", r)
	}
	found := func(name, dir string) {
		t.Helper()
		r := verifyDir(t, dir, VerifyOptions{Checkpoints: saved})
		if !slices.ContainsFunc(r.Damage, func(d Damage) bool { return d.File == "saved" }) || r.Checkpoints != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := verifyDir(t, older, VerifyOptions{Deep: true}); r.Damages != 0 {
		t.Fatalf("an older copy is sound in itself: %+v", r.Damage)
	}
	found("older copy", older)

	// The older ledger goes on with something else.
	s = reopen(t, older, Options{})
	for n := range 5 {
		mustPut(t, s, delivery("sales", fmt.Sprint("other ", n), fmt.Sprint("other ", n)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	found("another history", older)

	events := filepath.Join(dir, ledgerName, "events.jsonl")
	data, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(events, data[:len(data)*3/4], 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verifyDir(t, dir, VerifyOptions{}); r.Damages == 0 {
		t.Errorf("truncated ledger: %+v", r)
	}
}

func TestVerifyReportsWhatIsMissing(t *testing.T) {
	for name, what := range map[string]string{
		"volumes/00000001.tar.zst": "the volume is missing", "volumes": "", "ledger/events.jsonl": "shorter than its checkpoint", "ledger/details.jsonl": "",
		"ledger/checkpoint": "no valid checkpoint", "ledger": "", "keys": "", "keys/ledger.pub": "",
	} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			dir := verifiableOf(t, 7, 7000)
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			r := verifyDir(t, dir, VerifyOptions{Deep: true})
			if !slices.ContainsFunc(r.Damage, func(d Damage) bool { return strings.Contains(d.What, what) && !d.Repairable }) {
				t.Errorf("%+v", r)
			}
			if name == "volumes/00000001.tar.zst" && len(r.Damage[0].Messages) == 0 {
				t.Errorf("no message is named: %+v", r.Damage)
			}
		})
	}
}

func TestInterruptedVerificationGoesOn(t *testing.T) {
	dir := verifiable(t)
	name := filepath.Join(dir, volumesName, "00000001.tar.zst")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[1500] ^= 4
	replace(t, name, data)
	s := reopen(t, dir, Options{})
	whole, err := s.Verify(t.Context(), VerifyOptions{Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := s.Verify(ctx, VerifyOptions{Deep: true, Progress: func(p VerifyProgress) {
		if p.Volume == 2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || r.Damages != 1 || !r.Finished.IsZero() {
		t.Fatalf("%+v, %v", r, err)
	}
	first := true
	var told []Damage
	rest, err := s.Verify(t.Context(), VerifyOptions{Deep: true, Damage: func(d Damage) { told = append(told, d) }, Progress: func(p VerifyProgress) {
		if p.Part == "volume" && first {
			first = false
			if p.Volume != 2 {
				t.Errorf("goes on in volume %d", p.Volume)
			}
		}
	}})
	if err != nil || !rest.Resumed || rest.Damages != 1 || len(told) != 1 || rest.Volumes != whole.Volumes || rest.Finished.IsZero() || !rest.Started.Equal(r.Started) {
		t.Errorf("%+v, %v", rest, err)
	}
	if _, err := os.Stat(filepath.Join(dir, progressName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note of a finished verification: %v", err)
	}
	// A quick one and a restarted one begin anew.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	if _, err := s.Verify(ctx, VerifyOptions{Deep: true, Progress: func(VerifyProgress) { cancel() }}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, o := range []VerifyOptions{{}, {Deep: true, Restart: true}} {
		if r, err := s.Verify(t.Context(), o); err != nil || r.Resumed {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestVerifyBesideTheWriterFindsNothing(t *testing.T) {
	s, _ := create(t)
	stop := make(chan struct{})
	written := make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				written <- nil
				return
			default:
			}
			_, err := s.Put(context.Background(), []Delivery{
				delivery("sales", fmt.Sprint(n), fmt.Sprintf("Subject: %d\r\n\r\nhello\r\n", n)), delivery("list", fmt.Sprint(n), "the same"),
			})
			if err != nil {
				written <- err
				return
			}
		}
	}()
	for range 10 {
		r, err := s.Verify(t.Context(), VerifyOptions{Deep: true})
		if err != nil || r.Damages > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	close(stop)
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestLastVerificationSurvivesTheCatalog(t *testing.T) {
	s, dir := create(t)
	mustPut(t, s, delivery("sales", "1", "hello"))
	r, err := s.Verify(t.Context(), VerifyOptions{Deep: true})
	if err == nil {
		err = s.RecordVerification(t.Context(), "maria", r)
	}
	if err := errors.Join(err, s.Close(), os.Remove(filepath.Join(dir, catalogName))); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	st, err := s.Status(t.Context())
	if err != nil || st.Verified == nil || !st.Verified.Deep || !st.Verified.Finished.Equal(r.Finished) || st.Verified.Messages != 1 {
		t.Errorf("%+v, %v", st.Verified, err)
	}
}

func TestLedgerDamageDoesNotKeepTheArchiveFromOpening(t *testing.T) {
	dir := verifiable(t)
	events := filepath.Join(dir, ledgerName, "events.jsonl")
	data, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte(`"type":"deposit"`)) // of the first event: opening does not read it again
	data[at+1] = 'T'
	if err := errors.Join(os.WriteFile(events, data, 0o600), os.Remove(filepath.Join(dir, catalogName))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := reopen(t, dir, Options{})
		if _, err := s.Put(t.Context(), nil); !errors.Is(err, ErrReadOnly) {
			t.Errorf("Put: %v", err)
		}
		st, err := s.Status(t.Context())
		if err != nil || st.Messages < 49 {
			t.Errorf("%+v, %v", st, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCatalogIsMadeAnewBesideTheWriter(t *testing.T) {
	dir := verifiableOf(t, 7, 7000)
	s := reopen(t, dir, Options{})
	before := rows(t, dir)
	nothing := func(context.Context, *Store) error { return nil }
	if err := s.RebuildCatalog(t.Context(), nothing); err != nil {
		t.Fatal(err)
	}
	if after := rows(t, dir); !slices.Equal(before, after) {
		t.Errorf("%d rows, before %d", len(after), len(before))
	}
	// What comes while it is being made is in it, and an old catalog that is wrong is of no importance.
	db, err := sql.Open("sqlite", filepath.Join(dir, catalogName))
	if err == nil {
		_, err = db.ExecContext(t.Context(), "DELETE FROM deposits; UPDATE messages SET offset = offset + 512")
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	late := delivery("sales", "late", "Subject: late\r\n\r\nin between\r\n")
	described := 0
	err = s.RebuildCatalog(t.Context(), func(ctx context.Context, a *Store) error {
		described++
		if a != s {
			mustPut(t, s, late)
		}
		if err := s.RebuildCatalog(ctx, nothing); !errors.Is(err, ErrRebuilding) {
			t.Errorf("a second one: %v", err)
		}
		return nil
	})
	if err != nil || described != 2 {
		t.Fatalf("described %d times, %v", described, err)
	}
	content(t, s, late.ID)
	if r := mustPut(t, s, late)[0]; !r.Known {
		t.Errorf("%+v", r)
	}
	if r, err := s.Verify(t.Context(), VerifyOptions{Deep: true}); err != nil || r.Damages > 0 {
		t.Errorf("%+v, %v", r.Damage, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, rebuildName+"*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What a crash leaves was never receipted, and opening the archive tidies up.
func TestUnfinishedWritesAreNoDamage(t *testing.T) {
	dir := verifiableOf(t, 7, 7000)
	volumes, err := filepath.Glob(filepath.Join(dir, volumesName, "*.seek"))
	if err != nil || len(volumes) != 1 {
		t.Fatalf("%v, %v", volumes, err)
	}
	open := strings.TrimSuffix(volumes[0], ".seek") + ".tar.zst"
	for name, torn := range map[string]string{
		open: "\x28\xb5\x2f\xfd torn", filepath.Join(dir, ledgerName, "events.jsonl"): `{"index":40,"ty`, filepath.Join(dir, ledgerName, "details.jsonl"): `{"index":40,`,
	} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, name, append(data, torn...))
	}
	r := verifyDir(t, dir, VerifyOptions{Deep: true})
	if r.Damages != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "unfinished write") {
		t.Errorf("%+v", r)
	}
	s := reopen(t, dir, Options{})
	if r, err := s.Verify(t.Context(), VerifyOptions{Deep: true}); err != nil || r.Damages != 0 || len(r.Notes) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDisposedMessageThatIsStillThereIsReported(t *testing.T) {
	d := newDesk(t, filepath.Join(t.TempDir(), "data"))
	m := delivery("sales", "1", "Subject: oldtoken\r\n\r\nx")
	d.put(m, delivery("legal", "2", "Subject: kept\r\n\r\nx"))
	if err := d.s.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(t.TempDir(), "volumes")
	if err := os.CopyFS(older, os.DirFS(filepath.Join(d.dir, volumesName))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.c.Erase(t.Context(), m.ID, "a request", "olga", true); err != nil {
		t.Fatal(err)
	}
	d.close()
	if err := errors.Join(os.RemoveAll(filepath.Join(d.dir, volumesName)), os.CopyFS(filepath.Join(d.dir, volumesName), os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	r := verifyDir(t, d.dir, VerifyOptions{Deep: true})
	if !slices.ContainsFunc(r.Damage, func(x Damage) bool {
		return strings.Contains(x.What, "was disposed of, but is still") && x.Messages[0] == m.ID
	}) {
		t.Errorf("%+v", r.Damage)
	}
}
