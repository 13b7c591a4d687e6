package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// DefaultMaxStoreBytes is the disk space that the streams may take
	// together. It bounds what waits for the archive; mail that does not fit
	// waits on the POP3 server.
	DefaultMaxStoreBytes = 4 << 30
	// MinMaxStoreBytes leaves each stream room for some messages.
	MinMaxStoreBytes = 16 << 20

	// maxJobs bounds polls that are pending or running. A job is some hundred
	// octets.
	maxJobs      = 100_000
	maxJobBytes  = 32 << 20
	maxLeaseSize = 1 << 10
	// maxWaitingPulls is the number of poll workers, in all processes.
	maxWaitingPulls = 4096

	// unusedWindow is the duplicates window of streams that are published to
	// without a message id: the shortest that says "none".
	unusedWindow = 100 * time.Millisecond
)

// timing holds every duration on which streams and workers depend, so that
// tests can be quick. defaultTiming gives the reasons.
type timing struct {
	pollAckWait   time.Duration
	mailAckWait   time.Duration
	mailWindow    time.Duration
	leaseTTL      time.Duration
	tenureTTL     time.Duration
	bodyTTL       time.Duration
	orphanAge     time.Duration
	sweepInterval time.Duration
	scrubAge      time.Duration
	scrubWait     time.Duration
	retryMin      time.Duration
	retryMax      time.Duration
	redelivery    time.Duration
	redeliveryMax time.Duration
	publish       time.Duration
	service       time.Duration
	serviceStart  time.Duration
	watch         time.Duration
	drain         time.Duration
	diagnose      time.Duration
	settle        time.Duration
	replicas      time.Duration
}

func defaultTiming() timing {
	return timing{
		// A job whose poller died is taken over after this; running handlers
		// send heartbeats at a third of it.
		pollAckWait: 30 * time.Second,
		// What was delivered to a connection that died comes again after this. A
		// live worker sends heartbeats at a third of it.
		mailAckWait: 10 * time.Second,
		// Long enough for a publisher that missed an acknowledgement to try
		// twice more. Each id in the window costs memory (some 150 octets), and
		// a duplicate that slips through is only a deposit that Put knows.
		mailWindow: 30 * time.Second,
		// A crashed poller on another machine blocks its mailboxes this long.
		// Renewed at a quarter of it.
		leaseTTL: 40 * time.Second,
		// How long a process waits to see that another one, on another machine, is dead. Renewed at a quarter of it.
		tenureTTL: 20 * time.Second,
		// Past the longest time for which an archive may reasonably be full or
		// read-only. Afterwards the message is fetched again.
		bodyTTL: 14 * 24 * time.Hour,
		// Longer than any poll session, so that no publisher is still at work
		// on a body that is taken for an orphan.
		orphanAge:     24 * time.Hour,
		sweepInterval: time.Hour,
		// An envelope follows its body within seconds. Where it does not, its
		// message is fetched again.
		scrubAge: 10 * time.Minute,
		// Long enough for a busy archive to have nothing in hand for a moment,
		// and for a body of gigabytes to get through.
		scrubWait: 5 * time.Minute,
		// Publishing to a full stream, fetching from a server that is away.
		retryMin: 50 * time.Millisecond,
		retryMax: 5 * time.Second,
		// After a failed Put the n-th redelivery comes after n times
		// redelivery, at most redeliveryMax.
		redelivery:    2 * time.Second,
		redeliveryMax: 5 * time.Minute,
		// A healthy server acknowledges in milliseconds.
		publish: 10 * time.Second,
		// One question to the catalog; long enough for its busiest moment.
		service: 30 * time.Second,
		// How long a poller waits for an archive worker to appear.
		serviceStart: 15 * time.Second,
		// How soon a broken embedded server is noticed while nothing is
		// published; a publish that fails is noticed at once.
		watch: 15 * time.Second,
		// 4 GiB at the speed of a slow disk. Polls begin afterwards.
		drain: 10 * time.Minute,
		// Somebody waits for the answer.
		diagnose: 15 * time.Second,
		// A cluster elects new leaders within seconds.
		settle: 30 * time.Second,
		// Servers of a cluster come and go; a stream that was declared while one
		// was away is replicated when it is back.
		replicas: time.Minute,
	}
}

