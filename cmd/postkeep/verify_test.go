package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/api"
)

// spoil flips a bit of a file of the archive, which may be sealed.
func (s *site) spoil(at int, elem ...string) {
	s.t.Helper()
	name := s.data(elem...)
	data, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.Chmod(name, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// verified reads the output of verify --json.
func verified(t *testing.T, out string) (damages []archive.Damage, report archive.VerifyReport) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(out))
	for dec.More() {
		var e api.VerifyEvent
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.Damage != nil {
			damages = append(damages, *e.Damage)
		}
		if e.Report != nil {
			report = *e.Report
		}
	}
	if report.Finished.IsZero() {
		t.Errorf("no report: %s", out)
	}
	return damages, report
}

func TestVerifySaysWhetherAllIsWell(t *testing.T) {
	s := filled(t, 30)
	check := func(t *testing.T) {
		out := s.ok("verify", "--deep")
		if !strings.Contains(out, "all is well") || !strings.Contains(out, "31 messages") || strings.Contains(out, "note") {
			t.Errorf("%s", out)
		}
		if _, r := verified(t, s.ok("verify", "--json", "--rate", "100MB")); r.Damages != 0 || r.Events == 0 {
			t.Errorf("%+v", r)
		}
		if out := s.ok("status"); !strings.Contains(out, "structure, all is well") {
			t.Errorf("status: %s", out)
		}
	}
	t.Run("closed", check)
	s.daemon()
	t.Run("running", check)
	if out := s.ok("verify", "--volume", "1"); strings.Contains(out, "ledger") {
		t.Errorf("one volume: %s", out)
	}
	if r := s.run("verify", "--volume", "7"); r.code != exitFailed || !strings.Contains(r.stderr, "no volume 7") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	for _, args := range [][]string{{"--rate", "fast"}, {"--checkpoint", "missing"}, {"--sideways"}} {
		if r := s.run(append([]string{"verify"}, args...)...); r.code != exitUsage {
			t.Errorf("%v: exit code %d", args, r.code)
		}
	}
}

