package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// serverStart bounds the recovery of the streams of the last run.
	serverStart = time.Minute
	// memoryStore is the limit of the streams that are kept in memory: the
	// MaxBytes of POLL, LEASE and ARCHIVED.
	memoryStore = 2*maxJobBytes + 1<<20
	// unlimitedStore leaves the limits to the streams, whose MaxBytes add up to
	// MaxStoreBytes. A limit of the server counts what the streams of the last
	// run reserved, so that a smaller MaxStoreBytes could never be declared;
	// without one the server takes a share of the disk that is free now.
	unlimitedStore = 1 << 60
	// maxBuffered bounds what one stream takes in before it is on disk. The
	// server's default, 128 MiB, would be most of our memory.
	maxBuffered = 16 << 20
)

// startServer starts a NATS server inside the process. It has no listener, and
// takes no signals. SyncInterval stays at the server's default: acknowledged
// messages may be lost in a power cut, and are then fetched again.
func startServer(opts Options) (*server.Server, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	srv, err := server.NewServer(&server.Options{
		ServerName:            "postkeep",
		DontListen:            true,
		NoSigs:                true,
		NoLog:                 true, // no log of its own, see SetLogger
		JetStream:             true,
		StoreDir:              opts.Dir,
		JetStreamMaxStore:     unlimitedStore,
		JetStreamMaxMemory:    memoryStore,
		StreamMaxBufferedSize: maxBuffered,
	})
	if err != nil {
		return nil, err
	}
	logger := &serverLog{log: opts.Logger}
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
