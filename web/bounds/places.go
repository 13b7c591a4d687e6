package bounds

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// MaxConnections is how many there are at a time. Each takes a goroutine and some ten kilobytes, with TLS.
	MaxConnections = 1024
	// MaxConnectionsEach is how many one address has: a browser opens six, an office behind one address has some dozens of people.
	MaxConnectionsEach = 128
	// MaxStrangers is how many requests of people who are not known are answered at a time. Each may have a head of 64 KiB and a
	// form of MaxOpenForm, so that they take 64 MiB at most.
	MaxStrangers = 512
	// MaxStrangersEach is how many of these one address has.
	MaxStrangersEach = 64
	// refusalsEvery is how often the log says that connections were refused, at most.
	refusalsEvery = time.Minute
)

// Places are places for a number of things at a time, of which each key has some. They are safe for concurrent use.
type Places struct {
	all, each int
	mu        sync.Mutex
	free      int
	taken     map[string]int // by key, at most all of them
}

// NewPlaces makes places: all of them, and at most each for one key.
func NewPlaces(all, each int) *Places {
	return &Places{all: all, each: each, free: all, taken: map[string]int{}}
}

// Take takes a place; leave gives it back, once. ok is false if there is none.
func (p *Places) Take(key string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free == 0 || p.taken[key] >= p.each {
		return nil, false
	}
	p.free--
	p.taken[key]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.free++
		if p.taken[key]--; p.taken[key] == 0 {
			delete(p.taken, key)
		}
	}), true
}

// Network is what counts as one address: an IPv4 address, or the /64 of an IPv6 address, all of which one person has. What is no
// address is one of its own, for it is not believed.
func Network(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "no address"
	}
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return "no address"
	}
	return p.String()
}

// listener closes connections for which there is no place.
type listener struct {
	net.Listener
	places *Places
	log    *slog.Logger

	// of the one who accepts
	refused int
	told    time.Time
}

// Listen bounds the connections of l: MaxConnections, and each per address.
func Listen(l net.Listener, each int, log *slog.Logger) net.Listener {
	return &listener{Listener: l, places: NewPlaces(MaxConnections, each), log: log}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if leave, ok := l.places.Take(Network(c.RemoteAddr().String())); ok {
			return &conn{c, leave}, nil
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // nothing stays in the kernel either
		}
		_ = c.Close()
		l.refused++
		if now := time.Now(); now.Sub(l.told) >= refusalsEvery {
			l.log.Warn("connections were refused: there are too many at a time", "refused", l.refused, "last", c.RemoteAddr().String())
			l.refused, l.told = 0, now
		}
	}
}

type conn struct {
	net.Conn
	leave func()
}

func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}
