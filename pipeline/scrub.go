package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Scrub leaves nothing of messages in the files of the streams that have gone through them: what was
// acknowledged stays in there until a file is full. It waits until everything pending was archived, which takes an
// Archiver, and for no longer than a few minutes. What is published meanwhile is not lost.
//
// It asks the NATS server; what that keeps elsewhere (replicas that are away, snapshots) is beyond reach.
func (b *Bus) Scrub(ctx context.Context) error {
	if b.server != nil {
		for _, suffix := range []string{suffixWaiting, suffixSetAside} {
			if dirs := leftovers(b.opts.Dir, suffix); len(dirs) > 0 {
				return fmt.Errorf("remove what is left in the streams: %s of an earlier run may hold copies of messages; "+
					"delete it when no message is missing, and start again", dirs[0])
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, b.timing.scrubWait)
	defer cancel()
	for pause := b.newBackoff(); ; {
		err := errors.Join(b.removeOrphans(ctx, b.timing.scrubAge), b.removePartialBodies(ctx, b.timing.scrubAge))
		if err != nil {
			return fmt.Errorf("remove what is left in the streams: %w", err)
		}
		clean := true
		for _, name := range []string{b.mailStream(b.opts.Shard), b.bodyStream()} {
			done, err := b.scrubStream(ctx, name)
			if err != nil {
				return fmt.Errorf("remove what is left in stream %s: %w", name, err)
			}
			clean = clean && done
		}
		if clean {
			return nil
		}
		if !b.wait(ctx, pause.pause()) {
			return errors.New("remove what is left in the streams: messages are still on their way into the archive, try again later")
		}
	}
}

// scrubStream empties the files of a stream that holds nothing. It reports false if it holds something.
func (b *Bus) scrubStream(ctx context.Context, name string) (bool, error) {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return false, err
	}
	before := stream.CachedInfo().State
	if before.Msgs > 0 {
		return false, nil
	}
	// Up to the last one that is known: what has been published since stays.
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(before.LastSeq+1)); err != nil {
		return false, err
	}
	after, err := stream.Info(ctx)
	// Otherwise the files may begin with what was before.
	return err == nil && after.State.LastSeq == before.LastSeq, err
}