// sizes divides the space that the streams may take.
type sizes struct{ mail, bodies, dead int64 }

func divide(total int64) sizes {
	return sizes{
		mail:   total / 16 * 6,
		bodies: total / 16 * 8, // at least one message of the largest size has to fit
		dead:   total / 64,
	}
}

// handles are what was declared, as the client library names it. They hold
// names only, and stay good when a stream was created again.
type handles struct {
	polls   jetstream.Consumer
	mails   jetstream.Consumer
	leases  jetstream.KeyValue
	bodies  jetstream.ObjectStore
	chunks  jetstream.Stream // the stream under bodies
	tenures jetstream.Stream
}

// declare creates streams, consumers and buckets, or brings them to what is
// written here. It is idempotent, and is called again by workers that find a
// stream gone.
func (b *Bus) declare(ctx context.Context) (handles, error) {
	var h handles
	var err error
	var r replication
	for _, cfg := range b.streamConfigs() {
		if err := b.replicate(ctx, &r, cfg.Name, func(n int) error {
			cfg.Replicas = n
			return b.declareStream(ctx, cfg)
		}); err != nil {
			return h, err
		}
	}
	for _, bucket := range []string{b.leaseStream(), b.bodyStream()} {
		if _, err := b.owned(ctx, bucket); err != nil {
			return h, err
		}
	}
	if h.polls, err = b.js.CreateOrUpdateConsumer(ctx, b.stream(streamPoll), b.pollConsumer()); err != nil {
		return h, declareError("consumer "+consumerPoller, err)
	}
	if h.mails, err = b.js.CreateOrUpdateConsumer(ctx, b.mailStream(b.opts.Shard), b.mailConsumer()); err != nil {
		return h, declareError("consumer "+consumerArchiver, err)
	}
	if err := b.replicate(ctx, &r, b.leaseStream(), func(n int) (err error) {
		cfg := b.leaseBucket()
		cfg.Replicas = n
		h.leases, err = b.js.CreateOrUpdateKeyValue(ctx, cfg)
		return declared("bucket "+b.stream(bucketLease), err)
	}); err != nil {
		return h, err
	}
	if err := b.replicate(ctx, &r, b.bodyStream(), func(n int) (err error) {
		cfg := b.bodyBucket()
		cfg.Replicas = n
		h.bodies, err = b.js.CreateOrUpdateObjectStore(ctx, cfg)
		return declared("bucket "+b.stream(bucketBodies), err)
	}); err != nil {
		return h, err
	}
	if h.chunks, err = b.js.Stream(ctx, b.bodyStream()); err != nil {
		return h, declareError("stream "+b.bodyStream(), err)
	}
	if h.tenures, err = b.js.Stream(ctx, b.stream(streamTenure)); err != nil {
		return h, declareError("stream "+b.stream(streamTenure), err)
	}
	b.state.replicated(r.fewest < b.opts.Replicas, b.refusal(r))
	return h, nil
}

func declareError(what string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("declare %s: JetStream is not enabled on the NATS server, or not for this account: %w", what, err)
	case isFull(err):
		return fmt.Errorf("declare %s: the NATS account reserves less storage than nats.max_store_bytes: %w", what, err)
	}
	return fmt.Errorf("declare %s: %w", what, err)
}

