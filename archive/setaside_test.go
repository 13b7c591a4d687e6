package archive

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/volume"
)

// TestWholeMessagesBehindDamageAreSetAsideAndKeptFromDisposal: a crash has left commits that the ledger does not know, and one bit of
// them is wrong.
func TestWholeMessagesBehindDamageAreSetAsideAndKeptFromDisposal(t *testing.T) {
	d := deskFor(t)
	d.put(delivery("sales", "1", "known to the ledger"))
	d.close()
	file := filepath.Join(d.dir, volumesName, "00000001.tar.zst")
	size := func() int {
		t.Helper()
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return int(info.Size())
	}
	known := size()
	add := func(body string) {
		m := delivery("", "", body)
		appendRaw(t, d.dir, volume.Message{ID: m.ID, Size: m.Size, Time: received, Body: strings.NewReader(body)})
	}
	add("damaged")
	damaged := size()
	add("whole behind it")
	add("whole, too")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[(known+damaged)/2] ^= 8
	if err := errors.Join(os.WriteFile(file, data, 0o600), os.Remove(strings.TrimSuffix(file, ".tar.zst")+".seek")); err != nil {
		t.Fatal(err)
	}
	d.open(d.options())
	names, err := d.s.SetAside()
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	if st, err := d.s.Status(t.Context()); err != nil || !slices.Equal(st.SetAside, names) {
		t.Errorf("status %+v, %v", st, err)
	}
	aside := filepath.Join(d.dir, filepath.FromSlash(names[0]))
	got, err := os.ReadFile(aside)
	if err != nil || string(got) != string(data[damaged:]) {
		t.Errorf("%d bytes were set aside, %v; want %d", len(got), err, len(data)-damaged)
	}
	var tar strings.Builder
	if err := volume.Cat(t.Context(), &tar, strings.NewReader(string(got)), int64(len(got))); err != nil {
		t.Error(err)
	}
	for _, body := range []string{"whole behind it", "whole, too"} {
		if !strings.Contains(tar.String(), body) {
			t.Errorf("%q is not in what was set aside", body)
		}
	}
	id := delivery("", "", "known to the ledger").ID
	if _, _, err := d.c.Erase(t.Context(), id, "a request", "olga", true); !errors.Is(err, ErrSetAside) || !strings.Contains(err.Error(), names[0]) {
		t.Errorf("erasure: %v", err)
	}
	if err := d.s.emptyQuarantine(); !errors.Is(err, ErrSetAside) {
		t.Errorf("the quarantine was emptied: %v", err)
	}
	if err := os.Remove(aside); err != nil { // somebody has looked
		t.Fatal(err)
	}
	if _, out, err := d.c.Erase(t.Context(), id, "a request", "olga", true); err != nil || out.Messages != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if left, err := os.ReadDir(filepath.Join(d.dir, quarantineName)); err != nil || len(left) > 0 {
		t.Errorf("left in the quarantine: %v, %v", left, err)
	}
}
