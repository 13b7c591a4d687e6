package api

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/postkeep/postkeep/archive/export"
)

// A message that is erased while an export waits for its client is not in it, also when it was looked up before.
func TestMessageErasedDuringAnExportIsNotInIt(t *testing.T) {
	var messages, ids []string
	for i := range 24 {
		text := make([]byte, 900<<10)
		r := rand.New(rand.NewPCG(uint64(i), 1))
		for j := range text {
			text[j] = 'a' + byte(r.IntN(26))
		}
		m := fmt.Sprintf("From: secret%d@example.com\r\nSubject: x\r\nContent-Type: application/octet-stream\r\n\r\n%s\r\n", i, text)
		messages, ids = append(messages, m), append(ids, idOf(m))
	}
	slices.Sort(ids)
	c := office(t, messages...)
	last, n, erased := ids[len(ids)-1], 0, error(nil)
	out := filepath.Join(t.TempDir(), "out")
	r, err := export.Fetch(t.Context(), c.Export, export.Options{
		Format: export.EML, Out: out, SyncDir: func(string) error { return nil }, SyncFile: func(string) error { return nil },
		Progress: func(int64) {
			if n++; n == 1 {
				_, erased = c.Erase(t.Context(), last, "a request", false)
			}
		},
	})
	if err = errors.Join(err, erased); err != nil || n != len(ids)-1 || r.Messages != int64(n) {
		t.Errorf("%d of %d messages: %v", n, len(ids), err)
	}
	if _, err := os.Stat(filepath.Join(out, last+".eml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the erased message is exported: %v", err)
	}
}
