package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
)

// fake is a source with a real ledger.
type fake struct {
	log      *ledger.Log
	old      bool // it seals as older versions did
	messages []Message
	bodies   []func() io.Reader
}

func newFake(t *testing.T) *fake {
	t.Helper()
	opt := ledger.Options{Dir: filepath.Join(t.TempDir(), "ledger"), KeyDir: filepath.Join(t.TempDir(), "keys")}
	if err := ledger.Create(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return &fake{log: log}
}

func (f *fake) add(t *testing.T, id string, size int64, body func() io.Reader) {
	t.Helper()
	at := time.Date(2026, 3, 5, 14, 7, 9, 0, time.UTC)
	index, err := f.log.Append(t.Context(), []ledger.Event{{Type: ledger.TypeDeposit, Actor: "test", IDs: []string{id},
		Details: map[string]any{"mailbox": "sales", "received": at, "size": size}}})
	if err != nil {
		t.Fatal(err)
	}
	f.messages = append(f.messages, Message{ID: id, Size: size, Received: at, Deposits: []Deposit{{Index: index, Mailbox: "sales", Received: at}}})
	f.bodies = append(f.bodies, body)
}

func (f *fake) text(t *testing.T, raw string) {
	t.Helper()
	sum := sha256.Sum256([]byte(raw))
	f.add(t, hex.EncodeToString(sum[:]), int64(len(raw)), func() io.Reader { return strings.NewReader(raw) })
}

func (f *fake) Messages(_ context.Context, _ Request, begin func(Plan) error, fn func(Message) error) error {
	if err := begin(Plan{Messages: int64(len(f.messages))}); err != nil {
		return err
	}
	for i, m := range f.messages {
		m.Body = f.bodies[i]()
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) Seal(ctx context.Context, s Sealing) (Seal, error) {
	details := map[string]any{"manifest_sha256": s.Manifest, "messages": s.Messages}
	if !f.old {
		details["ids_sha256"] = s.IDs
	}
	index, err := f.log.Append(ctx, []ledger.Event{{Type: ledger.TypeExport, Actor: "test", Details: details}})
	return Seal{Index: index, Key: f.log.Verifier(), Checkpoint: string(f.log.Checkpoint())}, err
}

func (f *fake) Prove(ctx context.Context, _ int64, checkpoint string, indexes []int64, fn func(ledger.EventProof) error) error {
	p, err := f.log.ProverFor([]byte(checkpoint))
	if err != nil {
		return err
	}
	for _, i := range indexes {
		e, err := p.Event(ctx, i, true)
		if err != nil {
			return err
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// unread is a parser for formats that need none.
type unread struct{ Parser }

func testOptions(format Format, out string) Options {
	return Options{Format: format, Out: out, SyncDir: func(string) error { return nil }}
}

func TestWrongBytesStopTheExport(t *testing.T) {
	right := "Subject: x\r\n\r\nright\r\n"
	for name, wrong := range map[string]string{
		"other bytes": "Subject: x\r\n\r\nwrong\r\n", "too short": right[:len(right)-1], "too long": right + "\n", "nothing": "",
	} {
		for _, format := range []Format{EML, Mbox, Maildir} {
			f := newFake(t)
			f.text(t, right)
			f.bodies[0] = func() io.Reader { return strings.NewReader(wrong) }
			dir := t.TempDir()
			if _, err := Run(t.Context(), f, testOptions(format, filepath.Join(dir, "out"))); !errors.Is(err, ErrMismatch) {
				t.Errorf("%s, %s: %v, want ErrMismatch", format, name, err)
			}
			err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err == nil && !d.IsDir() && !strings.HasSuffix(path, partialSuffix) {
					t.Errorf("%s, %s: %s is left", format, name, path)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOnlyHashesBecomeFileNames(t *testing.T) {
	for _, id := range []string{"", "abc", "../../../../etc/passwd", strings.Repeat("g", 64), strings.Repeat("/", 64), strings.Repeat("A", 64)} {
		f := newFake(t)
		f.add(t, id, 1, func() io.Reader { return strings.NewReader("x") })
		if _, err := Run(t.Context(), f, testOptions(EML, filepath.Join(t.TempDir(), "out"))); err == nil {
			t.Errorf("id %q was taken", id)
		}
	}
}

func TestExportWithoutAllItsProofsFails(t *testing.T) {
	f := newFake(t)
	f.text(t, "a\n")
	f.messages[0].Deposits[0].Index = 99 // which is not in the ledger
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := Run(t.Context(), f, testOptions(EML, dir)); !errors.Is(err, ledger.ErrNoEvent) {
		t.Errorf("Run = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, manifestName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an export without proof looks finished: %v", err)
	}
}

func TestDirectoriesAreSyncedWhenEverythingHasItsName(t *testing.T) {
	f := newFake(t)
	f.text(t, "a\n")
	opts := testOptions(Maildir, filepath.Join(t.TempDir(), "out"))
	synced := map[string]bool{}
	opts.SyncDir = func(dir string) error {
		synced[dir] = true
		if _, err := os.Stat(filepath.Join(opts.Out, proofName)); err != nil {
			t.Errorf("%s was synced before the proof had its name", dir)
		}
		return nil
	}
	if _, err := Run(t.Context(), f, opts); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{opts.Out, filepath.Join(opts.Out, "new"), filepath.Dir(opts.Out)} {
		if !synced[dir] {
			t.Errorf("%s was not synced", dir)
		}
	}
	opts.SyncDir = func(string) error { return io.ErrShortWrite }
	if _, err := Run(t.Context(), f, opts); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a failed sync: %v", err)
	}
}

// TestExportSealedByAnOlderVersionSaysSo has no problem with it: it is not forged because of that.
func TestExportSealedByAnOlderVersionSaysSo(t *testing.T) {
	for _, old := range []bool{false, true} {
		f := newFake(t)
		f.old = old
		f.text(t, "a\n")
		dir := filepath.Join(t.TempDir(), "out")
		if _, err := Run(t.Context(), f, testOptions(EML, dir)); err != nil {
			t.Fatal(err)
		}
		if v, err := Verify(t.Context(), dir, VerifyOptions{}); err != nil || len(v.Problems) > 0 || v.MadeByArchive == old {
			t.Errorf("sealed by an older version: %v: %+v, %v", old, v, err)
		}
	}
}

// TestStreamWritesNothingOutsideOfTheExport gets names from an instance that means ill.
func TestStreamWritesNothingOutsideOfTheExport(t *testing.T) {
	for _, name := range []string{"../x", "/tmp/x", "a/../../x", "", ".", "a\\..\\x", "x\x00", lockName, "export-1.tmp", strings.Repeat("x", maxName+1)} {
		for _, o := range []op{opMkdir, opCreate, opGrow} {
			var b strings.Builder
			s := newStreamSink(&b)
			err := s.sendJSON(opPlan, streamedPlan{})
			if o == opGrow {
				g := streamGrowing{s: s, file: 1, name: name}
				err = errors.Join(err, g.begin(0))
			} else {
				err = errors.Join(err, s.send(o, 0, []byte(name)))
			}
			if err = errors.Join(err, s.out.Flush()); err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			_, err = Fetch(t.Context(), func(context.Context, Request) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(b.String())), nil
			}, testOptions(EML, filepath.Join(root, "out")))
			if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q, %q: the name was taken: %v", o, name, err)
			}
			if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
				t.Errorf("%q, %q: %v is left, %v", o, name, left, err)
			}
		}
	}
}
