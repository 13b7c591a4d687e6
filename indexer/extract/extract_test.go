package extract

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A test starts its own program again, as one of these.
const (
	roleServe  = "role-serve"
	roleProbe  = "role-probe"  // is confined and tries what it may not
	roleBabble = "role-babble" // answers nonsense
	roleCalls  = "role-calls"  // is confined and makes system calls
	roleLoose  = "role-loose"  // says that it is not confined
	roleQuit   = "role-quit"   // ends when it gets a file
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "role-") {
		if err := play(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			syscall.Exit(1)
		}
		syscall.Exit(0) // the race detector makes os.Exit wait a second
	}
	goleak.VerifyTestMain(m)
}

func play(role string) error {
	c := newConn(os.Stdin, os.Stdout)
	var s settings
	switch role {
	case roleServe:
		return Serve(context.Background(), os.Stdin, os.Stdout)
	case roleProbe:
		return probe(confine(512 << 20))
	case roleCalls:
		return tryCalls(os.Stdout)
	case roleLoose:
		if err := c.receiveJSON(frameSettings, &s); err != nil {
			return err
		}
		if err := c.sendJSON(frameReady, ready{Version: version, Confinement: Confinement{Unconfined: "system calls (for a test)"}}); err != nil {
			return err
		}
		_, _, err := c.receive(nil)
		return err
	case roleBabble:
		if err := c.receiveJSON(frameSettings, &s); err != nil {
			return err
		}
		if err := c.sendJSON(frameReady, ready{Version: version}); err != nil {
			return err
		}
		_, err := io.Copy(os.Stdout, strings.NewReader(strings.Repeat("nonsense", 1<<20)))
		return err
	case roleQuit:
		if err := c.receiveJSON(frameSettings, &s); err != nil {
			return err
		}
		if err := c.sendJSON(frameReady, ready{Version: version}); err != nil {
			return err
		}
		_, _, err := c.receive(nil)
		return err
	}
	return errors.New(role)
}

func probe(confined Confinement) error {
	var allowed []string
	try := func(what string, err error) {
		if err == nil {
			allowed = append(allowed, what)
		}
	}
	_, err := os.Open("/")
	try("open", err)
	try("write", os.WriteFile("extract-probe", []byte("x"), 0o600))
	try("remove", os.Remove(os.Args[2]))
	_, err = net.Dial("udp", "127.0.0.1:9")
	try("network", err)
	try("run", exec.Command("/bin/true").Run())
	fmt.Printf("confined %s allowed %q\n", confined, allowed)
	return nil
}

func pool(t *testing.T, role string, change func(*Options)) *Pool {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Command: []string{program, role}, Workers: 1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&opts)
	}
	p, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func (p *Pool) want(t *testing.T, name string, data []byte, text, reason string) {
	t.Helper()
	res, err := p.Extract(t.Context(), name, "", int64(len(data)), bytes.NewReader(data))
	if err != nil || !strings.Contains(res.Text, text) || text == "" && res.Text != "" || !strings.Contains(res.Reason, reason) || reason == "" && res.Reason != "" {
		t.Errorf("%s: text %.200q, reason %q, error %v; want %q, %q", name, res.Text, res.Reason, err, text, reason)
	}
}

