package api

import (
	"io"
	"net/http"
)

// InProcess returns a client of h without a connection between them: pages ask
// the API in this way, as the principal of the request's context.
func InProcess(h http.Handler) *Client {
	return &Client{http: &http.Client{Transport: direct{h}}, close: func() error { return nil }}
}

// direct is a transport that calls the handler.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	body, out := io.Pipe()
	w := &answer{header: http.Header{}, out: out, begun: make(chan *http.Response, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			// An answer that was cut off is one that ends in an error. Whatever
			// else went wrong in a handler must not end the server either.
			if p := recover(); p != nil {
				w.WriteHeader(http.StatusInternalServerError)
				out.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		d.h.ServeHTTP(w, r)
		w.WriteHeader(http.StatusOK)
		_ = out.Close() // never fails
	}()
	resp := <-w.begun
	resp.Request, resp.Body = r, &answered{body, done}
	return resp, nil
}

// answer is the handler's side.
type answer struct {
	header http.Header
	out    *io.PipeWriter
	begun  chan *http.Response // has room
	sent   bool
}

func (w *answer) Header() http.Header { return w.header }

func (w *answer) WriteHeader(code int) {
	if !w.sent {
		w.sent = true
		w.begun <- &http.Response{
			StatusCode: code, Status: http.StatusText(code), Header: w.header.Clone(), ContentLength: -1,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
	}
}

func (w *answer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}

// Flush does nothing: nothing is kept back.
func (w *answer) Flush() {}

// answered is the client's side. The handler has returned when Close does.
type answered struct {
	*io.PipeReader
	done <-chan struct{}
}

func (b *answered) Close() error {
	err := b.PipeReader.Close() // later writes of the handler fail
	<-b.done
	return err
}
