package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

const (
	// connectTimeout bounds the first connection, and drainTimeout its end.
	connectTimeout = 10 * time.Second
	drainTimeout   = 10 * time.Second
	// reconnectWait is the pause between attempts once the server was lost.
	// There is no limit to their number: mail waits on the POP3 servers.
	reconnectWait = time.Second
	// pingInterval and maxPings find out within 15 s that a server does not
	// answer any more although its connection is open.
	pingInterval = 5 * time.Second
	maxPings     = 2
	// embeddedName is the embedded server for people.
	embeddedName = "embedded NATS server"
	// minPayload is the smallest max_payload of a server that carries an
	// envelope, a chunk of a large body and an answer of the services.
	minPayload = 256 << 10
	// maxPendingAcks is never reached: in-flight publishes are bounded by
	// bytes (maxInFlight). The client library would fail a publish there
	// instead of waiting.
	maxPendingAcks = 1 << 16
)

// Options say which NATS server to use, and how much it may hold. The zero
// value is not usable: Dir or URL must be set.
type Options struct {
	// URL of one or more (comma-separated) NATS servers, "" for an embedded
	// server without a listener.
	URL string
	// Dir is where the embedded server keeps its streams. It is created if
	// missing, and must not be in use by another process.
	Dir string
	// CredentialsFile is a NATS .creds file, "" for none.
	CredentialsFile string
	// CAFile is a PEM file of the authorities that sign the server's
	// certificate, "" for the system's.
	CAFile string
	// CertFile and KeyFile are the client's certificate, "" for none.
	CertFile string
	KeyFile  string
	// MaxStoreBytes is the disk space of all streams together, default
	// DefaultMaxStoreBytes. A message larger than half of it cannot pass.
	MaxStoreBytes int64
	// Shard is the archive shard that this process publishes to or serves,
	// default "s0": letters, digits, '-' and '_'.
	Shard string
	// Replicas is the number of servers of a cluster that keep each stream,
	// default 3. Where the server refuses it, streams have one replica; those of
	// existing streams are raised, and never lowered.
	Replicas int
	// Identity is that of the installation, 128 bits in hexadecimal. On an external server it is required: what others have
	// put there is left alone.
	Identity string
	// Prefix begins the names of all streams, buckets and subjects: letters, digits, '-' and '_'. "" is one that is made of the
	// identity, and none on the embedded server.
	Prefix string
	// Logger gets what cannot be returned as an error. Default: discard.
	Logger *slog.Logger
}

// withDefaults checks the options and fills in what was left out.
func (o Options) withDefaults() (Options, error) {
	if o.MaxStoreBytes == 0 {
		o.MaxStoreBytes = DefaultMaxStoreBytes
	}
	if o.Shard == "" {
		o.Shard = "s0"
	}
	if o.Replicas == 0 {
		o.Replicas = defaultReplicas
		if o.URL == "" {
			o.Replicas = 1
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.URL == "" && o.Dir == "":
		return o, errors.New("neither a NATS URL nor a directory for the embedded server is given")
	case o.MaxStoreBytes < MinMaxStoreBytes:
		return o, fmt.Errorf("max store bytes is %d, but must be at least %d", o.MaxStoreBytes, MinMaxStoreBytes)
	case !plain(o.Shard):
		return o, fmt.Errorf("shard name %q: only letters, digits, '-' and '_' are allowed", o.Shard)
	}
	return o, validIdentity(o)
}

// A Bus is a connection to NATS with everything declared on it. It is safe for
// concurrent use.
type Bus struct {
	names
	opts      Options
	timing    timing
	log       *slog.Logger
	transient jetstream.StorageType // storage of what need not survive a restart

	server *embeddedServer // nil for an external server
	state  state
	nc     *nats.Conn
	js     jetstream.JetStream
	handles

	terms terms // of the archive

	inFlight *semaphore.Weighted // octets of published messages without acknowledgement
	retrying *semaphore.Weighted // one message at a time

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines that live as long as ctx
	closed chan struct{}  // the connection is closed

	polling sync.Map // mailboxes that are being polled by this process

	keepStore bool          // Close leaves the files of the embedded server
	doubt     chan struct{} // capacity 1: guard is to check the embedded server
	left      chan struct{} // capacity 1: an Archiver is to drain what a replaced server left
	stop      sync.Once
}

// Connect starts the embedded server, or connects to the one at opts.URL, and
// declares all streams. An external server has to be reachable now; when it is
// lost later the bus reconnects for ever. The caller must Close the bus.
func Connect(ctx context.Context, opts Options) (*Bus, error) {
	return connect(ctx, opts, defaultTiming())
}

func connect(ctx context.Context, opts Options, t timing) (*Bus, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	b := newBus(ctx, opts, t)
	if opts.URL == "" {
		// A crash takes all sessions with it: no lease and no job may outlive
		// it.
		b.transient, b.server = jetstream.MemoryStorage, &embeddedServer{}
		if err := b.startEmbedded(); err != nil {
			b.cancel()
			return nil, fmt.Errorf("pipeline: start embedded NATS server in %s: %w", opts.Dir, err)
		}
	}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("pipeline: %s: %w", b.where(), err), b.Close())
	}
	if b.server != nil {
		b.wg.Go(b.guard)
	} else {
		b.wg.Go(b.keepReplicas)
	}
	return b, nil
}

