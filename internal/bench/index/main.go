// Command index measures the search index: how fast it is built from an archive,
// what it takes on the disk and in memory, whether it gets slower as it grows, and how
// fast it answers.
//
//	go run ./internal/bench/index -mail DIR [-copies 9] [-archive DIR]
//
// The messages are all files below DIR. With -copies each is archived that
// many times, made different by a header field. Times of CPU and memory are of this process
// (Linux only); what else runs on the machine disturbs the others.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
)

type options struct {
	mail, archive, index, profile string

	copies, roll, batch, text, searches int
}

func main() {
	var o options
	flag.StringVar(&o.mail, "mail", "", "archive all files below this folder")
	flag.StringVar(&o.archive, "archive", "", "keep the archive in this folder, and use it if it is there")
	flag.StringVar(&o.index, "index", "", "keep the index in this folder")
	flag.IntVar(&o.copies, "copies", 1, "how many times to archive each message")
	flag.IntVar(&o.roll, "roll", 0, "documents of a generation; 0 is the default")
	flag.IntVar(&o.batch, "batch", 0, "messages of a batch; 0 is the default")
	flag.IntVar(&o.text, "text", 0, "bytes of text of a batch; 0 is the default")
	flag.IntVar(&o.searches, "searches", 200, "how many searches to run")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a profile of the indexing to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "index:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "postkeep-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what stays is in the temporary folder
	if o.archive == "" {
		o.archive = filepath.Join(dir, "data")
	}
	if o.index == "" {
		o.index = filepath.Join(dir, "index")
	}
	if there, err := archive.Exists(o.archive); err != nil {
		return err
	} else if !there {
		if err := archive.Create(ctx, o.archive, archive.Options{}); err != nil {
			return err
		}
	}
	store, err := archive.Open(ctx, o.archive, archive.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	if last, err := store.LastDeposit(ctx); err != nil {
		return err
	} else if last < 0 {
		if err := fill(ctx, store, o); err != nil {
			return err
		}
	}
	if err := build(ctx, store, o); err != nil {
		return err
	}
	if o.searches < 1 {
		return nil
	}
	return search(ctx, store, o)
}

// fill archives the messages, hundred at a time.
func fill(ctx context.Context, store *archive.Store, o options) error {
	const group = 100
	var batch []archive.Delivery
	put := func() error {
		_, err := store.Put(ctx, batch)
		batch = batch[:0]
		return err
	}
	started := time.Now()
	for n := range o.copies {
		err := filepath.WalkDir(o.mail, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if n > 0 {
				data = append(fmt.Appendf(nil, "X-Copy: %d\r\n", n), data...)
			}
			sum := sha256.Sum256(data)
			batch = append(batch, archive.Delivery{
				ID: hex.EncodeToString(sum[:]), Size: int64(len(data)), Body: bytes.NewReader(data),
				Deposit: archive.Deposit{Mailbox: "list", UIDL: fmt.Sprint(n, name), ListedSize: int64(len(data)), Received: started},
			})
			if len(batch) < group {
				return nil
			}
			return put()
		})
		if err != nil {
			return err
		}
	}
	return put()
}

// build indexes the archive and tells how it went.
func build(ctx context.Context, store *archive.Store, o options) (err error) {
	x, err := indexer.Open(ctx, indexer.Options{Dir: o.index})
	if err != nil {
		return err
	}
	defer func() {
		if e := x.Close(); err == nil {
			err = e
		}
	}()
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	last, err := store.LastDeposit(ctx)
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	w := indexer.NewWorker(x, store, nil, indexer.WorkerOptions{RollDocuments: o.roll, BatchMessages: o.batch, BatchTextBytes: o.text})
	started, cpu := time.Now(), cpuTime()
	go func() { done <- w.Run(working) }()
	peak := watch(ctx, x, last)
	stop()
	if err := <-done; err != nil {
		return err
	}
	wall, used := time.Since(started), cpuTime()-cpu
	size, err := sizeOf(o.index)
	fmt.Printf("%d messages in %.1f s, CPU %.1f s, %.0f messages/s, %.0f a CPU second; RssAnon at most %d MiB; index %.1f MiB, %.0f bytes a message; %s, %d CPUs\n",
		x.Count(), wall.Seconds(), used.Seconds(), float64(x.Count())/wall.Seconds(), float64(x.Count())/used.Seconds(), peak>>20,
		float64(size)/(1<<20), float64(size)/float64(x.Count()), runtime.Version(), runtime.GOMAXPROCS(0))
	return err
}

const (
	sampleEvery = 50 * time.Millisecond
	// reportEvery is the number of messages between lines that tell of the rate.
	reportEvery = 20_000
)

// watch waits until everything is indexed. It returns the peak of memory.
func watch(ctx context.Context, x *indexer.Index, last int64) (peak int64) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	from, then, used := uint64(0), time.Now(), cpuTime()
	for {
		select {
		case <-ctx.Done():
			return peak
		case <-tick.C:
		}
		peak = max(peak, rssAnon())
		if n := x.Count(); n >= from+reportEvery {
			now, cpu := time.Now(), cpuTime()
			fmt.Printf("  %d: %.0f messages/s, %.0f a CPU second\n", n, float64(n-from)/now.Sub(then).Seconds(), float64(n-from)/(cpu-used).Seconds())
			from, then, used = n, now, cpu
		}
		if x.Position() >= last {
			return peak
		}
	}
}
