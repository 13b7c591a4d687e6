package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/postkeep/postkeep/archive/ledger"
)

// VerifyOptions say how an export is checked.
type VerifyOptions struct {
	// Key says who must have signed: the fingerprint of the ledger's public key, or the key
	// itself. If it is empty, the Report tells who has.
	Key string
	// Identities open an encrypted export.
	Identities []age.Identity
	// Progress is called with the octets of each file that was read; nil is not.
	Progress func(octets int64)
}

// A Report is what Verify has found.
type Report struct {
	Messages int64 `json:"messages"` // whose bytes, or whose metadata in a CSV, are there
	Omitted  int64 `json:"omitted"`  // duplicates, others of a thread, damaged ones
	Files    int64 `json:"files"`
	Octets   int64 `json:"octets"` // of the files
	Deposits int64 `json:"deposits"`
	// Withheld is how many deposits are proved without their details, which
	// have been erased in the archive.
	Withheld int64 `json:"withheld"`

	Query    string    `json:"query"`
	Exported time.Time `json:"exported"` // when the archive recorded the export
	Actor    string    `json:"actor"`    // who made it
	Event    int64     `json:"event"`    // in the ledger
	Ledger   string    `json:"ledger"`   // its name
	// MadeByArchive means that the archive made every byte of the export and sealed what it made. An older version sealed
	// what the program that wrote the files told it: then the messages are proved, and everything else is as that program said.
	MadeByArchive bool `json:"made_by_archive"`

	Key            string `json:"key"`
	Fingerprint    string `json:"fingerprint"`
	SignerVerified bool   `json:"signer_verified"`

	// Problems say what is wrong, at most maxProblems; none in a consistent export.
	Problems []Problem `json:"problems"`
}

// A Problem is something in an export that is not as it was.
type Problem struct {
	File string `json:"file"`
	Text string `json:"problem"`
}

func (p Problem) Error() string { return p.File + ": " + p.Text }

// maxProblems is how many problems are told: more do not say more.
const maxProblems = 100

// ErrNotExport means that there is no export at a path.
var ErrNotExport = errors.New("not an export")

// Fingerprint is the SHA-256, in hex, of a public key as it is in ledger.pub.
func Fingerprint(key string) string {
	sum := sha256.Sum256([]byte(strings.TrimSpace(key)))
	return hex.EncodeToString(sum[:])
}

// isKey reports whether want, a fingerprint or a key, means key.
func isKey(want, key string) bool {
	want = strings.TrimSpace(want)
	return want == key || strings.EqualFold(strings.TrimPrefix(want, "SHA256:"), Fingerprint(key))
}

// A verification is one run of Verify.
type verification struct {
	ctx    context.Context
	opts   VerifyOptions
	tree   tree
	proof  *proofReader
	format Format
	mbox   *pieceReader // of the file whose pieces are being read
	files  int64        // that are listed
	ids    hash.Hash    // of the ids that are listed
	report Report
}

// Verify checks an export: a directory, a zip, an encrypted zip, or an mbox with
// its companions. It needs nothing else. What is not as it was is in
// Report.Problems; an error means that the export could not be read.
// Memory does not grow with the number of messages.
func Verify(ctx context.Context, path string, opts VerifyOptions) (_ Report, err error) {
	if opts.Progress == nil {
		opts.Progress = func(int64) {}
	}
	t, err := openTree(path, opts.Identities)
	if err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", path, err)
	}
	v := &verification{ctx: ctx, opts: opts, tree: t, ids: sha256.New()}
	defer func() { err = errors.Join(err, t.close()) }()
	defer func() {
		if v.mbox != nil {
			_ = v.mbox.f.Close() // only read
		}
	}()
	if err = v.run(); err == nil {
		err = t.check(ctx, v.problem)
	}
	var p Problem
	if errors.As(err, &p) {
		v.problem(p.File, "%s", p.Text)
		err = nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify %s: %w", path, err)
	}
	return v.report, ctx.Err()
}

func (v *verification) problem(file, format string, args ...any) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, Problem{file, fmt.Sprintf(format, args...)})
	}
}

