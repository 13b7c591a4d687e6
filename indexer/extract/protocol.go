package extract

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// The protocol between a Pool and its children is frames in both directions:
// one octet of kind, the length in four octets, big endian, and the payload.
//
//	pool to child   child to pool
//	settings        ready             once, JSON
//	begin                             JSON: name, media type
//	data ...
//	end                               JSON: whether the file was cut
//	                text ...
//	                result            JSON: reason
const (
	frameSettings = 'S'
	frameReady    = 'Y'
	frameBegin    = 'B'
	frameData     = 'D'
	frameEnd      = 'E'
	frameText     = 'T'
	frameResult   = 'R'
)

const (
	// version is that of the protocol. A running instance starts its own
	// program, which is the same file unless it was replaced meanwhile.
	version = 2
	// chunkBytes is the payload of a data or text frame.
	chunkBytes = 64 << 10
	// maxFrame bounds every payload: names in JSON are the largest.
	maxFrame = 1 << 20
)

// settings are what a child works with. Times are in nanoseconds.
type settings struct {
	Version     int   `json:"version"`
	MemoryBytes int64 `json:"memory_bytes"`
	InputBytes  int64 `json:"input_bytes"`
	TextBytes   int   `json:"text_bytes"`
	CPU         int64 `json:"cpu"`
	Timeout     int64 `json:"timeout"`
}

type ready struct {
	Version     int         `json:"version"`
	Confinement Confinement `json:"confinement"`
}

type begin struct {
	Name      string `json:"name"`
	MediaType string `json:"media_type"`
}

type end struct {
	Cut bool `json:"cut"`
}

type result struct {
	Kind      string `json:"kind"`
	Reason    string `json:"reason"`
	Encrypted bool   `json:"encrypted"`
}

// conn is one end of the protocol. It is for one goroutine.
type conn struct {
	r *bufio.Reader
	w *bufio.Writer
}

func newConn(r io.Reader, w io.Writer) *conn {
	return &conn{r: bufio.NewReaderSize(r, chunkBytes), w: bufio.NewWriterSize(w, chunkBytes)}
}

// send writes a frame; flush has to follow at some time.
func (c *conn) send(kind byte, payload []byte) error {
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload))) //nolint:gosec // payloads are at most maxFrame
	if _, err := c.w.Write(head[:]); err != nil {
		return err
	}
	_, err := c.w.Write(payload)
	return err
}

// sendJSON writes a frame and flushes.
func (c *conn) sendJSON(kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(payload) > maxFrame {
		return fmt.Errorf("frame %q of %d bytes is too large", kind, len(payload))
	}
	if err := c.send(kind, payload); err != nil {
		return err
	}
	return c.w.Flush()
}

// receive reads a frame. The payload is valid until the next call.
func (c *conn) receive(buf []byte) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, buf, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, buf, fmt.Errorf("frame %q of %d bytes is too large", head[0], n)
	}
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(c.r, buf); err != nil {
		return 0, buf, fmt.Errorf("frame %q ends early: %w", head[0], err)
	}
	return head[0], buf, nil
}

// receiveJSON reads a frame of one kind.
func (c *conn) receiveJSON(want byte, v any) error {
	kind, payload, err := c.receive(nil)
	if err != nil {
		return err
	}
	if kind != want {
		return fmt.Errorf("frame %q where %q was expected", kind, want)
	}
	return json.Unmarshal(payload, v)
}
