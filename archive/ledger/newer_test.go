package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// TestALedgerOfANewerVersionIsRefusedInWords signs a checkpoint that says so. It is not damage: nothing is shown, and nothing changed.
func TestALedgerOfANewerVersionIsRefusedInWords(t *testing.T) {
	l, opt := newLedger(t)
	if _, err := l.Append(t.Context(), []Event{{Type: TypeView, Actor: "a"}}); err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(l.Checkpoint()), "\n\n")
	for version, newer := range map[string]bool{"1": false, "2": true} {
		msg, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%s%s\n", text, formatLine, version)}, l.signer)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(opt.Dir, checkpointName), msg, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, opt.ReadOnly = range []bool{false, true} {
			again, err := Open(t.Context(), opt)
			if got := errors.Is(err, ErrNewer); got != newer || !newer && err != nil || errors.Is(err, ErrDamaged) {
				t.Errorf("format %s, read-only %v: %v", version, opt.ReadOnly, err)
			}
			if again != nil && err == nil {
				_ = again.Close()
			}
		}
	}
}
