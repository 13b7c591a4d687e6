package archive

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
)

const (
	// progressName is where an interrupted deep verification notes how far it came.
	progressName = "verify.json"
	// maxProgress in bytes is that of a report with everything that it may list.
	maxProgress = 2 << 20
	// progressEvery is how often that is noted: so much is read again after a crash.
	progressEvery = 10 * time.Second
	// progressVersion is raised when an older note would be misread; it is then ignored.
	progressVersion = 2
	// keepProgress is how long what was read is taken for still there.
	keepProgress = 14 * 24 * time.Hour
)

// A verifyNote is how far a deep verification came.
type verifyNote struct {
	Version int    `json:"version"`
	Name    string `json:"name"`   // verifier of the ledger
	Ledger  int64  `json:"ledger"` // the events below are verified
	// Volumes below Volume are verified, and of that one all entries below Next.
	Volume uint32       `json:"volume"`
	Next   int64        `json:"next"`
	Report VerifyReport `json:"report"`
}

func (v *verification) notePath() string { return filepath.Join(v.store.dir, progressName) }

// resume takes up an interrupted verification of the same kind.
func (v *verification) resume() error {
	if !v.o.Deep || v.o.Restart || v.store.ledger == nil {
		return nil
	}
	data, err := disk.ReadFile(v.store.opts.FS, v.notePath(), maxProgress)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var n verifyNote
	if json.Unmarshal(data, &n) != nil || n.Version != progressVersion || n.Report.Volume != v.o.Volume {
		return nil // it is a convenience: without it everything is read
	}
	if n.Ledger > v.store.ledger.Size() || v.store.opts.Now().Sub(n.Report.Started) > keepProgress || n.Name != v.store.ledger.Verifier() {
		return nil // of another archive, of one that was put back, or too old to vouch for anything
	}
	v.note = n
	fresh := v.report
	v.report = n.Report
	v.report.Resumed, v.report.Checkpoint = true, fresh.Checkpoint
	for _, d := range n.Report.Damage {
		v.tell(d)
	}
	return nil
}

// keep notes how far the verification is.
func (v *verification) keep() error {
	if !v.o.Deep || v.store.medium != nil || v.store.ledger == nil { // without a ledger nothing says whose note it is
		return nil
	}
	v.note.Version, v.note.Report, v.note.Name = progressVersion, v.report, v.store.ledger.Verifier()
	data, err := json.Marshal(v.note)
	if err != nil {
		return err
	}
	v.kept = v.store.opts.Now()
	return disk.WriteFile(v.store.opts.FS, v.notePath(), data, disk.FilePerm)
}

// forget removes the note of a verification that is finished.
func (v *verification) forget() error {
	if !v.o.Deep || v.store.medium != nil {
		return nil
	}
	if err := v.store.opts.FS.Remove(v.notePath()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
