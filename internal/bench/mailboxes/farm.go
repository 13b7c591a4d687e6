package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

const password = "geheim"

func user(i int) string { return fmt.Sprintf("m%05d", i) }

// farm is the POP3 servers with what they saw. Each mailbox always has one message
// that was not polled yet.
type farm struct {
	servers     []*pop3test.Server
	certificate []byte // PEM

	mu     sync.Mutex
	opened [][]time.Time // logins of each mailbox
	quits  []int         // ends of sessions of each mailbox
}

func startFarm(o options) (*farm, error) {
	f := &farm{opened: make([][]time.Time, o.mailboxes), quits: make([]int, o.mailboxes)}
	config := pop3test.Config{OnCommand: f.onCommand}
	if o.tls {
		var hosts []string
		for n := range o.servers {
			hosts = append(hosts, address(n))
		}
		cert, err := pop3test.NewCertificate(time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 1), hosts...)
		if err != nil {
			return nil, err
		}
		f.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
		config.TLS, config.Certificate = pop3test.TLSImplicit, &tls.Certificate{Certificate: cert.Certificate, PrivateKey: cert.PrivateKey}
	}
	for n := range o.servers {
		config.Addr = net.JoinHostPort(address(n), "0")
		config.Mailboxes = nil
		for i := n; i < o.mailboxes; i += o.servers {
			config.Mailboxes = append(config.Mailboxes, pop3test.Mailbox{
				User: user(i), Password: password, Messages: []pop3test.Message{message(i, 0)},
			})
		}
		s, err := pop3test.Start(config)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.servers = append(f.servers, s)
	}
	return f, nil
}

func address(n int) string { return "127.0.0." + strconv.Itoa(n+1) }

func (f *farm) close() error {
	var errs []error
	for _, s := range f.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// onCommand notes when sessions begin and end. The next message comes just
// before the end, which does not show it to the session.
func (f *farm) onCommand(name string, cmd pop3test.Command) {
	if name == "" || cmd.Verb != "UIDL" && cmd.Verb != "QUIT" {
		return
	}
	i, err := strconv.Atoi(name[1:])
	if err != nil || i >= len(f.opened) {
		return // not a mailbox of ours
	}
	now := time.Now()
	f.mu.Lock()
	if cmd.Verb == "UIDL" {
		f.opened[i] = append(f.opened[i], now)
		f.mu.Unlock()
		return
	}
	f.quits[i]++
	round := f.quits[i]
	f.mu.Unlock()
	_ = f.servers[i%len(f.servers)].Deliver(name, message(i, round)) // fails only for a name that is not there
}

// message is small, and differs from all others.
func message(i, round int) pop3test.Message {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: sender@example.com\r\nTo: %s@example.com\r\nMessage-ID: <%d.%[1]s@example.com>\r\n", user(i), round)
	fmt.Fprintf(&b, "Date: Mon, 05 Jan 2026 08:00:00 +0000\r\nSubject: message %d\r\n\r\n", round)
	for line := range 20 {
		fmt.Fprintf(&b, "Line %d of message %d for %s says nothing of interest.\r\n", line, round, user(i))
	}
	return pop3test.Bytes(b.Bytes())
}
