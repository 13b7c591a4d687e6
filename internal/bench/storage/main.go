// Command storage measures how much room the archive takes for real mail.
//
//	POSTKEEP_CORPORA=DIR go run ./internal/bench/storage
//
// For each corpus it prints the octets of the messages and the bytes of the archive after sealing and
// repacking, with everything that is precious (volumes, ledger, sidecar), beside zlib for each message and
// zstd -19 --long=27 for all of them together; then what nine more copies of 1,000 messages add, byte for byte the same
// and with other Delivered-To and Received fields.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	var o options
	flag.IntVar(&o.messages, "messages", 1000, "how many messages are copied")
	flag.IntVar(&o.copies, "copies", 10, "how many copies there are of each, in mailboxes of their own")
	flag.StringVar(&o.dir, "dir", "", "folder for the archives, of the file system to be used")
	flag.Parse()
	names := flag.Args()
	if len(names) == 0 {
		names = []string{"natural-small", "bench-list"}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, name := range names {
		if err := o.run(ctx, name); err != nil {
			fmt.Fprintln(os.Stderr, "storage:", err)
			os.Exit(1)
		}
	}
}

// options are the command line.
type options struct {
	messages, copies int
	dir              string
}

func (o options) run(ctx context.Context, name string) error {
	if o.messages < 1 || o.copies < 2 {
		return errors.New("need at least one message and two copies")
	}
	c, err := load(ctx, name)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d messages, %d octets\n", name, len(c.messages), c.octets)
	if err := o.whole(ctx, c); err != nil {
		return err
	}
	return o.copied(ctx, c.sample(o.messages))
}

// whole measures the corpus as it is.
func (o options) whole(ctx context.Context, c *corpusMail) error {
	size, err := o.archive(ctx, func(put putter) error { return put(ctx, "list", c.messages) })
	if err != nil {
		return err
	}
	line := func(what string, n int64) { fmt.Printf("  %-34s %12d  %6.3f\n", what, n, float64(n)/float64(c.octets)) }
	line("volumes", size.volumes)
	line("ledger and its sidecar", size.ledger)
	line("archive", size.volumes+size.ledger)
	line("catalog (derived)", size.catalog)
	n, err := zlibEach(c.messages)
	if err != nil {
		return err
	}
	line("zlib, each message", n)
	switch n, err := zstdAll(ctx, c.messages); {
	case errors.Is(err, errNoZstd):
		fmt.Println("  zstd is not installed: not compared")
	case err != nil:
		return err
	default:
		line("zstd -19 --long=27, all together", n)
	}
	return nil
}

// copied measures what more copies of the same messages add.
func (o options) copied(ctx context.Context, c *corpusMail) error {
	for _, how := range []struct {
		name string
		copy func(msg []byte, n int) []byte
	}{
		{"byte for byte the same", func(msg []byte, _ int) []byte { return msg }},
		{"other Delivered-To and Received", delivered},
	} {
		var sizes [2]int64
		for i, copies := range []int{1, o.copies} {
			size, err := o.archive(ctx, func(put putter) error {
				for n := range copies {
					messages := make([][]byte, len(c.messages))
					for k, m := range c.messages {
						messages[k] = how.copy(m, n)
					}
					if err := put(ctx, fmt.Sprintf("mailbox-%d", n), messages); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			sizes[i] = size.volumes + size.ledger
			fmt.Printf("  %d messages, %d times, %s: volumes %d, ledger %d\n", len(c.messages), copies, how.name, size.volumes, size.ledger)
		}
		more := c.octets * int64(o.copies-1)
		fmt.Printf("  added: %d, %.1f %% of %d\n", sizes[1]-sizes[0], 100*float64(sizes[1]-sizes[0])/float64(more), more)
	}
	return nil
}
