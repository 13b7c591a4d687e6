package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/indexer/extract"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller"
	"github.com/postkeep/postkeep/web"
	"github.com/postkeep/postkeep/web/api"
	"github.com/postkeep/postkeep/web/exports"
	"github.com/postkeep/postkeep/web/users"
)

// instance is everything that owns a data directory: the store, the index, the
// streams, and the workers between them.
type instance struct {
	log    *slog.Logger
	store  *archive.Store
	index  *indexer.Index
	files  *extract.Pool // reads attachments, for exports also if the index does not want them
	bus    *pipeline.Bus
	tenure *pipeline.Tenure // nil where nothing is archived
	poller *poller.Poller

	offline pipeline.Status // of the streams, without bus

	compliance *archive.Compliance
	api        *api.Server
	users      *users.Store
	web        *web.Server // nil without a listener
	// address is where people find the pages, "" without a listener.
	address string

	anchors  *anchors
	remade   bool                  // the catalog, by opening the archive
	indexing indexer.WorkerOptions // of the worker

	changes   unconfirmed
	mailboxes atomic.Pointer[[]api.Mailbox] // of the configuration, as answers show them

	stages []stage
	failed atomic.Pointer[error] // the first worker that ended by itself
	ended  chan struct{}         // closed when failed is set

	scratch string // a temporary directory for an index, "" if there is none
}

// stage is a running worker. Stages are stopped in the reverse order of their
// start: first what brings new work, last what finishes it.
type stage struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// purpose is what an instance is opened for: the less, the sooner it answers,
// and the less it can be kept from it.
type purpose int

const (
	toRebuildCatalog purpose = iota - 1 // and describe all messages again
	toRead                              // archive and index
	toWatch                             // and external streams
	toDispose                           // and the streams, with what brings their messages into the archive
	toArchive                           // and sessions with mail servers, but nothing is indexed
	toPoll                              // and it is
	toRun                               // by schedule, with the API on the socket
)

// openInstance opens the data directory and starts the workers. failed is
// called when one ends that should not, or the archive breaks. Those of change that are not nil change how the archive is opened.
func openInstance(ctx context.Context, cfg *config.Config, log *slog.Logger, to purpose, claim archive.Claim, failed func(error), change ...func(*archive.Options)) (_ *instance, err error) {
	if ok, err := archive.Exists(cfg.DataDir); err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("%s holds no archive (postkeep init makes one)", cfg.DataDir), err)
	}
	i := &instance{log: log, remade: to == toRebuildCatalog, indexing: indexer.WorkerOptions{Logger: log}, ended: make(chan struct{})}
	fail := func(err error) {
		if i.failed.CompareAndSwap(nil, &err) {
			close(i.ended)
			failed(err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.close())
		}
	}()
	if i.store, err = openStore(ctx, cfg, log, to, claim, fail, change); err != nil {
		return nil, err
	}
	if to, err = i.possible(ctx, to); err != nil {
		return nil, err
	}
	if err := i.openIndex(ctx, cfg); err != nil {
		return nil, err
	}
	if err := i.openStreams(ctx, cfg, to); err != nil {
		return nil, err
	}
	if err := i.serveArchive(ctx, to, claim); err != nil {
		return nil, err
	}
	if i.anchors, err = newAnchors(cfg, log); err != nil {
		return nil, err
	}
	i.describe(cfg)
	if err := i.people(ctx, cfg, to); err != nil {
		return nil, err
	}
	i.openCompliance(ctx, cfg)
	i.api = api.NewServer(api.Options{
		Compliance: i.compliance,
		Store:      i.store, Index: i.index, Bus: i.bus, Streams: i.offline, Poller: i.poller, Users: i.users,
		Mailboxes: func() []api.Mailbox { return *i.mailboxes.Load() },
		Version:   version, Location: cfg.TimeZone.Location, DataDir: cfg.DataDir, Running: to == toRun, Problems: i.problems, Attachments: i.attachments, Logger: log,
		Extractor: exports.Extractor(i.files),
		Watch:     i.watch, RebuildCatalog: i.rebuildCatalog, Anchored: i.anchors.anchored,
		Anchors: i.anchorStatus,
	})
	err = i.start(ctx, cfg, to, fail)
	if err == nil {
		i.resume(ctx, to)
	}
	return i, err
}

