package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
)

const (
	// browserPatience bounds all journeys together.
	browserPatience = 20 * time.Minute
	// webPassword is that of everybody in the pages under test.
	webPassword = "correct horse battery"
)

// journey is what a script says of one.
type journey struct {
	Name    string
	Seconds float64
	Faults  []string
}

// TestBrowser runs the scripts of web/browser, which drive the pages of a running
// program with Chromium.
func TestBrowser(t *testing.T) {
	if os.Getenv("POSTKEEP_BROWSER") != "1" {
		t.Skip("NOT TESTED: the pages in a browser. \"make browser\" does, or POSTKEEP_BROWSER=1 with Chromium, Node.js and \"npm ci\" in web/browser.")
	}
	scripts, err := filepath.Abs(filepath.Join("..", "..", "web", "browser"))
	if err != nil {
		t.Fatal(err)
	}
	for _, need := range []string{filepath.Join(scripts, "node_modules", "playwright-core"), filepath.Join(scripts, "node_modules", "axe-core")} {
		if _, err := os.Stat(need); err != nil {
			t.Fatalf("npm ci in web/browser: %v", err)
		}
	}
	site := browserSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), browserPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "main.mjs")
	cmd.Dir = scripts
	cmd.Env = append(os.Environ(), "POSTKEEP_URL="+site, "POSTKEEP_PASSWORD="+webPassword, "POSTKEEP_BINARY="+binary)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const mostLine = 16 << 20 // faults of hundreds of pages
	lines, n := bufio.NewScanner(stdout), 0
	lines.Buffer(nil, mostLine)
	for lines.Scan() {
		var j journey
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			t.Errorf("%s: %v", lines.Text(), err)
			continue
		}
		n++
		t.Run(j.Name, func(t *testing.T) {
			t.Logf("%.1f s", j.Seconds)
			for _, f := range j.Faults {
				t.Error(f)
			}
		})
	}
	if err := cmd.Wait(); err != nil || lines.Err() != nil {
		t.Errorf("the scripts ended with %v, %v\n%s", err, lines.Err(), stderr.String())
	}
	if n == 0 {
		t.Error("there was no journey")
	}
}

// browserSite starts the program with mail from a POP3 server and with people, and
// returns the address of the pages. New mail for sales waits on the server.
func browserSite(t *testing.T) string {
	t.Helper()
	boxes := map[string][]pop3test.Message{}
	mails, err := mailgen.Demo()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mails {
		boxes[m.Mailbox] = append(boxes[m.Mailbox], pop3test.Bytes(m.Raw))
	}
	for _, raw := range mailgen.Hostile() {
		boxes["hostile"] = append(boxes["hostile"], pop3test.Bytes(raw))
	}
	var config pop3test.Config
	yaml := &strings.Builder{}
	address := freeAddress(t)
	fmt.Fprintf(yaml, "dual_control: true\nweb: { listen: %q }\nmailboxes:\n", address)
	for name, messages := range boxes {
		config.Mailboxes = append(config.Mailboxes, pop3test.Mailbox{User: name, Password: "geheim", Messages: messages})
	}
	server, err := pop3test.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for name := range boxes {
		fmt.Fprintf(yaml, "  - { name: %s, host: %s, port: %d, tls: none, username: %s, password_file: password, schedule: \"0 0 1 1 *\" }\n", name, server.Host(), server.Port(), name)
	}
	s := newSite(t, yaml.String())
	s.ok("user", "add", "first", "--role", "officer", "--no-password") // dual control wants somebody who can approve
	client, _ := s.daemon()
	for _, p := range []api.NewPerson{
		{Name: "olga", Roles: []access.Role{access.Officer}},
		{Name: "ada", Roles: []access.Role{access.Admin}},
		{Name: "eve", Roles: []access.Role{access.Admin}},
		{Name: "axel", Roles: []access.Role{access.Auditor}, Mailboxes: []string{"sales", "support"}},
		{Name: "uwe", Roles: []access.Role{access.User}, Mailboxes: []string{"sales"}},
	} {
		p.Password = webPassword
		if _, err := client.AddUser(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	secondOfficer(t, "http://"+address)
	if err := client.Poll(t.Context(), api.PollRequest{}, func(api.PollEvent) {}); err != nil {
		t.Fatal(err)
	}
	g, err := mailgen.New(mailgen.Options{Seed: 2, Count: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range g.All() {
		if err := server.Deliver("sales", pop3test.Bytes(raw)); err != nil {
			t.Fatal(err)
		}
	}
	return "http://" + address
}

// secondOfficer has ada make otto, and eve approve that he is an officer: whoever made olga could not be his second person.
func secondOfficer(t *testing.T, base string) {
	t.Helper()
	as := func(name string) func(method, path, body string) []byte {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := http.Client{Jar: jar}
		do := func(method, path, kind, body string) []byte {
			r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", kind)
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s %s as %s: %s, %v", method, path, name, resp.Status, err)
			}
			return b
		}
		do(http.MethodPost, "/login", "application/x-www-form-urlencoded", url.Values{"name": {name}, "password": {webPassword}}.Encode())
		return func(method, path, body string) []byte { return do(method, path, "application/json", body) }
	}
	var p api.Person
	body, err := json.Marshal(api.NewPerson{Name: "otto", Roles: []access.Role{access.Officer}, Password: webPassword})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(as("ada")(http.MethodPost, "/api/v1/users", string(body)), &p); err != nil || p.Pending == "" {
		t.Fatalf("%+v, %v", p, err)
	}
	as("eve")(http.MethodPost, "/api/v1/users/changes/"+p.Pending+"/approve", "")
}

// freeAddress is one on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
