package exports

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/export"
)

// places are where a byte is changed: the ends, and some between.
func places(size int) []int {
	out := []int{0, size - 1}
	for i := 1; i < 4; i++ {
		out = append(out, size*i/4)
	}
	return out
}

func TestOneChangedByteIsFoundAndTheFileNamed(t *testing.T) {
	all := nasty()
	c := instance(t, [][]byte{all[1], all[3], all[8], all[10]})
	forms(t, func(t *testing.T, format export.Format, name string) {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		key := export.Fingerprint(run(t, c, options(format, path)).Key)
		changed := 0
		must(t, filepath.WalkDir(dir, func(file string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(file)
			must(t, err)
			if len(data) == 0 {
				return nil
			}
			for i, at := range places(len(data)) {
				bad := bytes.Clone(data)
				bad[at] ^= []byte{1, 0x20}[i%2]
				must(t, os.WriteFile(file, bad, 0o600))
				changed++
				if strings.HasSuffix(file, ".zip") {
					expectChangeInZip(t, path, key, data, at)
				} else {
					expectChange(t, path, key, file, at)
				}
			}
			return os.WriteFile(file, data, 0o600)
		}))
		if v := verified(t, path, export.VerifyOptions{Key: key}); len(v.Problems) > 0 || changed < 5 {
			t.Errorf("put back after %d changes: %+v", changed, v)
		}
	})
}

func expectChange(t *testing.T, path, key, file string, at int) {
	t.Helper()
	name := strings.TrimPrefix(filepath.Base(file), "out-mbox.") // companions of an mbox
	v, err := export.Verify(t.Context(), path, export.VerifyOptions{Key: key})
	if err != nil || len(v.Problems) == 0 {
		t.Errorf("%s, byte %d: not found, %v", file, at, err)
		return
	}
	for _, p := range v.Problems {
		if filepath.Base(p.File) == name {
			return
		}
	}
	t.Errorf("%s, byte %d: %v", file, at, v.Problems)
}

// expectChangeInZip wants the file inside to be named that has the byte, or the zip if none has.
func expectChangeInZip(t *testing.T, path, key string, good []byte, at int) {
	t.Helper()
	name := ""
	z, err := zip.NewReader(bytes.NewReader(good), int64(len(good)))
	must(t, err)
	for _, f := range z.File {
		from, err := f.DataOffset()
		must(t, err)
		if from <= int64(at) && int64(at) < from+int64(f.CompressedSize64) {
			name = f.Name
		}
	}
	v, err := export.Verify(t.Context(), path, export.VerifyOptions{Key: key})
	switch {
	case name == "" && err != nil && strings.Contains(err.Error(), filepath.Base(path)): // not even a zip any more
	case err != nil || len(v.Problems) == 0:
		t.Errorf("%s, byte %d of %q: not found, %v", path, at, name, err)
	case name == "" && v.Problems[0].File == "":
		t.Errorf("%s, byte %d: %v", path, at, v.Problems)
	case name != "" && !slices.ContainsFunc(v.Problems, func(p export.Problem) bool { return p.File == name }):
		t.Errorf("%s, byte %d of %s: %v", path, at, name, v.Problems)
	}
}

// TestEveryByteOfTheProofCounts flips all of them: JSON, hexadecimal and base64 have
// many places where a change means the same.
func TestEveryByteOfTheProofCounts(t *testing.T) {
	c := instance(t, nasty()[:1])
	dir := filepath.Join(t.TempDir(), "out")
	run(t, c, options(export.CSV, dir))
	for name, step := range map[string]int{"proof.json": 1, "manifest.json": 9, "HOW-TO-CHECK.txt": 99} {
		file := filepath.Join(dir, name)
		data, err := os.ReadFile(file)
		must(t, err)
		for at := 0; at < len(data); at += step {
			for _, bit := range []byte{1, 0x20} {
				bad := bytes.Clone(data)
				bad[at] ^= bit
				must(t, os.WriteFile(file, bad, 0o600))
				v, err := export.Verify(t.Context(), dir, export.VerifyOptions{})
				if err != nil || len(v.Problems) == 0 || v.Problems[0].File != name {
					t.Fatalf("%s, byte %d, %q for %q: %+v, %v", name, at, bad[at], data[at], v.Problems, err)
				}
			}
		}
		must(t, os.WriteFile(file, data, 0o600))
	}
}