func TestVerifyNamesDamage(t *testing.T) {
	s := filled(t, 30)
	s.spoil(2000, "volumes", "00000001.tar.zst")
	check := func(t *testing.T) {
		r := s.run("verify", "--deep")
		if r.code != exitFailed || !strings.Contains(r.stdout, "volumes/00000001.tar.zst, bytes") || !strings.Contains(r.stdout, " message ") {
			t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		for _, line := range strings.Split(r.stdout, "\n") {
			if len(line) > 80 {
				t.Errorf("more than 80 columns: %s", line)
			}
		}
		human := r.stdout
		r = s.run("verify", "--deep", "--json")
		damages, report := verified(t, r.stdout)
		if r.code != exitFailed || len(damages) != 1 || report.Damages != 1 || len(damages[0].Messages) == 0 {
			t.Fatalf("exit code %d, %+v", r.code, damages)
		}
		// How many messages the damaged frame has depends on how they came.
		hit := len(damages[0].Messages) + int(damages[0].More)
		for _, part := range []string{fmt.Sprintf("DAMAGE in 1 place(s), %d message(s)", hit), fmt.Sprintf("1, with %d messages", 31-hit)} {
			if !strings.Contains(human, part) {
				t.Errorf("not %q:\n%s", part, human)
			}
		}
		if shown := s.run("show", "--raw", damages[0].Messages[0]); shown.code == 0 {
			t.Error("the message that is named can be read")
		}
		if out := s.ok("status"); !strings.Contains(out, "PROBLEM") || !strings.Contains(out, "verification") {
			t.Errorf("status: %s", out)
		}
	}
	t.Run("closed", check)
	s.daemon()
	t.Run("running", check)
}

func TestVerifyReportsAnArchiveThatDoesNotOpen(t *testing.T) {
	for name, lose := range map[string]func(s *site) error{
		"keys/ledger.pub": func(s *site) error { return os.Remove(s.data("keys", "ledger.pub")) },
		"ledger":          func(s *site) error { return os.RemoveAll(s.data("ledger")) },
		"volumes":         func(s *site) error { return os.RemoveAll(s.data("volumes")) },
		"checkpoint":      func(s *site) error { return os.WriteFile(s.data("ledger", "checkpoint"), []byte("x"), 0o600) },
		"catalog.db": func(s *site) error {
			return os.WriteFile(s.data("catalog.db"), bytes.Repeat([]byte("garbage "), 5000), 0o600)
		},
	} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			s := filled(t, 3)
			if err := lose(s); err != nil {
				t.Fatal(err)
			}
			r := s.run("verify", "--deep")
			if r.code != exitFailed || !strings.Contains(r.stdout, name) || !strings.Contains(r.stdout, "result") || strings.Contains(r.stderr, "panic") {
				t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
}

func TestVerifyComparesWithASavedCheckpoint(t *testing.T) {
	s := filled(t, 3)
	older := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(older, os.DirFS(s.data())); err != nil {
		t.Fatal(err)
	}
	s.ok("search", "hello")
	s.ok("verify", "--save-checkpoint", "kept")
	s.ok("search", "contract")
	if out := s.ok("verify", "--checkpoint", "kept"); !strings.Contains(out, "1 checkpoint(s)") {
		t.Errorf("%s", out)
	}
	if err := removeAll(s.data()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.data(), os.DirFS(older)); err != nil {
		t.Fatal(err)
	}
	s.ok("verify", "--deep") // sound in itself
	for _, running := range []bool{false, true} {
		if running { // what was put back is a copy
			s.daemon("--take-over")
		}
		r := s.run("verify", "--checkpoint", "kept", "--save-checkpoint", "other")
		if r.code != exitFailed || !strings.Contains(r.stdout, "kept") || !strings.Contains(r.stdout, "does not continue") {
			t.Errorf("exit code %d\n%s", r.code, r.stdout)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "other")); err == nil {
		t.Error("a checkpoint was saved although there is damage")
	}
}

// await asks for the status until it is as it should be.
func await(t *testing.T, client *api.Client, what string, ok func(api.Status) bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if ok(st) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %+v", what, st)
		}
	}
}

// configure appends to the configuration.
func (s *site) configure(yaml string) {
	s.t.Helper()
	config, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("postkeep.yaml", string(config)+yaml)
}

func TestArchiveIsVerifiedBySchedule(t *testing.T) {
	s := filled(t, 3)
	s.configure("archive: { verify: { schedule: \"@every 1s\" } }\n")
	client, stop := s.daemon()
	await(t, client, "verified", func(st api.Status) bool {
		v := st.Archive.Verified
		return v != nil && v.Scheduled && v.Deep && v.Damages == 0
	})
	s.spoil(2000, "volumes", "00000001.tar.zst")
	await(t, client, "damaged", func(st api.Status) bool { return st.Archive.Verified.Damages > 0 && len(st.Problem) > 0 })
	if _, log := stop(os.Interrupt); !strings.Contains(log, "archive is damaged") || !strings.Contains(log, "00000001.tar.zst") {
		t.Errorf("log: %s", log)
	}
}

