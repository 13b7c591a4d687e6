package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

func encoded(t testing.TB, p Proof) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// history appends events one by one and returns the checkpoints of all sizes.
func history(t testing.TB, l *Log, size int) (checkpoints [][]byte) {
	t.Helper()
	checkpoints = append(checkpoints, l.Checkpoint())
	for n := range size {
		mustAppend(t, l, event(n))
		checkpoints = append(checkpoints, l.Checkpoint())
	}
	return checkpoints
}

func TestEveryEventAndEveryEarlierCheckpointIsProved(t *testing.T) {
	l, opt := newLedger(t)
	const size = 21
	checkpoints := history(t, l, size)
	key := readFile(t, filepath.Join(opt.KeyDir, pubName))
	var indexes []int64
	for n := range int64(size) {
		indexes = append(indexes, n)
	}
	proof, err := l.Prove(context.Background(), indexes, checkpoints...)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{key, ""} {
		got, err := VerifyProof(encoded(t, proof), key)
		if err != nil {
			t.Fatal(err)
		}
		if got.Key != l.Verifier() || got.Size != size || len(got.Earlier) != size+1 || got.Earlier[size] != size || !strings.HasPrefix(l.Verifier(), got.Origin) {
			t.Errorf("proven: %+v", got)
		}
		for i, e := range got.Events {
			checkEntry(t, e, int64(i), event(i))
		}
	}
	// One event of a ledger that has no other.
	one, _ := newLedger(t)
	mustAppend(t, one, event(0))
	if proof, err = one.Prove(context.Background(), []int64{0}); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyProof(encoded(t, proof), one.Verifier()); err != nil {
		t.Error(err)
	}
}