// run returns a Problem that makes everything behind it meaningless.
func (v *verification) run() error {
	f, err := v.tree.open(proofName)
	if errors.Is(err, fs.ErrNotExist) {
		return Problem{proofName, "it is missing: the export was not finished, was not sealed because its archive could not be written to, or was taken apart"}
	}
	if err != nil {
		return err
	}
	defer f.Close() // only read
	if v.proof, err = newProofReader(f); err != nil {
		return Problem{proofName, err.Error()}
	}
	v.signer()
	sealed, err := v.sealed()
	if err != nil {
		return err
	}
	if err := v.manifest(func(m *manifestReader) error {
		for {
			if _, err := m.next(); err != nil {
				return err
			}
		}
	}, sealed.Manifest); err != nil {
		return err
	}
	if err := v.manifest(v.entries, sealed.Manifest); err != nil {
		return err
	}
	if n := v.report.Messages + v.report.Omitted; n != sealed.Messages {
		v.problem(manifestName, "it lists %d messages, the ledger says %d", n, sealed.Messages)
	}
	if got := hex.EncodeToString(v.ids.Sum(nil)); sealed.IDs != "" && got != sealed.IDs {
		v.problem(manifestName, "it lists other messages than the ledger says: the SHA-256 of their ids is %s, the ledger has %s", got, sealed.IDs)
	}
	if err := v.proof.end(); err != nil {
		return Problem{proofName, err.Error()}
	}
	return v.strangers()
}

// signer compares the key.
func (v *verification) signer() {
	r := &v.report
	r.Key, r.Ledger = v.proof.key, v.proof.verifier.Origin()
	r.Fingerprint = Fingerprint(r.Key)
	switch {
	case v.opts.Key == "":
	case isKey(v.opts.Key, r.Key):
		r.SignerVerified = true
	default:
		v.problem(proofName, "it is signed by another key, with the fingerprint %s", r.Fingerprint)
	}
}

// sealedDetails are the details of the event of an export that matter here.
type sealedDetails struct {
	Query    string `json:"query"`
	Manifest string `json:"manifest_sha256"`
	Messages int64  `json:"messages"`
	IDs      string `json:"ids_sha256"` // "" of an older version
}

// sealed reads the event of the export.
func (v *verification) sealed() (sealedDetails, error) {
	var d sealedDetails
	e, err := v.proof.next()
	if err != nil {
		return d, Problem{proofName, err.Error()}
	}
	if e.Type != ledger.TypeExport || json.Unmarshal(e.Details, &d) != nil || !validID(d.Manifest) {
		return d, Problem{proofName, "its first event does not seal an export"}
	}
	r := &v.report
	r.Query, r.Exported, r.Actor, r.Event, r.MadeByArchive = d.Query, e.Time, e.Actor, e.Index, d.IDs != ""
	return d, nil
}

// manifest reads the manifest with fn and then compares its hash.
func (v *verification) manifest(fn func(*manifestReader) error, want string) error {
	f, err := v.tree.open(manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return Problem{manifestName, "it is missing"}
	}
	if err != nil {
		return err
	}
	defer f.Close() // only read
	t := newTally(io.Discard)
	m, err := newManifestReader(io.TeeReader(contextReader{v.ctx, f}, t))
	if err == nil {
		var h head
		line := strings.TrimSuffix(string(m.request), `,"entries":[`+"\n") + "}"
		if err = json.Unmarshal([]byte(line), &h); err == nil {
			v.format = h.Request.Format
			err = fn(m)
		}
	}
	var p Problem
	if errors.As(err, &p) || v.ctx.Err() != nil {
		return errors.Join(err, v.ctx.Err())
	}
	if _, cerr := io.Copy(t, f); damaged(cerr) {
		return Problem{manifestName, "it cannot be read: " + cerr.Error()}
	} else if cerr != nil {
		return cerr
	}
	if got := hex.EncodeToString(t.hash.Sum(nil)); got != want {
		return Problem{manifestName, "it is not the manifest that was sealed: its SHA-256 is " + got + ", the ledger has " + want}
	}
	if !errors.Is(err, io.EOF) {
		return Problem{manifestName, err.Error()}
	}
	return nil
}

