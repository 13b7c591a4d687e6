package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// goesOnWithin is how long a poll may stand still after a leader died or came back.
const goesOnWithin = 30 * time.Second

func TestPollsGoOnWhenAClusterLosesItsLeader(t *testing.T) {
	messages, torture := 200, os.Getenv("POSTKEEP_TORTURE") != ""
	if torture {
		messages = 2000
	}
	nodes, url := startCluster(t)
	for _, fault := range clusterFaults {
		t.Run(fault.name, func(t *testing.T) {
			lasts := fault.short
			if torture {
				lasts = fault.full
			}
			pollThrough(t, nodes, url, messages, func(n *natsNode) func() {
				fault.strike(n)
				return func() {
					<-time.After(lasts)
					fault.end(n)
				}
			})
		})
	}
}

// pollThrough polls a mailbox while something happens to the leader of the stream, from its middle on.
func pollThrough(t *testing.T, nodes []*natsNode, url string, messages int, strike func(*natsNode) (end func())) {
	reached, struck := make(chan struct{}), make(chan struct{})
	var last atomic.Int64 // when the last message was fetched
	var gap atomic.Int64  // the longest that nothing was
	hook := func(_ *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
		if cmd.Verb != "RETR" {
			return normal
		}
		return func(w io.Writer) error {
			if cmd.Arg == fmt.Sprint(messages/2) {
				close(reached)
				<-struck
			}
			now := time.Now().UnixNano()
			if before := last.Swap(now); before > 0 {
				gap.Store(max(gap.Load(), now-before))
			}
			return normal(w)
		}
	}
	var mail []pop3test.Message
	for i := range messages {
		mail = append(mail, pop3test.Bytes(fmt.Appendf(nil, "Message-ID: <%d@example.com>\r\nSubject: message %d\r\n\r\n%s\r\n", i, i, strings.Repeat("text ", 400))))
	}
	server := startScripted(t, pop3test.Config{Hook: hook}, mail...)
	s := newSite(t, "nats: { url: \""+url+"\" }\n"+scriptedYAML(server, ""))
	polled := make(chan result, 1)
	begin := time.Now()
	go func() { polled <- s.run("poll", "--json") }()
	select {
	case <-reached:
	case r := <-polled:
		t.Fatalf("the poll ended early: %+v", r)
	}
	end := strike(leader(t, nodes))
	close(struck)
	end()
	ended := time.Now()
	r := <-polled
	report := reports(t, r.stdout)["sales"]
	if r.code != exitDone || report.Archived != messages || report.Deleted != messages || report.Error != "" {
		t.Errorf("exit code %d, %+v\n%s", r.code, report, r.stderr)
	}
	if left, err := server.Messages("sales"); err != nil || len(left) != 0 {
		t.Errorf("%d messages are left on the server (%v)", len(left), err)
	}
	if n := strings.TrimSpace(s.ok("search", "--count", "")); n != fmt.Sprint(messages) {
		t.Errorf("%s messages are found", n)
	}
	after := time.Since(ended)
	if after > goesOnWithin {
		t.Errorf("the poll took %s after the end of the fault", after)
	}
	t.Logf("%d messages in %s, ended %s after the fault; the longest pause between messages was %s",
		messages, time.Since(begin).Round(time.Millisecond), after.Round(time.Millisecond), time.Duration(gap.Load()).Round(time.Millisecond))
	var st struct {
		Archive struct {
			DeadLetter any `json:"dead_letter"`
		} `json:"archive"`
		Streams struct {
			Streams []struct {
				Name     string `json:"name"`
				Replicas int    `json:"replicas"`
				Messages int    `json:"messages"`
			} `json:"streams"`
		} `json:"streams"`
		Problem []string `json:"problem"`
	}
	wait(t, "three replicas of every stream", func() bool {
		if err := json.Unmarshal([]byte(s.ok("status", "--json")), &st); err != nil {
			t.Fatal(err)
		}
		few := len(st.Streams.Streams) == 0
		for _, stream := range st.Streams.Streams {
			few = few || stream.Replicas != 3
		}
		return !few && len(st.Problem) == 0
	})
	if st.Archive.DeadLetter != nil {
		t.Errorf("there is a dead letter: %v", st.Archive.DeadLetter)
	}
	if out := s.ok("status"); !strings.Contains(out, "3 replicas") {
		t.Errorf("status:\n%s", out)
	}
}

func TestPollGoesOnOverDamagedStreamsAndStatusNamesThem(t *testing.T) {
	server := startScripted(t, pop3test.Config{}, small(3)...)
	s := newSite(t, scriptedYAML(server, ""))
	blocks := s.data("nats", "jetstream", "$G", "streams", "MAIL_s0", "msgs")
	if err := os.MkdirAll(blocks, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		filepath.Join(blocks, "1.blk"):                      "half of a message",
		filepath.Join(blocks, "index.db"):                   "",
		filepath.Join(filepath.Dir(blocks), "meta.inf"):     "{",
		filepath.Join(filepath.Dir(blocks), "meta.sum"):     "x",
		s.data("nats", "jetstream", "$SYS"):                 "a file in the place of a directory",
		s.data("nats", "jetstream", "$G", "streams", "odd"): "",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := s.ok("status"); !strings.Contains(out, "PROBLEM") || !strings.Contains(out, "did not end properly") {
		t.Errorf("status before the poll:\n%s", out)
	}
	if report := reports(t, s.ok("poll", "--json"))["sales"]; report.Archived != 3 || report.Deleted != 3 || report.Error != "" {
		t.Errorf("report %+v", report)
	}
	out := s.ok("status")
	found, err := filepath.Glob(s.data("nats-set-aside-*"))
	if err != nil || len(found) != 1 || !strings.Contains(out, "PROBLEM") || !strings.Contains(out, filepath.Base(found[0])) {
		t.Fatalf("set aside: %v, %v; status:\n%s", found, err, out)
	}
	if data, err := os.ReadFile(filepath.Join(found[0], "jetstream", "$G", "streams", "MAIL_s0", "msgs", "1.blk")); err != nil || string(data) != "half of a message" {
		t.Errorf("what was set aside is not what was found: %q, %v", data, err)
	}
	if err := os.RemoveAll(found[0]); err != nil {
		t.Fatal(err)
	}
	if out := s.ok("status"); strings.Contains(out, "PROBLEM") {
		t.Errorf("status after it was removed:\n%s", out)
	}
}
