package archive

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// letters are messages of which many have an attachment in common.
func letters(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("Received: r%d\r\nSubject: %d\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n%s\r\n--b\r\n\r\n%s\r\n--b--\r\n",
			i, i%20, strings.Repeat(fmt.Sprint("text ", i%7, "\r\n"), 300), strings.Repeat(fmt.Sprint("attachment ", i%5, "\r\n"), 4000))
	}
	return all
}

func TestBatchesAtTheSameTimeMakeEachDepositOnce(t *testing.T) {
	s, dir := create(t)
	bodies := letters(40)
	var (
		mu    sync.Mutex
		index = map[depositKey]int64{}
		wg    sync.WaitGroup
	)
	for g := range uint64(3) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(g, 1))
			for range 8 {
				var batch []Delivery
				for range 1 + r.IntN(12) {
					body := bodies[r.IntN(len(bodies))]
					d := delivery(fmt.Sprint("m", r.IntN(2)), fmt.Sprint("u", r.IntN(2)), body)
					if r.IntN(2) == 0 {
						d.Body = bytes.NewReader([]byte(body)) // used where it is
					}
					batch = append(batch, d)
				}
				receipts, err := s.Put(t.Context(), batch)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, r := range receipts {
					key := depositKey{r.ID, batch[i].Mailbox, batch[i].UIDL, batch[i].ListedSize}
					if was, ok := index[key]; ok && was != r.Index || r.Index < 0 || r.Refused != "" {
						t.Errorf("deposit %d before, now %+v", was, r)
					}
					index[key] = r.Index
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := len(s.flying.pieces); n != 0 || s.reserved.Load() != 0 {
		t.Errorf("%d pieces fly when nobody puts anything, %d bytes are reserved", n, s.reserved.Load())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, catalogName)); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, dir, Options{})
	for key := range index {
		body, err := s.OpenMessage(t.Context(), key.id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Error(err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What two batches have in common is found while both are made ready, and when one lands in between.
func TestPieceOfABatchThatIsPutAtTheSameTimeIsShared(t *testing.T) {
	for _, landed := range []bool{false, true} {
		s, _ := create(t)
		text := strings.Repeat("some text of a letter that many get\r\n", 100)
		letter := func(name string) string {
			return "Subject: " + name + "\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + name + "\r\n--b\r\n\r\n" + text + "\r\n--b--\r\n"
		}
		one, other := s.newPut([]Delivery{delivery("x", "1", letter("one"))}), s.newPut([]Delivery{delivery("x", "2", letter("other"))})
		if err := one.prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if landed {
			if err := one.write(t.Context()); err != nil {
				t.Fatal(err)
			}
			one.close()
		}
		if err := other.prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if one.order[0].split != nil || other.order[0].split == nil {
			t.Errorf("landed %v: the first is taken apart, or the second is not", landed)
		}
		one.close()
		other.close()
	}
}

func TestRoomForLargeMessagesIsNotPromisedTwice(t *testing.T) {
	s, _ := create(t)
	const size = 300 << 20
	s.opts.Free = func(string) (int64, error) { return s.opts.MinFree + 2*size, nil } // nothing is written yet
	one, other := spool{store: s}, spool{store: s}
	if _, _, err := one.begin(size); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.begin(size); err == nil {
		t.Error("two messages got the room of one")
	}
	one.close()
	other.close()
	third := spool{store: s}
	defer third.close()
	if _, _, err := third.begin(size); err != nil {
		t.Errorf("the room does not come back: %v", err)
	}
}
