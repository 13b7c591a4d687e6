// Package bounds keeps what strangers send within bounds: octets, time, connections, requests at a time and attempts. Every
// limit is a constant with its reason, and nothing here grows with what is sent.
package bounds

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// MaxBody is in octets: no request of the API is larger, the largest names ten thousand mailboxes to poll.
	MaxBody = 4 << 20
	// MaxForm is what the form of somebody known may have: a hold with thousands of custodians.
	MaxForm = 1 << 20
	// MaxOpenForm is what the form of a stranger may have: a name, a password of at most 1,024 octets, each of which may be
	// escaped as three, and an address of where to go.
	MaxOpenForm = 16 << 10
	// BodyTime is how long a body may take: MaxBody over a line of 1.2 Mbit/s, a form over any line.
	BodyTime = 30 * time.Second
	// writeTime is how long writeChunk may take. A download may take hours, but not at less than 550 octets a second.
	writeTime  = 2 * time.Minute
	writeChunk = 64 << 10 // octets
)

// Handler keeps the requests of next within bounds. Multipart bodies are refused, because reading a form would spool them to
// disk; others may have MaxBody octets and take BodyTime. An answer that nobody reads is cut off.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		out := &writer{ResponseWriter: w, rc: rc}
		out.extend()
		switch {
		case isMultipart(r):
			refuse(out, http.StatusUnsupportedMediaType)
			return
		case r.ContentLength > MaxBody:
			refuse(out, http.StatusRequestEntityTooLarge)
			return
		}
		if r.Body != nil && r.Body != http.NoBody {
			// Not every connection has deadlines: one inside the process needs none.
			_ = rc.SetReadDeadline(time.Now().Add(BodyTime))
			r.Body = &body{ReadCloser: http.MaxBytesReader(w, r.Body, MaxBody), rc: rc}
		}
		next.ServeHTTP(out, r)
	})
}

// isMultipart reports whether a form reader would take the request for multipart.
func isMultipart(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Content-Type"), func(v string) bool {
		return strings.HasPrefix(strings.ToLower(strings.TrimSpace(v)), "multipart/")
	})
}

// refuse answers before the body was read, and has the connection closed rather than reading it.
func refuse(w http.ResponseWriter, code int) {
	w.Header().Set("Connection", "close")
	http.Error(w, http.StatusText(code), code)
}

// Status is the HTTP status of an error of reading a body, 0 for another one.
func Status(err error) int {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	}
	return 0
}

// body takes the deadline away when it was read: whoever waits for a long answer sends nothing more.
type body struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// writer gives every part of an answer its time.
type writer struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (w *writer) extend() { _ = w.rc.SetWriteDeadline(time.Now().Add(writeTime)) }

func (w *writer) Write(p []byte) (n int, err error) {
	for {
		w.extend()
		m, err := w.ResponseWriter.Write(p[:min(len(p), writeChunk)])
		n += m
		if p = p[m:]; err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// FlushError is what http.ResponseController calls.
func (w *writer) FlushError() error {
	w.extend()
	return w.rc.Flush()
}

// Unwrap lets http.ResponseController find deadlines.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
