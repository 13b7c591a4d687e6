package exports

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/export"
)

// A forgery changes the files of an export, by name.
type forgery func(t *testing.T, files map[string]string)

// edit replaces something in the files whose names match, and mends the hash that the manifest has of them.
func edit(name, from, to string) forgery {
	return func(t *testing.T, files map[string]string) {
		t.Helper()
		done := false
		for f, old := range files {
			if !regexp.MustCompile(name).MatchString(f) || !strings.Contains(old, from) || done {
				continue
			}
			changed := strings.Replace(old, from, to, 1)
			files[f], done = changed, true
			if f != "manifest.json" && f != "proof.json" {
				files["manifest.json"] = strings.ReplaceAll(files["manifest.json"], idOf([]byte(old)), idOf([]byte(changed)))
				files["manifest.json"] = strings.ReplaceAll(files["manifest.json"], fmt.Sprintf(`"size":%d,"sha256":"%s"`, len(old), idOf([]byte(changed))),
					fmt.Sprintf(`"size":%d,"sha256":"%s"`, len(changed), idOf([]byte(changed))))
			}
		}
		if !done {
			t.Fatalf("nothing to forge: no %q in %s", from, name)
		}
	}
}

// lines changes the lines of a file between the first and the last one.
func lines(name string, change func(lines []string) []string) forgery {
	return func(_ *testing.T, files map[string]string) {
		all := strings.SplitAfter(files[name], "\n")
		all = all[:len(all)-1]
		entries := change(append([]string{}, all[1:len(all)-1]...))
		for i := range entries { // valid JSON all the same
			entries[i] = strings.TrimPrefix(entries[i], ",")
			if i > 0 {
				entries[i] = "," + entries[i]
			}
		}
		files[name] = all[0] + strings.Join(entries, "") + all[len(all)-1]
	}
}

// resealed puts the hash and the numbers of the forged manifest into the event that seals the export.
func resealed(f forgery) forgery {
	return func(t *testing.T, files map[string]string) {
		t.Helper()
		f(t, files)
		var ids strings.Builder
		n := 0
		for _, id := range regexp.MustCompile(`(?m)^,?\{"id":"([0-9a-f]{64})"`).FindAllStringSubmatch(files["manifest.json"], -1) {
			ids.WriteString(id[1] + "\n")
			n++
		}
		manifest, root := sha256.Sum256([]byte(files["manifest.json"])), sha256.Sum256([]byte(ids.String()))
		proof := files["proof.json"]
		for pattern, value := range map[string]string{
			`manifest_sha256\\*":\\*"([0-9a-f]{64})`: hex.EncodeToString(manifest[:]), `ids_sha256\\*":\\*"([0-9a-f]{64})`: hex.EncodeToString(root[:]),
			`messages\\*":(\d+)`: fmt.Sprint(n),
		} {
			at := regexp.MustCompile(pattern).FindStringSubmatchIndex(proof)
			if at == nil {
				t.Fatalf("the proof has no %s", pattern)
			}
			proof = proof[:at[2]] + value + proof[at[3]:]
		}
		files["proof.json"] = proof
	}
}

func drop(at int) func([]string) []string {
	return func(l []string) []string { return append(l[:at:at], l[at+1:]...) }
}

func twice(l []string) []string { return append(l[:1:1], l...) }

func swapped(l []string) []string {
	l[0], l[1] = l[1], l[0]
	return l
}

func first(l []string) []string { return l[:1] }

// forgeries are what somebody tries who has the files of an export and of another one of the same archive.
func forgeries(format export.Format, other map[string]string) map[string]forgery {
	content := map[export.Format]forgery{
		export.EML: edit(`\.eml$`, "Hello", "Hallo"), export.Mbox: edit(`\.mbox$`, "Hello", "Hallo"), export.Maildir: edit(`^new/`, "Hello", "Hallo"),
		export.Concordance: edit(`loadfile\.dat$`, "plain", "plane"), export.EDRM: edit(`edrm\.xml$`, "plain", "plane"),
		export.CSV: edit(`metadata\.csv$`, "plain", "an invented subject"), export.HTML: edit(`^messages/.*\.html$`, "Hello", "Hallo"),
	}[format]
	replay := func(names ...string) forgery {
		return func(_ *testing.T, files map[string]string) {
			for _, n := range names {
				files[n] = other[n]
			}
		}
	}
	return map[string]forgery{
		"content": content, "content, sealed again": resealed(content),
		"page": edit(`^HOW-TO`, "e", "E"), "page, sealed again": resealed(edit(`^HOW-TO`, "e", "E")),
		"message dropped, sealed again": resealed(lines("manifest.json", drop(0))), "message added, sealed again": resealed(lines("manifest.json", twice)),
		"order, sealed again": resealed(lines("manifest.json", swapped)), "mailbox, sealed again": resealed(edit(`manifest\.json`, `"sales"`, `"other"`)),
		"query, sealed again": resealed(edit(`manifest\.json`, `"query":""`, `"query":"*"`)), "manifest of another export": replay("manifest.json"),
		"proof of another export": replay("proof.json"), "manifest and proof of another export": replay("manifest.json", "proof.json"),
		"order of the proofs": lines("proof.json", swapped), "proof dropped": lines("proof.json", drop(1)), "seal only": lines("proof.json", first),
		"sealed twice": lines("proof.json", twice), "count": edit(`proof\.json`, `messages\":11`, `messages\":10`),
		"root of the ids": edit(`proof\.json`, `ids_sha256\":\"`, `ids_sha256\":\"00`), "seal of an older version": edit(`proof\.json`, `ids_sha256`, `ids_sha255`),
		"key": edit(`proof\.json`, `"key":"`, `"key":"x`), "file added": func(_ *testing.T, files map[string]string) { files["more.txt"] = "x" },
	}
}

