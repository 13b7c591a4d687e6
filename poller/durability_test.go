package poller

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// powerCut checks, at the moment of every DELE, what a power cut would leave:
// an archive that opens and holds the message, byte for byte.
type powerCut struct {
	t        *testing.T
	recorder *disktest.Recorder
	bodies   []string // by message number - 1

	mu      sync.Mutex
	deletes int
	lost    []string // what was missing at a DELE
}

func (p *powerCut) onCommand(_ string, cmd pop3test.Command) {
	if cmd.Verb != "DELE" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deletes++
	if err := p.inspect(cmd.Arg); err != nil {
		p.lost = append(p.lost, fmt.Sprintf("%s: %v", cmd, err))
	}
}

func (p *powerCut) inspect(arg string) (err error) {
	var number int
	if _, err := fmt.Sscan(arg, &number); err != nil {
		return err
	}
	image, err := os.MkdirTemp(p.t.TempDir(), "image")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(image)) }()
	if err := p.recorder.CrashImage(image); err != nil {
		return err
	}
	store, err := archive.Open(p.t.Context(), filepath.Join(image, "data"), archive.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.ReadOnly(); err != nil {
		return err
	}
	return p.holds(store, p.bodies[number-1])
}

// holds checks bytes and deposit. A deposit that only recovery could find
// again was not in the ledger when DELE was sent.
func (p *powerCut) holds(store *archive.Store, body string) error {
	sum := sha256.Sum256([]byte(body))
	id := hex.EncodeToString(sum[:])
	r, err := store.OpenMessage(p.t.Context(), id)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if string(got) != body {
		return fmt.Errorf("message %s has other bytes", id)
	}
	held, err := store.Known(p.t.Context(), user, []archive.Listing{{UIDL: fmt.Sprintf("uid-%d", p.number(body)), Size: int64(len(body))}})
	if err != nil {
		return err
	}
	if len(held) != 1 || held[0].ID != id {
		return fmt.Errorf("deposit of %s is not there", id)
	}
	if n := store.Adopted(); n != 0 {
		return fmt.Errorf("%d entries had to be adopted: the ledger did not know them", n)
	}
	return nil
}

func (p *powerCut) number(body string) int {
	for i, b := range p.bodies {
		if b == body {
			return i + 1
		}
	}
	return 0
}

// pollUnderPowerCuts makes an archive and polls two batches into it, on a disk
// that forgets what was not fsynced. ignore takes fsyncs out.
func pollUnderPowerCuts(t *testing.T, ignore func(disktest.Op) bool) *powerCut {
	t.Helper()
	root := t.TempDir()
	recorder, err := disktest.NewRecorder(disk.OS(), root)
	if err != nil {
		t.Fatal(err)
	}
	recorder.Ignore = ignore
	dir := filepath.Join(root, "data")
	if err := archive.Create(t.Context(), dir, archive.Options{FS: recorder}); err != nil {
		t.Fatal(err)
	}
	cut := &powerCut{t: t, recorder: recorder, bodies: append(mails(4), "Message-ID: <large@x>\r\n\r\n"+strings.Repeat("large\r\n", 400_000))}
	r := newRig(t, rigOptions{
		dir: dir, archive: archive.Options{FS: recorder}, messages: cut.bodies,
		server: pop3test.Config{OnCommand: cut.onCommand},
	})
	r.want(r.poll(), "listed 5 archived 5 known 0 left 0 deleted 5 kept 0")
	return cut
}

func TestEveryDELEFollowsTheFsyncsThatCoverItsMessage(t *testing.T) {
	cut := pollUnderPowerCuts(t, nil)
	if cut.deletes != 5 || len(cut.lost) > 0 {
		t.Errorf("%d deletions, of which a power cut would have lost: %v", cut.deletes, cut.lost)
	}
}

// TestTakingAnyFsyncOutIsNoticed proves that the test above can fail: without
// any one of the fsyncs a power cut at a DELE would lose something.
func TestTakingAnyFsyncOutIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name string
		kind disktest.Kind
		path string // pattern as in path.Match
	}{
		{"volume", disktest.Sync, "data/volumes/*.tar.zst"},
		{"volume's directory", disktest.SyncDir, "data/volumes"},
		{"ledger events", disktest.Sync, "data/ledger/events.jsonl"},
		{"ledger details", disktest.Sync, "data/ledger/details.jsonl"},
		{"ledger's directory", disktest.SyncDir, "data/ledger"},
		{"checkpoint", disktest.Sync, "data/ledger/checkpoint*"},
		{"keys", disktest.Sync, "data/keys/*"},
		{"keys' directory", disktest.SyncDir, "data/keys"},
		{"data directory", disktest.SyncDir, "data"},
		{"directory above it", disktest.SyncDir, "."},
	} {
		t.Run(c.name, func(t *testing.T) {
			ignored := 0
			cut := pollUnderPowerCuts(t, func(op disktest.Op) bool {
				match, err := path.Match(c.path, op.Path)
				if err != nil || !match || op.Kind != c.kind {
					return false
				}
				ignored++
				return true
			})
			if ignored == 0 {
				t.Fatal("there is no such fsync")
			}
			if len(cut.lost) == 0 {
				t.Error("nothing would have been lost without it")
			}
		})
	}
}
