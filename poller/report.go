package poller

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3"
)

// state is whether the archive has a listed message.
type state int

const (
	left     state = iota // not archived
	archived              // archived by this poll
	known                 // archived before
)

// outcome is what became of one listed message.
type outcome struct {
	state   state
	deleted bool
	// why a message was left, or was kept on the server
	why string
	// unconfirmed means that the archive has a copy that is not known to be whole
	unconfirmed bool
	postponed   bool // to another session of the visit
}

// Reasons in reports.
const (
	whyEnded     = "session ended early"
	whyStopped   = "poller was stopped"
	whyEmpty     = "server sent nothing"
	whyArriving  = "arrived while listing"
	whyNoReceipt = "no receipt"
	whyPolicy    = "policy"
	whyDisposed  = "disposed"
	whyLease     = "lease was lost"
	whyTerm      = "the archive was taken over meanwhile"
	whyQuit      = "server did not confirm the deletion"
	whyRestored  = "server lists it again after its deletion"
	whyMessages  = "more than max_messages"
	whyDuration  = "max_duration is over"
	whyUnchecked = "archived copy could not be checked"
	whyCommit    = "not reached, commit_every"
	whyShort     = "not reached, server ends sessions early"
	whyDeleting  = "not reached, what was archived before is deleted first"
	whyBreaking  = "broke an earlier session"

	whyOtherSize   = "LIST has another size, and it did not come twice with the same bytes"
	whyUnconfirmed = "archived copy not confirmed to be whole"
)

// count adds the outcomes up.
func count(r *pipeline.PollReport, results []result) {
	r.Listed = len(results)
	for _, o := range results {
		if o.unconfirmed && !o.deleted {
			r.Unconfirmed++
		}
		switch o.state {
		case left:
			r.Left++
			add(&r.Reasons, o.why)
			continue
		case archived:
			r.Archived++
		case known:
			r.Known++
		}
		if o.deleted {
			r.Deleted++
		} else {
			r.Kept++
			add(&r.KeptWhy, o.why)
		}
	}
}

const (
	// maxReasons bounds the different reasons of a report: a hostile server can
	// give another one for every message.
	maxReasons = 20
	// maxWhyBytes and maxErrorBytes bound the texts of a report.
	maxWhyBytes   = 300
	maxErrorBytes = 2000
)

func add(reasons *map[string]int, why string) {
	if *reasons == nil {
		*reasons = map[string]int{}
	}
	why = oneLine(why, maxWhyBytes)
	if _, ok := (*reasons)[why]; !ok && len(*reasons) >= maxReasons {
		why = "other reasons"
	}
	(*reasons)[why]++
}

// oneLine makes one line of a text that may be several joined errors, each of
// them once.
func oneLine(text string, limit int) string {
	var lines []string
	seen := map[string]bool{}
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); l != "" && !seen[l] {
			seen[l] = true
			lines = append(lines, l)
		}
	}
	text = strings.Join(lines, "; ")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

// refusal is the server's refusal of a command for one message, in words that
// are the same for every message.
func refusal(verb string, err error) string {
	var e *pop3.Error
	if !errors.As(err, &e) || e.Err != nil {
		return err.Error()
	}
	words := e.Text
	if e.Code != "" {
		words = strings.TrimSuffix("["+e.Code+"] "+words, " ")
	}
	return fmt.Sprintf("server refused %s: %q", verb, words)
}

// lost returns err if it ended the POP3 session. A server that refuses a
// command is still there.
func lost(err error) error {
	switch pop3.KindOf(err) {
	case 0, pop3.KindAuth, pop3.KindBusy, pop3.KindTemporary, pop3.KindRefused, pop3.KindUnsupported:
		return nil
	}
	return err
}

// temporary reports whether the same poll may succeed later by itself.
func temporary(err error) bool {
	var refusal *pop3.Error
	return !errors.As(err, &refusal) || refusal.Temporary()
}

// kindLeased is the kind of a poll that met another session on the mailbox.
const kindLeased = "leased"

// kind is the kind of an error in a word, "" for one that is neither of POP3
// nor a lease.
func kind(err error) string {
	if errors.Is(err, pipeline.ErrLeased) {
		return kindLeased
	}
	if k := pop3.KindOf(err); k != 0 {
		return k.String()
	}
	return ""
}
