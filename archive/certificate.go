package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/retention"
)

// certificatesName is the directory of the certificates, which are made from the ledger.
const certificatesName = "certificates"

// certificateFormat changes when an old reader would misread it. docs/formats/certificate.md describes it.
const certificateFormat = "postkeep-certificate/1"

// A Certificate says what was disposed of, when, why and by whom.
type Certificate struct {
	Format string `json:"format"`
	Plan   string `json:"plan"`
	Kind   string `json:"kind"`
	Reason string `json:"reason,omitempty"`

	Made     Act  `json:"made"`               // of the plan
	Approved *Act `json:"approved,omitempty"` // by a second person
	Decided  Act  `json:"decided"`            // applied: from then on final
	Finished Act  `json:"finished"`           // nothing is left

	Rules    []retention.Rule `json:"rules"`    // by which it was due
	Holds    []holdCheck      `json:"holds"`    // in force; none covered any of it
	Messages int              `json:"messages"` // different ones among the deposits
	Deposits []Tombstone      `json:"deposits"`
	Volumes  []volumeRecord   `json:"volumes"` // written anew without it

	// Key is the ledger's public key, and Checkpoint its signed note that covers all of these events.
	Key        string `json:"key"`
	Checkpoint string `json:"checkpoint"`
}

// An Act is an event in the ledger.
type Act struct {
	By    string    `json:"by"`
	Time  time.Time `json:"time"`
	Index int64     `json:"index"` // in the ledger
	// Login is how they had logged in, "" for the archive itself and where an earlier version did not note it.
	Login string `json:"login,omitempty"`
}

// Certificate returns the certificate of a disposal that is done.
func (s *Store) Certificate(ctx context.Context, plan string) (*Certificate, error) {
	made, ok, err := s.order(ctx, orderPlan, plan)
	if err != nil {
		return nil, err
	}
	done, finished, err := s.order(ctx, orderDone, plan)
	if err != nil {
		return nil, err
	}
	if !ok || !finished {
		return nil, fmt.Errorf("certificate of plan %q: %w, it was not applied", plan, ErrNoOrder)
	}
	var p policyDetails
	var d doneDetails
	if err := errors.Join(json.Unmarshal(made.Details, &p), json.Unmarshal(done.Details, &d)); err != nil || p.Plan == nil {
		return nil, fmt.Errorf("certificate of plan %s: %w", plan, err)
	}
	c := &Certificate{
		Format: certificateFormat, Plan: plan, Kind: p.Plan.Kind, Reason: p.Plan.Reason,
		Made: actOf(made), Finished: actOf(done), Decided: actOf(done),
		Rules: append([]retention.Rule{}, p.Plan.Rules...), Holds: []holdCheck{}, Deposits: []Tombstone{}, Volumes: d.Volumes,
		Key: s.ledger.Verifier(), Checkpoint: string(s.ledger.Checkpoint()),
	}
	c.Made.Login = p.Login
	approval, ok, err := s.order(ctx, orderApproval, plan)
	if err != nil {
		return nil, err
	}
	if ok {
		var d policyDetails
		if err := json.Unmarshal(approval.Details, &d); err != nil {
			return nil, fmt.Errorf("certificate of plan %s: %w", plan, err)
		}
		act := actOf(approval)
		act.Login = d.Login
		c.Approved = &act
	}
	return c, c.list(ctx, s)
}

func actOf(o order) Act { return Act{By: o.Actor, Time: o.Time, Index: o.Index} }

// list fills in what the intents say.
func (c *Certificate) list(ctx context.Context, s *Store) error {
	intents, err := s.intents(ctx)
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, i := range intents {
		if i.plan != c.Plan {
			continue
		}
		e, err := s.ledger.Entry(ctx, i.index)
		if err != nil {
			return err
		}
		var d intentDetails
		if err := json.Unmarshal(e.Details, &d); err != nil {
			return fmt.Errorf("ledger event %d: %w", i.index, err)
		}
		if len(c.Deposits) == 0 {
			c.Decided = Act{By: e.Actor, Time: e.Time, Index: e.Index, Login: d.Login}
		}
		c.Holds = append(c.Holds, d.Holds...)
		for _, one := range d.Deposits {
			ids[one.ID] = true
			grave := one.tombstone(&d, e)
			grave.HeaderHash = "" // for the poller alone
			c.Deposits = append(c.Deposits, grave)
		}
	}
	c.Messages = len(ids)
	return nil
}

func (s *Store) certificateName(plan string) string {
	return filepath.Join(s.dir, certificatesName, plan)
}

// certify writes the certificates that are missing.
func (c *Compliance) certify(ctx context.Context) error {
	s := c.store
	done, err := s.orders(ctx, orderDone)
	if err != nil {
		return err
	}
	for _, d := range done {
		// The page comes last: where it is, the other one is too.
		_, err := s.opts.FS.Stat(s.certificateName(d.Key) + ".html")
		if errors.Is(err, fs.ErrNotExist) {
			err = s.writeCertificate(ctx, d.Key)
		}
		if err != nil {
			return fmt.Errorf("certificate of plan %s: %w", d.Key, err)
		}
	}
	return nil
}

