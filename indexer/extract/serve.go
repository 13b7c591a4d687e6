package extract

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/postkeep/postkeep/indexer/extract/document"
)

// Exit codes of a child that ends itself, by which the Pool knows why.
const (
	exitMemory = 71
	exitTime   = 72
)

// memoryCheck is how often a child looks at its memory. The kernel's limit, where
// there is one, does not wait for it.
const memoryCheck = 50 * time.Millisecond

// Serve is the child: it reads files from stdin and answers on stdout until
// stdin ends. It takes from its process all rights but those to read, write and
// compute, limits its memory, and ends the process when a file takes too long:
// call it in a process that is there for nothing else.
func Serve(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	c := newConn(stdin, stdout)
	var s settings
	if err := c.receiveJSON(frameSettings, &s); err != nil {
		return fmt.Errorf("extract: %w (this command is for postkeep itself)", err)
	}
	if s.Version != version {
		return fmt.Errorf("extract: protocol version %d, this program has %d: restart postkeep", s.Version, version)
	}
	debug.SetMemoryLimit(s.MemoryBytes * 3 / 4) // the collector works harder before there is an end
	ctx, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	defer func() { stop(); <-watched }()
	go func() {
		defer close(watched)
		watch(ctx, s.MemoryBytes)
	}()
	if err := c.sendJSON(frameReady, ready{Version: version, Confinement: confine(s.MemoryBytes)}); err != nil {
		return err
	}
	for {
		err := serveOne(ctx, c, s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("extract: %w", err)
		}
	}
}

// watch ends the process when it has more memory, or took more processor time, than
// it may.
func watch(ctx context.Context, limit int64) {
	cpu := cpuExceeded()
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	ticker := time.NewTicker(memoryCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-cpu:
			os.Exit(exitTime)
		case <-ticker.C:
		}
		metrics.Read(sample)
		if used := sample[0].Value.Uint64() - sample[1].Value.Uint64(); used > uint64(max(limit, 0)) {
			os.Exit(exitMemory)
		}
	}
}

// serveOne reads one file and answers. io.EOF means that there is none.
func serveOne(ctx context.Context, c *conn, s settings) error {
	var b begin
	if err := c.receiveJSON(frameBegin, &b); err != nil {
		return err
	}
	var data bytes.Buffer
	var e end
	buf := make([]byte, chunkBytes)
	for done := false; !done; {
		kind, payload, err := c.receive(buf)
		switch {
		case err != nil:
			return noEOF(err)
		case kind == frameData:
			data.Write(payload)
			if int64(data.Len()) > s.InputBytes {
				return fmt.Errorf("more than %d bytes were sent", s.InputBytes)
			}
		case kind == frameEnd:
			if err := json.Unmarshal(payload, &e); err != nil {
				return err
			}
			done = true
		default:
			return fmt.Errorf("frame %q inside a file", kind)
		}
	}
	// Should the parent be gone, nobody else ends what never ends.
	late := time.AfterFunc(time.Duration(s.Timeout), func() { os.Exit(exitTime) })
	defer late.Stop()
	limitCPU(time.Duration(s.CPU))
	res := document.Read(ctx, document.File{Name: b.Name, MediaType: b.MediaType, Data: data.Bytes(), Cut: e.Cut},
		document.Limits{TextBytes: s.TextBytes, MemberBytes: 2 * s.InputBytes, UnpackedBytes: 8 * s.InputBytes})
	for text := []byte(res.Text); len(text) > 0; {
		n := min(len(text), chunkBytes)
		if err := c.send(frameText, text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return c.sendJSON(frameResult, result{Kind: res.Kind, Reason: res.Reason, Encrypted: res.Encrypted})
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
