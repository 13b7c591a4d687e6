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
