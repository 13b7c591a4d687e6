package extract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout bounds the start of a child on a machine that is busy.
	startTimeout = 30 * time.Second
	// grace is how much later than the child itself the pool ends a child that
	// takes too long: a message of its own tells more than a kill.
	grace = 2 * time.Second
	// stopTimeout is how long a child without work may take to end.
	stopTimeout = 2 * time.Second
	// maxStderr is how much of the last words of a child is kept.
	maxStderr = 4 << 10
)

// child is a running process. It is used by one goroutine at a time.
type child struct {
	opts   Options
	cmd    *exec.Cmd
	conn   *conn
	stdin  io.Closer
	stderr *tail
	files  int
	// confinement is what the child says of itself before it gets a file.
	confinement Confinement
	failed      bool // of no use any more; stop it
}

// tail keeps the beginning of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := maxStderr - t.buf.Len(); room > 0 {
		t.buf.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// startChild starts a process and waits until it is confined. ctx bounds the
// start only. With ErrUnconfined it returns a child that has ended.
func startChild(ctx context.Context, opts Options) (*child, error) {
	c := &child{opts: opts, stderr: &tail{}}
	// Not CommandContext: the process outlives the request that needed it first.
	c.cmd = exec.Command(opts.Command[0], opts.Command[1:]...)         //nolint:gosec,noctx // the program's own command
	c.cmd.Env = []string{"GOMAXPROCS=2", "GOTRACEBACK=none", "TZ=UTC"} // nothing of ours; the collector has a processor of its own
	c.cmd.Dir = string(os.PathSeparator)
	c.cmd.Stderr = c.stderr
	c.cmd.WaitDelay = stopTimeout
	c.cmd.SysProcAttr = processAttributes()
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	c.stdin = stdin
	c.conn = newConn(stdout, stdin)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	var r ready
	err = c.within(ctx, startTimeout, func() error {
		if err := c.conn.sendJSON(frameSettings, settings{
			Version: version, MemoryBytes: opts.MemoryBytes, InputBytes: opts.MaxInputBytes, TextBytes: opts.MaxTextBytes,
			CPU: int64(opts.CPUTime), Timeout: int64(opts.Timeout),
		}); err != nil {
			return err
		}
		return c.conn.receiveJSON(frameReady, &r)
	})
	if err == nil && r.Version != version {
		err = fmt.Errorf("it has protocol version %d, not %d", r.Version, version)
	}
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("%w (%s)", err, firstLine(c.stderr.String()))
	}
	c.confinement = r.Confinement
	if r.Confinement.Unconfined != "" && !opts.Unconfined {
		c.stop()
		return c, fmt.Errorf("%w: without %s", ErrUnconfined, r.Confinement.Unconfined)
	}
	opts.Logger.Debug("started a process to read attachments", "pid", c.cmd.Process.Pid, "confinement", r.Confinement.String())
	return c, nil
}

var errTimeout = errors.New("it took too long")

// within does something with the child, which is killed when that takes longer
// than d, or when ctx is done.
func (c *child) within(ctx context.Context, d time.Duration, do func() error) error {
	timer := time.AfterFunc(d, c.kill)
	stop := context.AfterFunc(ctx, c.kill)
	err := do()
	switch {
	case !stop():
		timer.Stop()
		return ctx.Err()
	case !timer.Stop():
		return errTimeout
	}
	return err
}

func (c *child) kill() { _ = c.cmd.Process.Kill() } // it may have ended already

// extract has the child read a file. What the child fails over is a Result.
func (c *child) extract(ctx context.Context, name, mediaType string, head []byte, r io.Reader) (Result, error) {
	c.files++
	var sourceErr error
	err := c.within(ctx, c.opts.Timeout, func() error { return c.conn.sendJSON(frameBegin, begin{Name: name, MediaType: mediaType}) })
	if err == nil {
		sourceErr, err = c.feed(ctx, head, r)
	}
	if sourceErr != nil {
		c.failed = true // it has half of a file
		return Result{}, sourceErr
	}
	var res Result
	if err == nil {
		err = c.within(ctx, c.opts.Timeout+grace, func() (err error) {
			res, err = c.answer()
			return err
		})
	}
	if err == nil {
		return res, nil
	}
	c.failed = true
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	return c.diagnose(name, err), nil
}

// feed sends the content, as much as the child takes. Only sending is timed:
// r may be slow for reasons of its own.
func (c *child) feed(ctx context.Context, head []byte, r io.Reader) (sourceErr, err error) {
	send := func(b []byte) error {
		return c.within(ctx, c.opts.Timeout, func() error { return c.conn.send(frameData, b) })
	}
	sent := int64(len(head))
	if err := send(head); err != nil {
		return nil, err
	}
	buf := make([]byte, chunkBytes)
	cut := false
	for {
		n, err := io.ReadFull(r, buf)
		if room := c.opts.MaxInputBytes - sent; int64(n) > room {
			n, cut = int(room), true
		}
		sent += int64(n)
		if sendErr := send(buf[:n]); sendErr != nil {
			return nil, sendErr
		}
		if cut || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err, nil
		}
	}
	return nil, c.within(ctx, c.opts.Timeout, func() error { return c.conn.sendJSON(frameEnd, end{Cut: cut}) })
}

// answer reads what the child has found. It is not trusted.
func (c *child) answer() (Result, error) {
	var text bytes.Buffer
	buf := make([]byte, chunkBytes)
	for {
		kind, payload, err := c.conn.receive(buf)
		if err != nil {
			return Result{}, err
		}
		switch kind {
		case frameText:
			if text.Len()+len(payload) > c.opts.MaxTextBytes {
				return Result{}, errors.New("it gave more text than it may")
			}
			text.Write(payload)
		case frameResult:
			var r result
			if err := json.Unmarshal(payload, &r); err != nil {
				return Result{}, err
			}
			return Result{
				Text: strings.ToValidUTF8(text.String(), "\uFFFD"), Reason: strings.ToValidUTF8(r.Reason, "\uFFFD"),
				Encrypted: r.Encrypted, Kind: r.Kind,
			}, nil
		default:
			return Result{}, fmt.Errorf("frame %q in an answer", kind)
		}
	}
}

// diagnose ends the child and says in words what it failed over.
func (c *child) diagnose(name string, err error) Result {
	c.stop()
	last := firstLine(c.stderr.String())
	reason := "the process that read it failed"
	switch code := c.cmd.ProcessState.ExitCode(); {
	case code == exitTime || errors.Is(err, errTimeout):
		reason = "takes too long to read"
	case code == exitMemory || strings.Contains(last, "out of memory") || strings.Contains(last, "allocate"):
		reason = "takes too much memory to read"
	}
	c.opts.Logger.Warn("a process failed over an attachment and is replaced", "name", name, "reason", reason, "error", err, "said", last)
	return Result{Reason: reason}
}

// stop closes the pipes, gives the child a moment, kills it, and waits for it. It
// is idempotent.
func (c *child) stop() {
	if c.cmd.ProcessState != nil {
		return
	}
	_ = c.stdin.Close() // what is lost in it is of no use
	timer := time.AfterFunc(stopTimeout, c.kill)
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, c.conn.r) // to its end, which is that of the process
	_ = c.cmd.Wait()                     // the state says how it ended
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
