package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/web/api"
)

// agreement is how the numbers of messages found for the queries of a kind compare.
type agreement struct {
	queries                int
	notmuch, mu            int // queries with the same number
	moreNotmuch, fewerNM   int // queries for which ours is more, or fewer
	moreMu, fewerMu        int
	ours, notmuchs, muSums uint64 // messages found in all
}

// compare counts what each program finds.
func (b *bench) compare(ctx context.Context, dir, maildir string, list []query) (err error) {
	i, _, err := b.runInstance(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.close(ctx)) }()
	var lines strings.Builder
	lines.WriteString("kind\tpostkeep\tnotmuch\tmu\tpostkeep finds\tnotmuch finds\tmu finds\n")
	kinds := map[string]*agreement{}
	for _, q := range list {
		r, err := i.client.Search(ctx, api.SearchRequest{Query: q.postkeep})
		if err != nil {
			return fmt.Errorf("%s: %w", q.postkeep, err)
		}
		cmd, err := b.notmuch(maildir, "count", "--exclude=false", "--output=messages", q.notmuch)
		if err != nil {
			return err
		}
		out, err := answerOf(cmd)
		if err != nil {
			return err
		}
		notmuch, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			return err
		}
		if out, err = answerOf(b.mu(maildir, "find", "--fields=i", q.mu)); err != nil {
			return err
		}
		mu := uint64(bytes.Count(out, []byte("\n")))
		fmt.Fprintf(&lines, "%s\t%s\t%s\t%s\t%d\t%d\t%d\n", q.kind, q.postkeep, q.notmuch, q.mu, r.Total, notmuch, mu)
		if kinds[q.kind] == nil {
			kinds[q.kind] = &agreement{}
		}
		kinds[q.kind].add(r.Total, notmuch, mu)
	}
	b.report.print("\n| numbers found | queries | same as notmuch | ours more | ours fewer | same as mu | ours more | ours fewer | found: postkeep | notmuch | mu |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		a := kinds[kind]
		b.report.print(fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", kind, a.queries, a.notmuch, a.moreNotmuch, a.fewerNM,
			a.mu, a.moreMu, a.fewerMu, a.ours, a.notmuchs, a.muSums))
	}
	if b.counts != "" {
		err = os.WriteFile(b.counts, []byte(lines.String()), 0o644)
	}
	return errors.Join(err, b.report.err)
}

func (a *agreement) add(ours, notmuch, mu uint64) {
	a.queries++
	a.ours += ours
	a.notmuchs += notmuch
	a.muSums += mu
	tell := func(theirs uint64, same, more, fewer *int) {
		switch {
		case ours == theirs:
			*same++
		case ours > theirs:
			*more++
		default:
			*fewer++
		}
	}
	tell(notmuch, &a.notmuch, &a.moreNotmuch, &a.fewerNM)
	tell(mu, &a.mu, &a.moreMu, &a.fewerMu)
}
