package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postkeep/postkeep/internal/dovecot"
	"github.com/postkeep/postkeep/web/api"
)

// boxesOf are the deposits of each mailbox in a site's archive.
func boxesOf(t *testing.T, s *site) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for dec := json.NewDecoder(strings.NewReader(s.ok("mailbox", "list", "--json"))); dec.More(); {
		var m api.Mailbox
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		out[m.Name] = m.Deposits
	}
	return out
}

// siteOn is a site with some mailboxes that carries its mail over an external NATS.
func siteOn(t *testing.T, nats string, server *dovecot.Server, users ...string) *site {
	t.Helper()
	yaml := "nats: { url: \"" + nats + "\" }\nmailboxes:\n"
	for _, u := range users {
		yaml += mailboxYAML(server, u, "")
	}
	return newSite(t, yaml)
}

func TestTwoArchivesOnOneNATSDoNotTouchEachOthersMail(t *testing.T) {
	north, south := []string{"n1", "n2", "common"}, []string{"s1", "s2", "s3"}
	server := startDovecot(t, append(append([]string{}, north...), south...)...)
	for i, msg := range generated(t, 300) {
		deliver(t, server, append(north, south...)[i%6], [][]byte{msg})
	}
	nats := startNATS(t)
	sites := []*site{siteOn(t, nats, server, north...), siteOn(t, nats, server, south...)}
	for _, s := range sites {
		s.daemon()
	}
	for i, s := range sites {
		polled := s.run("poll", "--json")
		all := reports(t, polled.stdout)
		if polled.code != 0 || len(all) != 3 {
			t.Errorf("poll of archive %d: exit code %d: %s", i, polled.code, polled.stderr)
		}
		for name, r := range all {
			if r.Listed != 50 || r.Archived != 50 || r.Deleted != 50 || r.Error != "" {
				t.Errorf("%s: %+v", name, r)
			}
		}
		own := [][]string{north, south}[i]
		boxes := boxesOf(t, s)
		if len(boxes) != len(own) {
			t.Errorf("archive %d has the mailboxes %v, want only %v", i, boxes, own)
		}
		for _, name := range own {
			if boxes[name] != 50 {
				t.Errorf("archive %d has %d messages of %s, want 50", i, boxes[name], name)
			}
		}
	}
	wantEmpty(t, server, append(north, south...)...)
}

