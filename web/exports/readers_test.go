package exports

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/export"
)

// program is the path of a program that reads an export; without it the test is
// skipped, or fails where all real programs are required.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("POSTKEEP_REAL") == "required" {
			t.Fatal(name, " is required: ", err)
		}
		t.Skip("SKIPPED: ", name, " is not installed, nobody but us has read the export")
	}
	return path
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out, stderr.String())
	}
	return string(out)
}

// parsable are messages that other programs read as we do.
func parsable(t *testing.T) [][]byte { return append(nasty(), generated(t, 40)...) }

func TestEMLHoldsTheExactBytes(t *testing.T) {
	messages := parsable(t)
	dir := filepath.Join(t.TempDir(), "out")
	run(t, instance(t, messages), options(export.EML, dir))
	for _, m := range messages {
		if got, err := os.ReadFile(filepath.Join(dir, idOf(m)+".eml")); err != nil || !bytes.Equal(got, m) {
			t.Errorf("%.40q came back as %.40q, %v", m, got, err)
		}
	}
}

// readMailbox prints, in Python, the SHA-256 of every message of a mailbox.
const readMailbox = `
import hashlib, json, mailbox, re, sys
kind, path = sys.argv[1:3]
if kind == "maildir":
    box = mailbox.Maildir(path, create=False)
    for key in box.iterkeys():
        print(hashlib.sha256(box.get_bytes(key)).hexdigest())
else:
    box = mailbox.mbox(path, create=False)
    places = {}
    for entry in json.load(open(path + ".manifest.json"))["entries"]:
        if "mbox" in entry:
            places[len(places)] = entry["mbox"].get("added_newline", False)
    raw = open(path, "rb")
    for n, key in enumerate(box.iterkeys()):
        start, stop = box._lookup(key)
        raw.seek(start)
        raw.readline()
        body = raw.read(stop - raw.tell())
        body = re.sub(rb"(?m)^>(>*From )", rb"\1", body)
        if places[n]: body = body[:-1]
        print(hashlib.sha256(body).hexdigest())
`

func TestPythonReadsMailboxes(t *testing.T) {
	python := program(t, "python3")
	messages := parsable(t)
	c := instance(t, messages)
	for _, format := range []export.Format{export.Mbox, export.Maildir} {
		path := filepath.Join(t.TempDir(), "box")
		run(t, c, options(format, path))
		got := map[string]bool{}
		for _, id := range strings.Fields(output(t, python, "-c", readMailbox, string(format), path)) {
			got[id] = true
		}
		for _, m := range messages {
			if !got[idOf(m)] {
				t.Errorf("%s: %.60q was not read back", format, m)
			}
		}
		if len(got) != len(messages) {
			t.Errorf("%s: %d messages were read, want %d", format, len(got), len(messages))
		}
	}
}

func TestNotmuchReadsTheMaildir(t *testing.T) {
	notmuch, err := exec.LookPath("notmuch")
	if err != nil {
		t.Skip("SKIPPED: notmuch is not installed")
	}
	messages := generated(t, 40)
	dir := filepath.Join(t.TempDir(), "out")
	run(t, instance(t, messages), options(export.Maildir, dir))
	config := filepath.Join(t.TempDir(), "config")
	must(t, os.WriteFile(config, []byte("[database]\npath="+dir+"\n[user]\nname=x\nprimary_email=x@example.com\n[new]\ntags=new\nignore=manifest.json;proof.json;HOW-TO-CHECK.txt\n"), 0o600))
	t.Setenv("NOTMUCH_CONFIG", config)
	output(t, notmuch, "new", "--quiet")
	files := strings.Fields(output(t, notmuch, "search", "--output=files", "*"))
	broken := 0 // messages that are none for notmuch
	for _, m := range messages {
		if !slicesContains(files, idOf(m)) {
			broken++
		}
	}
	if len(files)+broken != len(messages) || broken > len(messages)/10 {
		t.Errorf("notmuch knows %d files of %d", len(files), len(messages))
	}
}

func slicesContains(files []string, id string) bool {
	for _, f := range files {
		if strings.Contains(f, id) {
			return true
		}
	}
	return false
}

// A datRow is a row of a load file by column.
type datRow map[string]string