// entries checks what the manifest lists.
func (v *verification) entries(m *manifestReader) error {
	for {
		e, err := m.next()
		if err != nil {
			return err
		}
		if e.File != nil {
			if err := v.shared(*e.File); err != nil {
				return err
			}
			continue
		}
		if err := v.message(&e); err != nil {
			return err
		}
	}
}

func (v *verification) message(e *Entry) error {
	v.ids.Write([]byte(e.ID + "\n"))
	if err := v.deposits(e); err != nil {
		return err
	}
	if e.Omitted != "" {
		v.report.Omitted++
		return nil
	}
	v.report.Messages++
	native := e.Piece != nil || v.format == CSV
	for _, f := range e.Files {
		if f.Path == e.Native {
			native = f.SHA256 == e.ID && f.Size == e.Size
		}
		if err := v.file(f); err != nil {
			return err
		}
	}
	if !native {
		v.problem(manifestName, "message %s has no file with its bytes", e.ID)
	}
	if e.Piece != nil {
		return v.piece(e)
	}
	return nil
}

// deposits checks the events of the deposits, which come next in the proof.
func (v *verification) deposits(e *Entry) error {
	if len(e.Deposits) == 0 || e.SHA256 != e.ID {
		v.problem(manifestName, "message %s has no deposit, or another hash than its id", e.ID)
	}
	for _, d := range e.Deposits {
		v.report.Deposits++
		leaf, err := v.proof.next()
		if err != nil {
			return Problem{proofName, err.Error()}
		}
		if leaf.Index != d.Index || leaf.Type != ledger.TypeDeposit && leaf.Type != ledger.TypeRecovered ||
			len(leaf.IDs) != 1 || leaf.IDs[0] != e.ID {
			return Problem{proofName, fmt.Sprintf("event %d is not deposit %d of message %s", leaf.Index, d.Index, e.ID)}
		}
		if leaf.Details == nil {
			v.report.Withheld++
			continue
		}
		var said struct {
			Deposit
			Size int64 `json:"size"`
		}
		if err := json.Unmarshal(leaf.Details, &said); err != nil || said.Mailbox != d.Mailbox || said.UIDL != d.UIDL ||
			!said.Received.Equal(d.Received) || said.Size != e.Size {
			v.problem(manifestName, "message %s was not received as it says, see event %d in %s", e.ID, d.Index, proofName)
		}
	}
	return nil
}

// read reads a file through t. A missing one is a problem, and ok is false.
func (v *verification) read(name string, t *tally) (ok bool, err error) {
	f, err := v.tree.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		v.problem(name, "it is missing")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close() // only read
	_, err = io.Copy(t, contextReader{v.ctx, f})
	if v.ctx.Err() == nil && damaged(err) {
		v.problem(name, "it cannot be read: %v", err)
		return false, nil
	}
	return err == nil, err
}

func (v *verification) file(f File) error {
	t := newTally(io.Discard)
	ok, err := v.read(f.Path, t)
	if ok {
		v.same(f, t)
	}
	return err
}

func (v *verification) same(f File, t *tally) {
	v.files++
	v.report.Files++
	v.report.Octets += t.size
	v.opts.Progress(t.size)
	if got := t.file(f.Path); got.Size != f.Size || got.SHA256 != f.SHA256 {
		v.problem(f.Path, "it was changed: %d octets with SHA-256 %s, the manifest has %d with %s", got.Size, got.SHA256, f.Size, f.SHA256)
	}
}

// strangers looks for files that are not part of the export.
func (v *verification) strangers() error {
	const own = 2 // manifest and proof
	found := int64(0)
	if err := v.tree.walk(func(string) error { found++; return nil }); err != nil {
		return err
	}
	if found <= v.files+own || len(v.report.Problems) > 0 {
		return nil
	}
	known := map[string]bool{manifestName: true, proofName: true}
	f, err := v.tree.open(manifestName)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	m, err := newManifestReader(f)
	for err == nil {
		var e Entry
		if e, err = m.next(); err == nil && e.File != nil {
			known[e.File.Path] = true
		}
		for _, f := range e.Files {
			known[f.Path] = true
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return v.tree.walk(func(name string) error {
		if !known[name] {
			v.problem(name, "it is not part of the export")
		}
		return nil
	})
}