func (s *Store) writeCertificate(ctx context.Context, plan string) error {
	c, err := s.Certificate(ctx, plan)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := c.HTML(&page); err != nil {
		return err
	}
	name := s.certificateName(plan)
	if err := s.opts.FS.MkdirAll(filepath.Dir(name), disk.DirPerm); err != nil {
		return err
	}
	if err := s.opts.FS.SyncDir(s.dir); err != nil {
		return err
	}
	if err := disk.WriteFile(s.opts.FS, name+".json", append(data, '\n'), disk.FilePerm); err != nil {
		return err
	}
	return disk.WriteFile(s.opts.FS, name+".html", page.Bytes(), disk.FilePerm)
}

// HTML writes the certificate as a page that needs nothing else.
func (c *Certificate) HTML(w *bytes.Buffer) error {
	t, err := template.New("certificate").Funcs(template.FuncMap{
		"utc": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	}).Parse(certificatePage)
	if err != nil {
		return err
	}
	return t.Execute(w, c)
}

const certificatePage = `<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Certificate of disposal {{.Plan}}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #1c2024 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #d8dce0 }
code, pre { font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap } td.n { text-align: right }
</style>
<h1>Certificate of disposal {{.Plan}}</h1>
<p>{{len .Deposits}} deposits of {{.Messages}} messages were disposed of
{{if eq .Kind "erasure"}}at the request of somebody who may ask for it{{else}}because their retention periods were over{{end}}.
{{if .Reason}}Reason: {{.Reason}}{{end}}</p>
<table>
<tr><th><th>who<th>when<th>ledger event
<tr><td>Planned<td>{{.Made.By}}{{with .Made.Login}} ({{.}}){{end}}<td>{{utc .Made.Time}}<td>{{.Made.Index}}
{{with .Approved}}<tr><td>Approved<td>{{.By}}{{with .Login}} ({{.}}){{end}}<td>{{utc .Time}}<td>{{.Index}}{{end}}
<tr><td>Applied<td>{{.Decided.By}}{{with .Decided.Login}} ({{.}}){{end}}<td>{{utc .Decided.Time}}<td>{{.Decided.Index}}
<tr><td>Finished<td>{{.Finished.By}}<td>{{utc .Finished.Time}}<td>{{.Finished.Index}}
</table>
{{if .Rules}}<h2>Retention rules</h2><table><tr><th>rule<th>mailbox<th>query<th>at least<th>at most<th>counted from
{{range .Rules}}<tr><td>{{.Name}}<td>{{.Mailbox}}<td>{{.Query}}<td>{{.Min}}<td>{{.Max}}<td>{{if .Basis}}{{.Basis}}{{else}}archived{{end}}{{end}}</table>{{end}}
<h2>Legal holds</h2>
{{if .Holds}}<p>These holds were in force when the disposal was decided, and none covered any of it.</p>
<table><tr><th>hold<th>matter<th>messages held{{range .Holds}}<tr><td>{{.ID}}<td>{{.Name}}<td>{{.Hits}}{{end}}</table>
{{else}}<p>No hold was in force.</p>{{end}}
<h2>What was disposed of</h2>
<table><tr><th>message (SHA-256)<th>mailbox<th>archived<th>rule<th>octets
{{range .Deposits}}<tr><td><code>{{.ID}}</code><td>{{.Mailbox}}<td>{{utc .Archived}}<td>{{.Rule}}<td class="n">{{.Size}}{{end}}</table>
<h2>Volumes written anew</h2>
<table><tr><th>volume<th>SHA-256 of the file since<th>bytes{{range .Volumes}}<tr><td>{{.Volume}}<td><code>{{.SHA256}}</code><td class="n">{{.Bytes}}{{end}}</table>
<h2>Proof</h2>
<p>All of this is in the archive's ledger, which cannot be changed afterwards without contradicting its signature:</p>
<pre>{{.Checkpoint}}</pre><p>Key: <code>{{.Key}}</code></p>
<p>Copies outside of the archive (backups, snapshots, exports, worn blocks of a disk) are not covered by this certificate.</p>
</html>
`

// tombstone is what is left of a deposit.
func (d *doomed) tombstone(i *intentDetails, e ledger.Entry) Tombstone {
	return Tombstone{
		Index: d.Index, ID: d.ID, N: d.N, Mailbox: d.Mailbox, Size: d.Size, Received: d.Received, Archived: d.Archived,
		Rule: d.Rule, Plan: i.Plan, Kind: i.Kind, Reason: i.Reason, Approver: i.Approver, By: e.Actor, Disposed: e.Time,
		HeaderHash: d.HeaderHash,
	}
}