// possible is what the archive can be opened for, which is more than was asked when a disposal was interrupted.
func (i *instance) possible(ctx context.Context, to purpose) (purpose, error) {
	if i.store.Medium() != nil {
		to = toRead // the streams, too, want to write
	}
	to, err := i.purposeOf(ctx, to)
	if err != nil {
		return to, err
	}
	return to, i.ours(to)
}

// people notes the configuration where it matters to somebody, and opens the accounts.
func (i *instance) people(ctx context.Context, cfg *config.Config, to purpose) (err error) {
	if to >= toDispose { // what only reads goes by nothing that matters here
		if err := i.recordConfig(ctx, cfg, "start"); err != nil {
			return err
		}
	}
	if i.users, err = users.Open(cfg.DataDir, users.Options{}); err != nil {
		return err
	}
	if to == toRun {
		if err := checkDualControl(cfg, i.users); err != nil {
			return err
		}
		if cfg.DualControl {
			return api.Recall(ctx, i.store, i.users)
		}
	}
	return nil
}

func (i *instance) openIndex(ctx context.Context, cfg *config.Config) (err error) {
	opts := indexer.Options{
		Dir: filepath.Join(cfg.DataDir, "index"), Location: cfg.TimeZone.Location, Held: i.held, Logger: i.log, ReadOnly: i.store.Medium() != nil,
	}
	i.index, err = indexer.Open(ctx, opts)
	if err != nil && opts.ReadOnly { // everything but searching goes without
		i.log.Warn("the index cannot be read where it is: searches find nothing", "error", err)
		if i.scratch, err = os.MkdirTemp("", "postkeep-index-"); err != nil {
			return err
		}
		opts.Dir, opts.ReadOnly = i.scratch, false
		i.index, err = indexer.Open(ctx, opts)
	}
	if err != nil {
		return err
	}
	if i.files, err = newExtractor(cfg, i.log); err != nil {
		return err
	}
	if cfg.Index.Extract {
		i.indexing.Extractor = i.files
	}
	return nil
}

func (i *instance) openStreams(ctx context.Context, cfg *config.Config, to purpose) (err error) {
	dir := filepath.Join(cfg.DataDir, "nats")
	if cfg.NATS.URL == "" {
		i.offline = pipeline.Offline(dir)
	}
	// To look, no embedded server is started: it would begin with empty streams.
	if to >= toDispose || to == toWatch && cfg.NATS.URL != "" {
		if i.bus, err = pipeline.Connect(ctx, pipeline.Options{
			URL: cfg.NATS.URL, Dir: dir, Logger: i.log,
			Identity: i.store.Identity(), Prefix: cfg.NATS.Prefix,
			CredentialsFile: cfg.NATS.CredentialsFile, CAFile: cfg.NATS.CAFile, MaxStoreBytes: int64(cfg.NATS.MaxStoreBytes),
		}); err != nil {
			return err
		}
	}
	if i.poller, err = poller.New(i.bus, mailboxes(cfg, i.log), poller.Options{
		Sessions: cfg.Poller.Sessions, PerHost: cfg.Poller.SessionsPerHost, Location: cfg.TimeZone.Location, Logger: i.log,
	}); err != nil {
		return err
	}
	return i.recall(ctx)
}

func openStore(ctx context.Context, cfg *config.Config, log *slog.Logger, to purpose, claim archive.Claim, broken func(error), change []func(*archive.Options)) (*archive.Store, error) {
	recipients, identities, err := encryption(cfg)
	if err != nil {
		return nil, err
	}
	o := archive.Options{
		VolumeBytes: int64(cfg.Archive.VolumeSize), Recipients: recipients, Identities: identities, Logger: log,
		RebuildCatalog: to == toRebuildCatalog, Reading: to == toRead || to == toWatch, Claim: claim,
		// A broken writer stays so until the archive is opened again, which a
		// service manager does by starting the program again.
		Broken: broken,
	}
	for _, f := range change {
		if f != nil {
			f(&o)
		}
	}
	return archive.Open(ctx, cfg.DataDir, o)
}

