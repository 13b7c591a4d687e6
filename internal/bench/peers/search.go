package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/web/api"
)

const (
	// page is how many hits are asked for, newest first.
	page = 50
	// quick is what most searches have to stay under.
	quick = 50 * time.Millisecond
)

// searcher is a program that answers queries.
type searcher struct {
	name string
	// files are what it reads, which a cold search finds in no cache.
	files []string
	// begin starts it anew, and returns what asks and what ends it.
	begin func(ctx context.Context) (ask func(query) error, end func() error, err error)

	cold, warm []time.Duration
}

// searching is case d.
func (b *bench) searching(ctx context.Context) error {
	dir, err := b.archived(ctx)
	if err != nil {
		return err
	}
	peers := b.wanted.MatchString("notmuch") || b.wanted.MatchString("mu") // else there is nobody to compare with
	var maildir string
	if peers {
		if maildir, err = b.maildir(ctx); err != nil {
			return err
		}
		if err := b.peerIndexes(ctx, maildir); err != nil {
			return err
		}
	}
	v, err := readVocabulary(ctx, b.mail)
	if err != nil {
		return err
	}
	list := v.queries(b.queries)
	searchers := slices.DeleteFunc(b.searchers(dir, maildir), func(s *searcher) bool { return !b.wanted.MatchString(s.name) })
	for range b.pairs {
		for _, s := range searchers {
			if err := s.pass(ctx, list); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	b.report.print(fmt.Sprintf("\n### %d queries, newest %d hits\n\n%d rounds, load %s.\n\n", len(list), page, b.pairs, load()))
	b.report.print("| | cold p50 ms | cold p99 | warm p50 | warm p95 | warm p99 | warm under 50 ms |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, s := range searchers {
		b.report.print(s.row())
	}
	if !peers {
		return b.report.err
	}
	return errors.Join(b.report.err, b.compare(ctx, dir, maildir, list))
}

// peerIndexes makes the indexes of the peers if they are not there.
func (b *bench) peerIndexes(ctx context.Context, maildir string) error {
	for path, index := range map[string]func(context.Context, string) (result, error){
		filepath.Join(maildir, ".notmuch"): b.notmuchNew, maildir + ".mu": b.muIndex,
	} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			if _, err := index(ctx, maildir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) searchers(dir, maildir string) []*searcher {
	data := filepath.Join(dir, "data")
	derived := []string{filepath.Join(data, "index"), filepath.Join(data, "catalog.db")}
	program := func(cmd func(q query) (*exec.Cmd, error)) func(context.Context) (func(query) error, func() error, error) {
		return func(ctx context.Context) (func(query) error, func() error, error) {
			ask := func(q query) error {
				c, err := cmd(q)
				if err != nil {
					return err
				}
				_, err = answerOf(c)
				return errors.Join(err, ctx.Err())
			}
			return ask, func() error { return nil }, nil
		}
	}
	return []*searcher{
		{name: "postkeep, running instance: facets, snippets, audit event", files: derived,
			begin: func(ctx context.Context) (func(query) error, func() error, error) { return b.askInstance(ctx, dir) }},
		{name: "notmuch search", files: []string{filepath.Join(maildir, ".notmuch")}, begin: program(func(q query) (*exec.Cmd, error) {
			return b.notmuch(maildir, "search", "--sort=newest-first", fmt.Sprintf("--limit=%d", page), q.notmuch)
		})},
		{name: "mu find", files: []string{maildir + ".mu"}, begin: program(func(q query) (*exec.Cmd, error) {
			return b.mu(maildir, "find", "--sortfield=date", "--reverse", fmt.Sprintf("--maxnum=%d", page), q.mu), nil
		})},
		{name: "postkeep search (a process, which asks the instance)", files: derived,
			begin: func(ctx context.Context) (func(query) error, func() error, error) {
				_, end, err := b.askInstance(ctx, dir)
				return func(q query) error {
					_, err := answerOf(b.postkeep(dir, "search", "--limit", fmt.Sprint(page), "--", q.postkeep))
					return err
				}, end, err
			}},
	}
}

// askInstance starts the program. Pages ask for all that this asks for.
func (b *bench) askInstance(ctx context.Context, dir string) (ask func(query) error, end func() error, err error) {
	i, _, err := b.runInstance(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	ask = func(q query) error {
		_, err := i.client.Search(ctx, api.SearchRequest{Query: q.postkeep, Limit: page, Facets: []string{"mailbox", "domain", "year", "filetype", "flag"}})
		return err
	}
	return ask, func() error { return i.close(ctx) }, nil
}

// answerOf runs a program whose exit code does not matter: mu fails when it finds nothing.
func answerOf(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) == 0 || errors.As(err, &exit) && bytes.Contains(exit.Stderr, []byte("no matches")) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return out, err
}

// pass asks all queries twice: after the files have left the cache, and again.
func (s *searcher) pass(ctx context.Context, list []query) (err error) {
	if err := uncache(ctx, s.files); err != nil {
		return err
	}
	ask, end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, times := range []*[]time.Duration{&s.cold, &s.warm} {
		for _, q := range list {
			began := time.Now()
			if err := ask(q); err != nil {
				return err
			}
			*times = append(*times, time.Since(began))
		}
	}
	return nil
}

// uncache has the system forget what it has cached of files, as far as nobody has them open.
func uncache(ctx context.Context, paths []string) error {
	for _, path := range paths {
		out, err := exec.CommandContext(ctx, "find", path, "-type", "f", "-exec", "dd", "if={}", "iflag=nocache", "count=0", "status=none", ";").CombinedOutput()
		if err != nil {
			return fmt.Errorf("drop %s from the cache: %w\n%s", path, err, out)
		}
	}
	return nil
}

func (s *searcher) row() string {
	ms := func(times []time.Duration) []float64 {
		out := make([]float64, len(times))
		for i, t := range times {
			out[i] = float64(t) / float64(time.Millisecond)
		}
		return out
	}
	cold, warm := spread(ms(s.cold)), spread(ms(s.warm))
	under := 0
	for _, t := range s.warm {
		if t < quick {
			under++
		}
	}
	return fmt.Sprintf("| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f %% |\n", s.name, cold.median, cold.p99, warm.median, warm.p95, warm.p99,
		100*float64(under)/float64(len(s.warm)))
}
