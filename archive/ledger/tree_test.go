package ledger

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// storedHashes reads all hashes as any user of tlog would.
func storedHashes(data string) tlog.HashReaderFunc {
	return func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			if (x+1)*tlog.HashSize > int64(len(data)) {
				return nil, fmt.Errorf("no hash %d", x)
			}
			copy(out[i][:], data[x*tlog.HashSize:])
		}
		return out, nil
	}
}

func TestTreeAgreesWithTlog(t *testing.T) {
	var tr tree
	var all, stored []byte // as tlog stores them, and as we do
	for n := range int64(300) {
		data := fmt.Appendf(nil, "leaf %d", n)
		want, err := tlog.StoredHashes(n, data, storedHashes(string(all)))
		if err != nil {
			t.Fatal(err)
		}
		before := tlog.StoredHashCount(n)
		stored = tr.add(tlog.RecordHash(data), stored)
		for i, h := range want {
			all = append(all, h[:]...)
			got, err := hashReader(bytes.NewReader(stored))([]int64{before + int64(i)})
			if err != nil || got[0] != h {
				t.Fatalf("leaf %d: node %d differs: %v", n, i, err)
			}
		}
		root, err := tlog.TreeHash(n+1, storedHashes(string(all)))
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(stored)) != storedCount(n+1)*tlog.HashSize || tr.root() != root {
			t.Fatalf("tree of %d leaves differs", n+1)
		}
		again, err := readTree(bytes.NewReader(stored), n+1)
		if err != nil || again.root() != root {
			t.Fatalf("tree of %d leaves read again has root %v, %v", n+1, again.root(), err)
		}
	}
	empty, _ := tlog.TreeHash(0, nil)
	if root := new(tree).root(); root != empty {
		t.Errorf("empty tree has root %v, want %v", root, empty)
	}
}

// merkle is RFC 6962 section 2.1 word for word.
func merkle(leaves []string) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256([]byte("\x00" + leaves[0]))
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		left, right := merkle(leaves[:k]), merkle(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
}

// A stranger with the files, the public key and the RFC can check everything.
func TestLedgerCanBeCheckedWithoutThisPackage(t *testing.T) {
	l, opt := newLedger(t)
	const size = 21
	for n := range size {
		mustAppend(t, l, event(n))
	}
	leaves := strings.Split(strings.TrimSuffix(readFile(t, filepath.Join(opt.Dir, eventsName)), "\n"), "\n")
	root := tlog.Hash(merkle(leaves))

	v, err := note.NewVerifier(strings.TrimSpace(readFile(t, filepath.Join(opt.KeyDir, pubName))))
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(readFile(t, filepath.Join(opt.Dir, checkpointName))), note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%s\n%d\n%s\n", v.Name(), size, root); n.Text != want {
		t.Errorf("checkpoint is %q, want %q", n.Text, want)
	}
	if !strings.HasPrefix(v.Name(), "postkeep/") || l.Verifier() != strings.TrimSpace(readFile(t, filepath.Join(opt.KeyDir, pubName))) {
		t.Errorf("origin %q, verifier %q", v.Name(), l.Verifier())
	}
	if string(l.Checkpoint()) != readFile(t, filepath.Join(opt.Dir, checkpointName)) {
		t.Error("Checkpoint is not what is on disk")
	}

	hashes := hashReader(strings.NewReader(readFile(t, filepath.Join(opt.Dir, hashesName))))
	for i, leaf := range leaves {
		proof, err := tlog.ProveRecord(size, int64(i), hashes)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, size, root, int64(i), tlog.RecordHash([]byte(leaf))); err != nil {
			t.Errorf("leaf %d: %v", i, err)
		}
		if err := tlog.CheckRecord(proof, size, root, int64(i), tlog.RecordHash([]byte(leaf+" "))); err == nil {
			t.Errorf("leaf %d: the proof also fits another leaf", i)
		}
	}
	for older := int64(1); older < size; older++ {
		proof, err := tlog.ProveTree(size, older, hashes)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(proof, size, root, older, merkle(leaves[:older])); err != nil {
			t.Errorf("consistency with size %d: %v", older, err)
		}
	}
}
