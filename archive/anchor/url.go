package anchor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultAttempts is how often a URL tries to deliver a checkpoint.
	DefaultAttempts = 3
	// DefaultPause is the time before the second attempt; it doubles.
	DefaultPause = 2 * time.Second
	// sizeInURL is replaced by the number of events that a checkpoint covers.
	sizeInURL = "{size}"
)

// URLOptions says where checkpoints are sent.
type URLOptions struct {
	// URL is http or https. "{size}" in it is replaced by the number of events that
	// the checkpoint covers, so that a store of objects keeps them all. Required.
	URL string
	// Method is POST (the default) or PUT.
	Method string
	// Header is sent along, for example Authorization.
	Header http.Header
	// Client is nil for http.DefaultClient.
	Client *http.Client
	// Timeout of each attempt; 0 means DefaultTimeout.
	Timeout time.Duration
	// Attempts at most; 0 means DefaultAttempts. A refusal by the server (status
	// 4xx other than 408 and 429) is final.
	Attempts int
	// Pause before the second attempt, doubled before each further one; 0 means DefaultPause.
	Pause time.Duration
}

// A URL receives checkpoints. What becomes of them there is up to the server; a
// copy that it gives back is compared with ledger.Log.CheckAgainst. All methods may
// be called concurrently.
type URL struct{ opt URLOptions }

// NewURL returns a URL, or an error that says which option is wrong.
func NewURL(opt URLOptions) (*URL, error) {
	if _, err := parseURL(opt.URL); err != nil {
		return nil, err
	}
	if opt.Method == "" {
		opt.Method = http.MethodPost
	}
	if opt.Method != http.MethodPost && opt.Method != http.MethodPut {
		return nil, fmt.Errorf("anchor: method %.20q: POST or PUT is needed", opt.Method)
	}
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Attempts <= 0 {
		opt.Attempts = DefaultAttempts
	}
	if opt.Pause <= 0 {
		opt.Pause = DefaultPause
	}
	return &URL{opt}, nil
}

// Anchor sends a checkpoint, and returns when the server has answered with success.
func (u *URL) Anchor(ctx context.Context, checkpoint []byte) error {
	size, err := sizeOf(checkpoint)
	if err != nil {
		return err
	}
	target, err := parseURL(strings.ReplaceAll(u.opt.URL, sizeInURL, strconv.FormatInt(size, 10)))
	if err != nil {
		return err
	}
	pause := u.opt.Pause
	for attempt := 1; ; attempt++ {
		err := u.send(ctx, target, checkpoint)
		if err == nil {
			return nil
		}
		if attempt < u.opt.Attempts && !isFinal(err) && wait(ctx, pause) {
			pause *= 2
			continue
		}
		return fmt.Errorf("anchor checkpoint at %s: attempt %d: %w", target.Redacted(), attempt, err)
	}
}

func (u *URL) send(ctx context.Context, target *url.URL, checkpoint []byte) error {
	ctx, cancel := context.WithTimeout(ctx, u.opt.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, u.opt.Method, target.String(), bytes.NewReader(checkpoint))
	if err != nil {
		return err
	}
	for name, values := range u.opt.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	_, _, err = do(u.opt.Client, req)
	return err
}

// wait returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// isFinal says whether the server would refuse the same request again.
func isFinal(err error) bool {
	var status *statusError
	return errors.As(err, &status) && status.code/100 == 4 &&
		status.code != http.StatusRequestTimeout && status.code != http.StatusTooManyRequests
}