func (b *Bus) streamConfigs() []jetstream.StreamConfig {
	size := divide(b.opts.MaxStoreBytes)
	return []jetstream.StreamConfig{
		{
			Name:        b.stream(streamPoll),
			Description: "poll jobs, at most one per mailbox",
			Subjects:    []string{b.subject("poll", "*")},
			Retention:   jetstream.WorkQueuePolicy,
			Storage:     b.transient,
			// A job stays until it is acknowledged; a second one for the same
			// mailbox is refused until then (error 10077).
			MaxMsgsPerSubject:    1,
			Discard:              jetstream.DiscardNew,
			DiscardNewPerSubject: true,
			MaxMsgs:              maxJobs,
			MaxBytes:             maxJobBytes,
			Duplicates:           unusedWindow,
		},
		{
			Name:        b.mailStream(b.opts.Shard),
			Description: "messages on their way into the archive",
			Subjects:    []string{b.subject("mail", b.opts.Shard, "*")},
			Retention:   jetstream.WorkQueuePolicy,
			Storage:     jetstream.FileStorage,
			// Full means that publishers wait. Discarding old messages would
			// lose work in silence.
			Discard:    jetstream.DiscardNew,
			MaxBytes:   size.mail,
			Duplicates: b.timing.mailWindow,
		},
		{
			Name:        b.stream(streamArchived),
			Description: "wake-up for indexers: the last ledger index of each shard",
			Subjects:    []string{b.subject("archived", "*")},
			Retention:   jetstream.LimitsPolicy,
			// Only a wake-up: an indexer that starts catches up by itself.
			Storage:           b.transient,
			MaxMsgsPerSubject: 1,
			Discard:           jetstream.DiscardOld,
			MaxBytes:          1 << 20,
			Duplicates:        unusedWindow,
		},
		{
			Name:        b.stream(streamTenure),
			Description: "who serves each shard of the archive: one record, written on condition that nobody else has",
			Subjects:    []string{b.subject("tenure", "*")},
			Retention:   jetstream.LimitsPolicy,
			// It also says how much the last one had: without it the epoch in the ledger has to do.
			Storage:           b.transient,
			Replicas:          b.opts.Replicas,
			MaxMsgsPerSubject: 1,
			Discard:           jetstream.DiscardOld,
			MaxBytes:          1 << 20,
			Duplicates:        unusedWindow,
		},
		{
			Name:        b.stream(streamDead),
			Description: "envelopes of messages that the archive refused",
			Subjects:    []string{b.subject("dead", "*")},
			Retention:   jetstream.LimitsPolicy,
			Storage:     jetstream.FileStorage,
			// For people to look at; the messages are still on their servers.
			Discard:    jetstream.DiscardOld,
			MaxAge:     90 * 24 * time.Hour,
			MaxBytes:   size.dead,
			Duplicates: unusedWindow,
		},
	}
}

func (b *Bus) pollConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:   consumerPoller,
		AckPolicy: jetstream.AckExplicitPolicy,
		AckWait:   b.timing.pollAckWait,
		// A poll is repeated until some poller finishes it.
		MaxDeliver: -1,
		// Every pending job may be running.
		MaxAckPending: maxJobs,
		MaxWaiting:    maxWaitingPulls,
	}
}

func (b *Bus) mailConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:   consumerArchiver,
		AckPolicy: jetstream.AckExplicitPolicy,
		AckWait:   b.timing.mailAckWait,
		// The worker counts failures and writes the dead letter: deliveries that
		// a restart or a lost connection repeats are no failures of the message. One
		// that the server gives up would stay in the stream, unseen.
		MaxDeliver: -1,
		// What one worker has in hand, and as much again that waits for a
		// redelivery.
		MaxAckPending: 4 * batchMessages,
		MaxWaiting:    16,
	}
}

func (b *Bus) leaseBucket() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket:       b.stream(bucketLease),
		Description:  "one session per mailbox",
		Metadata:     b.metadata(),
		TTL:          b.timing.leaseTTL,
		MaxValueSize: maxLeaseSize,
		MaxBytes:     maxJobBytes,
		Storage:      b.transient,
	}
}

func (b *Bus) bodyBucket() jetstream.ObjectStoreConfig {
	return jetstream.ObjectStoreConfig{
		Bucket:      b.stream(bucketBodies),
		Description: "bodies too large for a message of " + b.mailStream("*"),
		Metadata:    b.metadata(),
		TTL:         b.timing.bodyTTL,
		MaxBytes:    divide(b.opts.MaxStoreBytes).bodies,
		Storage:     jetstream.FileStorage,
	}
}
