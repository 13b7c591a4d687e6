package main

import (
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// letters is a site with an archive of messages with these subjects.
func letters(t *testing.T, subjects ...string) *site {
	t.Helper()
	var messages []pop3test.Message
	for _, subject := range subjects {
		messages = append(messages, pop3test.Bytes([]byte("Subject: "+subject+"\r\n\r\nhello\r\n")))
	}
	s := newSite(t, scriptedYAML(startScripted(t, pop3test.Config{}, messages...), ""))
	s.ok("poll")
	return s
}

func TestSearchTakesADashForAnExclusion(t *testing.T) {
	s := letters(t, "a contract", "a report", "a draft of a report")
	for _, c := range []struct {
		args string
		want string
	}{
		{"-contract", "2"},
		{"-c=" + s.config + " -contract", "2"},
		{"-contract -c " + s.config, "2"},
		{"report -draft", "1"},
		{"-draft report --sort -date", "1"},
		{"-subject:report", "1"},
		{"-report -contract", "0"},
		{"--sort=-date -- -contract", "2"},
		{"-- -c", "3"},
	} {
		args := append([]string{"search", "--count"}, strings.Fields(c.args)...)
		if r := s.run(args...); r.code != 0 || strings.TrimSpace(r.stdout) != c.want {
			t.Errorf("search %s: exit code %d, %s%s, want %s", c.args, r.code, r.stdout, r.stderr, c.want)
		}
	}
	before := s.ok("-c", s.config, "search", "--count", "-contract")
	if strings.TrimSpace(before) != "2" {
		t.Errorf("with -c before the command: %s", before)
	}
	for _, help := range []string{"-h", "--help"} {
		if out := s.ok("search", help); !strings.Contains(out, "--offset") || !strings.Contains(out, "-- -c") {
			t.Errorf("%s: %s", help, out)
		}
	}
}

func TestSearchWithLimitZeroOnlyCounts(t *testing.T) {
	s := letters(t, "one", "two")
	if out := s.ok("search", "--limit", "0"); out != "2 found\n" {
		t.Errorf("got %q", out)
	}
	if out := s.ok("search", "--limit", "1"); !strings.Contains(out, "2 found, 1 to 1 shown") {
		t.Errorf("got %q", out)
	}
}

func TestPollStopsAtTheConfiguredNumberOfMessages(t *testing.T) {
	server := startScripted(t, pop3test.Config{}, small(3)...)
	s := newSite(t, scriptedYAML(server, "max_messages: 2"))
	r := s.run("poll", "--json")
	if got := reports(t, r.stdout)["sales"]; r.code != 3 || got.Archived != 2 || got.Left != 1 {
		t.Errorf("exit code %d, %+v\n%s", r.code, got, r.stderr)
	}
	if got := reports(t, s.ok("poll", "--json"))["sales"]; got.Archived != 1 || got.Left != 0 {
		t.Errorf("the next poll: %+v", got)
	}
}

func TestPollLeavesMessagesOverTheConfiguredSize(t *testing.T) {
	large := pop3test.Bytes([]byte("Subject: large\r\n\r\n" + strings.Repeat("0123456789\r\n", 200)))
	server := startScripted(t, pop3test.Config{}, append(small(2), large)...)
	s := newSite(t, scriptedYAML(server, "max_message_bytes: 1KiB, max_duration: 1h, commit_every: 1"))
	r := s.run("poll", "--json")
	if got := reports(t, r.stdout)["sales"]; r.code != 3 || got.Archived != 2 || got.Deleted != 2 || got.Left != 1 {
		t.Errorf("exit code %d, %+v\n%s", r.code, got, r.stderr)
	}
}

func TestConfigCheckWithoutTheFiles(t *testing.T) {
	s := newSite(t, "mailboxes:\n  - { name: sales, host: pop.example.com, username: s, password_file: elsewhere, ca_file: nowhere.pem }\n")
	if r := s.run("config", "check"); r.code != 2 || !strings.Contains(r.stderr, "elsewhere") || !strings.Contains(r.stderr, "nowhere.pem") {
		t.Errorf("with the files: exit code %d, %s", r.code, r.stderr)
	}
	if out := s.ok("config", "check", "--no-files"); !strings.Contains(out, "is fine: 1 mailboxes") {
		t.Errorf("without: %s", out)
	}
	s.write("postkeep.yaml", "mailboxes: 5\n")
	if r := s.run("config", "check", "--no-files"); r.code != 2 {
		t.Errorf("a bad file: exit code %d, %s", r.code, r.stderr)
	}
}

// Bleve, SQLite and NATS make files too.
func TestNobodyElseCanReadTheArchive(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	s := letters(t, "secret")
	s.daemon()
	files := 0
	if err := filepath.WalkDir(filepath.Join(s.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files", files)
	}
}

func TestConfigurationsOfTheDeploymentsPassTheCheck(t *testing.T) {
	files, err := filepath.Glob(filepath.FromSlash("../../deployments/*/postkeep.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d example configurations, %v", len(files), err)
	}
	s := newSite(t, "mailboxes: []\n")
	for _, f := range files {
		path, err := filepath.Abs(f)
		if err != nil {
			t.Fatal(err)
		}
		if out := s.ok("config", "check", "--no-files", "-c", path); !strings.Contains(out, "is fine") {
			t.Errorf("%s: %s", f, out)
		}
	}
}