// recall hands the poller what it has to remember of earlier polls.
func (i *instance) recall(ctx context.Context) error {
	boxes, err := i.store.Mailboxes(ctx)
	if err != nil {
		return err
	}
	var reports []archive.PollReport
	for _, m := range boxes {
		if m.LastPoll != nil {
			reports = append(reports, *m.LastPoll)
		}
	}
	i.poller.Recall(reports)
	return nil
}

// reload takes over the mailboxes of a changed configuration. Sessions under
// way end as they began.
func (i *instance) reload(ctx context.Context, cfg *config.Config) error {
	if err := i.recordConfig(ctx, cfg, "reload"); err != nil {
		return err
	}
	if err := i.poller.Update(mailboxes(cfg, i.log)); err != nil {
		return err
	}
	i.describe(cfg)
	return nil
}

func (i *instance) problems() []string {
	out := append(i.unfinished(), i.unconfirmed()...)
	if err := i.failed.Load(); err != nil {
		out = append(out, (*err).Error())
	}
	for _, err := range []error{i.store.Disagreement(), i.index.Doubt()} {
		if err != nil {
			out = append(out, err.Error())
		}
	}
	if err := i.store.Copied(); err != nil {
		out = append(out, fmt.Sprintf("%v: it is only read; %s", err, takeOverHint))
	}
	if err := i.store.Unreadable(); err != nil {
		out = append(out, fmt.Sprintf("messages are archived, but cannot be indexed, searched or shown: %v (archive.encryption.identity_file)", err))
	}
	return out
}

// start starts the workers, those that finish work first.
func (i *instance) start(ctx context.Context, cfg *config.Config, to purpose, fail func(error)) error {
	wakeCtx, stopWake := context.WithCancel(context.WithoutCancel(ctx))
	var wake <-chan struct{}
	if i.bus != nil {
		var err error
		if wake, err = i.bus.Archived(wakeCtx); err != nil {
			stopWake()
			return err
		}
	}
	worker := indexer.NewWorker(i.index, i.store, wake, i.indexing)
	i.stage(ctx, "index worker", fail, func(ctx context.Context) error {
		defer stopWake()
		if to == toArchive || i.store.Unreadable() != nil || i.store.Medium() != nil { // problems says so
			<-ctx.Done()
			return nil
		}
		return worker.Run(ctx)
	})
	if to < toDispose {
		return nil
	}
	i.stage(ctx, "archive", fail, i.tenure.Run)
	i.stage(ctx, "mending of the catalog", fail, i.mend)
	archiver := pipeline.NewArchiver(i.bus, i.store, pipeline.ArchiverOptions{Tenure: i.tenure, Logger: i.log})
	archiver.Drain(ctx) // before anything is polled
	i.stage(ctx, "archive worker", fail, archiver.Run)
	if to < toArchive {
		return nil
	}
	i.stage(ctx, "keeper of the volumes", fail, i.store.Maintain)
	i.stage(ctx, "poller", fail, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return i.poller.Work(ctx) })
		if to == toRun {
			group.Go(func() error { return i.poller.Schedule(ctx) })
		}
		return group.Wait()
	})
	if to < toRun {
		return nil
	}
	i.stage(ctx, "background", fail, func(ctx context.Context) error { return i.background(ctx, cfg) })
	return i.serve(ctx, cfg, fail)
}

// serve answers on the socket, and people.
func (i *instance) serve(ctx context.Context, cfg *config.Config, fail func(error)) error {
	l, err := api.Listen(ctx, cfg.DataDir)
	if err != nil {
		return err
	}
	i.stage(ctx, "socket", fail, func(ctx context.Context) error { return api.Serve(ctx, l, i.api) })
	return i.serveWeb(ctx, cfg, fail)
}

// watch returns a context that ends when a worker has failed, with that as its cause: nothing is going to come of waiting.
func (i *instance) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-i.ended:
			cancel(*i.failed.Load())
		case <-stop:
		}
	})
	return ctx, sync.OnceFunc(func() {
		close(stop)
		watching.Wait()
		cancel(nil)
	})
}

