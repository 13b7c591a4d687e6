// Postkeep empties POP3 mailboxes into an archive that keeps every byte.
package main

import (
	"context"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // time zones where the system has none, as in a container made FROM scratch
)

// version is set by the linker (make build).
var version = "devel"

// softMemory is the size in bytes above which the garbage collector works
// harder. With it, polling and indexing a gigabyte takes 375 MiB of anonymous memory at most, half of it buffers
// of NATS; with 450 MiB it took 485, and no less processor time.
const softMemory = 340 << 20

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel() // sessions end properly
		<-signals
		os.Exit(exitFailed) // whoever asks twice wants it now; what is not receipted is still on the server
	}()
	restrictFiles()
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // GOMEMLIMIT is not set
		debug.SetMemoryLimit(softMemory)
	}
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(a.run(ctx, os.Args[1:]))
}
