package main

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/api"
)

// withFile is a message with an attachment.
func withFile(subject, name string, content []byte) pop3test.Message {
	return pop3test.Bytes(fmt.Appendf(nil, "Subject: %s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee attached\r\n"+
		"--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=%s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n--b--\r\n",
		subject, name, base64.StdEncoding.EncodeToString(content)))
}

func archived(t *testing.T, name, content string, encrypted bool) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	h := &zip.FileHeader{Name: name, UncompressedSize64: uint64(len(content)), CompressedSize64: uint64(len(content))}
	if encrypted {
		h.Flags = 1
		w, err := z.CreateRaw(h)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
	} else {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func attachmentYAML(t *testing.T) string {
	t.Helper()
	return scriptedYAML(startScripted(t, pop3test.Config{},
		withFile("offer", "offer.zip", archived(t, "terms.rtf", `{\rtf1 penalty for delays}`, false)),
		withFile("payroll", "payroll.zip", archived(t, "salaries.txt", "ciphertext", true)),
	), "")
}

func TestTextOfAttachmentsIsFound(t *testing.T) {
	s := newSite(t, attachmentYAML(t))
	s.ok("poll")
	for query, want := range map[string]string{"penalty delays": "1", `attachment:"terms.rtf"`: "1", "is:partial": "1", "is:encrypted": "1", "salaries": "1"} {
		if got := strings.TrimSpace(s.ok("search", "--count", query)); got != want {
			t.Errorf("%s: %s found, want %s", query, got, want)
		}
	}
	var m api.Message
	if err := json.Unmarshal([]byte(s.ok("search", "--json", "is:partial")), &m); err != nil {
		t.Fatal(err)
	}
	const reason = "payroll.zip: salaries.txt: encrypted"
	if len(m.Problems) != 1 || m.Problems[0] != reason {
		t.Errorf("problems %q", m.Problems)
	}
	if out := s.ok("show", m.ID); !strings.Contains(out, reason) || !strings.Contains(out, "encrypted, partial") {
		t.Errorf("show says\n%s", out)
	}
}

func TestAttachmentsAreNotReadWhereThatIsSwitchedOff(t *testing.T) {
	s := newSite(t, attachmentYAML(t)+"index: { extract: false }\n")
	s.ok("poll")
	for query, want := range map[string]string{"penalty": "0", "offer.zip": "1", "is:partial": "2"} {
		if got := strings.TrimSpace(s.ok("search", "--count", query)); got != want {
			t.Errorf("%s: %s found, want %s", query, got, want)
		}
	}
}

// TestAHoldCoversWhatWasNotRead: while attachments are not read, a hold on their text covers them in doubt, and what it has covered it covers
// when they are read and do not have it.
func TestAHoldCoversWhatWasNotRead(t *testing.T) {
	yaml := attachmentYAML(t)
	s := newSite(t, yaml+"index: { extract: false }\n")
	s.ok("poll")
	place := []string{"hold", "place", "--name", "matter", "--reason", "a claim", "--query", "attachment:penalty"}
	if out := s.ok(place...); !strings.Contains(out, "covers 2 messages") {
		t.Errorf("hold place: %s", out)
	}
	s.ok("retention", "policy", "add", "--name", "penalties", "--query", "attachment:penalty", "--max", "1s")
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.write("postkeep.yaml", strings.Replace(string(config), "extract: false", "extract: true", 1))
	var hits []api.Message
	for line := range strings.Lines(s.ok("search", "--json", "subject:offer OR subject:payroll")) {
		var m api.Message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		hits = append(hits, m)
	}
	s.ok("poll") // waits until everything is indexed
	s.ok("rebuild", "index")
	if len(hits) != 2 || strings.TrimSpace(s.ok("search", "--count", "attachment:penalty")) != "1" || strings.TrimSpace(s.ok("search", "--count", "is:held")) != "2" {
		t.Errorf("%d messages; held:\n%s", len(hits), s.ok("search", "is:held"))
	}
	for _, m := range hits {
		if res := s.run("erase", m.ID, "--reason", "a request", "--yes"); res.code == 0 || !strings.Contains(res.stderr, "matter") {
			t.Errorf("%s is erased: %+v", m.Subject, res)
		}
	}
	// The rule did not find it before.
	added := "+ " + hits[0].ID
	if hits[0].Subject != "offer" {
		added = "+ " + hits[1].ID
	}
	if out := strings.TrimSpace(s.ok("retention", "policy", "differences", "penalties")); out != added {
		t.Errorf("differences %q, want %q", out, added)
	}
	if res := s.run("status"); !strings.Contains(res.stdout, "retention policy differences") {
		t.Errorf("status: %+v", res)
	}
	if out := s.ok("retention", "plan"); !strings.Contains(out, "0 deposits due and held") || !strings.Contains(out, "1 deposit not looked at") {
		t.Errorf("plan: %s", out)
	}
	if res := s.run("retention", "policy", "confirm", "penalties", "--all"); res.code == 0 {
		t.Errorf("confirmed without an answer: %+v", res)
	}
	if out := s.ok("retention", "policy", "confirm", "penalties", added[2:]); !strings.Contains(out, "1 message confirmed, 0 left") {
		t.Errorf("confirmation: %s", out)
	}
	if out := s.ok("retention", "plan"); !strings.Contains(out, "1 deposit due and held") {
		t.Errorf("plan after the confirmation: %s", out)
	}
	place = []string{"hold", "place", "--name", "nobody", "--reason", "a claim", "--custodian", "nosuch@example.com"}
	if res := s.run(place...); res.code == 0 || !strings.Contains(res.stderr, "no message has the address") || strings.Contains(s.ok("hold", "list"), "nobody") {
		t.Errorf("a hold on nobody: %+v", res)
	}
	s.ok(append(place, "--yes")...)
}

// readers returns the processes under the daemon that read attachments.
func (s *site) readers() []string {
	var pids []string
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		var state string
		var parent int
		if _, err := fmt.Sscan(rest, &state, &parent); err == nil && parent == s.process.Pid {
			pids = append(pids, filepath.Base(filepath.Dir(stat)))
		}
	}
	return pids
}

func TestReadersEndWithTheDaemon(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks for processes in /proc")
	}
	for name, sig := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, attachmentYAML(t))
			_, stop := s.daemon()
			s.ok("poll")
			readers := s.readers()
			if len(readers) == 0 {
				t.Fatal("no process reads attachments")
			}
			stop(sig)
			for _, pid := range readers {
				waitGone(t, filepath.Join("/proc", pid))
			}
		})
	}
}

// waitGone waits until a process has ended. Nobody may be there to collect an orphan.
func waitGone(t *testing.T, dir string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s goes on", dir)
		}
	}
}
