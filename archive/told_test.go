package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
	"github.com/postkeep/postkeep/archive/volume"
)

// recordOf returns what the ledger's sidecar says of an event.
func recordOf(t *testing.T, s *Store, index int64) (d depositDetails, text string) {
	t.Helper()
	e, err := s.ledger.Entry(t.Context(), index)
	if err == nil {
		err = json.Unmarshal(e.Details, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d, string(e.Details)
}

// everyDeposit lists all that the archive knows of its deposits, and where the messages are.
func everyDeposit(ctx context.Context, t interface{ Fatal(args ...any) }, s *Store) (out []string) {
	held, err := s.catalog.ByIndex(ctx, -1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range held {
		d, err := detailsOf(h)
		row, _, rowErr := s.catalog.Message(ctx, h.ID)
		found, partsErr := s.partsOf(ctx, h.ID)
		if err := errors.Join(err, rowErr, partsErr); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d %+v; message in %d at %d, parts %v", h.Index, d, row.Volume, row.Offset, found))
	}
	return out
}

func TestFurtherDepositsSayOnlyWhatIsTheirs(t *testing.T) {
	s, dir := create(t)
	first := delivery("sales", "0", "hello")
	if first.HeaderHash == "" {
		t.Fatal("there is nothing to leave out")
	}
	batch := []Delivery{delivery("sales", "before", "not at the beginning"), first}
	for n := 1; n <= tellEvery+1; n++ {
		batch = append(batch, delivery("sales", fmt.Sprint(n), "hello"))
	}
	other := delivery("other", "1", "hello")
	other.HeaderHash = "another"
	receipts := mustPut(t, s, batch...)[1:]
	receipts = append(receipts, mustPut(t, s, delivery("late", "1", "hello"), other, delivery("late", "2", "hello"))...)
	tells := []int{0, tellEvery, tellEvery + 3, tellEvery + 4}
	for n, r := range receipts {
		d, text := recordOf(t, s, r.Index)
		if d.repeats() == slices.Contains(tells, n) || d.Size != first.Size || d.N != n {
			t.Errorf("deposit %d: %s", n, text)
		}
		if d.repeats() && (strings.Contains(text, "header_hash") || strings.Contains(text, "offset") || strings.Contains(text, "parts")) {
			t.Errorf("deposit %d repeats: %s", n, text)
		}
	}
	check := func(s *Store) {
		t.Helper()
		m, err := s.Message(t.Context(), first.ID)
		if err != nil || len(m.Deposits) != len(receipts) {
			t.Fatal(len(m.Deposits), err)
		}
		for n, d := range m.Deposits {
			if want := map[bool]string{true: "another", false: first.HeaderHash}[n == tellEvery+3]; d.HeaderHash != want {
				t.Errorf("deposit %d has the header hash %s", n, d.HeaderHash)
			}
		}
		if held, err := s.Known(t.Context(), "sales", []Listing{{"7", first.ListedSize}}); err != nil || len(held) != 1 || held[0].HeaderHash != first.HeaderHash {
			t.Errorf("known: %+v, %v", held, err)
		}
	}
	check(s)
	check(sameAfterRebuild(t, s, dir))
}

// TestFullRecordsAreReadAsBefore: what earlier versions wrote is read as before, and added to.
func TestFullRecordsAreReadAsBefore(t *testing.T) {
	s, dir := create(t)
	r := mustPut(t, s, delivery("sales", "0", "first"), delivery("sales", "1", "hello"))[1]
	d, _ := recordOf(t, s, r.Index)
	d.Mailbox, d.N, d.ID = "support", 1, r.ID
	old, err := json.Marshal(map[string]any{
		"mailbox": "support", "uidl": "9", "listed_size": 7, "received": received, "header_hash": d.HeaderHash,
		"source": map[string]string{"protocol": "pop3"}, "n": 1, "size": d.Size, "volume": d.Volume, "offset": d.Offset,
	})
	if err != nil {
		t.Fatal(err)
	}
	place, end, err := s.volumes.AppendDeposit(t.Context(), r.ID, 1, received, old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.volumes.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ledger.Append(t.Context(), []ledger.Event{{
		Type: ledger.TypeDeposit, Actor: systemActor, IDs: []string{r.ID}, Volume: place.Volume, End: end, Details: json.RawMessage(old),
	}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	if m, err := s.Message(t.Context(), r.ID); err != nil || len(m.Deposits) != 2 || m.Deposits[1].Mailbox != "support" {
		t.Fatalf("%+v, %v", m, err)
	}
	third := mustPut(t, s, delivery("legal", "1", "hello"))[0]
	if d, text := recordOf(t, s, third.Index); !d.repeats() || d.N != 2 {
		t.Errorf("the next one is %s", text)
	}
	s = sameAfterRebuild(t, s, dir)
	if r, err := s.Verify(t.Context(), VerifyOptions{Deep: true}); err != nil || r.Damages > 0 {
		t.Errorf("%+v, %v", r.Damage, err)
	}
}

// TestWhatADisposedDepositToldStaysKnown disposes of the deposits of a message one after the other: what stays is known
// as before, also to a catalog that is made anew, and of the last one nothing is left, also not the copy that was damaged meanwhile.
func TestWhatADisposedDepositToldStaysKnown(t *testing.T) {
	for _, body := range []string{strings.Repeat("a long message ", 100), attach("shared", noise(3, 40_000))} {
		d := newDesk(t, filepath.Join(t.TempDir(), "data"))
		put := func(mailboxes ...string) (id string) {
			for _, m := range mailboxes {
				id = d.put(delivery(m, "1", body))[0].ID
			}
			return id
		}
		id := put("a", "b", "c", "d")
		rebuild := func() {
			t.Helper()
			before := everyDeposit(t.Context(), t, d.s)
			o := d.options()
			o.RebuildCatalog = true
			d.reopen(o)
			if after := everyDeposit(t.Context(), t, d.s); !slices.Equal(before, after) {
				t.Fatalf("the new catalog has\n%s\nthe old one had\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
		}
		gone := func(mailbox string) {
			t.Helper()
			d.rule(retention.Rule{Name: mailbox, Mailbox: mailbox, Max: fiveDays})
			d.now = d.now.Add(6 * day)
			if out := d.apply(d.plan()); out.Deposits != 1 {
				t.Fatalf("disposal %+v", out)
			}
			if err := d.c.RemoveRule(t.Context(), mailbox, "olga"); err != nil {
				t.Fatal(err)
			}
		}
		gone("b") // told nothing
		rebuild()
		gone("a") // told everything
		put("e")
		rebuild()
		gone("c")
		if got := content(t, d.s, id); got != body {
			t.Errorf("left is %.40q", got)
		}
		if held, err := d.s.Known(t.Context(), "d", []Listing{{"1", int64(len(body)) + 2}}); err != nil || len(held) != 1 || held[0].HeaderHash == "" {
			t.Errorf("%+v, %v", held, err)
		}
		rebuild()
		if r, err := d.s.Verify(t.Context(), VerifyOptions{Deep: true}); err != nil || r.Damages > 0 {
			t.Errorf("%+v, %v", r.Damage, err)
		}
		row, _, err := d.s.catalog.Message(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		at, err := d.s.volumes.Locate(volume.Place{Volume: row.Volume, Offset: row.Offset})
		if err != nil {
			t.Fatal(err)
		}
		d.close()
		file := filepath.Join(d.dir, volumesName, at.Name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[at.Offset+16] ^= 0x10
		replace(t, file, data)
		d.open(d.options())
		if r := d.put(delivery("f", "1", body)); !r[0].Stored {
			t.Fatalf("receipt %+v, want the bytes stored again", r)
		}
		if now, _, err := d.s.catalog.Message(t.Context(), id); err != nil || now.Volume == row.Volume && now.Offset == row.Offset {
			t.Fatalf("%+v, %v", now, err)
		}
		rebuild()
		blanked := map[volume.Place]bool{}
		for _, m := range []string{"d", "e", "f"} {
			cs, err := d.s.ofMessages(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			out := Disposal{}
			one := newCandidates(slices.DeleteFunc(cs.list, func(c *candidate) bool { return c.Mailbox != m }))
			dooms, err := d.s.doom(t.Context(), one, nil, &out)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range dooms[0].Blank {
				blanked[volume.Place{Volume: b.Volume, Offset: b.Offset}] = true
			}
		}
		if !blanked[volume.Place{Volume: row.Volume, Offset: row.Offset}] {
			t.Errorf("the damaged copy at %d stays for ever: %v", row.Offset, blanked)
		}
		d.close()
	}
}

// TestWhatNobodyTellsAnyMoreIsFoundInTheVolumes damages a deposit that others repeat, in the sidecar alone and in the volume, too.
func TestWhatNobodyTellsAnyMoreIsFoundInTheVolumes(t *testing.T) {
	for _, body := range []string{"hello", attach("shared", noise(3, 40_000))} {
		for _, both := range []bool{false, true} {
			t.Run(fmt.Sprintf("%.5s, also the volume %t", body, both), func(t *testing.T) {
				s, dir := create(t)
				r := mustPut(t, s, delivery("sales", "0", "before"), delivery("a", "1", body), delivery("b", "1", body), delivery("c", "1", body))
				before := everyDeposit(t.Context(), t, s)
				told, _ := recordOf(t, s, r[1].Index)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				sidecar := filepath.Join(dir, ledgerName, "details.jsonl")
				data, err := os.ReadFile(sidecar)
				if err != nil {
					t.Fatal(err)
				}
				lines := bytes.SplitAfter(data, []byte("\n"))
				lines[r[1].Index][40] ^= 1
				err = errors.Join(os.WriteFile(sidecar, bytes.Join(lines, nil), 0o600), os.Remove(filepath.Join(dir, catalogName)))
				if err != nil {
					t.Fatal(err)
				}
				if !both {
					s = reopen(t, dir, Options{})
					if after := everyDeposit(t.Context(), t, s); !slices.Equal(before, after) {
						t.Errorf("found are\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
					}
					return
				}
				s = openWithoutEntry(t, dir, r[1])
				m, err := s.Message(t.Context(), r[1].ID)
				if err != nil || len(m.Deposits) != 2 || content(t, s, m.ID) != body {
					t.Errorf("%+v, %v", m, err)
				}
				all, err := s.ofMessages(t.Context(), r[1].ID)
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range all.list {
					if one.Volume != told.Volume || one.Offset != told.Offset || len(one.Parts) != len(told.Parts) {
						t.Errorf("%+v, want the place of %+v", one.depositDetails, told)
					}
				}
			})
		}
	}
}

// openWithoutEntry opens the archive after the record of a deposit was blanked out in its volume.
func openWithoutEntry(t *testing.T, dir string, r Receipt) *Store {
	t.Helper()
	s := reopen(t, dir, Options{})
	var at volume.Place
	if err := s.volumes.Scan(t.Context(), at, func(e volume.Entry, _ io.Reader) error {
		if e.Kind == volume.KindDeposit && e.ID == r.ID && e.N == 0 {
			at = e.Place
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_, err := s.volumes.Seal(t.Context())
	if err == nil {
		_, err = s.volumes.Redact(t.Context(), at.Volume, []volume.Target{{Offset: at.Offset, ID: r.ID}}, func(volume.Rewritten) error { return nil })
	}
	if err = errors.Join(err, s.Close(), os.Remove(filepath.Join(dir, catalogName))); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, Options{})
}
