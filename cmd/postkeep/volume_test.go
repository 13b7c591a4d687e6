package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestEncryptedArchiveIsFilledWithoutTheKeyAndReadWithIt(t *testing.T) {
	var keys [2]*age.X25519Identity
	for i := range keys {
		key, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	server := startScripted(t, pop3test.Config{}, small(5)...)
	mail := scriptedYAML(server, "")
	public := mail + "archive:\n  encryption:\n    recipients: [" + keys[0].Recipient().String() + "]\n"
	s := newSite(t, public)
	s.write("key", keys[0].String()+"\n")
	s.ok("poll")
	if out := s.ok("status"); !strings.Contains(out, "PROBLEM") || !strings.Contains(out, "identity_file") {
		t.Errorf("status without the key:\n%s", out)
	}
	if r := s.run("search", ""); !strings.Contains(r.stderr, "encrypted") {
		t.Errorf("search without the key: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	s.write("postkeep.yaml", "data_dir: data\n"+public+"    identity_file: key\n")
	if r := s.run("poll"); r.code != 0 {
		t.Errorf("poll: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	s.ok("rebuild", "index") // waits until all is indexed
	found := strings.Fields(s.ok("search", "--json", ""))
	if out := s.ok("status"); len(found) == 0 || strings.Contains(out, "PROBLEM") {
		t.Errorf("status with the key:\n%s\nfound:\n%s", out, found)
	}
	s.ok("verify", "--deep")

	file := s.data("volumes", "00000001.pkv")
	if r := s.run("volume", "cat", file); r.code != exitFailed || !strings.Contains(r.stderr, "-i") {
		t.Errorf("cat without the key: exit code %d, %s", r.code, r.stderr)
	}
	tarfile := s.ok("volume", "cat", "-i", filepath.Join(s.dir, "key"), file)
	list := exec.CommandContext(t.Context(), "tar", "-t")
	list.Stdin = strings.NewReader(tarfile)
	if out, err := list.Output(); err != nil || strings.Count(string(out), ".eml") != 5 {
		t.Errorf("tar lists %v\n%s", err, out)
	}

	s.write("key", keys[0].String()+"\n"+keys[1].String()+"\n")
	s.write("postkeep.yaml", "data_dir: data\n"+strings.ReplaceAll(public, keys[0].Recipient().String(), keys[1].Recipient().String())+"    identity_file: key\n")
	if out := s.ok("volume", "rotate"); !strings.Contains(out, "1 volume(s) encrypted") {
		t.Errorf("rotate says\n%s", out)
	}
	s.write("key", keys[1].String()+"\n")
	s.ok("verify", "--deep")
	if got := s.ok("volume", "cat", "-i", filepath.Join(s.dir, "key"), file); !strings.HasPrefix(got, tarfile) {
		t.Error("the volume has other entries than before")
	}
}
