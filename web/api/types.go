// Package api is Postkeep's HTTP interface: what the command line, and later
// the pages, ask of a running instance.
//
// The same handler is served on the Unix socket of the data directory and,
// when no instance runs, inside the command itself (see Local): there is one
// implementation of every question. All answers are JSON or, where they are
// long, JSON lines or a tar stream; errors are RFC 9457 problem documents.
package api

import (
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/pipeline"
)

// Message is a message in lists and in detail. The field names are stable:
// scripts rely on them.
type Message struct {
	ID          string    `json:"id"`
	Date        time.Time `json:"date"` // Date header, else the time of receipt
	Received    time.Time `json:"received"`
	From        string    `json:"from"`
	To          string    `json:"to"`
	Cc          string    `json:"cc"`
	Subject     string    `json:"subject"`
	Mailboxes   []string  `json:"mailboxes"`
	Size        int64     `json:"size"` // octets
	Attachments []string  `json:"attachments"`
	Flags       []string  `json:"flags"`
	Problems    []string  `json:"problems,omitempty"` // what is wrong with it, and what of it cannot be searched
	Snippet     string    `json:"snippet"`
	// Marks are the places of the search words in the snippet, as pairs of
	// byte offsets [from, to).
	Marks [][2]int `json:"marks,omitempty"`
}

// Detail is one message as GET /api/v1/messages/{id} gives it.
type Detail struct {
	Message
	MessageID string            `json:"message_id,omitempty"`
	Deposits  []archive.Deposit `json:"deposits"`
	// Disposed is what is left of deposits that were disposed of. Without Deposits nothing else of the message is.
	Disposed []archive.Tombstone `json:"disposed,omitempty"`
	// View is the ledger index of the event of this view.
	View int64  `json:"view"`
	Text string `json:"text"`          // readable text, cut at maxShownText bytes
	Cut  bool   `json:"cut,omitempty"` // whether Text was cut
}

// SearchResult answers a search.
type SearchResult struct {
	Total uint64    `json:"total"`
	Hits  []Message `json:"hits"`
	// Next is the After of the next page, "" if this is the last one.
	Next string `json:"next,omitempty"`
	// Facets are the counts that were asked for, by facet.
	Facets map[string][]indexer.FacetCount `json:"facets,omitempty"`
	// Partial says why messages may be missing from the answer, "" if none are.
	Partial string `json:"partial,omitempty"`
}

// PollRequest asks for polls of the mailboxes, of all if none is named.
type PollRequest struct {
	Mailboxes []string `json:"mailboxes"`
	// Unindexed ends the answer when the messages are archived, without waiting
	// until they are searchable.
	Unindexed bool `json:"unindexed,omitempty"`
}

// PollEvent is one line of the answer to a PollRequest. One field is set.
type PollEvent struct {
	Progress *pipeline.Progress  `json:"progress,omitempty"`
	Report   *archive.PollReport `json:"report,omitempty"`
	// Error is why the polls, or the indexing after them, could not be waited for.
	Error string `json:"error,omitempty"`
	// Done is the last line: everything archived by these polls is searchable.
	Done bool `json:"done,omitempty"`
}

// Mailbox is a mailbox of the configuration or of the archive.
type Mailbox struct {
	Name       string              `json:"name"`
	Configured bool                `json:"configured"`
	Server     string              `json:"server,omitempty"`
	Schedule   string              `json:"schedule,omitempty"`
	Delete     string              `json:"delete,omitempty"`
	Deposits   int64               `json:"deposits"`
	Bytes      int64               `json:"bytes"`
	LastPoll   *archive.PollReport `json:"last_poll,omitempty"`
	NextPoll   time.Time           `json:"next_poll,omitzero"`
	Failures   int                 `json:"failures,omitempty"`  // polls in a row that failed
	Attention  string              `json:"attention,omitempty"` // what an operator has to mend
}

// Status is the state of an instance.
type Status struct {
	Version string         `json:"version"`
	Running bool           `json:"running"` // polls are scheduled; false in a single command
	DataDir string         `json:"data_dir"`
	Archive archive.Status `json:"archive"`
	Index   IndexStatus    `json:"index"`
	// FreeBytes is the room on the data directory's file system, 0 if it does not tell.
	FreeBytes int64           `json:"free_bytes,omitempty"`
	Streams   pipeline.Status `json:"streams"`
	Anchors   []AnchorStatus  `json:"anchors,omitempty"`
	// Attachments says how the text of attached files is read, and how far the processes that do it are confined.
	Attachments string   `json:"attachments,omitempty"`
	Problem     []string `json:"problems,omitempty"` // what needs an operator
	// Unconfirmed is, by mailbox, how many messages on the server have an archived copy that is not
	// confirmed to be whole.
	Unconfirmed map[string]int `json:"unconfirmed,omitempty"`
	// Fingerprint is that of the ledger's key, by which exports are verified.
	Fingerprint string `json:"fingerprint"`
}

// AnchorStatus is the state of one place where checkpoints are anchored.
type AnchorStatus struct {
	Anchor string    `json:"anchor"`
	Last   time.Time `json:"last,omitzero"`   // when a checkpoint was anchored
	Events int64     `json:"events"`          // that it covers
	Error  string    `json:"error,omitempty"` // of the last attempt
}

// IndexStatus is the state of the index.
type IndexStatus struct {
	Documents uint64 `json:"documents"`
	Position  int64  `json:"position"` // ledger index up to which it is complete
	Behind    bool   `json:"behind"`   // the archive has more
	// Partial says why the index is not complete, "" if it is.
	Partial string `json:"partial,omitempty"`
	// Generations are its parts, oldest first.
	Generations []indexer.Generation `json:"generations,omitempty"`
}

// Problem is an error answer (RFC 9457).
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}
