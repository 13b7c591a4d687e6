package exports

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
)

// The states of a job.
const (
	Waiting  = "waiting"
	Running  = "running"
	Finished = "finished"
	Failed   = "failed"
)

const (
	// atATime is the number of exports that are made together; each compresses.
	atATime = 2
	// maxJobs is the number that one person may have.
	maxJobs = 20
	// keepFor is how long a finished export waits to be fetched.
	keepFor = 7 * 24 * time.Hour
)

// A Job is an export that is made in the background.
type Job struct {
	ID     string
	Owner  string
	Query  string
	Format export.Format
	Asked  time.Time
	State  string
	// Done and Total are messages.
	Done, Total int64
	Result      export.Result
	Report      export.Report // of the verification after it was made
	Size        int64         // bytes of the file
	Err         string

	scope access.Scope // of which it was made
}

// ErrNoJob means that the person has no such job.
var ErrNoJob = errors.New("no such export")

// ErrGrant means that the person may not see everything in it any more.
var ErrGrant = errors.New("what you may see has changed since this export was made: make it again")

// ErrTooMany means that the person has to remove an export first.
var ErrTooMany = fmt.Errorf("there are %d exports already: remove one first", maxJobs)

// Jobs makes exports for people who will fetch them. They are files in a
// directory of their own, which is emptied at the start and of what is old.
// It is safe for concurrent use.
type Jobs struct {
	client *api.Client
	dir    string
	log    *slog.Logger
	now    func() time.Time
	stop   context.CancelFunc
	ctx    context.Context //nolint:containedctx // the life of the jobs, which is not that of a request
	gate   chan struct{}
	group  sync.WaitGroup

	mu   sync.Mutex
	jobs []*Job
	ends map[string]context.CancelFunc
}

// NewJobs empties dir and makes exports in it.
func NewJobs(client *api.Client, dir string, now func() time.Time, log *slog.Logger) (*Jobs, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("exports: %w", err)
	}
	if err := os.MkdirAll(dir, disk.DirPerm); err != nil {
		return nil, fmt.Errorf("exports: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Jobs{client: client, dir: dir, log: log, now: now, ctx: ctx, stop: stop,
		gate: make(chan struct{}, atATime), ends: map[string]context.CancelFunc{}}, nil
}

// Close ends the jobs and waits for them.
func (j *Jobs) Close() {
	j.stop()
	j.group.Wait()
}

// Start begins an export of what the principal may see, as opts say but for
// where to and how it is watched.
func (j *Jobs) Start(p *access.Principal, opts export.Options) (Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweep()
	own := 0
	for _, o := range j.jobs {
		if o.Owner == p.Name {
			own++
		}
	}
	if own >= maxJobs {
		return Job{}, ErrTooMany
	}
	job := &Job{ID: rand.Text(), Owner: p.Name, Query: opts.Query, Format: opts.Format, Asked: j.now(), State: Waiting, scope: p.Scope}
	ctx, cancel := context.WithCancel(access.With(j.ctx, p))
	j.jobs, j.ends[job.ID] = append(j.jobs, job), cancel
	opts.Out = j.file(job.ID)
	opts.SyncDir, opts.Free = disk.OS().SyncDir, disk.Free
	opts.Begin = func(messages, _, _ int64) { j.update(func() { job.Total = messages }) }
	opts.Progress = func(int64) { j.update(func() { job.Done++ }) }
	j.group.Go(func() {
		defer cancel()
		if err := j.make(ctx, job, opts); err != nil {
			j.log.Warn("export failed", "owner", job.Owner, "error", err)
			j.update(func() { job.State, job.Err = Failed, err.Error() })
		}
	})
	return *job, nil
}

func (j *Jobs) file(id string) string { return filepath.Join(j.dir, id, "postkeep-export.zip") }

func (j *Jobs) update(change func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change()
}

// make makes an export, and verifies it as a stranger would.
func (j *Jobs) make(ctx context.Context, job *Job, opts export.Options) error {
	select {
	case j.gate <- struct{}{}:
		defer func() { <-j.gate }()
	case <-ctx.Done():
		return ctx.Err()
	}
	j.update(func() { job.State = Running })
	if err := os.Mkdir(filepath.Dir(opts.Out), disk.DirPerm); err != nil {
		return err
	}
	result, err := Run(ctx, j.client, opts)
	if err != nil {
		return err
	}
	report, err := export.Verify(ctx, result.Path, export.VerifyOptions{Key: result.Key})
	if err != nil {
		return err
	}
	info, err := os.Stat(result.Path)
	if err != nil {
		return err
	}
	j.update(func() { job.State, job.Result, job.Report, job.Size = Finished, result, report, info.Size() })
	return nil
}

// List returns the jobs of a person, newest first.
func (j *Jobs) List(owner string) []Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweep()
	var out []Job
	for _, job := range slices.Backward(j.jobs) {
		if job.Owner == owner {
			out = append(out, *job)
		}
	}
	return out
}

// Review ends and removes the exports of those who may no longer see what is in them.
func (j *Jobs) Review(may func(owner string, scope *access.Scope) bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.jobs) - 1; i >= 0; i-- {
		job := j.jobs[i]
		if may(job.Owner, &job.scope) {
			continue
		}
		if err := j.remove(i); err != nil {
			j.log.Error("export not removed", "owner", job.Owner, "error", err)
		}
	}
}

// Open opens the file of a finished export, for its owner, who has to be allowed to see everything in it. The caller closes it.
func (j *Jobs) Open(p *access.Principal, id string) (*os.File, Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, job := range j.jobs {
		if job.ID == id && job.Owner == p.Name && job.State == Finished {
			if !p.May(access.Export) || !p.Scope.Covers(&job.scope) {
				return nil, Job{}, ErrGrant
			}
			f, err := os.Open(job.Result.Path)
			return f, *job, err
		}
	}
	return nil, Job{}, ErrNoJob
}

// Remove ends a job and removes what it made.
func (j *Jobs) Remove(owner, id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.jobs, func(o *Job) bool { return o.ID == id && o.Owner == owner })
	if i < 0 {
		return ErrNoJob
	}
	return j.remove(i)
}

// remove is called with mu held.
func (j *Jobs) remove(i int) error {
	id := j.jobs[i].ID
	j.ends[id]()
	delete(j.ends, id)
	j.jobs = slices.Delete(j.jobs, i, i+1)
	return os.RemoveAll(filepath.Join(j.dir, id))
}

// sweep removes what nobody fetched. It is called with mu held.
func (j *Jobs) sweep() {
	for i := len(j.jobs) - 1; i >= 0; i-- {
		if job := j.jobs[i]; job.State != Running && j.now().Sub(job.Asked) > keepFor {
			if err := j.remove(i); err != nil {
				j.log.Error("old export not removed", "id", job.ID, "error", err)
			}
		}
	}
}
