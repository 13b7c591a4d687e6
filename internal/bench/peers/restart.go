package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/postkeep/postkeep/web/api"
)

const (
	// restartBatch makes an archive of a million messages in minutes: every batch is fsynced.
	restartBatch = 2000
	// lookAgain is how often a starting program is asked whether it answers.
	lookAgain = 5 * time.Millisecond
	// indexWait is how often a program that indexes is asked whether it is done.
	indexWait = 500 * time.Millisecond
)

// restarts is case h: the time until a program with many messages answers.
func (b *bench) restarts(ctx context.Context) error {
	dir, err := b.prepared(fmt.Sprintf("restart-%d", b.restart), func(dir string) error {
		if err := b.makeArchive(ctx, dir, restartBatch, b.small); err != nil {
			return err
		}
		i, _, err := b.runInstance(ctx, dir)
		if err != nil {
			return err
		}
		return errors.Join(i.indexed(ctx), i.close(ctx))
	})
	if err != nil {
		return err
	}
	return b.turns(ctx, fmt.Sprintf("Restart with %d messages", b.restart), []contender{
		{name: "postkeep run, until status answers", run: func(ctx context.Context) (result, error) {
			i, ready, err := b.runInstance(ctx, dir)
			if err != nil {
				return result{}, err
			}
			i.sample()
			u := i.u
			u.wall = ready
			return result{usage: u}, i.close(ctx)
		}},
	})
}

// small makes messages of 700 octets, no two the same.
func (b *bench) small(ctx context.Context, yield func([]byte) error) error {
	subjects := []string{"Invoice", "Delivery", "Meeting", "Offer", "Question", "Reminder", "Contract", "Report"}
	began := time.Date(2020, 1, 1, 8, 0, 0, 0, time.UTC)
	for i := range b.restart {
		date := began.Add(time.Duration(i) * time.Minute)
		msg := fmt.Appendf(nil, "From: Person %d <p%[1]d@example.com>\r\nTo: archive@example.org\r\nDate: %s\r\nMessage-ID: <%d.small@example.com>\r\nSubject: %s %[3]d\r\n\r\n",
			i%5000, date.Format(time.RFC1123Z), i, subjects[i%len(subjects)])
		for line := range 6 {
			msg = fmt.Appendf(msg, "Line %d of message %d mentions order %d and customer %d, and nothing else of note.\r\n", line, i, i*7%99991, i*13%7919)
		}
		if err := errors.Join(ctx.Err(), yield(msg)); err != nil {
			return err
		}
	}
	return nil
}

// instance is a running program that answers.
type instance struct {
	*process
	client *api.Client
}

// runInstance starts the program and waits until it says its state, which takes ready.
func (b *bench) runInstance(ctx context.Context, dir string) (*instance, time.Duration, error) {
	p, err := start(b.postkeep(dir, "run"))
	if err != nil {
		return nil, 0, err
	}
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		client, err := api.Dial(ctx, filepath.Join(dir, "data"))
		if err == nil {
			if _, err = client.Status(ctx); err == nil {
				return &instance{p, client}, time.Since(p.began), nil
			}
		}
		select {
		case ended := <-p.exited:
			return nil, 0, fmt.Errorf("postkeep run ended: %w\n%s", errors.Join(ended, ctx.Err()), p.output.kept)
		case <-ctx.Done():
			_, err := p.wait(ctx)
			return nil, 0, err
		case <-tick.C:
		}
	}
}

// indexed waits until everything is searchable.
func (i *instance) indexed(ctx context.Context) error {
	tick := time.NewTicker(indexWait)
	defer tick.Stop()
	for {
		s, err := i.client.Status(ctx)
		if err != nil || !s.Index.Behind {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (i *instance) close(ctx context.Context) error {
	err := i.client.Close()
	_, stopped := i.stop(ctx)
	return errors.Join(err, stopped)
}
