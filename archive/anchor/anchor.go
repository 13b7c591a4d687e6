// Package anchor takes the ledger's signed checkpoints to where whoever runs
// the archive cannot take them back: to a time-stamping authority (RFC 3161),
// to a file that is only appended to, or to a URL.
//
// An anchored checkpoint shows later that the ledger had signed those events at
// that time. It takes no part in keeping mail: an anchor that fails is reported and
// tried again with the next checkpoint.
package anchor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultTimeout bounds a request, from connecting to the end of the answer.
	DefaultTimeout = 30 * time.Second
	// maxCheckpoint in bytes is that of the ledger.
	maxCheckpoint = 64 << 10
	// maxAnswer in bytes bounds what a server can make us read: a time stamp with
	// its certificates has 3 to 10 KiB.
	maxAnswer = 256 << 10
	// maxReason in bytes is how much of an unexpected answer is quoted.
	maxReason = 200
)

// ErrInvalid means that an anchor does not show what it should: it was altered,
// is of another checkpoint, or nobody who is trusted has signed it.
var ErrInvalid = errors.New("invalid anchor")

// A Check compares the ledger with a checkpoint that was anchored; ledger.Log.CheckAgainst is one.
type Check func(ctx context.Context, checkpoint []byte) error

// sizeOf returns how many events a checkpoint covers.
func sizeOf(checkpoint []byte) (int64, error) {
	lines := strings.SplitN(string(checkpoint), "\n", 4)
	if len(checkpoint) > maxCheckpoint || len(lines) != 4 || !strings.Contains(lines[3], "\n— ") && !strings.HasPrefix(lines[3], "— ") {
		return 0, fmt.Errorf("%w: not a signed checkpoint", ErrInvalid)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return 0, fmt.Errorf("%w: the checkpoint has the size %.20q", ErrInvalid, lines[1])
	}
	return size, nil
}

// parseURL accepts http and https URLs.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("anchor: malformed URL") // the error would quote a password
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("anchor: %s: an http or https URL is needed", u.Redacted())
	}
	return u, nil
}

// A statusError is an answer other than success.
type statusError struct {
	status string
	code   int
	reason string
}

func (e *statusError) Error() string { return fmt.Sprintf("server answers %s %q", e.status, e.reason) }

// do sends a request and returns the answer's body and media type.
func do(client *http.Client, req *http.Request) (body []byte, mediaType string, err error) {
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, "", err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, "", &statusError{resp.Status, resp.StatusCode, string(body[:min(len(body), maxReason)])}
	}
	if len(body) > maxAnswer {
		return nil, "", fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	}
	mediaType, _, err = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		mediaType = ""
	}
	return body, mediaType, nil
}