// newBus makes a bus without a server and a connection. Close ends it, and not the
// context.
func newBus(ctx context.Context, opts Options, t timing) *Bus {
	b := &Bus{
		names: namesFor(opts), opts: opts, timing: t, log: opts.Logger,
		// The streams of an external server survive a restart of it, so that
		// leases and jobs of pollers elsewhere do.
		transient: jetstream.FileStorage,
		inFlight:  semaphore.NewWeighted(maxInFlight),
		retrying:  semaphore.NewWeighted(1),
		closed:    make(chan struct{}),
		doubt:     make(chan struct{}, 1),
		left:      make(chan struct{}, 1),
	}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return b
}

// startEmbedded starts a server that begins empty.
func (b *Bus) startEmbedded() error {
	if err := b.clear(); err != nil {
		return err
	}
	srv, err := startServer(b.opts.Dir, &serverLog{log: b.log})
	if err != nil {
		return err
	}
	b.server.use(srv)
	return nil
}

func (b *Bus) open(ctx context.Context) error {
	var err error
	if b.nc, err = nats.Connect(b.opts.URL, b.natsOptions()...); err != nil {
		return fmt.Errorf("connect: %w", withoutURL(err))
	}
	if b.nc.MaxPayload() < minPayload {
		return fmt.Errorf("max_payload is %d octets, but must be at least %d", b.nc.MaxPayload(), minPayload)
	}
	b.js, err = jetstream.New(b.nc,
		jetstream.WithDefaultTimeout(b.timing.publish),
		jetstream.WithPublishAsyncMaxPending(maxPendingAcks),
		jetstream.WithPublishAsyncTimeout(b.timing.publish))
	if err != nil {
		return err
	}
	if b.handles, err = b.declareNow(ctx); err != nil {
		return err
	}
	if b.server == nil {
		b.reportStrangers(ctx)
		return nil
	}
	// Nobody can be writing yet, so whatever is half-written was left by a
	// crash.
	return b.removePartialBodies(ctx, 0)
}

func (b *Bus) natsOptions() []nats.Option {
	o := b.opts
	opts := []nats.Option{
		nats.Name("postkeep"),
		nats.Timeout(connectTimeout),
		nats.DrainTimeout(drainTimeout),
		nats.MaxReconnects(-1),
		// A server that refuses the credentials may be one that is being set up.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.state.disconnected(err)
			if err != nil {
				b.log.Warn("connection to NATS lost", "server", b.where(), "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			b.state.reconnected()
			b.log.Info("connection to NATS restored", "server", b.where())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			b.log.Warn("NATS reports an error", "subject", subject, "error", err)
		}),
	}
	if b.server != nil {
		opts = append(opts, nats.InProcessServer(b.server), nats.ReconnectWait(b.timing.retryMin), nats.ReconnectJitter(0, 0))
	}
	if o.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(o.CredentialsFile))
	}
	if o.CAFile != "" {
		opts = append(opts, nats.RootCAs(o.CAFile))
	}
	if o.CertFile != "" {
		opts = append(opts, nats.ClientCert(o.CertFile, o.KeyFile))
	}
	return opts
}

// where names the server for people, without user and password.
func (b *Bus) where() string {
	if b.opts.URL == "" {
		return embeddedName
	}
	urls := strings.Split(b.opts.URL, ",")
	for i, s := range urls {
		if s = strings.TrimSpace(s); !strings.Contains(s, "://") {
			s = "nats://" + s // as the client library does
		}
		u, err := url.Parse(s)
		if err != nil {
			urls[i] = "(unreadable URL)"
			continue
		}
		u.User = nil
		urls[i] = u.String()
	}
	return "NATS server " + strings.Join(urls, ",")
}

// withoutURL drops the URL from an error about it: it may hold a password.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// Close ends everything that was started on the bus, delivers what was
// published, closes the connection and stops the embedded server. It waits for
// all of it. Pollers and the archive worker should have ended before: their
// messages would be delivered again.
func (b *Bus) Close() error {
	var err error
	b.stop.Do(func() { err = b.close() })
	return err
}

func (b *Bus) close() error {
	b.cancel()
	b.wg.Wait()
	empty := b.server != nil && !b.keepStore && b.nc != nil && b.holdsNothing()
	var err error
	if b.nc != nil {
		if err = b.nc.Drain(); err != nil {
			b.nc.Close()
		}
		<-b.closed
		if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionReconnecting) {
			err = nil // nothing was left to deliver it to
		}
	}
	if b.server != nil {
		b.server.use(nil)
	}
	if empty { // what would be left are names and numbers of messages that are archived
		err = errors.Join(err, os.RemoveAll(b.opts.Dir))
	}
	return err
}

// holdsNothing reports whether no message waits in the embedded server.
func (b *Bus) holdsNothing() bool {
	ctx, cancel := context.WithTimeout(context.Background(), b.timing.publish)
	defer cancel()
	stream, err := b.js.Stream(ctx, b.mailStream(b.opts.Shard))
	return err == nil && stream.CachedInfo().State.Msgs == 0
}

// wait pauses for d, or until ctx or the bus ends, and says whether to go on.
func (b *Bus) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-b.ctx.Done():
	}
	return false
}

// A backoff is a pause that doubles.
type backoff struct{ next, max time.Duration }

func (b *Bus) newBackoff() backoff { return backoff{b.timing.retryMin, b.timing.retryMax} }

func (p *backoff) pause() time.Duration {
	d := p.next
	p.next = min(2*p.next, p.max)
	return d
}
