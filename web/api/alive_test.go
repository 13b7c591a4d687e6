//go:build linux

package api

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A request that waits for an instance ends when that answers nothing any more, before the answer and in the middle of it.
func TestRequestsEndWhenTheInstanceIsStopped(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(http.ResponseWriter)
	}{
		{"before the answer", func(http.ResponseWriter) {}},
		{"in its middle", func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"progress":{}}` + "\n"))
			_ = http.NewResponseController(w).Flush()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := shortDir(t)
			l, err := Listen(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stopped atomic.Bool
			served := make(chan error, 1)
			go func() {
				served <- Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/" {
						c.answer(w)
						stopped.Store(true)
					}
					if stopped.Load() {
						<-ctx.Done()
					}
				}))
			}()
			client, err := Dial(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			client.alive.every, client.alive.patience = 10*time.Millisecond, 50*time.Millisecond
			err = client.Poll(t.Context(), PollRequest{}, func(PollEvent) {})
			if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
				t.Errorf("%v, want ErrNoAnswer with the process", err)
			}
			_ = client.Close()
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
