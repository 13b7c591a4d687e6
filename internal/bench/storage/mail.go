package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/postkeep/postkeep/internal/bench/fill"
	"github.com/postkeep/postkeep/internal/corpus"
)

// corpusMail is a corpus in memory.
type corpusMail struct {
	messages [][]byte
	octets   int64
}

func (c *corpusMail) add(msg []byte) {
	c.messages = append(c.messages, msg)
	c.octets += int64(len(msg))
}

func load(ctx context.Context, name string) (*corpusMail, error) {
	c := &corpusMail{}
	err := corpus.Load(ctx, name, func(_ string, msg []byte) error {
		c.add(msg)
		return nil
	})
	return c, err
}

// sample takes n messages, evenly.
func (c *corpusMail) sample(n int) *corpusMail {
	n = min(n, len(c.messages))
	s := &corpusMail{}
	for i := range n {
		s.add(c.messages[i*len(c.messages)/n])
	}
	return s
}

// delivered is the message as it arrives in the n-th mailbox: the server that all copies come through
// has put two fields in front.
func delivered(msg []byte, n int) []byte {
	eol := "\n"
	if i := bytes.IndexByte(msg, '\n'); i > 0 && msg[i-1] == '\r' {
		eol = "\r\n"
	}
	fields := []string{
		fmt.Sprintf("Delivered-To: mailbox-%d@example.com", n),
		fmt.Sprintf("Received: from mx%d.example.com (mx%[1]d.example.com [192.0.2.%d])", n%3, 10+n%3),
		fmt.Sprintf("\tby mail.example.com (Postfix) with ESMTPS id %.12s%02d", fill.SHA256(msg), n),
		fmt.Sprintf("\tfor <mailbox-%d@example.com>; Mon, 2 Mar 2026 10:%02[1]d:27 +0100 (CET)", n),
	}
	return append([]byte(strings.Join(fields, eol)+eol), msg...)
}

func zlibEach(messages [][]byte) (int64, error) {
	var n counter
	w := zlib.NewWriter(&n)
	for _, m := range messages {
		w.Reset(&n)
		_, err := w.Write(m)
		if err := errors.Join(err, w.Close()); err != nil {
			return 0, err
		}
	}
	return int64(n), nil
}

var errNoZstd = errors.New("zstd is not installed")

func zstdAll(ctx context.Context, messages [][]byte) (int64, error) {
	path, err := exec.LookPath("zstd")
	if err != nil {
		return 0, errNoZstd
	}
	var n counter
	cmd := exec.CommandContext(ctx, path, "-19", "--long=27", "-q", "-c", "-T0")
	readers := make([]io.Reader, len(messages))
	for i, m := range messages {
		readers[i] = bytes.NewReader(m)
	}
	cmd.Stdin, cmd.Stdout = io.MultiReader(readers...), &n
	return int64(n), cmd.Run()
}

// A counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
