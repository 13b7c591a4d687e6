package indexer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"path"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/corpus"
)

// deposited is an archive in memory where every deposit is a message of its own.
type deposited struct{ *memory }

func (a deposited) Since(_ context.Context, after int64, limit int) ([]archive.Indexable, error) {
	return a.deposits[min(int(after+1), len(a.deposits)):min(int(after)+1+limit, len(a.deposits))], nil
}

func (a deposited) add(name, message string) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	a.messages[id] = message
	a.deposits = append(a.deposits, archive.Indexable{ID: id, Size: int64(len(message)), Received: received.Add(time.Duration(len(a.deposits)) * time.Second),
		Mailboxes: []string{"m"}, Deposits: []archive.Arrival{{Mailbox: "m", Received: received}}, Index: int64(len(a.deposits))})
}

// TestEveryMessageIsInTheIndexWhateverIsInIt takes one in every messages of a
// corpus; POSTKEEP_TORTURE has it take all.
func TestEveryMessageIsInTheIndexWhateverIsInIt(t *testing.T) {
	t.Run("odd", func(t *testing.T) { odd().indexed(t) })
	for set, every := range map[string]int{"conformance": 1, "natural-small": 1, "bench-list": 10} {
		t.Run(set, func(t *testing.T) {
			corpus.Require(t, set)
			if os.Getenv("POSTKEEP_TORTURE") != "" {
				every = 1
			}
			a, n := deposited{newMemory()}, 0
			if err := corpus.Load(t.Context(), set, func(name string, msg []byte) error {
				if n++; n%every == 0 {
					a.add(name, string(msg))
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			a.indexed(t)
		})
	}
}

// odd is mail that there should not be.
func odd() deposited {
	a := deposited{newMemory()}
	for name, message := range map[string]string{
		"empty": "", "octets": "\x00\xff\x00", "line end": "\n", "no header": "\n\nbody", "no body": "Subject: x",
		"boundary": "Content-Type: multipart/mixed\n\n--\n", "base64": "Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: base64\n\n!!!!",
		"charset": "Subject: =?x?b?//?=\nContent-Type: text/html; charset=utf-7\n\n+<b", "long": "From: " + string(bytes.Repeat([]byte("<@,"), 1<<16)),
	} {
		a.add(name, message)
	}
	made, _ := generated(100)
	for id, message := range made.messages {
		a.add(id, message)
	}
	return a
}

// indexed wants every message to be found, and none to have been given up.
func (a deposited) indexed(t *testing.T) {
	if len(a.messages) < 100 || len(a.messages) != len(a.deposits) {
		t.Fatalf("%d messages, %d deposits", len(a.messages), len(a.deposits))
	}
	x, err := Open(t.Context(), Options{Dir: path.Join(t.TempDir(), "index"), Location: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	var log bytes.Buffer
	b := &builder{Worker: NewWorker(x, a, nil, WorkerOptions{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})}
	started := time.Now()
	if err := b.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log.Len() > 0 { // where the parser panics, too
		t.Errorf("the worker complains:\n%s", log.String())
	}
	missing := make(map[string]bool, len(a.messages))
	for id := range a.messages {
		missing[id] = true
	}
	if err := x.Each(t.Context(), "*", nil, func(id string) error {
		if !missing[id] {
			t.Errorf("%s is found twice, or is not ours", id)
		}
		delete(missing, id)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id := range missing {
		t.Errorf("%s has no document", id)
	}
	t.Logf("%d messages, %d documents, %v", len(a.messages), x.Count(), time.Since(started))
}
