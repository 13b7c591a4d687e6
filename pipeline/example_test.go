package pipeline_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/pipeline"
)

// counter is a store that keeps nothing.
type counter struct{ pipeline.Store }

func (counter) Put(_ context.Context, batch []archive.Delivery) ([]archive.Receipt, error) {
	var receipts []archive.Receipt
	for _, d := range batch {
		if _, err := io.Copy(io.Discard, d.Body); err != nil {
			return nil, err
		}
		receipts = append(receipts, archive.Receipt{ID: d.ID, Stored: true})
	}
	return receipts, nil
}

// A poller publishes a message, and the archive worker answers with a receipt.
func Example() {
	if err := roundTrip(); err != nil {
		fmt.Println(err)
	}
	// Output: message 1 archived as 914e2f438813
}

func roundTrip() error {
	dir, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, cancel := context.WithCancel(context.Background())
	bus, err := pipeline.Connect(ctx, pipeline.Options{Dir: dir})
	if err != nil {
		cancel()
		return err
	}
	defer func() { _ = bus.Close() }()

	var worker sync.WaitGroup
	worker.Go(func() { _ = pipeline.NewArchiver(bus, counter{}, pipeline.ArchiverOptions{}).Run(ctx) })
	defer worker.Wait()
	defer cancel()

	session, err := bus.OpenSession(ctx, pipeline.SessionOptions{ID: "example", Mailbox: "sales"})
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	body := strings.NewReader("Subject: hello\r\n\r\nA message.\r\n")
	if _, err := session.Publish(ctx, pipeline.Mail{Number: 1}, body); err != nil {
		return err
	}
	receipt := <-session.Receipts()
	fmt.Printf("message %d archived as %.12s\n", receipt.Number, receipt.ID)
	return nil
}
