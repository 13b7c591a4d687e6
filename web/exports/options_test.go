package exports

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/postkeep/postkeep/archive/export"
)

// subjects are those of the messages in a CSV export, in its order.
func subjects(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, row := range readCSV(t, filepath.Join(dir, "metadata.csv")) {
		out = append(out, row["subject"])
	}
	return out
}

func mail(subject, id, references, body string, more ...string) []byte {
	return []byte(strings.Join(more, "") + "From: a@example.com\r\nDate: Sun, 1 Mar 2026 10:00:00 +0000\r\nMessage-ID: <" + id + ">\r\n" +
		"References: " + references + "\r\nSubject: " + subject + "\r\n\r\n" + body + "\r\n")
}

func TestDuplicatesAreLeftOutAndNamed(t *testing.T) {
	messages := [][]byte{
		mail("one", "1@x", "", "same", "Received: from here\r\n"),
		mail("one", "1@x", "", "same", "Received: from elsewhere\r\n"),
		mail("one", "1@x", "", "other text"),
		mail("two", "2@x", "", "same"),
	}
	opts := options(export.CSV, filepath.Join(t.TempDir(), "out"))
	opts.Deduplicate = true
	r := run(t, instance(t, messages), opts)
	if got := subjects(t, opts.Out); !slices.Equal(got, []string{"one", "one", "two"}) || r.Omitted != 1 {
		t.Errorf("%q, %+v", got, r)
	}
	if v := verified(t, opts.Out, export.VerifyOptions{}); v.Omitted != 1 || v.Messages != 3 || v.Deposits != 4 {
		t.Errorf("%+v", v)
	}
	manifest, err := os.ReadFile(filepath.Join(opts.Out, "manifest.json"))
	must(t, err)
	if !strings.Contains(string(manifest), `"id":"`+idOf(messages[1])) || !strings.Contains(string(manifest), `"omitted":"duplicate"`) {
		t.Errorf("the manifest does not name the duplicate:\n%s", manifest)
	}
}

func TestTheNewestOfEveryThreadIsExported(t *testing.T) {
	opts := options(export.CSV, filepath.Join(t.TempDir(), "out"))
	opts.OnePerThread = true
	run(t, instance(t, [][]byte{
		mail("root", "1@x", "", "a"),
		mail("alone", "9@x", "", "b"),
		mail("reply", "2@x", "<1@x>", "c"),
		mail("other branch", "3@x", "<1@x>", "d"),
		[]byte("Subject: no id\r\n\r\nx\r\n"),
		[]byte("Subject: no id, too\r\n\r\nx\r\n"),
	}), opts)
	if got := subjects(t, opts.Out); !slices.Equal(got, []string{"no id, too", "no id", "other branch", "alone"}) {
		t.Errorf("%q", got)
	}
}

func TestVolumesKeepToTheSize(t *testing.T) {
	messages := generated(t, 40)
	c := instance(t, messages)
	const limit = 40 << 10
	for _, format := range []export.Format{export.EML, export.Mbox, export.Concordance} {
		opts := options(format, filepath.Join(t.TempDir(), "out"))
		opts.SplitBytes = limit
		run(t, c, opts)
		volumes := 0
		entries, err := os.ReadDir(opts.Out)
		must(t, err)
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			volumes++
			files := snapshot(t, filepath.Join(opts.Out, e.Name()))
			total := 0
			for _, content := range files {
				total += len(content)
			}
			if format != export.Concordance && total > limit && len(files) > 1 {
				t.Errorf("%s: %s has %d bytes", format, e.Name(), total)
			}
		}
		if volumes < 3 {
			t.Errorf("%s: %d volumes", format, volumes)
		}
	}
	opts := options(export.EML, filepath.Join(t.TempDir(), "out.zip"))
	opts.SplitBytes = limit
	if _, err := Run(t.Context(), c, opts); !errors.Is(err, export.ErrOptions) {
		t.Errorf("a zip in volumes: %v", err)
	}
}

