package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/volume"
)

// noise is bytes that do not compress, the same for a seed.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0] = byte(seed)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// attach is a message with an attachment in base64, as programs write it.
func attach(subject string, file []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: %s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee attachment.\r\n--b\r\n"+
		"Content-Transfer-Encoding: base64\r\n\r\n", subject)
	for text := base64.StdEncoding.EncodeToString(file); text != ""; {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	b.WriteString("--b--\r\n")
	return b.String()
}

// copyOf is a message as it arrives in a mailbox.
func copyOf(mailbox, rest string) string {
	return "Delivered-To: " + mailbox + "@example.com\r\nReceived: from mx.example.com\r\n\tfor <" + mailbox + "@example.com>\r\n" + rest
}

// entries counts what is in the volumes, and sums up the bytes.
func entries(t *testing.T, s *Store) (count map[volume.Kind]int, size map[volume.Kind]int64) {
	t.Helper()
	count, size = map[volume.Kind]int{}, map[volume.Kind]int64{}
	err := s.volumes.Scan(t.Context(), volume.Place{}, func(e volume.Entry, _ io.Reader) error {
		count[e.Kind]++
		size[e.Kind] += e.Size
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return count, size
}

// rows is the content of a catalog: all tables but the pieces that were seen, which are a hint.
func rows(t *testing.T, dir string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, catalogName))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out []string
	for _, table := range []string{"meta", "messages", "deposits", "mailboxes", "polls", "volumes", "parts", "recipes"} {
		result, err := db.QueryContext(t.Context(), "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := result.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for result.Next() {
			values, at := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				at[i] = &values[i]
			}
			if err := result.Scan(at...); err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s %x", table, values))
		}
		if err := errors.Join(result.Err(), result.Close()); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(out)
	return out
}

