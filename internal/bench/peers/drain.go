package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// drainCommand has this program empty a mailbox, as a process that can be measured.
const drainCommand = "drain"

// window is how many commands are under way (RFC 2449 section 6.6).
const window = 64

// drain reads all messages, keeps nothing and deletes them: what no client can do faster over one
// connection.
func drain(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	d := &drainer{r: bufio.NewReaderSize(conn, 256<<10), w: conn}
	if _, err := d.status(); err != nil {
		return err
	}
	for _, line := range []string{"USER " + mailbox, "PASS " + password} {
		if _, err := d.command(line); err != nil {
			return err
		}
	}
	stat, err := d.command("STAT")
	if err != nil {
		return err
	}
	var n int
	if _, err := fmt.Sscanf(stat, "+OK %d", &n); err != nil {
		return fmt.Errorf("STAT: %w", err)
	}
	if err := errors.Join(d.each("RETR", n, d.body), d.each("DELE", n, func() error { return nil })); err != nil {
		return err
	}
	_, err = d.command("QUIT")
	return err
}

type drainer struct {
	r *bufio.Reader
	w io.Writer
}

// each sends a command for every message, up to window of them ahead of the answers.
func (d *drainer) each(verb string, n int, read func() error) error {
	sent := 0
	for i := 1; i <= n; i++ {
		if sent < i+window/2 && sent < n {
			var b strings.Builder
			for ; sent < min(n, i+window); sent++ {
				fmt.Fprintf(&b, "%s %d\r\n", verb, sent+1)
			}
			if _, err := io.WriteString(d.w, b.String()); err != nil {
				return err
			}
		}
		if _, err := d.status(); err != nil {
			return fmt.Errorf("%s %d: %w", verb, i, err)
		}
		if err := read(); err != nil {
			return fmt.Errorf("%s %d: %w", verb, i, err)
		}
	}
	return nil
}

// body reads to the line that is a single dot.
func (d *drainer) body() error {
	whole := true // the last piece ended a line
	for {
		line, err := d.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if whole && string(line) == ".\r\n" {
			return nil
		}
		whole = bytes.HasSuffix(line, []byte("\r\n"))
	}
}

func (d *drainer) command(line string) (string, error) {
	if _, err := io.WriteString(d.w, line+"\r\n"); err != nil {
		return "", err
	}
	return d.status()
}

func (d *drainer) status() (string, error) {
	line, err := d.r.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = fmt.Errorf("the server says %q", line)
	}
	return line, err
}
