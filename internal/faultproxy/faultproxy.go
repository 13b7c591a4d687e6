// Package faultproxy is a TCP proxy that makes connections fail, for tests.
//
// Each connection follows a Plan: it is cut, reset or stalled after a number
// of bytes in either direction or right after a given text, a stretch of bytes
// crawls, writes are split, everything is late. Random makes plans from a
// seeded generator, so that a run can be repeated.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// dialTimeout bounds the connection to a server that tests run on this machine.
const dialTimeout = 10 * time.Second

// A Proxy is a running proxy. Its methods may be called concurrently.
type Proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu   sync.Mutex
	plan Plan
}

// Start listens on a free loopback port and forwards to target, a host:port.
// The caller must Close the proxy.
func Start(target string) (*Proxy, error) {
	p := &Proxy{target: target}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	var err error
	if p.listener, err = new(net.ListenConfig).Listen(p.ctx, "tcp", "127.0.0.1:0"); err != nil {
		p.cancel()
		return nil, fmt.Errorf("start fault proxy: %w", err)
	}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the host:port that the proxy listens on.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetPlan sets the plan of the connections that are accepted from now on.
func (p *Proxy) SetPlan(plan Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
}

// Close drops all connections and waits for every goroutine.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.listener.Close()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil { // closed; on loopback nothing else makes it fail
			return
		}
		p.mu.Lock()
		plan := p.plan
		p.mu.Unlock()
		p.wg.Go(func() { p.serve(conn, plan) })
	}
}

// serve forwards until both sides have ended.
func (p *Proxy) serve(accepted net.Conn, plan Plan) {
	dialer := net.Dialer{Timeout: dialTimeout}
	dialed, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		_ = accepted.Close() // the client sees that there is no server
		return
	}
	client, ok := accepted.(*net.TCPConn)
	server, ok2 := dialed.(*net.TCPConn)
	if !ok || !ok2 { // cannot be: both are TCP
		_ = errors.Join(accepted.Close(), dialed.Close())
		return
	}
	l := &link{plan: plan, client: client, server: server}
	l.ctx, l.cancel = context.WithCancel(p.ctx)
	defer l.cancel()
	stop := context.AfterFunc(p.ctx, l.close)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { l.pump(ToServer, client, server) })
	wg.Go(func() { l.pump(ToClient, server, client) })
	wg.Wait()
	l.close()
}