func TestEveryByteOfAZipCounts(t *testing.T) {
	c := instance(t, nasty()[:2])
	path := filepath.Join(t.TempDir(), "out.zip")
	run(t, c, options(export.EML, path))
	data, err := os.ReadFile(path)
	must(t, err)
	for at := 0; at < len(data); at += 7 {
		bad := bytes.Clone(data)
		bad[at] ^= 1
		must(t, os.WriteFile(path, bad, 0o600))
		if expectChangeInZip(t, path, "", data, at); t.Failed() {
			return
		}
	}
}

func TestMessageRemovedFromManifestAndDirectoryIsFound(t *testing.T) {
	c := instance(t, nasty())
	dir := filepath.Join(t.TempDir(), "out")
	run(t, c, options(export.EML, dir))
	id := idOf(nasty()[3])
	must(t, os.Remove(filepath.Join(dir, id+".eml")))
	for _, alsoProof := range []bool{false, true} {
		dropLines(t, filepath.Join(dir, "manifest.json"), id)
		if alsoProof {
			dropLines(t, filepath.Join(dir, "proof.json"), id)
		}
		v := verified(t, dir, export.VerifyOptions{})
		if len(v.Problems) != 1 || v.Problems[0].File != "manifest.json" || !strings.Contains(v.Problems[0].Text, "not the manifest that was sealed") {
			t.Errorf("proof cut as well: %v: %+v", alsoProof, v.Problems)
		}
	}
}

func dropLines(t *testing.T, name, with string) {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	var out []string
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, with) {
			out = append(out, line)
		}
	}
	must(t, os.WriteFile(name, []byte(strings.Join(out, "")), 0o600))
}

func TestForgeryUnderAnotherKeyIsRefused(t *testing.T) {
	honest, forger := instance(t, nasty()), instance(t, nasty()[1:])
	honestly, forged := filepath.Join(t.TempDir(), "real"), filepath.Join(t.TempDir(), "forged")
	key := export.Fingerprint(run(t, honest, options(export.EML, honestly)).Key)
	run(t, forger, options(export.EML, forged))
	if v := verified(t, forged, export.VerifyOptions{}); len(v.Problems) > 0 || v.SignerVerified {
		t.Errorf("the forgery is consistent in itself: %+v", v)
	}
	v := verified(t, forged, export.VerifyOptions{Key: key})
	if len(v.Problems) == 0 || v.Problems[0].File != "proof.json" || !strings.Contains(v.Problems[0].Text, "another key") {
		t.Errorf("%+v", v)
	}
	// Nor does the real proof fit to what the forger made.
	data, err := os.ReadFile(filepath.Join(honestly, "proof.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(forged, "proof.json"), data, 0o600))
	if v := verified(t, forged, export.VerifyOptions{Key: key}); len(v.Problems) == 0 {
		t.Error("the forger's files with the real proof were accepted")
	}
}

func TestMissingAndAddedFilesAreNamed(t *testing.T) {
	c := instance(t, nasty())
	for _, name := range []string{"proof.json", "manifest.json", "HOW-TO-CHECK.txt", idOf(nasty()[0]) + ".eml"} {
		dir := filepath.Join(t.TempDir(), "out")
		run(t, c, options(export.EML, dir))
		must(t, os.Remove(filepath.Join(dir, name)))
		if v := verified(t, dir, export.VerifyOptions{}); len(v.Problems) == 0 || v.Problems[0].File != name {
			t.Errorf("without %s: %+v", name, v.Problems)
		}
	}
	dir := filepath.Join(t.TempDir(), "out")
	run(t, c, options(export.EML, dir))
	must(t, os.MkdirAll(filepath.Join(dir, "more"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "more", "planted.eml"), []byte("x"), 0o600))
	if v := verified(t, dir, export.VerifyOptions{}); len(v.Problems) != 1 || v.Problems[0].File != "more/planted.eml" {
		t.Errorf("with a planted file: %+v", v.Problems)
	}
}