func TestEncryptedExportOpensWithItsKeyOnly(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	must(t, err)
	other, err := age.GenerateX25519Identity()
	must(t, err)
	const canary = "canary-7f31"
	large := []byte("Subject: large\r\n\r\n" + strings.Repeat(canary+"\r\n", 200_000)) // does not stay in memory
	dir := t.TempDir()
	opts := options(export.EML, filepath.Join(dir, "out"))
	opts.EncryptTo = []age.Recipient{id.Recipient()}
	opts.Progress = func(int64) { expectNoCanary(t, dir, canary) }
	r := run(t, instance(t, append(nasty(), large)), opts)
	if r.Path != opts.Out+".zip.age" {
		t.Errorf("written to %s", r.Path)
	}
	expectNoCanary(t, dir, canary)
	if v := verified(t, r.Path, export.VerifyOptions{Key: r.Key, Identities: []age.Identity{id}}); len(v.Problems) > 0 || !v.SignerVerified {
		t.Errorf("%+v", v)
	}
	for _, ids := range [][]age.Identity{nil, {other}} {
		if _, err := export.Verify(t.Context(), r.Path, export.VerifyOptions{Identities: ids}); err == nil {
			t.Errorf("opened with %v", ids)
		}
	}
	data, err := os.ReadFile(r.Path)
	must(t, err)
	for at := 0; at < len(data); at += len(data) / 40 {
		data[at] ^= 1
		must(t, os.WriteFile(r.Path, data, 0o600))
		if v, err := export.Verify(t.Context(), r.Path, export.VerifyOptions{Identities: []age.Identity{id}}); err == nil && len(v.Problems) == 0 {
			t.Errorf("byte %d: not found", at)
		}
		data[at] ^= 1
	}
}

// expectNoCanary looks through everything in a directory, and that it is one file.
func expectNoCanary(t *testing.T, dir, canary string) {
	t.Helper()
	for name, content := range snapshotAll(t, dir) {
		if strings.Contains(content, canary) {
			t.Errorf("%s has the plaintext", name)
		}
	}
}

func TestFullDiskIsFoundBeforeAnythingIsWritten(t *testing.T) {
	c := instance(t, nasty())
	opts := options(export.EML, filepath.Join(t.TempDir(), "out"))
	opts.Free = func(string) (int64, error) { return 10 << 10, nil }
	opts.Progress = func(int64) { t.Error("a message was exported") }
	if _, err := Run(t.Context(), c, opts); !errors.Is(err, export.ErrSpace) {
		t.Errorf("%v", err)
	}
	opts.Progress = nil
	opts.Free = func(string) (int64, error) { return 1 << 30, nil }
	run(t, c, opts)
}

func TestDatesAreInTheTimeZoneAskedFor(t *testing.T) {
	opts := options(export.Concordance, filepath.Join(t.TempDir(), "out"))
	zone, err := time.LoadLocation("Asia/Karachi") // five hours, always
	must(t, err)
	opts.Location = zone
	run(t, instance(t, nasty()[:1]), opts)
	row := readDAT(t, opts.Out)[0]
	if got := fmt.Sprint(row["DATESENT"], " ", row["TIMESENT"], " ", row["DATERECEIVED"], " ", row["TIMERECEIVED"], " ", row["TIMEZONE"]); got != "2026-03-01 14:00:00 2026-03-01 13:00:00 Asia/Karachi" {
		t.Errorf("got %s", got)
	}
}

func TestHostileNumbersAndFormatsAreRefused(t *testing.T) {
	c := instance(t, nasty()[:1])
	for name, set := range map[string]func(*export.Options){
		"path in a prefix":     func(o *export.Options) { o.Format, o.Bates.Prefix = export.Concordance, "../x" },
		"hidden prefix":        func(o *export.Options) { o.Format, o.Bates.Prefix = export.Concordance, ".x" },
		"negative start":       func(o *export.Options) { o.Format, o.Bates.Start = export.Concordance, -1 },
		"unknown format":       func(o *export.Options) { o.Format = "pst" },
		"text without a place": func(o *export.Options) { o.Format, o.AttachmentText = export.EML, true },
		"no destination":       func(o *export.Options) { o.Format, o.Out = export.EML, "" },
	} {
		opts := options("", filepath.Join(t.TempDir(), "out"))
		set(&opts)
		if _, err := Run(t.Context(), c, opts); !errors.Is(err, export.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