// TestForgedExportsOfEveryFormatAreRefused tries 21 forgeries of each of seven formats.
func TestForgedExportsOfEveryFormatAreRefused(t *testing.T) {
	c := instance(t, nasty())
	for _, format := range export.Formats() {
		name := filepath.Join(t.TempDir(), "out") + string(filepath.Separator) // a directory, of mboxes as well
		r := run(t, c, options(format, name))
		opts := options(format, filepath.Join(t.TempDir(), "other")+string(filepath.Separator))
		opts.Query = "hello"
		run(t, c, opts)
		genuine, other := tree(t, name), tree(t, opts.Out)
		key := export.Fingerprint(r.Key)
		if v := verified(t, name, export.VerifyOptions{Key: key}); len(v.Problems) > 0 || !v.MadeByArchive || !v.SignerVerified {
			t.Fatalf("%s: the real one: %+v", format, v)
		}
		for what, forge := range forgeries(format, other) {
			files := map[string]string{}
			for f, data := range genuine {
				files[f] = data
			}
			forge(t, files)
			dir := t.TempDir()
			for f, data := range files {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, f), []byte(data), 0o600))
			}
			v, err := export.Verify(t.Context(), dir, export.VerifyOptions{Key: key})
			if err != nil || len(v.Problems) == 0 {
				t.Errorf("%s, %s: accepted: %+v, %v", format, what, v, err)
			}
		}
	}
}

// tree is every file of a directory, by its name with slashes.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for path, data := range snapshotAll(t, dir) {
		rel, err := filepath.Rel(dir, path)
		must(t, err)
		out[filepath.ToSlash(rel)] = data
	}
	return out
}

// TestNobodyCanHaveAManifestSealed tries what a client of an older version did: nothing takes a hash to sign, and whatever is there of an
// interrupted export is made again by the archive.
func TestNobodyCanHaveAManifestSealed(t *testing.T) {
	c := instance(t, nasty())
	dir := filepath.Join(t.TempDir(), "out")
	opts := options(export.CSV, dir)
	interrupt(t, c, opts, 9)
	// The interrupted export gets an invented table, whose hashes the manifest has.
	table, manifest := filepath.Join(dir, "metadata.csv.partial"), filepath.Join(dir, "manifest.json.partial")
	invented, err := os.ReadFile(table)
	must(t, err)
	list, err := os.ReadFile(manifest)
	must(t, err)
	var out []string
	at := bytes.Replace(invented, []byte("plain"), []byte("other"), 1)
	size := regexp.MustCompile(`"path":"metadata.csv","size":(\d+),"sha256":"([0-9a-f]{64})"`)
	for line := range strings.Lines(string(list)) {
		if m := size.FindStringSubmatch(line); m != nil {
			var n int
			must(t, json.Unmarshal([]byte(m[1]), &n))
			line = strings.Replace(line, m[2], idOf(at[:n]), 1)
		}
		out = append(out, line)
	}
	must(t, os.WriteFile(table, at, 0o600))
	must(t, os.WriteFile(manifest, []byte(strings.Join(out, "")), 0o600))
	r := run(t, c, opts)
	if v := verified(t, dir, export.VerifyOptions{Key: r.Key}); len(v.Problems) > 0 || v.Messages != int64(len(nasty())) {
		t.Errorf("%+v", v)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, "metadata.csv"))
	must(t, err)
	if !bytes.Contains(sealed, []byte("plain")) || bytes.Contains(sealed, []byte(",other,")) {
		t.Errorf("the invented table was sealed:\n%s", sealed)
	}
	body, err := c.Export(t.Context(), export.Request{Query: "*", Format: export.CSV, Resume: &export.Resume{
		Messages: 1, IDs: strings.Repeat("0", 64), Offset: 1, Manifest: strings.Repeat("0", 64),
	}})
	if err == nil {
		_, err = io.Copy(io.Discard, body)
		must(t, body.Close())
		t.Errorf("messages that are not there were skipped: %v, want %d", err, http.StatusConflict)
	}
}
