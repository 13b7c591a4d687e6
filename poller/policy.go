package poller

import "time"

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
