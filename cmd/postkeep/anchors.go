package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/anchor"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

// anchors are the places outside the archive that checkpoints are taken to.
type anchors struct {
	log   *slog.Logger
	loc   *time.Location
	all   []*anchorPlace
	stamp *anchor.TSA // knows the roots of all authorities; nil if there is none
}

// anchorPlace is one of them.
type anchorPlace struct {
	name     string
	schedule cron.Schedule
	// anchor returns the time that an authority has signed, zero from what is none.
	anchor func(ctx context.Context, checkpoint []byte) (time.Time, error)
	file   *anchor.File // nil for the others

	mu     sync.Mutex
	failed error // the last attempt
}

func (p *anchorPlace) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
}

// newAnchors makes what the configuration says.
func newAnchors(cfg *config.Config, log *slog.Logger) (*anchors, error) {
	a := &anchors{log: log, loc: cfg.TimeZone.Location}
	dir := filepath.Join(cfg.DataDir, "ledger", "anchors")
	roots := x509.NewCertPool()
	var last anchor.TSAOptions
	for _, c := range cfg.Anchors {
		schedule, err := cron.ParseStandard(string(c.Schedule))
		if err != nil {
			return nil, fmt.Errorf("anchors: schedule: %w", err)
		}
		p := &anchorPlace{schedule: schedule}
		switch {
		case c.TSA != "":
			pool := x509.NewCertPool()
			pem, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("anchors: ca_file: %w", err)
			}
			pem = config.WithoutBOM(pem)
			if !pool.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("anchors: ca_file %s holds no certificate in PEM", c.CAFile)
			}
			roots.AppendCertsFromPEM(pem)
			last = anchor.TSAOptions{URL: string(c.TSA), Roots: pool, Dir: dir}
			t, err := anchor.NewTSA(last)
			if err != nil {
				return nil, err
			}
			p.name, p.anchor = "tsa "+string(c.TSA), func(ctx context.Context, checkpoint []byte) (time.Time, error) {
				stamp, err := t.Stamp(ctx, checkpoint)
				return stamp.Time, err
			}
		case c.File != "":
			p.file = anchor.NewFile(anchor.FileOptions{Path: c.File})
			p.name, p.anchor = "file "+c.File, timeless(p.file.Anchor)
		default:
			p.name, p.anchor = "url "+withoutQuery(string(c.URL)), timeless(urlAnchor(c, log))
		}
		a.all = append(a.all, p)
	}
	if last.Roots == nil {
		return a, nil
	}
	last.Roots = roots
	var err error
	a.stamp, err = anchor.NewTSA(last)
	return a, err
}

// timeless is an anchor whose time nobody has signed.
func timeless(anchor func(context.Context, []byte) error) func(context.Context, []byte) (time.Time, error) {
	return func(ctx context.Context, checkpoint []byte) (time.Time, error) {
		return time.Time{}, anchor(ctx, checkpoint)
	}
}

// withoutQuery drops what may be a token.
func withoutQuery(text string) string {
	before, _, _ := strings.Cut(text, "?")
	return before
}

// urlAnchor sends checkpoints to a URL. Its token is read anew each time.
func urlAnchor(c config.Anchor, log *slog.Logger) func(context.Context, []byte) error {
	return func(ctx context.Context, checkpoint []byte) error {
		o := anchor.URLOptions{URL: string(c.URL), Method: c.Method}
		if c.TokenFile != "" {
			token, err := config.ReadSecret(ctx, "token_file", c.TokenFile, log)
			if err != nil {
				return err
			}
			o.Header = http.Header{"Authorization": {"Bearer " + token.Reveal()}}
		}
		u, err := anchor.NewURL(o)
		if err != nil {
			return err
		}
		err = u.Anchor(ctx, checkpoint)
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the URL may have a token in it
		}
		return err
	}
}

// anchored lists what a verification can compare.
func (a *anchors) anchored() []archive.Anchored {
	var out []archive.Anchored
	if a.stamp != nil {
		out = append(out, archive.Anchored{Name: "ledger/anchors", Verify: func(ctx context.Context, check func(context.Context, []byte) error) (int, error) {
			stamps, err := a.stamp.Verify(ctx, check)
			return len(stamps), err
		}})
	}
	for _, p := range a.all {
		if p.file != nil {
			out = append(out, archive.Anchored{Name: p.name, Verify: func(ctx context.Context, check func(context.Context, []byte) error) (int, error) {
				return p.file.Verify(ctx, check)
			}})
		}
	}
	return out
}

// anchorStatus tells what was anchored last, and what went wrong.
func (i *instance) anchorStatus(ctx context.Context) ([]api.AnchorStatus, error) {
	var out []api.AnchorStatus
	for _, p := range i.anchors.all {
		r, err := i.store.Anchored(ctx, p.name)
		if err != nil {
			return nil, err
		}
		st := api.AnchorStatus{Anchor: p.name, Last: r.Time, Events: r.Events}
		p.mu.Lock()
		if p.failed != nil {
			st.Error = p.failed.Error()
		}
		p.mu.Unlock()
		out = append(out, st)
	}
	return out, nil
}

// keep takes checkpoints to one place by its schedule until ctx ends. What was missed while nothing ran is made up for at the
// start; a failure is tried again, less and less often.
func (a *anchors) keep(ctx context.Context, store *archive.Store, p *anchorPlace) error {
	last, err := store.Anchored(ctx, p.name)
	if err != nil {
		return err
	}
	from := last.Time
	if now := time.Now(); from.After(now) { // of a clock that was ahead
		from = now
	}
	for due := p.schedule.Next(from.In(a.loc)); sleepUntil(ctx, due); {
		retry := anchorRetry
		for err = a.once(ctx, store, p); err != nil && ctx.Err() == nil; err = a.once(ctx, store, p) {
			p.fail(err)
			a.log.Error("checkpoint is not anchored, will be tried again", "anchor", p.name, "after", retry, "error", err)
			if !sleepUntil(ctx, time.Now().Add(retry)) {
				return nil
			}
			retry = min(2*retry, anchorLastRetry)
		}
		p.fail(nil)
		due = p.schedule.Next(time.Now().In(a.loc))
	}
	return nil
}

const (
	anchorRetry     = time.Minute
	anchorLastRetry = time.Hour
)

// once anchors the checkpoint if it has changed.
func (a *anchors) once(ctx context.Context, store *archive.Store, p *anchorPlace) error {
	checkpoint, events, changed, err := store.ToAnchor(ctx, p.name)
	if err != nil || !changed {
		return err
	}
	signed, err := p.anchor(ctx, checkpoint)
	if err != nil {
		return err
	}
	a.log.Info("checkpoint anchored", "anchor", p.name, "events", events)
	return store.RecordAnchor(ctx, archive.AnchorRecord{Anchor: p.name, Time: time.Now().UTC(), Events: events, Checkpoint: string(checkpoint), Signed: signed})
}

// clockCheck is how often a long sleep looks at the clock, which may be set.
const clockCheck = time.Minute

// sleepUntil returns false when ctx is done. It returns true when the clock
// shows t, and at the latest when as much time has passed as was missing at first:
// a clock that is set back makes no sleep longer.
func sleepUntil(ctx context.Context, t time.Time) bool {
	latest := time.Now().Add(time.Until(t.Round(0)))
	for {
		wait := min(time.Until(t.Round(0)), time.Until(latest))
		if wait <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(wait, clockCheck))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}
