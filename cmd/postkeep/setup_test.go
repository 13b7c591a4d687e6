package main

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestInitWarnsOfDirectoriesThatOthersCanWriteTo(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("folders have access lists")
	}
	for name, c := range map[string]struct {
		parent, dir os.FileMode
		want        string // "" is no warning
	}{
		"private":               {0o755, 0o700, ""},
		"everybody":             {0o755, 0o777, "everybody can write to "},
		"the group":             {0o755, 0o770, "the group "},
		"everybody, sticky":     {0o755, 0o777 | os.ModeSticky, "everybody can write to "},
		"everybody above":       {0o777, 0o700, "everybody can write to "},
		"sticky above, as /tmp": {0o777 | os.ModeSticky, 0o700, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "parent", "archive")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{filepath.Dir(dir): c.parent, dir: c.dir} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			s := &site{t: t, dir: dir, config: filepath.Join(dir, "postkeep.yaml")}
			got := s.run("init", dir)
			if got.code != exitDone || (c.want != "") != strings.Contains(got.stderr, "warning") || !strings.Contains(got.stderr, c.want) {
				t.Errorf("exit code %d, %q, want %q", got.code, got.stderr, c.want)
			}
		})
	}
}

// started runs postkeep run with pages and returns what it says on standard error until the line that says where the first user is made.
func (s *site) started(t *testing.T) (lines []string, link string, stop func()) {
	t.Helper()
	cmd := s.command(t.Context(), "run")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}
	at := regexp.MustCompile(`^\s+(http://\S+/setup/\S+)$`)
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if m := at.FindStringSubmatch(sc.Text()); m != nil {
			return lines, m[1], stop
		}
		if lines = append(lines, sc.Text()); strings.Contains(sc.Text(), "/setup/") {
			t.Errorf("the log has the link: %s", sc.Text())
			stop()
			return lines, "", func() {}
		}
	}
	stop()
	t.Fatalf("no link is told:\n%s", strings.Join(lines, "\n"))
	return nil, "", nil
}

// The link of the first user is told to whoever starts the program and not in its log, and is of no use once there is a user, who was made in whatever way.
func TestSetupLinkIsNotLoggedAndDiesWithTheFirstUser(t *testing.T) {
	s := newSite(t, "web: { listen: 127.0.0.1:0 }\nlog: { format: json }\n")
	_, link, stop := s.started(t)
	defer stop()
	if link == "" {
		return
	}
	status := func(do func() (*http.Response, error)) int {
		t.Helper()
		resp, err := do()
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	client := &http.Client{Timeout: time.Minute}
	get := func() (*http.Response, error) { return client.Get(link) }
	if got := status(get); got != http.StatusOK {
		t.Fatalf("the link: %d", got)
	}
	add := s.command(t.Context(), "user", "add", "anna", "--role", "admin")
	add.Stdin = strings.NewReader("correct horse battery\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := status(get); got != http.StatusNotFound {
		t.Errorf("the link after there is a user: %d", got)
	}
	form := url.Values{"name": {"eve"}, "password": {"correct horse battery"}, "role": {"admin"}}
	if got := status(func() (*http.Response, error) { return client.PostForm(link, form) }); got != http.StatusNotFound {
		t.Errorf("a second first user: %d", got)
	}
	if list := s.ok("user", "list"); strings.Contains(list, "eve") {
		t.Errorf("%s", list)
	}
}
