package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client asks the API. It is safe for concurrent use.
type Client struct {
	http  *http.Client
	close func() error
	alive *liveness // nil where the instance is in this process
	view  int64     // to which requests belong, 0 for none
}

// dialTimeout bounds connecting to the socket: it answers at once or never.
const dialTimeout = 2 * time.Second

// Dial connects to the instance that runs on a data directory. The error is
// fs.ErrNotExist or ECONNREFUSED when none does, and ErrNoAnswer when it does not answer. Requests of
// the client end with ErrNoAnswer, too, when the instance stops answering.
func Dial(ctx context.Context, dir string) (*Client, error) {
	path := socketPath(dir)
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", path)
	}
	alive := &liveness{dial: dial, every: aliveEvery, patience: alivePatience}
	if err := alive.check(ctx, aliveTimeout); err != nil {
		return nil, err
	}
	c := newClient(dial, func() error { return nil })
	c.alive = alive
	return c, nil
}

// Local serves h inside this process until Close.
func Local(ctx context.Context, h http.Handler) *Client {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := newMemory()
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, h) }()
	return newClient(l.dial, func() error {
		cancel()
		return <-served
	})
}

// readBuffer makes few reads of the stream of an export.
const readBuffer = 64 << 10

func newClient(dial func(context.Context) (net.Conn, error), closing func() error) *Client {
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true,
		ReadBufferSize:     readBuffer,
	}
	return &Client{http: &http.Client{Transport: transport}, close: func() error {
		transport.CloseIdleConnections()
		return closing()
	}}
}

// Close lets go of the instance; a local one has ended when it returns.
func (c *Client) Close() error { return c.close() }

// maxProblem bounds an error answer.
const maxProblem = 64 << 10

// do sends a request; an answer that is no success becomes its Problem. The
// caller closes the body.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	if c.view > 0 {
		query = maps.Clone(query)
		if query == nil {
			query = url.Values{}
		}
		query.Set("view", strconv.FormatInt(c.view, 10))
	}
	end := func() {}
	if c.alive != nil {
		ctx, end = c.alive.watch(ctx)
	}
	resp, err := c.send(ctx, method, &url.URL{Scheme: "http", Host: "postkeep", Path: plain, RawPath: path, RawQuery: query.Encode()}, body)
	if err != nil {
		end()
		return nil, noAnswer(ctx, err)
	}
	resp.Body = &watchedBody{ReadCloser: resp.Body, ctx: ctx, end: end}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	p := &Problem{Status: resp.StatusCode, Title: resp.Status}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(p); err != nil {
		p.Detail = ""
	}
	return nil, joinClose(p, resp.Body)
}

// send sends a request, which ends with the body of its answer.
func (c *Client) send(ctx context.Context, method string, u *url.URL, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the URL says nothing to anybody
	}
	return resp, err
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (out T, err error) {
	resp, err := c.do(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return out, err
	}
	err = joinClose(json.NewDecoder(resp.Body).Decode(&out), resp.Body)
	return out, err
}

// Status returns the state of the instance.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/api/v1/status", nil)
}

// Mailboxes lists the mailboxes of configuration and archive.
func (c *Client) Mailboxes(ctx context.Context) ([]Mailbox, error) {
	return get[[]Mailbox](ctx, c, "/api/v1/mailboxes", nil)
}

// Message returns a message by its id or an unambiguous prefix of it. with names what else
// of it the same view is going to show, such as WithStructure; see Within.
func (c *Client) Message(ctx context.Context, id string, with ...string) (Detail, error) {
	var v url.Values
	if len(with) > 0 {
		v = url.Values{"with": {strings.Join(with, ",")}}
	}
	return get[Detail](ctx, c, "/api/v1/messages/"+url.PathEscape(id), v)
}

// Raw writes the exact bytes of a message to w. An error means that w did not
// get all of them.
func (c *Client) Raw(ctx context.Context, id string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, "/api/v1/messages/"+url.PathEscape(id)+"/raw", nil, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, resp.Body)
	return joinClose(err, resp.Body)
}

// Structure returns how a message is made.
func (c *Client) Structure(ctx context.Context, id string) (Structure, error) {
	return get[Structure](ctx, c, "/api/v1/messages/"+url.PathEscape(id)+"/structure", nil)
}

// Part opens one part of a message; its headers say how it wants to be treated.
// The caller closes the body.
func (c *Client) Part(ctx context.Context, id, path string) (*http.Response, error) {
	return c.do(ctx, http.MethodGet, "/api/v1/messages/"+url.PathEscape(id)+"/parts/"+url.PathEscape(path), nil, nil)
}

// Poll polls mailboxes and hands every event to fn. It returns when everything archived
// is searchable, unless req says otherwise.
func (c *Client) Poll(ctx context.Context, req PollRequest, fn func(PollEvent)) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, "/api/v1/polls", nil, bytes.NewReader(body))
	if err != nil {
		return err
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var e PollEvent
		if err := dec.Decode(&e); err != nil {
			return joinClose(fmt.Errorf("the instance stopped answering: %w", err), resp.Body)
		}
		if e.Done || e.Error != "" {
			if e.Error != "" {
				err = errors.New(e.Error)
			}
			return joinClose(err, resp.Body)
		}
		fn(e)
	}
}

func joinClose(err error, c io.Closer) error {
	if cerr := c.Close(); err == nil {
		return cerr
	}
	return err
}

// send makes a request with a JSON body, and reads a JSON answer into out.
func send[T any](ctx context.Context, c *Client, method, path string, in any) (out T, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	resp, err := c.do(ctx, method, path, nil, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	err = joinClose(json.NewDecoder(resp.Body).Decode(&out), resp.Body)
	return out, err
}