// cloneSite copies a site with its data directory, as somebody does who moves it to another machine.
func cloneSite(t *testing.T, s *site) *site {
	t.Helper()
	clone := &site{t: t, dir: t.TempDir()}
	clone.config = filepath.Join(clone.dir, "postkeep.yaml")
	for _, name := range []string{"postkeep.yaml", "password"} {
		data, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		clone.write(name, string(data))
	}
	if err := os.CopyFS(filepath.Join(clone.dir, "data"), os.DirFS(filepath.Join(s.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	return clone
}

func TestACopiedDirectoryNeitherPollsNorSignsBeforeItIsTakenOver(t *testing.T) {
	server := startDovecot(t, "sales")
	messages := generated(t, 30)
	deliver(t, server, "sales", messages[:10])
	nats := startNATS(t)
	s := siteOn(t, nats, server, "sales")
	s.ok("poll")
	clone := cloneSite(t, s)
	_, stop := s.daemon()
	deliver(t, server, "sales", messages[10:20])

	checkpoint := filepath.Join(clone.dir, "data", "ledger", "checkpoint")
	before, err := os.ReadFile(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"run"}, {"poll"}} {
		r := clone.run(command...)
		if r.code != exitFailed || !strings.Contains(r.stderr, "is a copy") || !strings.Contains(r.stderr, "--take-over") {
			t.Errorf("%v in a copy: exit code %d: %s", command, r.code, r.stderr)
		}
	}
	found := clone.run("search", "--json", "mailbox:sales")
	if n := strings.Count(found.stdout, "\n"); found.code != 0 || n != 10 || !strings.Contains(found.stderr, "is a copy") {
		t.Errorf("search in a copy: exit code %d, %d found: %s", found.code, n, found.stderr)
	}
	if out := clone.ok("status"); !strings.Contains(out, "PROBLEM") || !strings.Contains(out, "is a copy") {
		t.Errorf("status of a copy: %s", out)
	}
	var first struct{ ID string }
	if err := json.Unmarshal([]byte(strings.SplitN(found.stdout, "\n", 2)[0]), &first); err != nil {
		t.Fatal(err)
	}
	clone.ok("show", "--raw", first.ID)
	clone.ok("verify", "--deep")
	clone.ok("export", "--query", "mailbox:sales", "--format", "eml", "--out", filepath.Join(clone.dir, "out"))
	if after, err := os.ReadFile(checkpoint); err != nil || string(after) != string(before) {
		t.Errorf("the copy has signed (%v):\n%s", err, after)
	}

	// The copy is taken over while the original runs: that stops, and may not start again. Messages that the original has taken from the
	// stream meanwhile stay on the server until the next poll.
	taken := clone.run("poll", "--take-over")
	if code, log := stop(syscall.Signal(0)); code != exitFailed || !strings.Contains(log, clone.dir) {
		t.Errorf("the original: exit code %d\n%s", code, log)
	}
	if r := s.run("run"); r.code != exitFailed || !strings.Contains(r.stderr, "may lack") || !strings.Contains(r.stderr, "--take-over") {
		t.Errorf("the original again: exit code %d: %s", r.code, r.stderr)
	}
	if r := clone.run("poll", "--take-over"); r.code != 0 { // nothing is left to take over
		t.Fatalf("take over: %s%s\nbefore: %s%s", r.stdout, r.stderr, taken.stdout, taken.stderr)
	}
	deliver(t, server, "sales", messages[20:])
	clone.ok("poll")
	wantEmpty(t, server, "sales")
	if boxes := boxesOf(t, clone); boxes["sales"] != 30 {
		t.Errorf("the copy has %v", boxes)
	}
	clone.ok("verify", "--deep")
	if st := clone.ok("status", "--json"); !strings.Contains(st, `"epoch":2`) {
		t.Errorf("status after the take-over: %s", st)
	}
}

// An older snapshot is put back into the same directory, and file by file, so that nothing on the disk tells: NATS does.
func TestAnOlderSnapshotPutBackIsNotServed(t *testing.T) {
	server := startDovecot(t, "sales")
	messages := generated(t, 30)
	deliver(t, server, "sales", messages[:10])
	s := siteOn(t, startNATS(t), server, "sales")
	s.ok("poll")
	data := filepath.Join(s.dir, "data")
	snapshot := filepath.Join(s.dir, "snapshot")
	if err := os.CopyFS(snapshot, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	deliver(t, server, "sales", messages[10:20])
	s.ok("poll")
	overwrite(t, snapshot, data)

	deliver(t, server, "sales", messages[20:])
	r := s.run("poll")
	if r.code != exitFailed || !strings.Contains(r.stderr, "older copy") || !strings.Contains(r.stderr, "--take-over") {
		t.Errorf("poll: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if n, err := server.Count(t.Context(), "sales"); err != nil || n != 10 {
		t.Errorf("%d messages on the server (%v), want 10", n, err)
	}
	s.ok("poll", "--take-over")
	s.ok("poll")
	if boxes := boxesOf(t, s); boxes["sales"] != 20 {
		t.Errorf("the archive has %v", boxes)
	}
}

// overwrite writes the content of files into those of the same name, which keep their inodes, and removes what is not there.
func overwrite(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(to, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(to, path)
		if err != nil {
			return err
		}
		old, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) {
			return os.Remove(path)
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(path, old, 0o600); err != nil {
			return err
		}
		return os.Chmod(path, info.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
}