// readDAT reads a Concordance load file without anything of ours.
func readDAT(t *testing.T, dir string) []datRow {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "loadfile.dat"))
	must(t, err)
	text, ok := strings.CutPrefix(string(data), "\xef\xbb\xbf")
	if !ok {
		t.Error("no byte order mark")
	}
	var rows []datRow
	var columns []string
	for _, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		var fields []string
		for _, f := range strings.Split(line, "\x14") {
			inner := strings.TrimSuffix(strings.TrimPrefix(f, "þ"), "þ")
			if "þ"+inner+"þ" != f || strings.ContainsAny(inner, "þ\n\r") {
				t.Fatalf("field %q", f)
			}
			fields = append(fields, inner)
		}
		if columns == nil {
			columns = fields
			continue
		}
		row := datRow{}
		for i, f := range fields {
			row[columns[i]] = f
		}
		if len(row) != len(columns) {
			t.Fatalf("%d fields, want %d", len(row), len(columns))
		}
		rows = append(rows, row)
	}
	return rows
}

func TestLoadFileHasFamiliesNativesAndText(t *testing.T) {
	messages := parsable(t)
	dir := filepath.Join(t.TempDir(), "out")
	opts := options(export.Concordance, dir)
	opts.Bates = export.Bates{Prefix: "ACME-", Start: 100}
	opts.AttachmentText = true
	run(t, instance(t, messages), opts)
	read := func(path string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(strings.ReplaceAll(path, `\`, "/"))))
		must(t, err)
		return data
	}
	next := 100
	family := map[string][]datRow{}
	for _, row := range readDAT(t, dir) {
		if want := "ACME-" + strings.Repeat("0", 5) + strconv.Itoa(next); row["BEGDOC"] != want || row["ENDDOC"] != want {
			t.Fatalf("document %s to %s, want %s", row["BEGDOC"], row["ENDDOC"], want)
		}
		next++
		if row["NATIVEPATH"] != "" && idOf(read(row["NATIVEPATH"])) != row["SHA256"] {
			t.Errorf("%s: the native file is not what the row says", row["BEGDOC"])
		}
		family[row["BEGATTACH"]] = append(family[row["BEGATTACH"]], row)
	}
	found := map[string]bool{}
	for begin, rows := range family {
		parent, last := rows[0], rows[len(rows)-1]
		found[parent["SHA256"]] = true
		if parent["BEGDOC"] != begin || parent["PARENTID"] != "" || parent["ENDATTACH"] != last["BEGDOC"] || parent["DOCTYPE"] != "Message" {
			t.Errorf("family %s: %v", begin, parent)
		}
		var children []string
		for _, child := range rows[1:] {
			children = append(children, child["BEGDOC"])
			if child["PARENTID"] != begin || child["ENDATTACH"] != last["BEGDOC"] || child["DOCTYPE"] != "Attachment" {
				t.Errorf("family %s: child %v", begin, child)
			}
		}
		if parent["ATTACHIDS"] != strings.Join(children, "; ") {
			t.Errorf("family %s: children %s, want %v", begin, parent["ATTACHIDS"], children)
		}
		if parent["SUBJECT"] == "family" {
			expectFamily(t, rows, read)
		}
	}
	for _, m := range messages {
		if !found[idOf(m)] {
			t.Errorf("%.60q is not in the load file", m)
		}
	}
}

func expectFamily(t *testing.T, rows []datRow, read func(string) []byte) {
	t.Helper()
	if len(rows) != 4 {
		t.Fatalf("%d documents: %v", len(rows), rows)
	}
	for i, want := range []struct{ name, ext, content, text string }{
		{"", "eml", string(nasty()[10]), "see attached\n"},
		{"../../etc/a.csv", "csv", "1;2\r\n3;4", "1;2\n3;4"},
		{"", "bin", "Subject: inner\r\n\r\ninner text", ""},
		{"x.DAT", "dat", "\x00\x01\x02\xff", ""},
	} {
		row := rows[i]
		if row["FILENAME"] != want.name || row["FILEEXT"] != want.ext || string(read(row["NATIVEPATH"])) != want.content {
			t.Errorf("document %d: %v, %q, want %+v", i, row, read(row["NATIVEPATH"]), want)
		}
		text := ""
		if row["TEXTPATH"] != "" {
			text = string(read(row["TEXTPATH"]))
		}
		if !strings.HasPrefix(text, want.text) || want.text == "" && text != "" {
			t.Errorf("document %d: text %q, want %q", i, text, want.text)
		}
	}
}

func TestEDRMFollowsTheSchema(t *testing.T) {
	xmllint := program(t, "xmllint")
	messages := parsable(t)
	dir := filepath.Join(t.TempDir(), "out")
	run(t, instance(t, messages), options(export.EDRM, dir))
	file := filepath.Join(dir, "edrm.xml")
	output(t, xmllint, "--noout", "--schema", filepath.Join("testdata", "edrm-1.2.xsd"), file)
	count := func(xpath string) string { return strings.TrimSpace(output(t, xmllint, "--xpath", xpath, file)) }
	if got := count("count(//Document[@DocType='Message'])"); got != strconv.Itoa(len(messages)) {
		t.Errorf("%s messages, want %d", got, len(messages))
	}
	if files, relations := count("count(//Document[@DocType='File'])"), count("count(//Relationship)"); files != relations || files == "0" {
		t.Errorf("%s attachments, %s relationships", files, relations)
	}
	for _, m := range messages {
		got := count("string(//ExternalFile[@Hash='" + idOf(m) + "']/@FileSize)")
		if got != strconv.Itoa(len(m)) {
			t.Errorf("%.60q: size %q, want %d", m, got, len(m))
		}
	}
	if got := count("string(//Tag[@TagName='#Subject'][contains(@TagValue,'alert(2)')]/@TagValue)"); got != "</title><script>alert(2)</script> =SUM(A1)" {
		t.Errorf("subject %q", got)
	}
}

func TestCSVIsReadFieldByField(t *testing.T) {
	messages := parsable(t)
	dir := filepath.Join(t.TempDir(), "out")
	run(t, instance(t, messages), options(export.CSV, dir))
	rows := readCSV(t, filepath.Join(dir, "metadata.csv"))
	if len(rows) != len(messages) {
		t.Fatalf("%d rows, want %d", len(rows), len(messages))
	}
	byID := map[string]map[string]string{}
	for _, row := range rows {
		byID[row["id"]] = row
		for _, f := range row {
			if f != "" && strings.ContainsRune("=+-@\t\r", rune(f[0])) {
				t.Errorf("a spreadsheet takes %q for a formula", f)
			}
		}
	}
	for i, m := range messages {
		row := byID[idOf(m)]
		if row["size"] != strconv.Itoa(len(m)) || row["mailboxes"] != []string{"sales", "support"}[i%2] {
			t.Errorf("%.60q: %q", m, row)
		}
	}
	row := byID[idOf(messages[0])]
	if row["subject"] != "plain" || row["from"] != "a@example.com" || row["date"] != "2026-03-01T09:00:00Z" {
		t.Errorf("%q", row)
	}
}

// readCSV returns the rows by column.
func readCSV(t *testing.T, file string) []map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	rows, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))).ReadAll()
	must(t, err)
	var out []map[string]string
	for _, row := range rows[1:] {
		named := map[string]string{}
		for i, f := range row {
			named[rows[0][i]] = f
		}
		out = append(out, named)
	}
	return out
}

func TestPagesHoldNothingActive(t *testing.T) {
	messages := parsable(t)
	dir := filepath.Join(t.TempDir(), "out")
	run(t, instance(t, messages), options(export.HTML, dir))
	active := regexp.MustCompile(`(?i)<\s*(script|img|iframe|object|embed|form|link|svg|video|audio|base|input|button)\b|\son[a-z]+\s*=\s*["']|javascript:|<meta[^>]+refresh`)
	pages := 0
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".html" {
			return err
		}
		pages++
		data, err := os.ReadFile(path)
		must(t, err)
		if hit := active.Find(data); hit != nil {
			t.Errorf("%s has %q", path, hit)
		}
		if !bytes.Contains(data, []byte(`<meta http-equiv="Content-Security-Policy" content="default-src 'none';`)) {
			t.Errorf("%s has no policy", path)
		}
		for _, href := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllSubmatch(data, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), filepath.FromSlash(string(href[1])))); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		return nil
	}))
	if pages != len(messages)+2 {
		t.Errorf("%d pages, want one for each of %d messages, a list and an index", pages, len(messages))
	}
	page, err := os.ReadFile(filepath.Join(dir, "messages", "0001", idOf(messages[8])+".html"))
	if err != nil || !strings.Contains(string(page), "&lt;script&gt;alert(4)") {
		t.Errorf("the text of the hostile message is not shown: %v", err)
	}
}

func TestManifestAndProofAreJSON(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	run(t, instance(t, nasty()), options(export.EML, dir))
	var manifest struct {
		Entries []struct {
			ID       string
			Deposits []struct{ Mailbox, UIDL string }
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	must(t, err)
	must(t, json.Unmarshal(data, &manifest))
	if len(manifest.Entries) != len(nasty())+1 || manifest.Entries[0].Deposits[0].Mailbox != "sales" || manifest.Entries[0].Deposits[0].UIDL != idOf(nasty()[0])[:20] {
		t.Errorf("%+v", manifest)
	}
	// The proof is one of the ledger's, which a program that knows nothing of exports checks.
	python := program(t, "python3")
	out := output(t, python, filepath.Join("..", "..", "archive", "ledger", "testdata", "verify_proof.py"), filepath.Join(dir, "proof.json"))
	if strings.Contains(out, "NOT") || strings.Count(out, "deposit") < len(nasty()) {
		t.Errorf("verify_proof.py: %s", out)
	}
}