// running returns the process of the only worker, 0 if none runs.
func (p *Pool) running() int {
	c := <-p.slots
	defer func() { p.slots <- c }()
	if c == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

func zipped(t testing.TB, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for i := 0; i < len(names); i += 2 {
		w, err := z.Create(names[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, names[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// endlessPDF has a cross-reference table that precedes itself.
func endlessPDF() []byte {
	const body = "%PDF-1.4\n"
	return fmt.Appendf(nil, "%sxref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 1/Prev %d>>\nstartxref\n%d\n%%%%EOF\n", body+strings.Repeat(" ", 100), len(body)+100, len(body)+100)
}

// hugePDF says that it has very many objects.
func hugePDF() []byte {
	const body = "%PDF-1.5\n"
	return fmt.Appendf(nil, "%s1 0 obj\n<</Type/XRef/Size 400000000/W[1 2 1]/Length 4>>stream\nabcd\nendstream\nendobj\n%s\nstartxref\n%d\n%%%%EOF\n", body, strings.Repeat(" ", 100), len(body))
}

func TestOneChildReadsManyFiles(t *testing.T) {
	p := pool(t, roleServe, nil)
	if p.running() != 0 {
		t.Error("a child runs that nobody has asked for")
	}
	p.want(t, "a.txt", []byte("first"), "first", "")
	pid := p.running()
	p.want(t, "b.zip", zipped(t, "in.txt", "second"), "second", "")
	p.want(t, "c.png", []byte("\x89PNG\r\n\x1a\n\x00\x00"), "", "")
	p.want(t, "", nil, "", "")
	if pid == 0 || p.running() != pid {
		t.Errorf("child %d, then %d", pid, p.running())
	}
}

func TestPicturesStartNoProcess(t *testing.T) {
	p := pool(t, roleServe, func(o *Options) { o.Command = []string{"/nonexistent"} })
	p.want(t, "c.png", []byte("\x89PNG\r\n\x1a\n\x00\x00"), "", "")
}

func TestFilesBeyondTheLimitAreRefusedOrCut(t *testing.T) {
	p := pool(t, roleServe, func(o *Options) { o.MaxInputBytes = 1 << 20; o.MaxTextBytes = 4 << 20 })
	large := zipped(t, "a.txt", "text")
	large = append(large, make([]byte, 1<<20)...)
	p.want(t, "a.zip", large, "", "larger than 1 MiB, not read")
	p.want(t, "a.txt", bytes.Repeat([]byte("words "), 1<<20), "words words", "cut")
	// The same where the size is not known before.
	res, err := p.Extract(t.Context(), "a.zip", "", -1, bytes.NewReader(large))
	if err != nil || !strings.Contains(res.Reason, "not read") {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestHundredMegabytesOfText(t *testing.T) {
	p := pool(t, roleServe, func(o *Options) { o.MaxTextBytes = 1 << 20 })
	line := []byte("hundred megabytes of text\n")
	r := io.LimitReader(&repeating{line: line}, 100<<20)
	res, err := p.Extract(t.Context(), "big.log", "", -1, r)
	if err != nil || len(res.Text) > 1<<20 || len(res.Text) < 1<<20-4 || !strings.Contains(res.Reason, "cut") {
		t.Errorf("%d bytes, reason %q, %v", len(res.Text), res.Reason, err)
	}
}

type repeating struct {
	line []byte
	at   int
}

func (r *repeating) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.line[r.at%len(r.line)]
		r.at++
	}
	return len(b), nil
}

func TestChildThatFailsIsReplaced(t *testing.T) {
	short := func(o *Options) { o.Timeout = 500 * time.Millisecond; o.CPUTime = time.Minute }
	processor := func(o *Options) { o.Timeout = 30 * time.Second; o.CPUTime = 1 }
	for _, c := range []struct {
		name, role string
		change     func(*Options)
		data       []byte
		reason     string
	}{
		{"endless by the clock", roleServe, short, endlessPDF(), "takes too long"},
		{"endless by the processor", roleServe, processor, endlessPDF(), "takes too long"},
		{"huge", roleServe, func(o *Options) { o.MemoryBytes = 256 << 20 }, hugePDF(), "too much memory"},
		{"nonsense", roleBabble, nil, []byte("%PDF-1.4"), "failed"},
		{"quits", roleQuit, nil, []byte("%PDF-1.4"), "failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "endless by the processor" && cpuExceeded() == nil {
				t.Skip("this system does not limit processor time")
			}
			p := pool(t, c.role, c.change)
			start := time.Now()
			p.want(t, "bad.pdf", c.data, "", c.reason)
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
			if p.running() != 0 {
				t.Error("the child was kept")
			}
			if c.role == roleServe {
				p.opts.Timeout = DefaultTimeout // the next one is to be slow on a busy machine
				p.want(t, "good.txt", []byte("still works"), "still works", "")
			}
		})
	}
}

func TestChildCannotDoHarm(t *testing.T) {
	dir := t.TempDir()
	victim := dir + "/victim"
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, roleProbe, victim)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "system calls") {
		t.Skipf("this system cannot refuse system calls: %s", out)
	}
	if !strings.Contains(string(out), "allowed []") {
		t.Error(string(out))
	}
}

func TestCancelledContextEndsTheChild(t *testing.T) {
	p := pool(t, roleServe, nil)
	p.want(t, "a.txt", []byte("warm"), "warm", "")
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write([]byte("some text, and then nothing for ever"))
		_, _ = w.Write(make([]byte, 8<<10))
		cancel()
		w.CloseWithError(errors.New("the source failed"))
	}()
	if _, err := p.Extract(ctx, "a.txt", "text/plain", -1, r); err == nil {
		t.Error("no error")
	}
	p.want(t, "b.txt", []byte("next"), "next", "")
}

func TestFailingSourceIsAnError(t *testing.T) {
	p := pool(t, roleServe, nil)
	broken := errors.New("disk")
	r := io.MultiReader(strings.NewReader(strings.Repeat("text ", 2000)), &failing{broken})
	if _, err := p.Extract(t.Context(), "a.txt", "", -1, r); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	p.want(t, "b.txt", []byte("next"), "next", "")
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestMissingProgramIsAnError(t *testing.T) {
	p := pool(t, roleServe, func(o *Options) { o.Command = []string{"/nonexistent/postkeep"} })
	if _, err := p.Extract(t.Context(), "a.txt", "", -1, strings.NewReader("text")); err == nil || !strings.Contains(err.Error(), "/nonexistent/postkeep") {
		t.Errorf("error %v", err)
	}
	// A program of another version.
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p = pool(t, roleServe, func(o *Options) { o.Command = []string{program, "role-unknown"} })
	if _, err := p.Extract(t.Context(), "a.txt", "", -1, strings.NewReader("text")); err == nil || !strings.Contains(err.Error(), "role-unknown") {
		t.Errorf("error %v", err)
	}
}

func TestCloseLeavesNoProcess(t *testing.T) {
	p := pool(t, roleServe, func(o *Options) { o.Workers = 3 })
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() { p.want(t, "a.txt", fmt.Appendf(nil, "text %d", i), fmt.Sprint("text ", i), "") })
	}
	group.Wait()
	var children []*child
	for range 3 {
		c := <-p.slots
		p.slots <- c
		if c != nil {
			children = append(children, c)
		}
	}
	if len(children) == 0 {
		t.Fatal("no children")
	}
	p.Close()
	for _, c := range children {
		if c.cmd.ProcessState == nil || !c.cmd.ProcessState.Success() {
			t.Errorf("process %d ended with %v", c.cmd.Process.Pid, c.cmd.ProcessState)
		}
	}
	if _, err := p.Extract(t.Context(), "a.txt", "", -1, strings.NewReader("text")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	p.Close()
}

func TestServeRefusesOtherProtocols(t *testing.T) {
	for _, in := range []string{"", "GET / HTTP/1.1\r\n\r\n", "S\x00\x00\x00\x0f{\"version\":999}"} {
		if err := Serve(t.Context(), strings.NewReader(in), io.Discard); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("S\x00\x00\x00\x02{}"))
	f.Add([]byte("T\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newConn(bytes.NewReader(in), io.Discard)
		for {
			_, payload, err := c.receive(nil)
			if err != nil {
				return
			}
			if len(payload) > maxFrame {
				t.Fatalf("%d bytes", len(payload))
			}
		}
	})
}

func TestUnconfinedIsRefusedUnlessConfigured(t *testing.T) {
	p := pool(t, roleLoose, nil)
	for range 2 {
		c, err := p.Confinement(t.Context())
		if !errors.Is(err, ErrUnconfined) || !strings.Contains(err.Error(), "system calls (for a test)") || c.Unconfined == "" {
			t.Errorf("confinement %v, error %v", c, err)
		}
	}
	if _, err := p.Extract(t.Context(), "a.txt", "", -1, strings.NewReader("text")); !errors.Is(err, ErrUnconfined) {
		t.Errorf("a file was given to a child that is not confined: %v", err)
	}
	if p.running() != 0 {
		t.Error("the child was kept")
	}
	p = pool(t, roleLoose, func(o *Options) { o.Unconfined = true })
	if c, err := p.Confinement(t.Context()); err != nil || !strings.Contains(c.String(), "NOT confined") {
		t.Errorf("confinement %v, error %v", c, err)
	}
	if p.running() == 0 {
		t.Error("no child runs")
	}
	p = pool(t, roleServe, nil)
	if c, err := p.Confinement(t.Context()); err != nil || c.String() == "" {
		t.Errorf("confinement %v, error %v", c, err)
	}
	p.want(t, "a.txt", []byte("text"), "text", "")
}
