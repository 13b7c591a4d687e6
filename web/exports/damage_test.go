package exports

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller"
	"github.com/postkeep/postkeep/web/api"
)

// ofAllSizes are messages of which some are read ahead together, some fill a run by themselves, and some are streamed.
func ofAllSizes() [][]byte {
	var out [][]byte
	for i := range 60 {
		text := fmt.Appendf(nil, "Subject: %d\n\n", i)
		switch i {
		case 7:
			text = append(text, bytes.Repeat([]byte("half a run. "), 50_000)...)
		case 11:
			text = append(text, bytes.Repeat([]byte("x"), 1<<20-len(text))...) // just in memory
		case 12:
			text = append(text, bytes.Repeat([]byte("y"), 1<<20)...)
		case 13:
			text = append(text, bytes.Repeat([]byte("a long message that is streamed\n"), 40_000)...)
		}
		out = append(out, text)
	}
	return out
}

// damagedInstance is a client of an archive in which the bytes of some messages were changed on the disk.
func damagedInstance(t *testing.T, messages [][]byte, damage ...int) *api.Client {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	must(t, archive.Create(t.Context(), dir, archive.Options{}))
	index, err := indexer.Open(t.Context(), indexer.Options{Dir: filepath.Join(dir, "index")})
	must(t, err)
	t.Cleanup(func() { _ = index.Close() })
	store, err := archive.Open(t.Context(), dir, archive.Options{})
	must(t, err)
	volume := filepath.Join(dir, "volumes", "00000001.tar.zst")
	var places []int64
	at := 0
	for _, n := range damage {
		put(t, store, index, messages[at:n], begin().Add(time.Duration(at)*time.Minute))
		fi, err := os.Stat(volume)
		must(t, err)
		places = append(places, fi.Size()+40) // within the frames of what comes next
		put(t, store, index, messages[n:n+1], begin().Add(time.Duration(n)*time.Minute))
		at = n + 1
	}
	put(t, store, index, messages[at:], begin().Add(time.Duration(at)*time.Minute))
	must(t, store.Close())
	f, err := os.OpenFile(volume, os.O_RDWR, 0)
	must(t, err)
	for _, place := range places {
		var b [1]byte
		_, err := f.ReadAt(b[:], place)
		must(t, err)
		_, err = f.WriteAt([]byte{b[0] ^ 0xff}, place)
		must(t, err)
	}
	must(t, f.Close())
	store, err = archive.Open(t.Context(), dir, archive.Options{})
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	bus, err := pipeline.Connect(t.Context(), pipeline.Options{Dir: filepath.Join(dir, "nats")})
	must(t, err)
	t.Cleanup(func() { _ = bus.Close() })
	p, err := poller.New(bus, nil, poller.Options{})
	must(t, err)
	c := api.Local(t.Context(), api.NewServer(api.Options{
		Store: store, Index: index, Bus: bus, Poller: p, Mailboxes: func() []api.Mailbox { return nil }, DataDir: dir,
	}))
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// TestDamagedMessagesAreNamedInTheirPlaceAndAllOthersExported has damage in messages that are read ahead, and in one that is streamed.
func TestDamagedMessagesAreNamedInTheirPlaceAndAllOthersExported(t *testing.T) {
	all := ofAllSizes()
	damage := []int{3, 13, 30, 31, 44}
	c := damagedInstance(t, all, damage...)
	for _, name := range []string{"out", "out.zip"} {
		dir := t.TempDir()
		r := run(t, c, options(export.EML, filepath.Join(dir, name)))
		var want []string
		for _, n := range damage {
			want = append(want, idOf(all[n]))
		}
		if !slices.Equal(r.Damaged, want) || r.Messages != int64(len(all)-len(damage)) {
			t.Errorf("%s: %d messages, damaged %d, want %d", name, r.Messages, len(r.Damaged), len(want))
		}
		files := snapshot(t, dir)
		rest := files[fileOf(name, "manifest.json")]
		for n, m := range all {
			at := strings.Index(rest, idOf(m))
			if at < 0 {
				t.Fatalf("%s: message %d is not listed behind the one before", name, n)
			}
			rest = rest[at:]
			got, there := files[fileOf(name, idOf(m)+".eml")]
			if damaged := slices.Contains(damage, n); there == damaged || there && got != string(m) {
				t.Errorf("%s: message %d is there: %v", name, n, there)
			}
		}
		if v := verified(t, filepath.Join(dir, name), export.VerifyOptions{}); len(v.Problems) > 0 {
			t.Errorf("%s: %+v", name, v.Problems)
		}
	}
}

// fileOf is the name of a file in a snapshot.
func fileOf(name, file string) string {
	if name == "out" {
		return filepath.Join(name, file)
	}
	return file
}
