package poller

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
)

// spoiled is a rig over an archive whose volumes were changed after a first
// poll that left all messages on the server.
func spoiled(t *testing.T, spoil func(volume string) error) *rig {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := archive.Create(t.Context(), dir, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	// Large enough for a frame of their own, so that a change hits one of them.
	messages := []string{mail(0) + strings.Repeat("x\r\n", 1<<19), mail(1) + strings.Repeat("y\r\n", 1<<19)}
	first := rigOptions{messages: messages, dir: dir, mailbox: func(m *Mailbox) { m.Delete.After = time.Hour }}
	t.Run("first poll", func(t *testing.T) { newRig(t, first).poll() })
	volumes, err := filepath.Glob(filepath.Join(dir, "volumes", "*.tar.zst"))
	if err != nil || len(volumes) != 1 {
		t.Fatal(volumes, err)
	}
	if err := spoil(volumes[0]); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, first)
	r.clock.advance(2 * time.Hour)
	return r
}

func TestMessageWhoseCopyIsDamagedIsFetchedAgainBeforeItIsDeleted(t *testing.T) {
	r := spoiled(t, func(volume string) error {
		data, err := os.ReadFile(volume)
		if err != nil {
			return err
		}
		data[len(data)/4] ^= 1
		return os.WriteFile(volume, data, 0o600)
	})
	before := r.onServer()
	report := r.poll()
	if report.Deleted != 2 || report.Archived+report.Known != 2 {
		t.Errorf("report: %s (%s)", numbers(report), report.Error)
	}
	// Large messages are put side by side: which of the two was first is open.
	same(t, "archived", slices.Sorted(slices.Values(r.archived())), slices.Sorted(slices.Values(before)))
}

func TestNothingIsDeletedWhileTheArchiveIsReadOnly(t *testing.T) {
	r := spoiled(t, func(volume string) error {
		return errors.Join(os.Truncate(volume, 100), os.Remove(strings.TrimSuffix(volume, ".tar.zst")+".seek"))
	})
	before := r.onServer()
	report := r.poll()
	if report.Error == "" || report.Deleted != 0 {
		t.Errorf("report: %s (%s)", numbers(report), report.Error)
	}
	same(t, "on the server", r.onServer(), before)
}
