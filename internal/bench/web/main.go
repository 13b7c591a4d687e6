// Command web measures searches of many people at once over real mail.
//
//	go run ./internal/bench/web -mail DIR
//
// It archives every file under DIR as a message, starts the program on that archive with GOMAXPROCS=2, waits
// for the index, and sends searches with snippets and facets, as the page does, from 50 clients for a minute. It
// prints searches per second, their times, and the peak of RssAnon.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.mail, "mail", "", "folder of messages, one a file")
	flag.StringVar(&o.dir, "dir", "", "empty folder for the archive; a temporary one without")
	flag.StringVar(&o.binary, "binary", "", "program to measure; built from the source without")
	flag.IntVar(&o.clients, "clients", 50, "searches at the same time")
	flag.DurationVar(&o.time, "time", time.Minute, "how long")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	mail, dir, binary string
	clients           int
	time              time.Duration
}

func (o options) run(ctx context.Context) (err error) {
	if o.mail == "" {
		return fmt.Errorf("-mail names no folder")
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "postkeep-bench-web-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(o.dir) }() // sealed volumes may stay in the temporary folder
	}
	if o.binary == "" {
		o.binary = filepath.Join(o.dir, "postkeep")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "./cmd/postkeep").CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	begun := time.Now()
	words, n, err := deposit(ctx, o.mail, filepath.Join(o.dir, "data"))
	if err != nil {
		return err
	}
	fmt.Printf("%d messages archived in %s\n", n, time.Since(begun).Round(time.Second))
	token, err := person(ctx, filepath.Join(o.dir, "data"))
	if err != nil {
		return err
	}
	return o.measure(ctx, token, words, n)
}
