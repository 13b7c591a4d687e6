// Command peers measures Postkeep beside other programs that fetch, index, search and
// keep mail, in turns on the same machine.
//
//	go run ./internal/bench/peers [-cases a,b,d] [-pairs 5] [-dir DIR] [-out FILE]
//
// The cases:
//
//	a  POP3 to durable: postkeep poll --no-index, mpop, getmail6, fetchmail, and reading without keeping
//	b  indexing what is there: postkeep rebuild index, notmuch new, mu index
//	c  POP3 to searchable: postkeep poll, mpop followed by notmuch new
//	d  searching: a running instance, the command line, notmuch, mu
//	e  bytes on disk
//	f  10,000 mailboxes (internal/bench/mailboxes)
//	g  memory: a lot of mail, and one huge message
//	h  restart with many messages
//	i  export
//
// The peers are installed from Debian if they are missing and we are root. The mail is the corpus
// bench-list where POSTKEEP_CORPORA has it, else generated, always the same.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// options are the command line.
type options struct {
	cases, dir, out, counts, binary, only string

	pairs, messages, restart, queries int
	large                             int64
}

func main() {
	var o options
	flag.StringVar(&o.cases, "cases", "a,b,c,d,e,f,g,h,i", "what to measure")
	flag.StringVar(&o.only, "only", "", "measure only those whose name matches this regular expression, as postkeep|mpop")
	flag.IntVar(&o.pairs, "pairs", 5, "how many times each is measured, in turns")
	flag.IntVar(&o.messages, "messages", 0, "how many messages of the corpus to use; 0 is all, 20,000 of generated mail")
	flag.IntVar(&o.queries, "queries", 300, "case d: how many queries")
	flag.IntVar(&o.restart, "restart-messages", 1_000_000, "case h: how many messages the archive has")
	flag.Int64Var(&o.large, "large", 1<<30, "case g: octets of the mail, and of the huge message")
	flag.StringVar(&o.dir, "dir", "", "keep what was prepared in this folder, and use what is there from an earlier run")
	flag.StringVar(&o.out, "out", "", "append the tables to this Markdown file")
	flag.StringVar(&o.counts, "counts", "", "case d: write every query with the number of messages that each program finds to this file")
	flag.StringVar(&o.binary, "binary", "", "program to measure; built if empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	work := func() error { return run(ctx, o) }
	if args := flag.Args(); len(args) == 2 && args[0] == drainCommand {
		work = func() error { return drain(ctx, args[1]) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// bench is what the cases share.
type bench struct {
	options
	mail   mail
	report *report
	wanted *regexp.Regexp // the names of what is measured
}

func cases() map[string]func(*bench, context.Context) error {
	return map[string]func(*bench, context.Context) error{
		"a": (*bench).durable, "b": (*bench).indexing, "c": (*bench).searchable, "d": (*bench).searching, "e": (*bench).space,
		"f": (*bench).mailboxes, "g": (*bench).memory, "h": (*bench).restarts, "i": (*bench).exporting,
	}
}

func run(ctx context.Context, o options) (err error) {
	known := cases()
	wanted := strings.Split(o.cases, ",")
	for _, name := range wanted {
		if known[name] == nil {
			return fmt.Errorf("there is no case %q, only %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	if o.pairs < 1 || o.messages < 0 || o.queries < 1 || o.restart < 1 {
		return errors.New("need at least one pair, query and message")
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "postkeep-peers-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	// Some peers do not work as root, and have to reach their files.
	if err := errors.Join(os.MkdirAll(o.dir, 0o755), os.Chmod(o.dir, 0o755)); err != nil {
		return err
	}
	if err := install(ctx); err != nil {
		return err
	}
	if o.binary == "" {
		o.binary = filepath.Join(o.dir, "postkeep")
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-o", o.binary, "github.com/postkeep/postkeep/cmd/postkeep")
		build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	b := &bench{options: o, report: &report{file: o.out}}
	if b.wanted, err = regexp.Compile(o.only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if b.mail, err = findMail(o.messages); err != nil {
		return err
	}
	if err := b.report.begin(ctx, b.mail.name); err != nil {
		return err
	}
	for _, name := range wanted {
		if err := known[name](b, ctx); err != nil {
			return fmt.Errorf("case %s: %w", name, err)
		}
	}
	return nil
}

// mailboxes is a program of its own.
func (b *bench) mailboxes(ctx context.Context) error {
	b.report.print("\n### 10,000 mailboxes\n\n```\n")
	cmd := exec.CommandContext(ctx, "go", "run", "github.com/postkeep/postkeep/internal/bench/mailboxes", "-binary", b.binary)
	cmd.Stdout, cmd.Stderr = b.report, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	b.report.print("```\n")
	return errors.Join(err, b.report.err)
}
