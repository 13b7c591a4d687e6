package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// filled is a site whose archive holds n small messages, and one large enough
// for frames of its own.
func filled(t *testing.T, n int) *site {
	t.Helper()
	large, err := io.ReadAll(mailgen.Large(2 << 20))
	if err != nil {
		t.Fatal(err)
	}
	server := startScripted(t, pop3test.Config{}, append(small(n), pop3test.Bytes(large))...)
	s := newSite(t, scriptedYAML(server, ""))
	s.ok("poll")
	return s
}

func (s *site) data(elem ...string) string {
	return filepath.Join(append([]string{s.dir, "data"}, elem...)...)
}

func TestNewArchiveHasNoProblem(t *testing.T) {
	s := newSite(t, "mailboxes: []\n")
	if out := s.ok("status"); strings.Contains(out, "PROBLEM") {
		t.Errorf("status of a new archive:\n%s", out)
	}
}

func TestDerivedFilesAreMadeAnew(t *testing.T) {
	s := filled(t, 30)
	want := s.ok("search", "--json", "")
	for name, lose := range map[string]func() error{
		"catalog removed": func() error { return os.Remove(s.data("catalog.db")) },
		"catalog overwritten": func() error {
			f, err := os.OpenFile(s.data("catalog.db"), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte(strings.Repeat("garbage ", 4096)), 4096)
			return errors.Join(err, f.Close())
		},
		"index removed":   func() error { return os.RemoveAll(s.data("index")) },
		"streams removed": func() error { return os.RemoveAll(s.data("nats")) },
		"all of them": func() error {
			return errors.Join(os.Remove(s.data("catalog.db")), os.RemoveAll(s.data("index")), os.RemoveAll(s.data("nats")))
		},
		"nothing": func() error { return nil },
	} {
		if err := lose(); err != nil {
			t.Fatal(name, err)
		}
		s.ok("rebuild", "index") // waits until everything is indexed and described
		if got := s.ok("search", "--json", ""); got != want {
			t.Errorf("%s: search gives\n%s\nwant\n%s", name, got, want)
		}
		s.ok("rebuild", "catalog")
		if got := s.ok("search", "--json", ""); got != want {
			t.Errorf("%s, catalog rebuilt: search gives\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestExportWaitsForTheIndex(t *testing.T) {
	s := filled(t, 30)
	if err := os.RemoveAll(s.data("index")); err != nil {
		t.Fatal(err)
	}
	if out := s.ok("export", "--out", "all"); !strings.HasPrefix(out, "31 messages") {
		t.Errorf("export: %s", out)
	}
}

func TestExportGoesOnBehindADamagedMessage(t *testing.T) {
	s := filled(t, 30)
	volume := s.data("volumes", "00000001.tar.zst")
	data, err := os.ReadFile(volume)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1 // in the large message
	if err := os.WriteFile(volume, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.run("export", "--out", "all")
	if r.code != exitPartly || !strings.HasPrefix(r.stdout, "30 messages") || !strings.Contains(r.stderr, "are damaged in the archive") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

func TestMissingFileIsTheTroubleOfItsMailboxAlone(t *testing.T) {
	server := startScripted(t, pop3test.Config{}, small(2)...)
	yaml := scriptedYAML(server, "")
	s := newSite(t, yaml+strings.Replace(strings.TrimPrefix(yaml, "mailboxes:\n"), "name: sales", "name: other, ca_file: missing.pem", 1))
	r := s.run("poll", "--json")
	polled := reports(t, r.stdout)
	if r.code != exitPartly || polled["sales"].Archived != 2 || !strings.Contains(polled["other"].Error, "missing.pem") {
		t.Errorf("exit code %d, %+v", r.code, polled)
	}
	if out := s.ok("search", "--count", ""); strings.TrimSpace(out) != "2" {
		t.Errorf("search: %s", out)
	}
}

func TestReadingNeedsNoNATS(t *testing.T) {
	s := filled(t, 3)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write("postkeep.yaml", string(config)+"nats: { url: \"nats://127.0.0.1:1\" }\n")
	s.ok("search", "hello")
	s.ok("export", "--out", "all")
	s.ok("mailbox", "list")
	if r := s.run("poll"); r.code != exitFailed {
		t.Errorf("poll: exit code %d", r.code)
	}
}

func TestAHoldThatCannotBeReadIsAProblem(t *testing.T) {
	s := filled(t, 2)
	s.ok("hold", "place", "--name", "Smith v Jones", "--reason", "a claim", "--query", "hello")
	name := s.data("ledger", "details.jsonl")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(data), "a claim")
	data[at] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.run("hold", "list"); r.code != exitDone || !strings.Contains(r.stdout, "a claim") { // the catalog knows it
		t.Errorf("hold list: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	s.ok("rebuild", "catalog")
	r := s.run("hold", "list")
	if r.code != exitPartly || !strings.Contains(r.stdout, "cannot be read") || !strings.Contains(r.stderr, "a hold may be missing") {
		t.Errorf("hold list: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := s.run("hold", "list", "--json"); r.code != exitPartly || !strings.Contains(r.stdout, `"unreadable":true`) {
		t.Errorf("hold list --json: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if out := s.ok("status"); !strings.Contains(out, "PROBLEM") || !strings.Contains(out, "nobody can say what is held") {
		t.Errorf("status:\n%s", out)
	}
	for _, command := range [][]string{{"retention", "plan"}, {"hold", "show", "Smith v Jones"}, {"search", "is:held"}} {
		if r := s.run(command...); r.code != exitFailed || !strings.Contains(r.stderr, "nobody can say what is held") {
			t.Errorf("%v: exit code %d\n%s%s", command, r.code, r.stdout, r.stderr)
		}
	}
}
