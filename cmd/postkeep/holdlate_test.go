package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/hold"
)

// TestAHoldPlacedBesideADisposalNamesWhatItCameTooLateFor: what it covers cannot be told until the disposal is done.
func TestAHoldPlacedBesideADisposalNamesWhatItCameTooLateFor(t *testing.T) {
	id := strings.Repeat("ab", 32)
	placed := archive.Hold{Hold: hold.Hold{Name: "matter"}, Late: []archive.LateMessage{{ID: id, Plan: "p1"}}}
	var out bytes.Buffer
	a := &app{stdout: &out}
	err := a.printPlaced(placed, func() (int64, error) { return 0, archive.ErrIncomplete })
	if err == nil || !strings.Contains(err.Error(), "is in force") {
		t.Errorf("%v, want that it is in force, and not known what it covers", err)
	}
	if !strings.Contains(out.String(), "too late for 1 message") || !strings.Contains(out.String(), id+"  p1") {
		t.Errorf("the message is not named: %q", out.String())
	}
}
