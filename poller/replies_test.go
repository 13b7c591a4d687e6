package poller

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestRepliesThatDifferInTheMessageNumberAreOneText(t *testing.T) {
	for _, c := range []struct {
		reply  string
		number int
		want   string
	}{
		{"+OK message 17 deleted", 17, "+OK message {n} deleted"},
		{"+OK 1 of 11, 1", 1, "+OK {n} of 11, {n}"},
		{"+OK 171 17 717", 17, "+OK 171 {n} 717"},
		{"+OK", 3, "+OK"},
		{"+OK {n}", 3, ""},
	} {
		if got := generalised(c.reply, c.number); got != c.want {
			t.Errorf("%q of %d became %q, want %q", c.reply, c.number, got, c.want)
		}
	}
}

func visitWith(r *replies) *visit {
	v := &visit{replyRoom: maxReplyBytes}
	v.keepReplies("s", r)
	return v
}

func size(t *testing.T, v any) int {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}

// The deposits of twenty thousand deletions lie together in the ledger, or wherever other mailboxes left room.
func TestTwentyThousandDeletionsFitIntoAReport(t *testing.T) {
	for name, c := range map[string]struct {
		apart int64
		most  int
	}{"together": {1, 200}, "between those of fifteen other mailboxes": {16, 70_000}} {
		r := &replies{quit: "+OK bye"}
		for n := 1; n <= 20_000; n++ {
			r.note(n, 1_000_000+int64(n)*c.apart, fmt.Sprintf("+OK message %d deleted", n), true)
		}
		v := visitWith(r)
		if got := size(t, v.report.Replies); got > c.most || v.report.Unnoted > 0 {
			t.Errorf("%s: %d bytes, %d not noted", name, got, v.report.Unnoted)
		}
		d := v.report.Replies[0].DELE[0]
		if place, ok := d.Deposits.Find(1_000_000 + 12_345*c.apart); !ok || place != 12_344 {
			t.Errorf("%s: deposit found at %d %v", name, place, ok)
		}
	}
}

func TestHostileRepliesStayWithinTheirRoom(t *testing.T) {
	r := &replies{}
	for n := 1; n <= 60_000; n++ {
		r.note(n, int64(n)*1_000_003, strings.Repeat("x", 150)+fmt.Sprint(n*7), true)
	}
	v := visitWith(r)
	noted := 0
	for _, d := range v.report.Replies[0].DELE {
		for place := int64(0); ; place++ {
			if _, ok := d.Numbers.At(place); !ok {
				break
			}
			if noted++; place > 50 {
				noted += len(strings.Split(string(d.Deposits), ",")) - int(place) - 1
				break
			}
		}
	}
	if v.report.Unnoted == 0 || noted+v.report.Unnoted != 60_000 {
		t.Errorf("%d noted, %d not, of 60000", noted, v.report.Unnoted)
	}
	report := pipeline.PollReport{Mailbox: "sales", Replies: v.report.Replies, Error: strings.Repeat("e", maxErrorBytes)}
	if got := size(t, report); got > maxReplyBytes+8<<10 || got > ledger.MaxDetails/4 {
		t.Errorf("the report has %d bytes", got)
	}
	if texts := len(r.texts); texts > maxReplyTexts+1 {
		t.Errorf("%d texts", texts)
	}
}

func TestReportHasTheServersWordForEveryDeletion(t *testing.T) {
	for name, c := range map[string]struct {
		hook    pop3test.Hook
		quit    string
		replies int
	}{
		"deleted":        {nil, "+OK bye", 1},
		"one is refused": {pop3test.Reply("DELE", "2", "-ERR [SYS/TEMP] locked"), "+OK bye", 2},
		"QUIT is lost":   {drop("QUIT", ""), "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			hooks := []pop3test.Hook{c.hook, pop3test.On("QUIT", "", func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
				return pop3test.Edit(normal, func([]byte) []byte { return []byte("+OK bye\r\n") })
			})}
			if c.hook == nil {
				hooks = hooks[1:]
			}
			r := newRig(t, rigOptions{messages: mails(3), server: pop3test.Config{Hook: pop3test.Hooks(hooks...)}})
			if report := r.poll(); report.Replies != nil {
				t.Errorf("those who watch get %+v", report.Replies)
			}
			polls, err := r.store.Polls(t.Context(), user, 0, 1)
			if err != nil || len(polls) != 1 || len(polls[0].Replies) != 1 {
				t.Fatalf("%+v, %v", polls, err)
			}
			got := polls[0].Replies[0]
			if got.QUIT != c.quit || len(got.DELE) != c.replies || got.Session != polls[0].Session {
				t.Errorf("%+v", got)
			}
			for number := int64(1); number <= 3; number++ {
				found := 0
				for _, d := range got.DELE {
					place, ok := d.Numbers.Find(number)
					if !ok {
						continue
					}
					found++
					index, _ := d.Deposits.At(place)
					deposits, err := r.store.Since(t.Context(), index-1, 1)
					if err != nil || len(deposits) != 1 || deposits[0].Index != index {
						t.Errorf("message %d has no deposit %d", number, index)
					}
					if refused := strings.HasPrefix(d.Reply, "-ERR"); refused != (c.replies == 2 && number == 2) {
						t.Errorf("message %d: %q", number, d.Reply)
					}
				}
				if found != 1 {
					t.Errorf("message %d has %d answers", number, found)
				}
			}
		})
	}
}
