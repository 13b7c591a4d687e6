package poller

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/postkeep/postkeep/pipeline"
)

const (
	// maxReplyBytes bounds what a report says of the answers to DELE, in bytes of
	// JSON. A report has to pass in one NATS message, of 256 KiB at least, and twenty thousand deposits that lie apart in the
	// ledger take half of this.
	maxReplyBytes = 128 << 10
	// maxReplyTexts bounds the different answers of a session; a hostile server can give
	// another one for every message.
	maxReplyTexts = 20
	// otherOK and otherError stand for what is beyond.
	otherOK, otherError = "+OK …", "-ERR …"
)

// replies collects the answers to DELE of one session by their words.
type replies struct {
	texts []string // in the order in which they came
	by    map[string]*answered
	quit  string
}

// answered are messages with the same answer.
type answered struct{ numbers, deposits []int64 }

// note takes in the answer for one message, whose deposit has the ledger index.
func (r *replies) note(number int, deposit int64, reply string, accepted bool) {
	text := generalised(reply, number)
	if text == "" || r.by[text] == nil && len(r.texts) >= maxReplyTexts {
		text = otherError
		if accepted {
			text = otherOK
		}
	}
	if r.by == nil {
		r.by = map[string]*answered{}
	}
	if r.by[text] == nil {
		r.by[text] = &answered{}
		r.texts = append(r.texts, text)
	}
	a := r.by[text]
	a.numbers, a.deposits = append(a.numbers, int64(number)), append(a.deposits, deposit)
}

// generalised puts the mark in the place of the message number, so that the same words are the
// same text. It returns "" for words that have the mark already: they could not be restored.
func generalised(reply string, number int) string {
	if strings.Contains(reply, pipeline.NumberMark) {
		return ""
	}
	n := strconv.Itoa(number)
	var b strings.Builder
	for rest := reply; ; {
		at := strings.Index(rest, n)
		if at < 0 {
			b.WriteString(rest)
			return b.String()
		}
		end := at + len(n)
		var word string
		if (at == 0 || !digit(rest[at-1])) && (end == len(rest) || !digit(rest[end])) {
			word = pipeline.NumberMark
		} else { // inside of a longer number: pass over all of it
			for end < len(rest) && digit(rest[end]) {
				end++
			}
			word = rest[at:end]
		}
		b.WriteString(rest[:at])
		b.WriteString(word)
		rest = rest[end:]
	}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// keepReplies adds the answers that a session got to the report, as far as there is room.
func (v *visit) keepReplies(session string, r *replies) {
	if len(r.texts) == 0 {
		return
	}
	out := pipeline.SessionReplies{Session: session, QUIT: r.quit}
	v.replyRoom -= jsonBytes(out)
	for _, text := range r.texts {
		a := r.by[text]
		v.keepReply(&out, text, a.numbers, a.deposits)
	}
	if len(out.DELE) > 0 {
		v.report.Replies = append(v.report.Replies, out)
	}
}

// keepReply adds what fits: all of it, or of its halves.
func (v *visit) keepReply(out *pipeline.SessionReplies, text string, numbers, deposits []int64) {
	d := pipeline.DELEReplies{Reply: text, Numbers: pipeline.NewRuns(numbers), Deposits: pipeline.NewRuns(deposits)}
	size := jsonBytes(d)
	switch half := len(numbers) / 2; {
	case size <= v.replyRoom:
		v.replyRoom -= size
		out.DELE = append(out.DELE, d)
	case half == 0:
		v.report.Unnoted++
	default:
		v.keepReply(out, text, numbers[:half], deposits[:half])
		v.keepReply(out, text, numbers[half:], deposits[half:])
	}
}

// jsonBytes is the room that v takes in a report, with a separator.
func jsonBytes(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return maxReplyBytes
	}
	return len(b) + 1
}