func TestCheckpointsAreAnchored(t *testing.T) {
	var mu sync.Mutex
	var sent []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if r.Method != http.MethodPut || r.Header.Get("Authorization") != "Bearer geheim" {
			t.Errorf("%s with %q", r.Method, r.Header.Get("Authorization"))
		}
		sent = append(sent, r.URL.Path+"\n"+string(body))
	}))
	defer server.Close()
	s := filled(t, 3)
	s.configure("anchors:\n  - { file: anchored, schedule: \"@every 1s\" }\n  - { url: \"" + server.URL +
		"/{size}?token=secret\", method: PUT, token_file: password, schedule: \"@every 1s\" }\n  - { url: \"" + server.URL + "/refused\", schedule: \"@daily\" }\n")
	s.write("password", "geheim\n")
	client, stop := s.daemon()
	await(t, client, "anchored", func(st api.Status) bool {
		return len(st.Anchors) == 3 && !st.Anchors[0].Last.IsZero() && !st.Anchors[1].Last.IsZero() &&
			strings.Contains(st.Anchors[2].Error, "403") && st.Anchors[2].Last.IsZero() && len(st.Problem) > 0
	})
	st, err := client.Status(t.Context())
	if err != nil || strings.Contains(st.Anchors[1].Anchor, "secret") {
		t.Errorf("%+v, %v", st.Anchors, err)
	}
	before := st.Anchors[0].Events
	s.ok("search", "hello")
	await(t, client, "anchored again", func(st api.Status) bool { return st.Anchors[0].Events > before && st.Anchors[1].Events > before })
	if _, log := stop(os.Interrupt); strings.Contains(log, "secret") {
		t.Errorf("log: %s", log)
	}
	mu.Lock()
	if len(sent) < 2 || !strings.HasPrefix(sent[0], "/") || !strings.Contains(sent[0], "postkeep/") {
		t.Errorf("sent %q", sent)
	}
	mu.Unlock()
	notes, err := os.ReadFile(filepath.Join(s.dir, "anchored"))
	if n := bytes.Count(notes, []byte("\n\n\n")); err != nil || n != 2 {
		t.Errorf("%d checkpoints are in the file, want one for each change: %v\n%s", n, err, notes)
	}
	if _, r := verified(t, s.ok("verify", "--json")); r.Checkpoints != 2 {
		t.Errorf("%+v", r)
	}
	s.write("anchored", strings.Replace(string(notes), "\n1", "\n9", 1)+"junk")
	if r := s.run("verify"); r.code != exitFailed || !strings.Contains(r.stdout, "anchored") {
		t.Errorf("exit code %d\n%s", r.code, r.stdout)
	}
}

func TestCatalogIsMadeAnewWhileAnInstanceRuns(t *testing.T) {
	s := filled(t, 30)
	want := s.ok("search", "--json", "")
	s.daemon()
	if out := s.ok("rebuild", "catalog"); !strings.HasPrefix(out, "catalog of 31 messages") {
		t.Errorf("%s", out)
	}
	if got := s.ok("search", "--json", ""); got != want {
		t.Errorf("search gives\n%s\nwant\n%s", got, want)
	}
	if out := s.ok("verify", "--deep"); !strings.Contains(out, "all is well") {
		t.Errorf("%s", out)
	}
}

// viewNumber is the number of the event that says that a person looked at a
// message: each look has its own.
var viewNumber = regexp.MustCompile(`"view":[0-9]+,`)

// All but volumes, ledger and keys is derived.
func TestArchiveComesBackFromVolumesLedgerAndKeys(t *testing.T) {
	s := filled(t, 30)
	look := func() string {
		out := s.ok("search", "--json", "") + s.ok("search", "--json", "--sort", "date", "number")
		for _, line := range strings.Split(strings.TrimSpace(s.ok("search", "--json", "--limit", "5", "")), "\n") {
			var m struct{ ID string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			out += viewNumber.ReplaceAllString(s.ok("show", "--json", m.ID), "") + s.ok("show", m.ID) + s.ok("show", "--raw", m.ID)
		}
		return out
	}
	want := look()
	entries, err := os.ReadDir(s.data())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "volumes" && name != "ledger" && name != "keys" {
			if err := os.RemoveAll(s.data(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.ok("verify", "--deep")
	s.ok("rebuild", "catalog")
	s.ok("rebuild", "index")
	if r := s.run("run"); r.code != exitFailed || !strings.Contains(r.stderr, "--take-over") { // it was restored
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	if _, stop := s.daemon("--take-over"); true {
		if code, log := stop(os.Interrupt); code != 0 {
			t.Fatalf("exit code %d: %s", code, log)
		}
	}
	if got := look(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
