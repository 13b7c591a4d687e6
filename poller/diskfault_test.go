package poller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/disk/disktest"
)

// TestDiskFaultAtEveryCallOfAPollLosesNothing lets each operation of a poll on the archive's disk fail: with EIO once, with EIO though
// it was done, and with ENOSPC from there on. Whatever the server was told to delete is in the archive then, also after a power cut, and the next poll with a
// disk that works empties the mailbox. make test takes every eleventh operation, POSTKEEP_TORTURE all.
func TestDiskFaultAtEveryCallOfAPollLosesNothing(t *testing.T) {
	stride := 11
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		stride = 1
	}
	for i, fault := range []disktest.Fault{
		{Err: syscall.EIO},
		{Err: syscall.EIO, Mode: disktest.FailPersisted},
		{Err: syscall.ENOSPC, Lasts: true},
	} {
		polls := 0
		for fault.At = 1 + i; ; fault.At += stride {
			fired := false
			t.Run(fmt.Sprintf("%v %s at %d", fault.Err, fault.Mode, fault.At), func(t *testing.T) { fired = pollWithFault(t, fault) })
			if !fired {
				break
			}
			polls++
		}
		if polls == 0 {
			t.Errorf("%v: no operation failed", fault.Err)
		}
		t.Logf("%v %s: %d polls", fault.Err, fault.Mode, polls)
	}
}

// pollWithFault reports whether there was such an operation.
func pollWithFault(t *testing.T, fault disktest.Fault) bool {
	root := t.TempDir()
	recorder, err := disktest.NewRecorder(disk.OS(), root)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "data")
	if err := archive.Create(t.Context(), dir, archive.Options{FS: recorder}); err != nil {
		t.Fatal(err)
	}
	var armed atomic.Bool
	fault.Only = func(disktest.Op) bool { return armed.Load() }
	faulty := disktest.NewFaulty(recorder, fault)
	all := append(mails(3), "Message-ID: <large@x>\r\n\r\n"+strings.Repeat("large\r\n", 200_000))
	r := newRig(t, rigOptions{dir: dir, archive: archive.Options{FS: faulty}, messages: all,
		mailbox: func(m *Mailbox) { m.ReceiptWait = 300 * time.Millisecond }})
	armed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := r.poller.PollNow(ctx, nil, Events{}); err != nil {
		t.Fatal(err)
	}
	_, fired := faulty.Fired()
	if !fired {
		return false
	}
	left := r.onServer()
	_ = r.store.Close() // a broken store may say so again
	for name, image := range map[string]string{"as it is": dir, "after a power cut": filepath.Join(t.TempDir(), "image")} {
		if name != "as it is" {
			if err := recorder.CrashImage(image); err != nil {
				t.Fatal(err)
			}
			image = filepath.Join(image, "data")
		}
		again := newRig(t, rigOptions{dir: image, messages: left})
		held := again.archived()
		for n, m := range all {
			if !slices.Contains(left, m) && !slices.Contains(held, m) {
				t.Errorf("%s: message %d was deleted on the server and is not in the archive", name, n)
			}
		}
		again.poll()
		again.poll() // confirms what a lost receipt left
		if rest := again.onServer(); len(rest) > 0 {
			t.Errorf("%s: %d messages stay on the server", name, len(rest))
		}
		held = again.archived()
		slices.Sort(held)
		want := slices.Sorted(slices.Values(all))
		if !slices.Equal(held, want) {
			t.Errorf("%s: %d messages in the archive, want %d", name, len(held), len(want))
		}
		if err := errors.Join(again.store.ReadOnly(), again.store.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	return true
}