func TestWithheldAndErasedDetailsDoNotHinderTheProof(t *testing.T) {
	l, _ := newLedger(t)
	mustAppend(t, l, eventSeries(0, 3)...)
	prover, err := l.Prover()
	if err != nil {
		t.Fatal(err)
	}
	withheld, err := prover.Event(context.Background(), 1, false)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewProofVerifier(l.Verifier(), string(l.Checkpoint()))
	if err != nil {
		t.Fatal(err)
	}
	e, err := v.Event(withheld)
	if err != nil || e.Details != nil || e.Actor != event(1).Actor || strings.Contains(fmt.Sprint(withheld), "sales") {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestProverIsRefusedWhatTheLedgerCannotProve(t *testing.T) {
	ctx := context.Background()
	l, opt := newLedger(t)
	checkpoints := history(t, l, 8)
	prover, err := l.Prover()
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, event(8))
	for _, index := range []int64{-1, 8, 9} {
		if _, err := prover.Event(ctx, index, true); !errors.Is(err, ErrNoEvent) {
			t.Errorf("event %d: %v", index, err)
		}
	}
	if _, err := prover.Earlier(l.Checkpoint()); !errors.Is(err, ErrShort) {
		t.Errorf("a later checkpoint: %v", err)
	}
	other, _ := newLedger(t)
	if _, err := prover.Earlier(other.Checkpoint()); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("the checkpoint of another ledger: %v", err)
	}
	forked, err := sign(&tree{size: 3, edge: [63]tlog.Hash{{1}, {2}}}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prover.Earlier(forked); !errors.Is(err, ErrDiverged) {
		t.Errorf("a checkpoint of another history: %v", err)
	}
	for _, c := range []struct{ file, old, new string }{
		{eventsName, "poller-3", "poller-4"}, {detailsName, "<3 &", "<4 &"},
	} {
		name := filepath.Join(opt.Dir, c.file)
		whole := readFile(t, name)
		writeFile(t, name, strings.Replace(whole, c.old, c.new, 1))
		if _, err := prover.Event(ctx, 3, true); !errors.Is(err, ErrDiverged) {
			t.Errorf("an altered line of %s: %v", c.file, err)
		}
		writeFile(t, name, whole)
	}
	if err := os.Truncate(filepath.Join(opt.Dir, hashesName), 40); err != nil {
		t.Fatal(err)
	}
	if _, err := prover.Event(ctx, 3, true); !errors.Is(err, ErrDamaged) {
		t.Errorf("without stored hashes: %v", err)
	}
	if _, err := prover.Earlier(checkpoints[3]); !errors.Is(err, ErrDamaged) {
		t.Errorf("without stored hashes: %v", err)
	}
}

// Whatever is changed in a proof, it does not prove something else.
func TestAlteredProofIsRefused(t *testing.T) {
	l, _ := newLedger(t)
	checkpoints := history(t, l, 11)
	other, _ := newLedger(t)
	mustAppend(t, other, eventSeries(0, 11)...)
	for what, alter := range map[string]func(p *Proof){
		"format":           func(p *Proof) { p.Format = "postkeep-proof/2" },
		"key":              func(p *Proof) { p.Key = other.Verifier() },
		"key is none":      func(p *Proof) { p.Key = "x" },
		"checkpoint":       func(p *Proof) { p.Checkpoint = string(other.Checkpoint()) },
		"older checkpoint": func(p *Proof) { p.Checkpoint = string(checkpoints[10]) },
		"checkpoint text":  func(p *Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n11\n", "\n12\n", 1) },
		"event":            func(p *Proof) { p.Events[0].Event = strings.Replace(p.Events[0].Event, "poller-4", "poller-5", 1) },
		"index":            func(p *Proof) { p.Events[0].Index = 5 },
		"index and line": func(p *Proof) {
			p.Events[0].Index, p.Events[0].Event = 5, strings.Replace(p.Events[0].Event, ":4,", ":5,", 1)
		},
		"index too large": func(p *Proof) {
			p.Events[0].Index, p.Events[0].Event = 99, strings.Replace(p.Events[0].Event, ":4,", ":99,", 1)
		},
		"path":                 func(p *Proof) { p.Events[0].Path[1][0] ^= 1 },
		"path too short":       func(p *Proof) { p.Events[0].Path = p.Events[0].Path[1:] },
		"path too long":        func(p *Proof) { p.Events[0].Path = append(p.Events[0].Path, tlog.Hash{}) },
		"salt":                 func(p *Proof) { p.Events[0].Salt = strings.Repeat("00", saltSize) },
		"salt is none":         func(p *Proof) { p.Events[0].Salt = "" },
		"salt is longer":       func(p *Proof) { p.Events[0].Salt, p.Events[0].Details = p.Events[0].Salt+"7b", p.Events[0].Details[1:] },
		"details":              func(p *Proof) { p.Events[0].Details = strings.Replace(p.Events[0].Details, "sales", "board", 1) },
		"earlier checkpoint":   func(p *Proof) { p.Earlier[0].Checkpoint = string(other.Checkpoint()) },
		"earlier of another":   func(p *Proof) { p.Earlier[0].Checkpoint = string(checkpoints[5]) },
		"earlier is none":      func(p *Proof) { p.Earlier[0].Checkpoint = string(checkpoints[0]) },
		"earlier is later":     func(p *Proof) { p.Checkpoint, p.Events, p.Earlier[0].Path = string(checkpoints[3]), nil, nil },
		"path of the earlier":  func(p *Proof) { p.Earlier[0].Path[0][31] ^= 128 },
		"no path of the other": func(p *Proof) { p.Earlier[0].Path = nil },
	} {
		proof, err := l.Prove(context.Background(), []int64{4}, checkpoints[6])
		if err != nil {
			t.Fatal(err)
		}
		alter(&proof)
		if _, err := VerifyProof(encoded(t, proof), l.Verifier()); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := VerifyProof(encoded(t, proof), ""); !errors.Is(err, ErrProof) {
			t.Errorf("%s, without a key: %v", what, err)
		}
	}
}

// The format is for ever: proofs made by earlier versions are accepted, and the
// proof of the same ledger is still the same.
func TestProofFormatIsFrozen(t *testing.T) {
	golden := filepath.Join("testdata", "v1")
	ctx := context.Background()
	if *update {
		l, opt := newLedger(t)
		checkpoints := history(t, l, 13)
		proof, err := l.Prove(ctx, []int64{0, 4, 12}, checkpoints...)
		if err != nil {
			t.Fatal(err)
		}
		proof.Events[1].Salt, proof.Events[1].Details = "", "" // withheld
		writeFile(t, filepath.Join("testdata", "proof.json"), string(encoded(t, proof)))
		writeFile(t, filepath.Join("testdata", "proof.pub"), readFile(t, filepath.Join(opt.KeyDir, pubName)))
	}
	l, err := Open(ctx, Options{Dir: filepath.Join(golden, "ledger"), KeyDir: filepath.Join(golden, "keys"), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, l)
	proof, err := l.Prove(ctx, []int64{0, 1, 2}, l.Checkpoint())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		writeFile(t, filepath.Join(golden, "proof.json"), string(encoded(t, proof)))
	}
	if got, want := string(encoded(t, proof)), readFile(t, filepath.Join(golden, "proof.json")); got != want {
		t.Errorf("the proof is now\n%s\nwas\n%s", got, want)
	}
	got, err := VerifyProof([]byte(readFile(t, filepath.Join("testdata", "proof.json"))), readFile(t, filepath.Join("testdata", "proof.pub")))
	if err != nil {
		t.Fatal(err)
	}
	if got.Size != 13 || len(got.Earlier) != 14 || len(got.Events) != 3 || got.Events[1].Details != nil || got.Events[2].Index != 12 {
		t.Errorf("proven: %+v", got)
	}
}

// A stranger with the page about the format can check a proof.
func TestProofIsAcceptedByAnIndependentVerifier(t *testing.T) {
	for _, name := range []string{"python3", "openssl"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("POSTKEEP_REAL") == "required" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	check := func(args ...string) (string, error) {
		out, err := exec.Command("python3", append([]string{filepath.Join("testdata", "verify_proof.py")}, args...)...).CombinedOutput()
		return string(out), err
	}
	out, err := check(filepath.Join("testdata", "proof.json"), filepath.Join("testdata", "proof.pub"))
	if err != nil || !strings.Contains(out, "checkpoint of 13\ncontinues 0\n") || !strings.Contains(out, "continues 12\n") ||
		!strings.Contains(out, "event 4 deposit ") || !strings.Contains(out, "withheld") || !strings.Contains(out, `"uidl":"<12 & more>"}`) {
		t.Errorf("%s%v", out, err)
	}
	if out, err := check(filepath.Join("testdata", "proof.json"), filepath.Join("testdata", "v1", "keys", pubName)); err == nil {
		t.Errorf("accepted with another key: %s", out)
	}
	var proof Proof
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join("testdata", "proof.json"))), &proof); err != nil {
		t.Fatal(err)
	}
	for what, alter := range map[string]func(p *Proof){
		"signature": func(p *Proof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n13\n", "\n12\n", 1) },
		"event":     func(p *Proof) { p.Events[2].Event = strings.Replace(p.Events[2].Event, "poller", "Poller", 1) },
		"details":   func(p *Proof) { p.Events[2].Details = "{}" },
		"path":      func(p *Proof) { p.Earlier[5].Path = p.Earlier[6].Path },
	} {
		var altered Proof
		if err := json.Unmarshal(encoded(t, proof), &altered); err != nil || !reflect.DeepEqual(altered, proof) {
			t.Fatalf("%+v, %v", altered, err)
		}
		alter(&altered)
		name := filepath.Join(t.TempDir(), "proof.json")
		writeFile(t, name, string(encoded(t, altered)))
		if out, err := check(name); err == nil || !strings.Contains(out, "NOT proven") {
			t.Errorf("altered %s: %s%v", what, out, err)
		}
	}
}

func FuzzVerifyProof(f *testing.F) {
	good := readFile(f, filepath.Join("testdata", "proof.json"))
	key := readFile(f, filepath.Join("testdata", "proof.pub"))
	want, err := VerifyProof([]byte(good), key)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, readFile(f, filepath.Join("testdata", "v1", "proof.json")), `{"format":"postkeep-proof/1"}`, "[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := VerifyProof(data, key)
		if err != nil {
			if !errors.Is(err, ErrProof) {
				t.Errorf("error is %v", err)
			}
			return
		}
		for _, e := range got.Events { // nothing is proven that is not in the ledger
			var known bool
			for _, w := range want.Events {
				known = known || e.Index == w.Index && e.Actor == w.Actor && e.DetailsHash == w.DetailsHash
			}
			if !known {
				t.Errorf("proven: %+v", e)
			}
		}
	})
}
