package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

var update = flag.Bool("update", false, "write testdata/v1 anew, under a new key")

// goldenEvents has every field, types with and without ids, and text that JSON
// could write in more than one way.
func goldenEvents() []Event {
	return []Event{
		{
			Type: TypeDeposit, Actor: "poller", IDs: []string{strings.Repeat("0a", 32)}, Volume: 1, End: 3072,
			Details: map[string]any{"mailbox": "sales", "uidl": "<1&2>", "listed_size": 1234},
		},
		{Type: TypeSearch, Actor: "Jörg \"J\" <j@example.com>", Details: json.RawMessage(`{ "query" : "from:\u00e9ric" }`)},
		{Type: "open", Actor: "system"}, // a type that readers do not know,
	}
}

// The format is for ever: ledgers written by earlier versions open, and the
// same events still give the same lines.
func TestFormatIsFrozen(t *testing.T) {
	golden := filepath.Join("testdata", "v1")
	opt := optionsIn(t.TempDir())
	opt.Rand = seededRand()
	opt.Now = func() time.Time { return time.Date(2024, 3, 1, 12, 0, 0, 120, time.UTC) }
	mustCreate(t, opt)
	l := mustOpen(t, opt)
	l.opt.Rand = seededRand() // how many bytes a key takes is not part of the format
	mustAppend(t, l, goldenEvents()...)
	if *update {
		restoreDir(t, filepath.Join(golden, "ledger"), snapshotDir(t, opt.Dir))
		restoreDir(t, filepath.Join(golden, "keys"), map[string]string{pubName: readFile(t, filepath.Join(opt.KeyDir, pubName))})
	}
	for _, name := range []string{eventsName, detailsName, hashesName} {
		if got, want := readFile(t, filepath.Join(opt.Dir, name)), readFile(t, filepath.Join(golden, "ledger", name)); got != want {
			t.Errorf("%s is now written as\n%q, was\n%q", name, got, want)
		}
	}

	old, err := Open(context.Background(), Options{
		FS: disk.OS(), Dir: filepath.Join(golden, "ledger"), KeyDir: filepath.Join(golden, "keys"), ReadOnly: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, old)
	if old.Damage() != nil {
		t.Error(old.Damage())
	}
	mustVerify(t, old)
	for i, e := range entries(t, old, 0) {
		checkEntry(t, e, int64(i), goldenEvents()[i])
	}
}

// Fields that a later version adds to a leaf do not hide the event from this one.
func TestUnknownFieldsOfALeafArePassedOver(t *testing.T) {
	line := `{"index":3,"type":"view","time":"2024-03-01T12:00:00.000000000Z","actor":"a","shard":7,"details":"` + strings.Repeat("0", 64) + `"}`
	if e, err := parseLeaf([]byte(line), 3); err != nil || e.Type != TypeView {
		t.Errorf("%+v, %v", e, err)
	}
}

func FuzzParseLeaf(f *testing.F) {
	good := readFile(f, filepath.Join("testdata", "v1", "ledger", eventsName))
	for _, line := range strings.Split(good, "\n") {
		f.Add([]byte(line), int64(0))
	}
	for _, line := range []string{
		`{"index":`, `{"index":-0,`, `{"index":99999999999999999999,"`, `{"index":1,"index":2}`, `{"index":1,"time":null}`,
		`{"index":1,"type":"a","time":"2024-02-30T12:00:00.000000000Z","details":""}`,
	} {
		f.Add([]byte(line), int64(1))
	}
	f.Fuzz(func(t *testing.T, line []byte, index int64) {
		e, err := parseLeaf(line, index)
		if err != nil {
			if !errors.Is(err, ErrDiverged) {
				t.Errorf("error is %v", err)
			}
			return
		}
		if n, ok := indexOf(line); !ok || n != index || e.Index != index || index < 0 {
			t.Errorf("line of %d was taken for %d", n, index)
		}
		if e.Time.Location() != time.UTC || !json.Valid(line) {
			t.Errorf("accepted %q", line)
		}
	})
}

func FuzzDetailLine(f *testing.F) {
	salt := bytes.Repeat([]byte{7}, saltSize)
	hash := detailsHash(salt, []byte(`{"a":1}`))
	good := `{"index":5,"salt":"` + strings.Repeat("07", saltSize) + `","details":{"a":1}}`
	for _, line := range []string{
		good, good + " ", strings.ToUpper(good), `{"index":5,"erased":true}   `, `{"index":5,"erased":false}`,
		`{"index":5,"salt":"","details":}`, `{"index":5,"salt":"07","details":}`, `{"index":6,"erased":true}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e := Entry{Index: 5, DetailsHash: hash}
		e.setDetails(line)
		erased := strings.TrimRight(string(line), " ") == `{"index":5,"erased":true}`
		if e.Erased != erased || e.Damaged == (erased || string(line) == good) || (e.Details != nil) != (string(line) == good) {
			t.Errorf("%q gives %+v", line, e)
		}
	})
}

// Whatever lies beyond the checkpoint, the ledger opens and is sound, or is
// refused as damaged.
func FuzzOpenWithATail(f *testing.F) {
	opt, one, three := smallLedger(f)
	events, details := three[eventsName][len(one[eventsName]):], three[detailsName][len(one[detailsName]):]
	f.Add(events, details, 0)
	f.Add(events[:50], details, 10)
	f.Add("", details[:50], 1<<20)
	f.Add("\x00\x00\n", "\n\n", 31)
	f.Fuzz(func(t *testing.T, events, details string, hashes int) {
		opt := opt
		opt.Dir = t.TempDir()
		restoreDir(t, opt.Dir, one)
		writeFile(t, filepath.Join(opt.Dir, eventsName), one[eventsName]+events)
		writeFile(t, filepath.Join(opt.Dir, detailsName), one[detailsName]+details)
		if err := os.Truncate(filepath.Join(opt.Dir, hashesName), int64(hashes&0xffff)); err != nil {
			t.Fatal(err)
		}
		l, err := Open(context.Background(), opt)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("open: %v", err)
			}
			return
		}
		defer mustClose(t, l)
		mustVerify(t, l)
	})
}

// Earlier versions stored all nodes of the tree, in another file.
func TestFormerHashesAreReplaced(t *testing.T) {
	l, opt := newLedger(t)
	mustAppend(t, l, eventSeries(0, 40)...)
	mustClose(t, l)
	want := readFile(t, filepath.Join(opt.Dir, hashesName))
	former := filepath.Join(opt.Dir, formerHashes)
	if err := os.Rename(filepath.Join(opt.Dir, hashesName), former); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, opt)
	defer mustClose(t, l)
	mustVerify(t, l)
	if readFile(t, filepath.Join(opt.Dir, hashesName)) != want {
		t.Error("the stored hashes are not those of a new ledger")
	}
	if _, err := os.Stat(former); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the former file stays: %v", err)
	}
}
