package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// defaultReplicas survive the loss of one server, which is what clusters are
// made for; two would not elect a leader without the other.
const defaultReplicas = 3

// replication is what declaring streams found out about their replicas.
type replication struct {
	fewest  int
	refused error // why a stream has fewer than Options.Replicas
}

// replicate declares a stream with as many replicas as are wished for, or as it has
// if these are more. Where that is refused (a single server, a cluster in which one
// is away) it stays with what it has, or begins with one.
func (b *Bus) replicate(ctx context.Context, r *replication, name string, declare func(replicas int) error) error {
	has := 1
	stream, err := b.js.Stream(ctx, name)
	if err == nil {
		has = max(has, stream.CachedInfo().Config.Replicas)
	} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return declareError("stream "+name, err)
	}
	want := max(has, b.opts.Replicas)
	err = declare(want)
	if want > has && isRefusal(err) {
		r.refused = err
		want = has
		err = declare(want)
	}
	if r.fewest == 0 || want < r.fewest {
		r.fewest = want
	}
	return err
}

// Error codes of a server that does not replicate as asked.
const (
	codeNoPeers       jetstream.ErrorCode = 10005 // no suitable peers for placement
	codeNotUpdatable  jetstream.ErrorCode = 10061
	codeNotClustered  jetstream.ErrorCode = 10074 // replicas > 1 not supported in non-clustered mode
	codeRemapFailed   jetstream.ErrorCode = 10075
	codeReplicasLimit jetstream.ErrorCode = 10052 // stream configuration, such as a limit of the account
)

// isRefusal reports whether fewer replicas may be accepted.
func isRefusal(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && slices.Contains([]jetstream.ErrorCode{
		codeNoPeers, codeNotUpdatable, codeNotClustered, codeRemapFailed, codeReplicasLimit, codeNoResources, codeNoStorage,
	}, api.ErrorCode)
}

// refusal is a problem where a cluster of three or more servers keeps fewer
// replicas than asked for.
func (b *Bus) refusal(r replication) string {
	servers := len(b.nc.Servers())
	if r.fewest >= b.opts.Replicas || b.nc.ConnectedClusterName() == "" || servers < defaultReplicas {
		return ""
	}
	return fmt.Sprintf("streams: %s is a cluster of %d servers, but streams have only %d replica(s), so that polls stop when one server does: "+
		"%d were refused, trying again every minute: %v", b.where(), servers, r.fewest, b.opts.Replicas, r.refused)
}

// declareNow declares everything, and waits for a cluster that is electing a
// leader.
func (b *Bus) declareNow(ctx context.Context) (h handles, err error) {
	err = b.settled(ctx, func() error {
		h, err = b.declare(ctx)
		return err
	})
	return h, err
}

// settled repeats what fails because streams have no leader, or because the
// connection or the embedded server is being replaced, for at most timing.settle.
func (b *Bus) settled(ctx context.Context, do func() error) error {
	deadline := time.Now().Add(b.timing.settle)
	for pause := b.newBackoff(); ; {
		err := do()
		if err == nil || !b.maySettle(err) || time.Now().After(deadline) {
			return err
		}
		b.suspectStore(err)
		if !b.wait(ctx, pause.pause()) {
			return err
		}
	}
}

// maySettle reports whether an error is one that passes.
func (b *Bus) maySettle(err error) bool {
	if errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return false
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code == 503 && b.nc.ConnectedClusterName() != ""
	}
	// A server alone without JetStream does not get it by waiting.
	noAnswer := errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrNoStreamResponse)
	return noAnswer && (b.nc.ConnectedClusterName() != "" || b.handles.polls != nil) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrDisconnected)
}

// keepReplicas raises the replicas of streams that were refused them, while
// the bus lives.
func (b *Bus) keepReplicas() {
	for b.wait(b.ctx, b.timing.replicas) {
		b.state.mu.Lock()
		short := b.state.short
		b.state.mu.Unlock()
		if !short || b.nc.ConnectedClusterName() == "" {
			continue
		}
		if _, err := b.declare(b.ctx); err != nil && b.ctx.Err() == nil {
			b.log.Warn("cannot declare streams with more replicas", "error", err)
		}
	}
}
