package pages

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// refusalWindow is the time in which refused log-ins are counted together: six events an hour at most, beside the first ones.
	refusalWindow = 10 * time.Minute
	// maxSingle is how many of a window are events of their own, which is what people do who mistype.
	maxSingle = 5
	// maxPairs is how many names and addresses the event of a window tells apart, so that it has some kilobytes at most.
	maxPairs = 20
	// recordTime bounds the writing of the event.
	recordTime = 30 * time.Second
)

// refusals records log-ins that were refused: the first ones of a window each, the others together when it ends. A name is recorded
// if somebody has it. What others type may be a password, and would be in the ledger for ever.
type refusals struct {
	record func(ctx context.Context, actor, what string, details map[string]any) error
	log    *slog.Logger
	window time.Duration

	mu      sync.Mutex
	since   time.Time // zero between windows
	single  int
	more    map[refusedLogin]int
	others  int // beyond maxPairs
	slowed  int // not even tried
	timer   *time.Timer
	closed  bool
	running sync.WaitGroup // the end of a window
}

type refusedLogin struct{ name, from string }

// refused notes a log-in that was refused. name is "" if nobody has it.
func (f *refusals) refused(ctx context.Context, name, from string) error {
	f.mu.Lock()
	f.open()
	single := f.single < maxSingle || f.closed
	if single {
		f.single++
	} else {
		f.count(refusedLogin{name, from})
	}
	f.mu.Unlock()
	if !single {
		return nil
	}
	return f.record(ctx, "unknown", "login refused", map[string]any{"name": name, "from": from})
}

// tooMany notes an attempt that was not let in.
func (f *refusals) tooMany() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open()
	f.slowed++
}

// count counts a refusal; mu is held.
func (f *refusals) count(r refusedLogin) {
	if _, known := f.more[r]; !known && len(f.more) == maxPairs {
		f.others++
		return
	}
	f.more[r]++
}

// open begins a window unless there is one; mu is held.
func (f *refusals) open() {
	if !f.since.IsZero() || f.closed {
		return
	}
	f.since, f.single, f.more, f.others, f.slowed = time.Now(), 0, map[refusedLogin]int{}, 0, 0
	f.running.Add(1)
	f.timer = time.AfterFunc(f.window, func() {
		defer f.running.Done()
		f.end()
	})
}

// end writes what a window has counted.
func (f *refusals) end() {
	f.mu.Lock()
	since, more, others, slowed := f.since, f.more, f.others, f.slowed
	f.since = time.Time{}
	f.mu.Unlock()
	if len(more) == 0 && slowed == 0 {
		return
	}
	refused, by := others, []map[string]any{}
	for _, r := range slices.SortedFunc(maps.Keys(more), func(a, b refusedLogin) int {
		return cmp.Or(cmp.Compare(more[b], more[a]), cmp.Compare(a.name, b.name), cmp.Compare(a.from, b.from))
	}) {
		refused += more[r]
		by = append(by, map[string]any{"name": r.name, "from": r.from, "times": more[r]})
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordTime)
	defer cancel()
	if err := f.record(ctx, "unknown", "logins refused", map[string]any{"since": since.UTC().Format(time.RFC3339), "refused": refused,
		"not tried": slowed, "by": by, "others": others}); err != nil {
		f.log.Error("refused log-ins are not in the ledger", "refused", refused, "not tried", slowed, "error", err)
	}
}

// close writes what is counted, and waits until it is written.
func (f *refusals) close() {
	f.mu.Lock()
	f.closed = true
	stopped := f.timer != nil && f.timer.Stop()
	f.mu.Unlock()
	if stopped {
		f.end()
		f.running.Done()
	}
	f.running.Wait()
}
