package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/volume"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// delivery makes a delivery of body under a UIDL.
func delivery(mailbox, uidl, body string) Delivery {
	sum := sha256.Sum256([]byte(body))
	return Delivery{
		ID: hex.EncodeToString(sum[:]), Size: int64(len(body)), Body: strings.NewReader(body),
		Deposit: Deposit{
			Mailbox: mailbox, UIDL: uidl, ListedSize: int64(len(body)) + 2, Received: received, HeaderHash: "h-" + hex.EncodeToString(sum[:4]),
			Source: Source{Protocol: "pop3", Host: "pop.example.com:995"},
		},
	}
}

func create(t *testing.T) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := Create(t.Context(), dir, Options{}); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, Options{}), dir
}

func reopen(t *testing.T, dir string, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func mustPut(t *testing.T, s *Store, batch ...Delivery) []Receipt {
	t.Helper()
	receipts, err := s.Put(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if len(receipts) != len(batch) {
		t.Fatalf("%d receipts for %d deliveries", len(receipts), len(batch))
	}
	return receipts
}

func content(t *testing.T, s *Store, id string) string {
	t.Helper()
	r, err := s.OpenMessage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPutKeepsEveryByte(t *testing.T) {
	bodies := map[string]string{
		"plain":       "Subject: a\r\n\r\nb\r\n",
		"empty":       "",
		"nul":         "a\x00b\x00\r\n",
		"bare lf":     "a\nb\n.\nc",
		"bare cr":     "a\rb\r",
		"mbox":        "From someone\nFrom: x\n\nFrom here\n",
		"8 bit":       "\xff\xfe\x80 \xe4\xf6\xfc",
		"large":       strings.Repeat("0123456789abcdef", 200_000),
		"no line end": "Subject: x",
	}
	s, dir := create(t)
	ids := map[string]string{}
	var batch []Delivery
	for name, body := range bodies {
		d := delivery("sales", name, body)
		ids[name] = d.ID
		batch = append(batch, d)
	}
	for i, r := range mustPut(t, s, batch...) {
		if r.ID != batch[i].ID || r.Refused != "" || !r.Stored || r.Known || r.Index < 0 {
			t.Errorf("receipt %+v", r)
		}
	}
	check := func(s *Store) {
		for name, body := range bodies {
			if got := content(t, s, ids[name]); got != body {
				t.Errorf("%s: got %d bytes, want %d", name, len(got), len(body))
			}
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(reopen(t, dir, Options{}))
}

func TestPutIsIdempotent(t *testing.T) {
	s, _ := create(t)
	first := mustPut(t, s, delivery("sales", "1", "hello"))[0]
	again := mustPut(t, s, delivery("sales", "1", "hello"), delivery("sales", "1", "hello"))
	for _, r := range again {
		if !r.Known || r.Stored || r.Index != first.Index {
			t.Errorf("repeated delivery got %+v, want the receipt of ledger index %d", r, first.Index)
		}
	}
	if st, err := s.Status(t.Context()); err != nil || st.Deposits != 1 || st.Messages != 1 {
		t.Errorf("status %+v, %v; want one deposit of one message", st, err)
	}
}

func TestRepeatedDeliveryInOneBatchIsOneDeposit(t *testing.T) {
	s, _ := create(t)
	r := mustPut(t, s, delivery("sales", "1", "hello"), delivery("sales", "1", "hello"))
	if r[0].Known || !r[1].Known || r[0].Index != r[1].Index {
		t.Errorf("receipts %+v", r)
	}
}

func TestSameBytesAreStoredOnceAndDepositedForEachMailbox(t *testing.T) {
	s, dir := create(t)
	r := mustPut(t, s, delivery("sales", "1", "hello"), delivery("support", "1", "hello"), delivery("sales", "2", "hello"))
	if !r[0].Stored || r[1].Stored || r[2].Stored {
		t.Errorf("receipts %+v, want the bytes stored once", r)
	}
	want := []string{"sales", "support", "sales"}
	check := func(s *Store) {
		m, err := s.Message(t.Context(), r[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range m.Deposits {
			got = append(got, d.Mailbox)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("deposits for %v, want %v", got, want)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, catalogName)); err != nil {
		t.Fatal(err)
	}
	check(reopen(t, dir, Options{}))
}

func TestWrongBytesAreRefusedAndTheRestIsKept(t *testing.T) {
	s, _ := create(t)
	wrong := delivery("sales", "2", "announced")
	wrong.Body = strings.NewReader("delivered")
	short := delivery("sales", "3", "announced in full")
	short.Body = strings.NewReader("announced")
	r := mustPut(t, s, delivery("sales", "1", "before"), wrong, short, delivery("sales", "4", "after"))
	if r[1].Refused == "" || r[1].Index >= 0 || r[2].Refused == "" {
		t.Errorf("receipts %+v, want the second and third refused", r)
	}
	for _, i := range []int{0, 3} {
		if r[i].Refused != "" {
			t.Errorf("receipt %+v", r[i])
		}
		content(t, s, r[i].ID)
	}
	if _, err := s.Message(t.Context(), wrong.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("refused message: %v, want ErrNotFound", err)
	}
}

// damage flips a byte in the middle of every volume.
func damage(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, volumesName, "*.tar.zst"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 0x10
		if err := os.WriteFile(f, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedCopyIsReplacedByTheNextDelivery(t *testing.T) {
	s, dir := create(t)
	d := delivery("sales", "1", strings.Repeat("a long message ", 100))
	mustPut(t, s, d)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, dir)
	s = reopen(t, dir, Options{})
	if err := s.ReadOnly(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Damaged(t.Context(), []string{d.ID}); err != nil || len(got) != 1 {
		t.Fatalf("damaged: %v, %v", got, err)
	}
	r := mustPut(t, s, delivery("sales", "1", strings.Repeat("a long message ", 100)))[0]
	if r.Known || !r.Stored {
		t.Errorf("receipt %+v, want the bytes stored again", r)
	}
	check := func(s *Store) {
		if got, err := s.Damaged(t.Context(), []string{d.ID}); err != nil || len(got) != 0 {
			t.Errorf("still damaged: %v, %v", got, err)
		}
	}
	check(s)
	if err := errors.Join(s.Close(), os.Remove(filepath.Join(dir, catalogName))); err != nil {
		t.Fatal(err)
	}
	check(reopen(t, dir, Options{}))
}

func TestInvalidDeliveriesAreRefusedWithTheReason(t *testing.T) {
	s, _ := create(t)
	for name, spoil := range map[string]func(*Delivery){
		"id":      func(d *Delivery) { d.ID = "../../etc/passwd" },
		"size":    func(d *Delivery) { d.Size = -1 },
		"mailbox": func(d *Delivery) { d.Mailbox = "" },
		"UIDL":    func(d *Delivery) { d.UIDL = strings.Repeat("x", maxUIDLBytes+1) },
		"time":    func(d *Delivery) { d.Received = time.Time{} },
	} {
		d := delivery("sales", "1", name)
		spoil(&d)
		if r := mustPut(t, s, d)[0]; !strings.Contains(r.Refused, name) {
			t.Errorf("%s: refused for %q", name, r.Refused)
		}
	}
}

func TestUnreadableBodyKeepsNothingOfTheBatch(t *testing.T) {
	s, _ := create(t)
	broken := delivery("sales", "2", "never read")
	broken.Body = io.MultiReader(strings.NewReader("nev"), failing{})
	_, err := s.Put(t.Context(), []Delivery{delivery("sales", "1", "first"), broken})
	var which *DeliveryError
	if !errors.As(err, &which) || which.N != 1 || !errors.Is(err, errBody) {
		t.Fatalf("error %v, want that of delivery 1", err)
	}
	if r := mustPut(t, s, delivery("sales", "1", "first"))[0]; !r.Stored {
		t.Errorf("receipt %+v, want nothing of the failed batch kept", r)
	}
}

var errBody = errors.New("body breaks off")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBody }

func TestKnownGoesByMailboxUIDLAndSize(t *testing.T) {
	s, _ := create(t)
	d := delivery("sales", "1", "hello")
	mustPut(t, s, d)
	for _, c := range []struct {
		name    string
		mailbox string
		listing Listing
		want    int
	}{
		{"same", "sales", Listing{"1", d.ListedSize}, 1},
		{"other mailbox", "support", Listing{"1", d.ListedSize}, 0},
		{"other UIDL", "sales", Listing{"2", d.ListedSize}, 0},
		{"other size", "sales", Listing{"1", d.ListedSize + 1}, 0},
		{"no UIDL", "sales", Listing{"", d.ListedSize}, 0},
	} {
		held, err := s.Known(t.Context(), c.mailbox, []Listing{c.listing})
		if err != nil || len(held) != c.want {
			t.Errorf("%s: %+v, %v; want %d", c.name, held, err, c.want)
			continue
		}
		if c.want == 1 && (held[0].ID != d.ID || held[0].HeaderHash != d.HeaderHash || !held[0].Received.Equal(received)) {
			t.Errorf("%s: holding %+v", c.name, held[0])
		}
	}
}

func TestResolveTakesUnambiguousPrefixes(t *testing.T) {
	s, _ := create(t)
	id := mustPut(t, s, delivery("sales", "1", "hello"))[0].ID
	for prefix, want := range map[string]error{
		id: nil, id[:8]: nil, id[:63]: nil, id[:7]: ErrNotFound, "00000000": ErrNotFound,
		strings.ToUpper(id): ErrNotFound, id + "0": ErrNotFound, "": ErrNotFound, "zzzzzzzz": ErrNotFound,
	} {
		got, err := s.Resolve(t.Context(), prefix)
		if !errors.Is(err, want) || err == nil && got != id {
			t.Errorf("%q: %q, %v; want %v", prefix, got, err, want)
		}
	}
}

func TestResolveSaysWhenAPrefixIsAmbiguous(t *testing.T) {
	s, _ := create(t)
	seen := map[string]string{}
	for n := 0; ; n++ {
		body := fmt.Sprint(n)
		prefix := delivery("", "", body).ID[:minPrefix]
		if other, ok := seen[prefix]; ok {
			mustPut(t, s, delivery("sales", "1", body), delivery("sales", "2", other))
			if _, err := s.Resolve(t.Context(), prefix); !errors.Is(err, ErrAmbiguous) {
				t.Errorf("error %v, want ErrAmbiguous", err)
			}
			return
		}
		seen[prefix] = body
	}
}

func TestSinceListsEachMessageOnceWithAllMailboxes(t *testing.T) {
	s, _ := create(t)
	r := mustPut(t, s, delivery("sales", "1", "one"), delivery("sales", "2", "two"), delivery("support", "1", "one"))
	all, err := s.Since(t.Context(), -1, 100)
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v; want two messages", all, err)
	}
	if got := all[0]; got.ID != r[0].ID || !reflect.DeepEqual(got.Mailboxes, []string{"sales", "support"}) || got.Index != r[2].Index {
		t.Errorf("first is %+v", got)
	}
	rest, err := s.Since(t.Context(), r[1].Index, 100)
	if err != nil || len(rest) != 1 || rest[0].ID != r[0].ID {
		t.Errorf("after %d: %+v, %v; want the message of the last deposit", r[1].Index, rest, err)
	}
	if none, err := s.Since(t.Context(), r[2].Index, 100); err != nil || len(none) != 0 {
		t.Errorf("after the last: %+v, %v", none, err)
	}
}

func TestDescribeKeepsTheSummary(t *testing.T) {
	s, dir := create(t)
	id := mustPut(t, s, delivery("sales", "1", "hello"))[0].ID
	want := Summary{Parser: 3, From: "a@example.com", Subject: "s", Attachments: []string{"x.pdf"}, Flags: []string{"signed"}, Date: received}
	if err := s.Describe(t.Context(), []Description{{ID: id, Summary: want}}); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store) {
		if m, err := s.Message(t.Context(), id); err != nil || !reflect.DeepEqual(m.Summary, want) {
			t.Errorf("summary %+v, %v; want %+v", m.Summary, err, want)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(reopen(t, dir, Options{})) // the catalog is kept, not made anew
}

func TestPollReportsAreKeptAndChecked(t *testing.T) {
	s, dir := create(t)
	good := PollReport{Mailbox: "sales", Listed: 3, Archived: 1, Known: 1, Left: 1, Deleted: 1, Kept: 1}
	bad := PollReport{Mailbox: "support", Listed: 3, Archived: 1}
	for _, r := range []PollReport{good, bad} {
		if err := s.RecordPoll(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Close(), os.Remove(filepath.Join(dir, catalogName))); err != nil {
		t.Fatal(err)
	}
	boxes, err := reopen(t, dir, Options{}).Mailboxes(t.Context())
	if err != nil || len(boxes) != 2 {
		t.Fatalf("%+v, %v", boxes, err)
	}
	if boxes[0].LastPoll.Inconsistent || !boxes[1].LastPoll.Inconsistent {
		t.Errorf("reports %+v and %+v: only the second does not add up", boxes[0].LastPoll, boxes[1].LastPoll)
	}
}

func TestReportsAtTheSameTimeAreAllKept(t *testing.T) {
	s, _ := create(t)
	const n = 100
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- s.RecordPoll(t.Context(), PollReport{Mailbox: fmt.Sprint("m", i)}) }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if boxes, err := s.Mailboxes(t.Context()); err != nil || len(boxes) != n {
		t.Errorf("%d mailboxes have a report (%v), want %d", len(boxes), err, n)
	}
}

func TestOnlyOneProcessOwnsADataDirectory(t *testing.T) {
	_, dir := create(t)
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
}

func TestDamagedBytesAreNotGivenOutAsTheMessage(t *testing.T) {
	s, _ := create(t)
	one := mustPut(t, s, delivery("sales", "1", "hello"))[0]
	two := mustPut(t, s, delivery("sales", "2", "other"))[0]
	// A catalog that points to the wrong place must not make one message another.
	row, _, err := s.catalog.Message(t.Context(), two.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, body, err := s.volumes.Open(t.Context(), volume.Place{Volume: row.Volume, Offset: row.Offset})
	if err != nil {
		t.Fatal(err)
	}
	r := &checkedReader{body: body, hash: sha256.New(), id: one.ID}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, ErrDamaged) {
		t.Errorf("reading the wrong bytes: %v, want ErrDamaged", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestDamagedSidecarIsMadeUpForByTheVolumes(t *testing.T) {
	s, dir := create(t)
	for n := range 5 {
		mustPut(t, s, delivery("sales", fmt.Sprint(n), fmt.Sprint("message ", n)), delivery("support", fmt.Sprint(n), fmt.Sprint("message ", n)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sidecar := filepath.Join(dir, ledgerName, "details.jsonl")
	data, err := os.ReadFile(sidecar)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	for _, n := range []int{2, 3, 7} {
		lines[n][len(lines[n])/2] ^= 1
	}
	err = errors.Join(os.WriteFile(sidecar, bytes.Join(lines, nil), 0o600), os.Remove(filepath.Join(dir, catalogName)))
	if err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	for n := range 5 {
		m, err := s.Message(t.Context(), delivery("", "", fmt.Sprint("message ", n)).ID)
		if err != nil || len(m.Deposits) != 2 {
			t.Errorf("message %d: %+v, %v", n, m, err)
		}
	}
}

func TestFullDiskTakesNoMessagesUntilThereIsRoom(t *testing.T) {
	s, dir := create(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free := int64(99)
	s = reopen(t, dir, Options{MinFree: 100, Free: func(string) (int64, error) { return free, nil }})
	if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "1", "hello")}); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("Put: %v", err)
	}
	if st, err := s.Status(t.Context()); err != nil || !strings.Contains(st.ReadOnly, "make room") {
		t.Errorf("status %+v, %v", st, err)
	}
	if _, err := s.Record(t.Context(), Action{Type: ActionSearch, Actor: "a"}); err != nil {
		t.Errorf("a search cannot be recorded: %v", err)
	}
	free = 100
	mustPut(t, s, delivery("sales", "1", "hello"))
}

func TestAnOlderVolumeOpensReadOnlyWithTheReason(t *testing.T) {
	s, dir := create(t)
	mustPut(t, s, delivery("sales", "1", "hello"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, volumesName, "00000001.tar.zst")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	mustPut(t, s, delivery("sales", "2", "there"))
	if err := errors.Join(s.Close(), os.WriteFile(file, old, 0o600)); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	if err := s.ReadOnly(); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "ledger says") {
		t.Errorf("read-only because %v", err)
	}
	if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "3", "no")}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Put: %v, want ErrReadOnly", err)
	}
	content(t, s, delivery("", "", "hello").ID)
	if _, err := s.Known(t.Context(), "sales", nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Known: %v, want ErrReadOnly", err)
	}
	if _, err := s.Record(t.Context(), Action{Type: ActionExport, Actor: "a"}); err != nil {
		t.Errorf("what is left cannot be exported: %v", err)
	}
}

func TestAnOlderLedgerIsReadOnlyUntilItIsAcceptedAndThenAdoptsWhatTheVolumesHold(t *testing.T) {
	s, dir := create(t)
	mustPut(t, s, delivery("sales", "1", "hello"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(t.TempDir(), "ledger")
	if err := os.CopyFS(saved, os.DirFS(filepath.Join(dir, ledgerName))); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	want := mustPut(t, s, delivery("support", "2", "there"))[0]
	err := errors.Join(s.Close(), os.RemoveAll(filepath.Join(dir, ledgerName)),
		os.CopyFS(filepath.Join(dir, ledgerName), os.DirFS(saved)))
	if err != nil {
		t.Fatal(err)
	}

	report, err := VerifyDir(t.Context(), dir, Options{}, VerifyOptions{})
	if err != nil || report.Damages == report.Repairable {
		t.Errorf("verification finds %+v, %v", report, err)
	}

	// The catalog has seen the newer one: nobody signs another history unasked.
	s = reopen(t, dir, Options{})
	if err := s.ReadOnly(); !errors.Is(err, ErrOlderLedger) {
		t.Errorf("read-only because %v", err)
	}
	if _, err := s.Put(t.Context(), []Delivery{delivery("sales", "3", "no")}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Put: %v", err)
	}
	if _, err := s.Record(t.Context(), Action{Type: ActionView, Actor: "a"}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Record: %v", err)
	}
	content(t, s, want.ID)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = reopen(t, dir, Options{RebuildCatalog: true}) // as an operator accepts it
	m, err := s.Message(t.Context(), want.ID)
	if err != nil || len(m.Deposits) != 1 || m.Deposits[0].Mailbox != "support" {
		t.Fatalf("adopted message is %+v, %v", m, err)
	}
	if r := mustPut(t, s, delivery("support", "2", "there"))[0]; !r.Known {
		t.Errorf("receipt %+v, want the adopted deposit to be known", r)
	}
}

func TestMessageWithoutItsDepositIsAdoptedAndFound(t *testing.T) {
	s, dir := create(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d := delivery("sales", "1", "the deposit was lost in a crash")
	set, err := volume.OpenSet(t.Context(), volume.Options{
		FS: disk.OS(), Dir: filepath.Join(dir, volumesName), Quarantine: filepath.Join(dir, quarantineName),
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
	s = reopen(t, dir, Options{})
	if all, err := s.Since(t.Context(), -1, 10); err != nil || len(all) != 1 || all[0].ID != d.ID || all[0].Mailboxes[0] != recoveredMailbox {
		t.Errorf("to be indexed: %+v, %v", all, err)
	}
	if r := mustPut(t, s, delivery("sales", "1", "the deposit was lost in a crash"))[0]; r.Stored || r.Known {
		t.Errorf("receipt %+v, want a new deposit of the bytes that are there", r)
	}
}
