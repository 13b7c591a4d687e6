package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postkeep/postkeep/web/bounds"
)

const (
	socketName = "postkeep.sock"
	// privatePrefix begins the names of directories for sockets.
	privatePrefix = "postkeep-"
	// pathName is the file that names the socket where the data directory's
	// path is too long for one.
	pathName = "postkeep.sock.path"
	// ownerName is a file in such a directory that names the data directory.
	ownerName = "data"
	// maxSocketPath is under the 104 bytes that the shortest sun_path has.
	maxSocketPath = 100
	// readHeaderTimeout bounds how long a client may take for its request head.
	readHeaderTimeout = 10 * time.Second
	// closeGrace is how long running answers may take when the server stops.
	closeGrace = 5 * time.Second
)

// Listen makes the Unix socket of a data directory. The caller holds the
// directory's lock, so that a socket file that is there is left from a crash.
func Listen(ctx context.Context, dir string) (net.Listener, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := removeShortPath(ctx, dir); err != nil {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		if path, err = shortPath(dir); err != nil {
			return nil, fmt.Errorf("make a directory for the socket: %w", err)
		}
	}
	if err := removed(path); err != nil {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// shortPath makes a private directory with a short name and notes it.
func shortPath(dir string) (string, error) {
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	private, err := os.MkdirTemp(runtime, privatePrefix)
	if err != nil {
		private, err = os.MkdirTemp("", privatePrefix)
	}
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(private, ownerName), []byte(dir), 0o600); err != nil {
		return "", err
	}
	path := filepath.Join(private, socketName)
	return path, os.WriteFile(filepath.Join(dir, pathName), []byte(path+"\n"), 0o600)
}

// removeShortPath removes what an earlier run left of its shortPath.
func removeShortPath(ctx context.Context, dir string) error {
	if path, ok := readShortPath(dir); ok {
		c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", path)
		if err == nil { // it serves another data directory, of which this is a copy
			_ = c.Close()
		} else { // harmless if they stay
			_ = os.Remove(path)
			_ = os.Remove(filepath.Join(filepath.Dir(path), ownerName))
			_ = os.Remove(filepath.Dir(path))
		}
	}
	return removed(filepath.Join(dir, pathName))
}

// removed is os.Remove for what may be gone already.
func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readShortPath returns the path that shortPath noted, unless it is not to be
// trusted: everybody can write to /tmp, and whoever makes a directory there in
// place of one that is gone could answer instead of us.
func readShortPath(dir string) (path string, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, pathName))
	if err != nil {
		return "", false
	}
	path = strings.TrimSpace(string(b))
	private := filepath.Dir(path)
	if !filepath.IsAbs(path) || filepath.Base(path) != socketName || !strings.HasPrefix(filepath.Base(private), privatePrefix) {
		return "", false
	}
	info, err := os.Lstat(private)
	return path, err == nil && info.IsDir() && isPrivate(info, dir)
}

// ownedBy reports whether the private directory was made for this data directory, and not for one that it is a copy of.
func ownedBy(private, dir string) bool {
	name, err := os.ReadFile(filepath.Join(private, ownerName))
	if err != nil {
		return false
	}
	owner, errOwner := os.Stat(string(name))
	mine, err := os.Stat(dir)
	return errOwner == nil && err == nil && os.SameFile(owner, mine)
}

// socketPath is where the socket of a data directory would be.
func socketPath(dir string) string {
	if path, ok := readShortPath(dir); ok && ownedBy(filepath.Dir(path), dir) {
		return path
	}
	return filepath.Join(dir, socketName)
}

// Serve answers on l, whose other end is trusted to be who the operating system
// says, until ctx ends, then lets running answers finish for a short while.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	return serve(ctx, l, &http.Server{Handler: bounds.Handler(h), ReadHeaderTimeout: readHeaderTimeout, ConnContext: connContext, MaxHeaderBytes: http.DefaultMaxHeaderBytes})
}

const (
	// maxPeopleHeader is in bytes; cookies and tokens are far below.
	maxPeopleHeader = 64 << 10
	// maxStreams is how many requests one HTTP/2 connection has at a time, and maxReceive what it may have sent of their bodies that
	// nobody has read yet, in octets: the least that the protocol lets.
	maxStreams = 32
	maxReceive = 64 << 10
	// peopleIdle is how long a connection without a request is kept.
	peopleIdle = 2 * time.Minute
)

// ServePeople is Serve for a listener on the network, where h finds out who
// asks, and keeps requests within bounds: a download may take hours.
func ServePeople(ctx context.Context, l net.Listener, h http.Handler) error {
	return serve(ctx, l, &http.Server{Handler: h, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: peopleIdle, MaxHeaderBytes: maxPeopleHeader, HTTP2: &http.HTTP2Config{
		MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: maxReceive, MaxReceiveBufferPerStream: maxReceive,
	}})
}

func serve(ctx context.Context, l net.Listener, srv *http.Server) error {
	var stopping sync.WaitGroup
	stopping.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer stopping.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGrace)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // whoever is still reading has had time
		}
	})
	err := srv.Serve(l)
	if stop() {
		stopping.Done()
	}
	stopping.Wait()
	if addr, ok := l.Addr().(*net.UnixAddr); ok {
		if d := filepath.Dir(addr.Name); strings.HasPrefix(filepath.Base(d), privatePrefix) {
			_ = os.Remove(filepath.Join(d, ownerName))
			_ = os.Remove(d) // the private directory of a short path; harmless if it stays
		}
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// memory is a listener whose connections never leave the process.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), done: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "memory"} }

func (m *memory) dial(ctx context.Context) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case m.conns <- server:
		return client, nil
	case <-m.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