// stage runs a worker until it is stopped, whatever happens to ctx.
func (i *instance) stage(ctx context.Context, name string, fail func(error), run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := stage{cancel: cancel, done: make(chan struct{})}
	i.stages = append(i.stages, s)
	go func() {
		defer close(s.done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
}

// close stops the workers, last started first, and closes everything.
func (i *instance) close() error {
	if i.compliance != nil {
		i.compliance.Close() // while the workers that it needs are there
	}
	for n := len(i.stages) - 1; n >= 0; n-- {
		i.stages[n].cancel()
		<-i.stages[n].done
	}
	i.stages = nil
	if i.web != nil {
		i.web.Close()
	}
	var errs []error
	if i.files != nil {
		i.files.Close()
	}
	if i.tenure != nil {
		if err := i.tenure.Release(context.Background()); err != nil { // whoever comes next waits a little
			i.log.Warn("the archive is not handed over", "error", err)
		}
	}
	if i.bus != nil {
		errs = append(errs, i.bus.Close())
	}
	if i.index != nil {
		errs = append(errs, i.index.Close())
	}
	if i.store != nil {
		errs = append(errs, i.store.Close())
	}
	if i.scratch != "" {
		errs = append(errs, os.RemoveAll(i.scratch))
	}
	return errors.Join(errs...)
}

// describe notes the configuration as answers show it.
func (i *instance) describe(cfg *config.Config) {
	out := make([]api.Mailbox, 0, len(cfg.Mailboxes))
	for _, m := range cfg.Mailboxes {
		out = append(out, api.Mailbox{
			Name: m.Name, Schedule: string(m.Schedule), Delete: m.Delete.String(),
			Server: net.JoinHostPort(m.Host, strconv.Itoa(m.Port)),
		})
	}
	i.mailboxes.Store(&out)
}

const (
	// connectPatience is how long a command waits for a data directory that
	// another process owns without answering: it may be starting or stopping.
	connectPatience = 10 * time.Second
	connectAgain    = 100 * time.Millisecond
)

// connect returns a client of the running instance, or of one inside this
// process when none runs.
func (a *app) connect(ctx context.Context, to purpose, claim archive.Claim) (*config.Config, *api.Client, func() error, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, nil, nil, err
	}
	log := a.logger(cfg, false)
	deadline := time.NewTimer(connectPatience)
	defer deadline.Stop()
	again := time.NewTicker(connectAgain)
	defer again.Stop()
	for {
		client, silent := api.Dial(ctx, cfg.DataDir)
		if silent == nil && claim == archive.ClaimTakeOver {
			return nil, nil, nil, errors.Join(errRunning, client.Close())
		}
		if silent == nil {
			return cfg, client, client.Close, nil
		}
		i, err := openInstance(ctx, cfg, log, to, claim, func(err error) { log.Error("worker failed", "error", err) }, a.archive)
		if err == nil {
			client := api.Local(ctx, i.api)
			return cfg, client, func() error { return errors.Join(client.Close(), i.close()) }, nil
		}
		if !errors.Is(err, archive.ErrLocked) {
			return nil, nil, nil, err
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return nil, nil, nil, locked(cfg, err, silent)
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		}
	}
}

// locked is the error of a command that can neither open the data directory nor ask its owner.
func locked(cfg *config.Config, err, silent error) error {
	if errors.Is(silent, api.ErrNoAnswer) {
		return fmt.Errorf("%s: %w", cfg.DataDir, silent)
	}
	return fmt.Errorf("%w, which does not answer on its socket: %w", err, silent)
}

// with connects, does, and closes.
func (a *app) with(ctx context.Context, to purpose, do func(*config.Config, *api.Client) error) error {
	return a.withClaim(ctx, to, archive.ClaimOwn, do)
}

// withClaim is with for commands that may take the archive over.
func (a *app) withClaim(ctx context.Context, to purpose, claim archive.Claim, do func(*config.Config, *api.Client) error) error {
	cfg, client, closing, err := a.connect(ctx, to, claim)
	if err != nil {
		return err
	}
	return errors.Join(do(cfg, client), closing())
}