// sameAfterRebuild closes the store, and compares its catalog with one that is made anew, which it returns open.
func sameAfterRebuild(t *testing.T, s *Store, dir string) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := rows(t, dir)
	s, err := Open(t.Context(), dir, Options{RebuildCatalog: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after := rows(t, dir); !slices.Equal(before, after) {
		t.Errorf("catalog made anew has %d rows, before %d\n%s\n\n%s", len(after), len(before), strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	return reopen(t, dir, Options{})
}

func TestAttachmentThatMessagesShareIsKeptOnce(t *testing.T) {
	s, dir := create(t)
	file := noise(1, 50_000)
	bodies := []string{attach("one", file), attach("two, forwarded", file), attach("three", file)}
	r := mustPut(t, s, delivery("a", "1", bodies[0]), delivery("a", "2", bodies[1]))
	r = append(r, mustPut(t, s, delivery("b", "1", bodies[2]), delivery("c", "1", bodies[2]))...)
	for i, body := range append(bodies, bodies[2]) {
		if got := content(t, s, r[i].ID); got != body {
			t.Errorf("message %d comes back with %d other bytes", i, len(got))
		}
	}
	count, size := entries(t, s)
	if count[volume.KindPart] != 1 || size[volume.KindPart] != int64(len(file)) || count[volume.KindRecipe] != 3 || count[volume.KindMessage] != 0 {
		t.Errorf("entries %v of bytes %v, want the file once", count, size)
	}
	s = sameAfterRebuild(t, s, dir)
	sum := sha256.Sum256(file)
	users, err := s.catalog.Users(t.Context(), hex.EncodeToString(sum[:]))
	if err != nil || len(users) != 3 {
		t.Errorf("messages that refer to the file: %v, %v", users, err)
	}
	for i, body := range bodies {
		if got := content(t, s, r[i].ID); got != body {
			t.Errorf("message %d comes back with %d other bytes from the catalog made anew", i, len(got))
		}
	}
}

func TestMessageStaysWholeUntilAPieceOfItComesAgain(t *testing.T) {
	s, dir := create(t)
	rest := "From: a@example.org\r\nSubject: to all\r\n\r\n" + string(noise(2, 5000)) + "\r\n"
	var batch []Delivery
	for _, mailbox := range []string{"a", "b", "c", "d"} {
		batch = append(batch, delivery(mailbox, "1", copyOf(mailbox, rest)))
	}
	r := mustPut(t, s, batch[0])
	if count, _ := entries(t, s); count[volume.KindMessage] != 1 || count[volume.KindPart] != 0 {
		t.Errorf("entries %v, want the first copy as it is", count)
	}
	r = append(r, mustPut(t, s, batch[1:]...)...)
	count, size := entries(t, s)
	if count[volume.KindMessage] != 1 || count[volume.KindPart] != 1 || count[volume.KindRecipe] != 3 || size[volume.KindPart] != int64(len(rest)) {
		t.Errorf("entries %v of bytes %v, want the first copy as it is and one part for the others", count, size)
	}
	s = sameAfterRebuild(t, s, dir)
	for i, mailbox := range []string{"a", "b", "c", "d"} {
		if got := content(t, s, r[i].ID); got != copyOf(mailbox, rest) {
			t.Errorf("copy of mailbox %s comes back with other bytes", mailbox)
		}
	}
}

func TestDamagedPartIsReplacedForAllMessagesThatHaveIt(t *testing.T) {
	s, dir := create(t)
	file := noise(3, volume.FrameBytes*3/2) // in frames of its own: the recipe is not hit
	old := attach("old", file)
	id := mustPut(t, s, delivery("a", "1", old))[0].ID
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, dir) // in the middle: the part
	s = reopen(t, dir, Options{})
	if got, err := s.Damaged(t.Context(), []string{id}); err != nil || len(got) != 1 {
		t.Fatalf("damaged: %v, %v", got, err)
	}
	next := attach("new", file)
	if r := mustPut(t, s, delivery("a", "2", next))[0]; content(t, s, r.ID) != next {
		t.Error("a new message has the damaged part")
	}
	s = sameAfterRebuild(t, s, dir)
	if got, err := s.Damaged(t.Context(), []string{id}); err != nil || len(got) != 0 {
		t.Errorf("still damaged: %v, %v", got, err)
	}
}

// appendRaw writes entries behind the back of the store, as if a crash had come before the ledger.
func appendRaw(t *testing.T, dir string, entries ...volume.Message) {
	t.Helper()
	set, err := volume.OpenSet(t.Context(), volume.Options{
		FS: disk.OS(), Dir: filepath.Join(dir, volumesName), Quarantine: filepath.Join(dir, quarantineName),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range entries {
		if _, _, err := set.Append(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	_, err = set.Commit(t.Context())
	if err := errors.Join(err, set.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestPartsAndRecipesThatTheLedgerDoesNotKnowAreAdopted(t *testing.T) {
	s, dir := create(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	part := noise(4, 40_000)
	lost := noise(5, 40_000)
	sum, lostSum := sha256.Sum256(part), sha256.Sum256(lost)
	d := delivery("a", "1", string(part)+"\n")
	id, lostID := hex.EncodeToString(sum[:]), hex.EncodeToString(lostSum[:])
	recipe := fmt.Sprintf("postkeep-recipe 1\nmessage %s %d\npart %s %d\ntext 1\n\n\nend\n", d.ID, d.Size, id, len(part))
	recipeSum := sha256.Sum256([]byte(recipe))
	appendRaw(t, dir,
		volume.Message{Kind: volume.KindPart, ID: id, Size: int64(len(part)), Time: received, Body: bytes.NewReader(part)},
		volume.Message{Kind: volume.KindRecipe, ID: d.ID, SHA256: hex.EncodeToString(recipeSum[:]), Size: int64(len(recipe)), Time: received,
			Body: strings.NewReader(recipe)},
		volume.Message{Kind: volume.KindPart, ID: lostID, Size: int64(len(lost)), Time: received, Body: bytes.NewReader(lost)},
	)
	s = reopen(t, dir, Options{})
	if s.Adopted() != 2 {
		t.Errorf("%d entries adopted, want the message and the part that nothing refers to", s.Adopted())
	}
	if got := content(t, s, d.ID); got != string(part)+"\n" {
		t.Error("the adopted message comes back with other bytes")
	}
	if m, err := s.Message(t.Context(), d.ID); err != nil || m.Size != d.Size {
		t.Errorf("adopted message is %+v, %v", m, err)
	}
	unused, err := s.catalog.Unused(t.Context(), 10)
	if err != nil || len(unused) != 1 || unused[0].ID != lostID {
		t.Errorf("parts without a recipe: %v, %v", unused, err)
	}
	mustPut(t, s, delivery("a", "2", attach("has the part that was there", lost)))
	if count, _ := entries(t, s); count[volume.KindPart] != 2 {
		t.Errorf("entries %v, want no part stored again", count)
	}
	s = sameAfterRebuild(t, s, dir)
	if s.Adopted() != 0 {
		t.Errorf("%d entries adopted again", s.Adopted())
	}
}

func TestRecipeThatGivesOtherBytesIsDamage(t *testing.T) {
	s, _ := create(t)
	file := noise(6, 40_000)
	id := mustPut(t, s, delivery("a", "1", attach("x", file)))[0].ID
	other := mustPut(t, s, delivery("a", "2", attach("y", noise(7, 40_000))))[0].ID
	parts, err := s.catalog.PartsOf(t.Context(), other)
	if err != nil || len(parts) != 1 {
		t.Fatal(parts, err)
	}
	sum := sha256.Sum256(file)
	wrong := parts[0]
	wrong.ID = hex.EncodeToString(sum[:])
	if err := s.catalog.Apply(t.Context(), catalog.Change{Parts: []catalog.Part{wrong}, Position: s.ledger.Size()}); err != nil {
		t.Fatal(err)
	}
	r, err := s.OpenMessage(t.Context(), id)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("reading gives %v, want ErrDamaged", err)
	}
}

func TestBatchIsMadeReadyAgainWhenAMessageHasGoneMeanwhile(t *testing.T) {
	s, dir := create(t)
	first := delivery("a", "1", "a message")
	mustPut(t, s, first)
	again := delivery("b", "1", "a message")
	p := s.newPut([]Delivery{again})
	defer p.spool.close()
	if err := p.prepare(t.Context()); err != nil || !p.items[first.ID].held {
		t.Fatalf("prepared %+v, %v", p.items[first.ID], err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, catalogName))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "DELETE FROM deposits; DELETE FROM seen; DELETE FROM messages")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := p.write(t.Context()); !errors.Is(err, errStale) {
		t.Fatalf("write gives %v, want errStale", err)
	}
	if err := p.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.write(t.Context()); err != nil || !p.receipts[0].Stored {
		t.Errorf("receipts %+v, %v; want the bytes stored again", p.receipts, err)
	}
}

func TestLargeBodiesLeaveNoFiles(t *testing.T) {
	s, dir := create(t)
	left := filepath.Join(dir, strings.Replace(spoolPattern, "*", "crashed", 1))
	if err := errors.Join(s.Close(), os.WriteFile(left, []byte("left by a crash"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	body := string(noise(8, 2*spoolBytes))
	wrong := delivery("a", "2", body)
	wrong.ID = strings.Repeat("0", idDigits)
	r := mustPut(t, s, delivery("a", "1", body), wrong)
	if content(t, s, r[0].ID) != body || r[1].Refused == "" {
		t.Errorf("receipts %+v", r)
	}
	if files, err := filepath.Glob(filepath.Join(dir, spoolPattern)); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestPutWaitsForNobodyWhileItReadsABody(t *testing.T) {
	s, _ := create(t)
	reading, goOn := make(chan struct{}), make(chan struct{})
	d := delivery("a", "1", "slow")
	d.Body = io.MultiReader(readerFunc(func([]byte) (int, error) {
		close(reading)
		<-goOn
		return 0, io.EOF
	}), d.Body)
	done := make(chan error)
	go func() {
		_, err := s.Put(context.WithoutCancel(t.Context()), []Delivery{d})
		done <- err
	}()
	<-reading
	mustPut(t, s, delivery("b", "1", "fast"))
	if err := s.RecordPoll(t.Context(), PollReport{Mailbox: "b"}); err != nil {
		t.Error(err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
