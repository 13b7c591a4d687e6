package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// serverStart bounds the start of the server, which begins empty.
	serverStart = time.Minute
	// memoryStore is the limit of the streams that are kept in memory: the
	// MaxBytes of POLL, LEASE, ARCHIVED and TENURE.
	memoryStore = 2*maxJobBytes + 2<<20
	// unlimitedStore leaves the limits to the streams, whose MaxBytes add up to
	// MaxStoreBytes. Without a limit the server takes a share of the disk that
	// is free now.
	unlimitedStore = 1 << 60
	// maxBuffered bounds what one stream takes in before it is on disk. The
	// server's default, 128 MiB, would be most of our memory.
	maxBuffered = 16 << 20
)

// embeddedServer is the server inside the process. Its store may fail while the
// connection lives; the server is replaced then.
type embeddedServer struct {
	mu  sync.Mutex
	srv *server.Server // nil between two servers; guarded by mu
}

var errReplaced = errors.New("the embedded NATS server is being replaced")

// InProcessConn implements nats.InProcessConnProvider.
func (e *embeddedServer) InProcessConn() (net.Conn, error) {
	if srv := e.current(); srv != nil {
		return srv.InProcessConn()
	}
	return nil, errReplaced
}

func (e *embeddedServer) current() *server.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.srv
}

// use stops the server that there is, and serves with srv from now on.
func (e *embeddedServer) use(srv *server.Server) {
	e.mu.Lock()
	old := e.srv
	e.srv = srv
	e.mu.Unlock()
	if old != nil {
		old.Shutdown()
		old.WaitForShutdown()
	}
}

// startServer starts a NATS server inside the process. It has no listener, and
// takes no signals. SyncInterval stays at the server's default: acknowledged
// messages may be lost in a power cut, and are then fetched again.
func startServer(dir string, logger *serverLog) (*server.Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName:            "postkeep",
		DontListen:            true,
		NoSigs:                true,
		NoLog:                 true, // no log of its own, see SetLogger
		JetStream:             true,
		StoreDir:              dir,
		JetStreamMaxStore:     unlimitedStore,
		JetStreamMaxMemory:    memoryStore,
		StreamMaxBufferedSize: maxBuffered,
	})
	if err != nil {
		return nil, err
	}
	srv.SetLogger(logger, false, false)
	srv.Start()
	if fatal := logger.fatal.Load(); fatal != nil {
		err = errors.New(*fatal)
	} else if !srv.ReadyForConnections(serverStart) {
		err = fmt.Errorf("not ready after %s", serverStart)
	}
	if err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, err
	}
	return srv, nil
}

// serverLog is the server's logger. Notices are for debugging only: the server
// is a detail of ours.
type serverLog struct {
	log   *slog.Logger
	fatal atomic.Pointer[string]
}

func (l *serverLog) say(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "embedded NATS server", "says", fmt.Sprintf(format, v...))
}

func (l *serverLog) Noticef(format string, v ...any) { l.say(slog.LevelDebug, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.say(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(string, ...any)           {}
func (l *serverLog) Warnf(format string, v ...any)   { l.say(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.say(slog.LevelError, format, v) }

// Fatalf must not return to a server that listens on the network; this one
// does not, and startServer looks at the message.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.say(slog.LevelError, format, v)
	msg := fmt.Sprintf(format, v...)
	l.fatal.Store(&msg)
}
