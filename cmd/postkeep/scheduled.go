package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/config"
)

// background is what a running instance does by schedule, besides polls.
func (i *instance) background(ctx context.Context, cfg *config.Config) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range i.anchors.all {
		group.Go(func() error { return i.anchors.keep(ctx, i.store, p) })
	}
	if cfg.Archive.Verify.Schedule != "" {
		group.Go(func() error { return i.verifyBySchedule(ctx, cfg) })
	}
	return group.Wait()
}

// verifyRetry is the pause after a verification that could not be finished, as when another one is running.
const verifyRetry = 10 * time.Minute

// verifyBySchedule verifies the archive until ctx ends. What was missed or interrupted is made up for at the start.
func (i *instance) verifyBySchedule(ctx context.Context, cfg *config.Config) error {
	v := cfg.Archive.Verify
	schedule, err := cron.ParseStandard(string(v.Schedule))
	if err != nil {
		return fmt.Errorf("archive.verify.schedule: %w", err)
	}
	st, err := i.store.Status(ctx)
	if err != nil {
		return err
	}
	from := time.Now()
	if st.Verified != nil {
		from = st.Verified.Started
	}
	for due := schedule.Next(from.In(cfg.TimeZone.Location)); sleepUntil(ctx, due); {
		r, err := i.api.Verify(ctx, "postkeep", archive.VerifyOptions{
			Deep: v.Deep, BytesPerSecond: int64(v.Rate), Scheduled: true,
			Damage: func(d archive.Damage) {
				i.log.Error("archive is damaged", "file", d.File, "offset", d.Offset, "bytes", d.Bytes, "messages", d.Messages, "what", d.What)
			},
		})
		due = schedule.Next(time.Now().In(cfg.TimeZone.Location))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, archive.ErrBroken):
			return nil // which ends the instance
		case err != nil:
			i.log.Error("archive could not be verified, will be tried again", "after", verifyRetry, "error", err)
			due = time.Now().Add(verifyRetry)
		default:
			i.log.Info("archive verified", "deep", r.Deep, "messages", r.Messages, "bytes", r.Bytes, "damages", r.Damages,
				"seconds", r.Finished.Sub(r.Started).Seconds())
		}
	}
	return nil
}
