// Postkeep empties POP3 mailboxes into an archive that keeps every byte.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones where the system has none, as in a container made FROM scratch
)

// version is set by the linker (make build).
var version = "devel"

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
	limitMemory()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(a.run(ctx, os.Args[1:]))
}
