package pipeline

import (
	"fmt"
	"strings"

	"github.com/postkeep/postkeep/archive"
)

// A poller imports this package and not the archive; these are the archive's
// types that it deals in.
type (
	// Deposit is where and when a message was received.
	Deposit = archive.Deposit
	// Source is where a deposit came from.
	Source = archive.Source
	// Listing is a message as a server lists it.
	Listing = archive.Listing
	// Holding is a deposit that the archive has for a listed message.
	Holding = archive.Holding
	// PollReport is the reconciliation of one poll of one mailbox.
	PollReport = archive.PollReport
	// SessionReplies is what a server answered to the deletions of a session.
	SessionReplies = archive.SessionReplies
	// DELEReplies is one answer, and the messages that it was given for.
	DELEReplies = archive.DELEReplies
	// Runs is a list of numbers in few characters.
	Runs = archive.Runs
)

// NumberMark stands for the message number in a DELEReplies.
const NumberMark = archive.NumberMark

// NewRuns makes Runs.
func NewRuns(numbers []int64) Runs { return archive.NewRuns(numbers) }

// Token encodes a mailbox name as one token of a NATS subject and one key of a
// KV bucket. Different names give different tokens: letters, digits, '-' and
// '_' stand for themselves, every other octet is '=' and two hexadecimal
// digits, and the empty name is a lone '='.
func Token(mailbox string) string {
	if mailbox == "" {
		return "="
	}
	var t strings.Builder
	for i := range len(mailbox) {
		if c := mailbox[i]; isTokenByte(c) {
			t.WriteByte(c)
		} else {
			fmt.Fprintf(&t, "=%02X", c)
		}
	}
	return t.String()
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// plain reports whether a name can be used in subjects as it is.
func plain(name string) bool {
	return name != "" && Token(name) == name
}
