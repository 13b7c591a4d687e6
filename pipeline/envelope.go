package pipeline

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/postkeep/postkeep/archive"
)

const (
	// headerEnvelope is the NATS header that holds the envelope as JSON.
	headerEnvelope = "Postkeep-Envelope"
	// envelopeVersion changes when an older archive worker would misread a
	// message.
	envelopeVersion = 1
	// maxEnvelope bounds the envelope. It holds names that servers and users
	// chose; some hundred octets are normal.
	maxEnvelope = 32 << 10
	// envelopeRoom is what a message takes beside its body: envelope, other
	// headers, subject.
	envelopeRoom = 64 << 10
)

// An envelope is all about a message in the MAIL stream but its body. The body
// is the NATS message's payload, or the named object in the bucket of bodies.
type envelope struct {
	Version int `json:"v"`
	// Identity is that of the installation whose poller read the message.
	Identity string  `json:"identity,omitempty"`
	ID       string  `json:"id"` // SHA-256 of the body as the poller read it
	Size     int64   `json:"size"`
	Number   int     `json:"number"`
	Deposit  Deposit `json:"deposit"`
	Reply    string  `json:"reply"`            // subject for receipts
	Object   string  `json:"object,omitempty"` // "" for an inline body
}

// A Receipt is the outcome of one published message.
type Receipt struct {
	// Number is the message number in the session.
	Number int `json:"number"`
	archive.Receipt
	// Err says why the archive does not have the message yet: disk full,
	// archive read-only, not published. It is temporary: a good receipt for the
	// same number may still follow.
	Err string `json:"err,omitempty"`
}

func (e *envelope) header(msgID string) (nats.Header, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	if len(data) > maxEnvelope {
		return nil, fmt.Errorf("envelope is %d octets, more than %d", len(data), maxEnvelope)
	}
	return nats.Header{
		nats.MsgIdHdr:  {msgID},
		headerEnvelope: {string(data)},
	}, nil
}

// readEnvelope checks everything that does not need the body.
func readEnvelope(h nats.Header, payload int) (envelope, error) {
	var e envelope
	text := h.Get(headerEnvelope)
	if text == "" {
		return e, errors.New("no envelope")
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return e, fmt.Errorf("envelope: %w", err)
	}
	sum, err := hex.DecodeString(e.ID)
	switch {
	case e.Version != envelopeVersion:
		return e, fmt.Errorf("envelope: version %d, but only %d is known", e.Version, envelopeVersion)
	case err != nil || len(sum) != 32 || hex.EncodeToString(sum) != e.ID:
		return e, errors.New("envelope: id is not a SHA-256 in lower-case hex")
	case e.Deposit.Mailbox == "":
		return e, errors.New("envelope: no mailbox")
	case e.Object == "" && e.Size != int64(payload):
		return e, fmt.Errorf("envelope: size %d, but the body has %d octets", e.Size, payload)
	}
	return e, nil
}
