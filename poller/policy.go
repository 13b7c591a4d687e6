package poller

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// Policy bounds what one poll takes from a mailbox. The zero value bounds
// nothing. What is over a bound stays on the server and is reported as left.
type Policy struct {
	// MaxMessageBytes leaves larger messages on the server, by their LIST size
	// and by what really comes. They are never deleted. 0 is no limit.
	MaxMessageBytes int64
	// MaxMessages is how many messages a poll downloads; the next goes on.
	MaxMessages int
	// MaxDuration is how long after its start a poll begins to download or to
	// confirm further messages. What was begun is finished and deleted.
	MaxDuration time.Duration
	// CommitEvery ends the POP3 session with QUIT after this many messages that
	// may be deleted, and comes back for the rest under the same lease: only
	// QUIT deletes, so a connection that drops costs at most this many
	// downloads again. 0 is one session for all.
	CommitEvery int
}

const (
	// Servers that lost a session with several commands under way are spared
	// pipelining for a while: a day if they mixed up their answers, an hour if
	// the network may have been at fault.
	spareMixedUp = 24 * time.Hour
	spareBroken  = time.Hour
	// distrustTOP is how long the answers to TOP of a mailbox are not sampled
	// after one was not the header of the message.
	distrustTOP = 24 * time.Hour
	// maxTroubles bounds the messages remembered for each mailbox.
	maxTroubles = 1000
)

// quirks is what this process remembers of the servers behind mailboxes. It
// saves work and is safe to lose: no decision to delete rests on it. The zero
// value is ready; it is safe for concurrent use.
type quirks struct {
	mu sync.Mutex
	of map[string]quirk // by mailbox
}

type quirk struct {
	singleUntil time.Time // no pipelining
	noTOPUntil  time.Time
	noAPOP      bool // refused, while another mechanism logged in
	troubles    map[pipeline.Listing]trouble
}

// trouble is what a message did to earlier sessions: how often the connection
// was lost in the middle of it, or oversize.
type trouble int

// oversize is a message larger than MaxMessageBytes, whatever LIST says.
const oversize trouble = -1

func (q *quirks) get(mailbox string) quirk {
	q.mu.Lock()
	defer q.mu.Unlock()
	found := q.of[mailbox]
	found.troubles = maps.Clone(found.troubles)
	return found
}

func (q *quirks) note(mailbox string, change func(*quirk)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.of == nil {
		q.of = map[string]quirk{}
	}
	known := q.of[mailbox]
	change(&known)
	q.of[mailbox] = known
}

// noteError remembers a session that broke while commands were pipelined, or
// had been in the burst that it broke in: an answer too few shows at the end.
func (q *quirks) noteError(mailbox string, err error, burst bool, now time.Time) {
	var e *pop3.Error
	if !errors.As(err, &e) || lost(err) == nil || !e.Pipelined && !burst {
		return
	}
	spare := spareBroken
	switch e.Kind {
	case pop3.KindProtocol:
		spare = spareMixedUp
	case pop3.KindCanceled, pop3.KindLimit:
		return // not the server's doing
	}
	q.note(mailbox, func(k *quirk) { k.singleUntil = now.Add(spare) })
}

// noteTrouble remembers what a message did. One without a UIDL cannot be
// recognised.
func (q *quirks) noteTrouble(mailbox string, l pipeline.Listing, what trouble) {
	if l.UIDL == "" {
		return
	}
	q.note(mailbox, func(k *quirk) {
		if k.troubles == nil || len(k.troubles) >= maxTroubles {
			k.troubles = map[pipeline.Listing]trouble{}
		}
		k.troubles[l] = what
	})
}
