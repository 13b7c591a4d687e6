package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

// purposeOf is what an instance is opened for: more than was asked for when a disposal was interrupted, which
// is finished first.
func (i *instance) purposeOf(ctx context.Context, to purpose) (purpose, error) {
	pending, err := i.store.Interrupted(ctx)
	if err != nil || len(pending) == 0 || i.store.ReadOnly() != nil || i.store.Unreadable() != nil {
		return to, err
	}
	if to == toArchive {
		return toPoll, nil // a disposal needs the index worker
	}
	return max(to, toDispose), nil
}

// resume finishes disposals that were interrupted. When that fails nobody finds what was disposed of all the same, and
// status shows it.
func (i *instance) resume(ctx context.Context, to purpose) {
	if to < toDispose || i.store.ReadOnly() != nil || i.store.Unreadable() != nil {
		return
	}
	if err := i.compliance.Resume(ctx); err != nil {
		i.log.Error("a disposal is not finished", "error", err)
	}
}

// openCompliance makes what decides about holds, retention and disposal.
func (i *instance) openCompliance(ctx context.Context, cfg *config.Config) {
	i.compliance = archive.NewCompliance(ctx, i.store, archive.ComplianceOptions{
		Reading: indexer.Reading(cfg.Index.Extract), Reread: func() bool { return i.index.Read(cfg.Index.Extract) }, Indexed: i.index.EachIndexed,
		Search: everybodys{i.index}, Negates: api.Negates, Purge: []archive.Purger{i.index.PurgeUpTo, i.scrub}, DualControl: cfg.DualControl,
	})
	i.indexing.Rereading = i.compliance.Pin
}

// unfinished says which disposals wait for the archive to be opened again.
func (i *instance) unfinished() []string {
	pending, err := i.store.Interrupted(context.Background())
	if err != nil {
		return []string{"disposals: " + err.Error()}
	}
	var out []string
	for _, plan := range pending {
		out = append(out, fmt.Sprintf("plan %s is being applied, or was interrupted: then start again to finish it", plan))
	}
	return out
}

// unconfirmed is what was last said of rules that find messages in another way. Asking takes a search for each rule.
type unconfirmed struct {
	mu   sync.Mutex
	at   time.Time
	said []string
}

const (
	// unconfirmedAge is for how long it is taken for true.
	unconfirmedAge = 10 * time.Second
	// unconfirmedPatience bounds asking.
	unconfirmedPatience = 10 * time.Second
)

// unconfirmed says which rules wait for somebody to confirm what they find in another way.
func (i *instance) unconfirmed() []string {
	i.changes.mu.Lock()
	defer i.changes.mu.Unlock()
	if i.compliance == nil || time.Since(i.changes.at) < unconfirmedAge {
		return i.changes.said
	}
	ctx, cancel := context.WithTimeout(context.Background(), unconfirmedPatience)
	defer cancel()
	i.changes.said, i.changes.at = i.compliance.Unconfirmed(ctx), time.Now()
	return i.changes.said
}

// scrub leaves nothing in the streams of what has gone through them.
func (i *instance) scrub(ctx context.Context, ids []string, _ int64) error {
	if len(ids) == 0 {
		return nil
	}
	if i.bus == nil {
		return errors.New("the streams are not open")
	}
	return i.bus.Scrub(ctx)
}

// held returns the ids of the messages that a hold covers.
func (i *instance) held(ctx context.Context) ([]string, error) {
	terms, err := i.store.HeldTerms(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	seen := map[string]bool{}
	for _, q := range terms {
		if err := i.index.Each(ctx, q, nil, func(id string) error {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	earlier, err := i.store.EarlierCovered(ctx, seen)
	return append(ids, earlier...), err
}

// everybodys is the index without regard to who asks.
type everybodys struct{ *indexer.Index }

// Each is that of the index.
func (x everybodys) Each(ctx context.Context, query string, fn func(id string) error) error {
	return x.Index.Each(ctx, query, nil, fn)
}
