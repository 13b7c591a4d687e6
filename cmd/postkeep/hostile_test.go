package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// hostileRequests of each kind are sent by make test, tortureRequests with POSTKEEP_TORTURE in the environment.
	hostileRequests = 200
	tortureRequests = 10_000
	// What may be left of all of them: the memory of two Argon2id hashes at a time with what the garbage collector has not
	// collected yet, connections and requests; nothing on disk but the ledger; and the events of two windows of ten minutes an hour.
	hostileMemory = 400 << 20 // octets of RssAnon more than at the start
	hostileDisk   = 1 << 20   // octets
	hostileEvents = 6         // for each ten minutes that it takes, begun ones too
)

// hostile are the kinds of requests that a stranger may send: a body goes with all of them.
func hostile() map[string]func(i int, r *http.Request) {
	const form = "application/x-www-form-urlencoded"
	body := func(r *http.Request, kind, content string) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(content)), int64(len(content))
		r.Header.Set("Content-Type", kind)
	}
	long, junk := strings.Repeat("a", 1_000_000), strings.Repeat("x", 60_000)
	return map[string]func(i int, r *http.Request){
		"POST /login multipart": func(_ int, r *http.Request) {
			body(r, "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a\"\r\n\r\n"+long+"\r\n--x--\r\n")
			r.ContentLength = -1 // chunked
		},
		"POST /login long":  func(i int, r *http.Request) { body(r, form, "name="+strconv.Itoa(i)+long) },
		"POST /login name":  func(i int, r *http.Request) { body(r, form, "name="+strconv.Itoa(i)+junk[:15_000]+"&password=x") },
		"POST /login guess": func(_ int, r *http.Request) { body(r, form, "name=anna&password=a+guess") },
		"POST /login device": func(i int, r *http.Request) {
			body(r, form, "name=anna&password=x")
			r.Header.Set("Cookie", fmt.Sprintf("postkeep_device=%d.x", i))
		},
		"POST /setup/x long":              func(i int, r *http.Request) { body(r, form, "name="+strconv.Itoa(i)+long) },
		"GET /login?next=":                func(_ int, r *http.Request) { r.URL.RawQuery = "next=/" + junk },
		"GET /api/v1/me":                  func(_ int, r *http.Request) { r.Header.Set("Authorization", "Bearer "+junk) },
		"GET /profile":                    func(i int, r *http.Request) { r.Header.Set("Cookie", "postkeep_session="+strconv.Itoa(i)+junk) },
		"PUT /api/v1/me/password":         func(_ int, r *http.Request) { body(r, "application/json", `{"old":"`+long) },
		"POST /api/v1/polls":              func(_ int, r *http.Request) { body(r, "application/json", `{"mailboxes":["`+long) },
		"GET /login/provider/back?state=": func(_ int, r *http.Request) { r.URL.RawQuery = "code=x&state=" + junk },
		"GET /login/link/x":               func(i int, r *http.Request) { r.URL.Path += strconv.Itoa(i) },
	}
}

// onDisk is the size of all files below a directory.
func onDisk(t *testing.T, dir string) (size int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return size
}

func TestHostileRequestsStayWithinBounds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is read from /proc")
	}
	n := hostileRequests
	if os.Getenv("POSTKEEP_TORTURE") != "" {
		n = tortureRequests
	}
	port := freePort(t)
	s := newSite(t, "web: { listen: 127.0.0.1:"+port+", behind_proxy: true }\n")
	temp := filepath.Join(s.dir, "tmp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	add := s.command(t.Context(), "user", "add", "anna", "--role", "admin")
	add.Stdin = strings.NewReader("correct horse battery\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("TMPDIR", temp)
	c, stop := s.daemon()
	defer stop(os.Interrupt)
	events := func() int64 {
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Archive.Events
	}
	memory, disk, ledger, began := rssAnon(s.process.Pid), onDisk(t, s.dir), events(), time.Now()
	most := memory
	for name, change := range hostile() {
		codes := flood(t, "http://127.0.0.1:"+port, name, n, change)
		now := rssAnon(s.process.Pid)
		most = max(most, now)
		t.Logf("%-34s %6d requests: RssAnon %d MiB, disk %+d kB, %d events; %v", name, n, now>>20, (onDisk(t, s.dir)-disk)>>10, events()-ledger, codes)
		if codes[http.StatusInternalServerError] > 0 {
			t.Errorf("%s: %v", name, codes)
		}
	}
	if more := most - memory; more > hostileMemory {
		t.Errorf("RssAnon has grown by %d MiB, want at most %d", more>>20, hostileMemory>>20)
	}
	if more := onDisk(t, s.dir) - disk; more > hostileDisk {
		t.Errorf("%d octets more are on disk, want at most %d", more, hostileDisk)
	}
	windows := int64(time.Since(began)/(10*time.Minute)) + 1
	if more := events() - ledger; more > hostileEvents*windows {
		t.Errorf("%d events more are in the ledger after %d windows", more, windows)
	}
	t.Logf("in all: RssAnon %d -> %d MiB at most, disk %+d octets, %d events in %v", memory>>20, most>>20, onDisk(t, s.dir)-disk, events()-ledger, time.Since(began).Round(time.Second))
}

// flood sends n requests of a kind from as many addresses, and counts the answers. A connection that is closed counts as 0.
func flood(t *testing.T, base, name string, n int, change func(int, *http.Request)) map[int]int {
	t.Helper()
	const atATime = 50
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: atATime},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	var (
		all   sync.WaitGroup
		next  atomic.Int64
		mu    sync.Mutex
		codes = map[int]int{}
	)
	method, path, _ := strings.Cut(name, " ")
	path, _, _ = strings.Cut(path, " ")
	path, _, _ = strings.Cut(path, "?")
	for range atATime {
		all.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				code := 0
				r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, base+path, nil)
				if err == nil {
					r.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255))
					change(i, r)
					var resp *http.Response
					if resp, err = client.Do(r); err == nil {
						code = resp.StatusCode
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
					}
				}
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return codes
}

// freePort is a port of loopback that nobody listens to.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
