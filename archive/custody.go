package archive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// Custody is what the archive knows of where a message came from and what
// happened to it.
type Custody struct {
	ID   string `json:"id"` // SHA-256 of the bytes
	Size int64  `json:"size"`
	// Intact means that the stored bytes have just been read, and have this SHA-256; where they are encrypted and the
	// key is not here, that the checksums are right.
	Intact bool `json:"intact"`
	// Place is where the bytes are, nil when nothing is kept of them.
	Place *StoredPlace `json:"place,omitempty"`
	// Deposits are the receipts, in order; Disposed is what is left of those that were disposed of.
	Deposits []DepositRecord `json:"deposits"`
	Disposed []Tombstone     `json:"disposed,omitempty"`
	// Events are those of the ledger that are about the message, in order, but for
	// deposits and polls: views, exports that held it, disposals.
	Events []AuditEvent `json:"events"`
}

// A StoredPlace is where an entry is in a volume.
type StoredPlace struct {
	Volume uint32 `json:"volume"`
	Offset int64  `json:"offset"` // in the uncompressed tar stream, in bytes
	// File is the name of the volume's file. The entry begins Within bytes into what its frame number Frame (from 0) unpacks to,
	// which lies at FrameOffset in the file.
	File        string `json:"file"`
	Frame       int    `json:"frame"`
	FrameOffset int64  `json:"frame_offset"`
	Within      int64  `json:"within"`
	Sealed      bool   `json:"sealed"` // the file changes no more, unless it is repacked or redacted
	// Parts is how many other entries the bytes are put together from, 0 for a message that is stored whole.
	Parts int `json:"parts,omitempty"`
}

// A DepositRecord is a deposit with its place in the ledger, its hashes, its poll and
// its deletion on the server.
type DepositRecord struct {
	Ledger int64 `json:"ledger"`
	// Event is the SHA-256 of the leaf's details, with their salt, as the event names it.
	Event string `json:"details_sha256"`
	// WireSHA256 is what the poller computed while it read the message from the server, "" if none did;
	// ArchiveSHA256 what the archive computed over the bytes that it wrote. A message for which they differ is refused.
	WireSHA256    string `json:"wire_sha256,omitempty"`
	ArchiveSHA256 string `json:"archive_sha256"`
	Deposit
	// Poll is the report of the session that brought it, nil if there is none, without the server's replies.
	Poll *RecordedPoll `json:"poll,omitempty"`
	// Deletions are the attempts to delete it on the server, in order.
	Deletions []Deletion `json:"deletions,omitempty"`
}

// A Deletion is what a server answered when it was told to delete a message.
type Deletion struct {
	Ledger  int64     `json:"ledger"`  // of the poll
	Started time.Time `json:"started"` // of the poll
	Session string    `json:"session"`
	Number  int64     `json:"number"` // of the message in that session
	DELE    string    `json:"dele"`
	QUIT    string    `json:"quit,omitempty"` // "" if no answer came
}

// Custody returns the chain of custody of a message: every deposit with the poll
// that brought it and the server's word for its deletion, and every later event about the message. It reads the ledger
// from the first deposit on, and the stored bytes once.
func (s *Store) Custody(ctx context.Context, id string) (Custody, error) {
	c := Custody{ID: id, Deposits: []DepositRecord{}, Events: []AuditEvent{}}
	if err := s.custodyPlace(ctx, &c); err != nil {
		return Custody{}, err
	}
	var err error
	if c.Disposed, err = s.Tombstones(ctx, id); err != nil {
		return Custody{}, err
	}
	held, err := s.catalog.ByMessage(ctx, id)
	if err != nil {
		return Custody{}, err
	}
	if len(held)+len(c.Disposed) == 0 {
		return Custody{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	at := custodyReader{c: &c, index: map[int64]int{}, sessions: map[string][]int{}, gone: map[int64]bool{}, exports: map[int64]bool{}}
	from := s.ledger.Size()
	for i, h := range held {
		d, err := detailsOf(h)
		if err != nil {
			return Custody{}, err
		}
		r := DepositRecord{Ledger: h.Index, ArchiveSHA256: id, Deposit: d.Deposit}
		if r.Source.Protocol == protocolPOP3 {
			r.WireSHA256 = id
		}
		c.Deposits = append(c.Deposits, r)
		session, _, _ := strings.Cut(r.Source.Session, "-") // a poll may have several sessions
		at.index[h.Index], at.sessions[session] = i, append(at.sessions[session], i)
		from = min(from, h.Index)
	}
	for _, t := range c.Disposed {
		c.Size, at.gone[t.Index], from = t.Size, true, min(from, t.Index)
	}
	if err := s.ledger.Read(ctx, from, at.take); err != nil {
		return Custody{}, fmt.Errorf("ledger: %w", err)
	}
	return c, nil
}

// protocolPOP3 is the Source.Protocol of what a poller has read and hashed.
const protocolPOP3 = "pop3"

// custodyPlace finds the bytes and reads them.
func (s *Store) custodyPlace(ctx context.Context, c *Custody) error {
	row, ok, err := s.catalog.Message(ctx, c.ID)
	if err != nil || !ok {
		return err
	}
	at, err := s.volumes.Locate(volume.Place{Volume: row.Volume, Offset: row.Offset})
	if err != nil {
		return err
	}
	places, err := s.places(ctx, c.ID)
	if err != nil {
		return err
	}
	c.Size = row.Size
	c.Place = &StoredPlace{
		Volume: row.Volume, Offset: row.Offset, File: at.Name, Frame: at.Frame, FrameOffset: at.Offset, Within: at.Within,
		Sealed: at.Sealed, Parts: len(places) - 1,
	}
	damaged, err := s.Damaged(ctx, []string{c.ID})
	c.Intact = len(damaged) == 0
	return err
}

// custodyReader picks from the ledger what belongs to a message.
type custodyReader struct {
	c        *Custody
	index    map[int64]int    // of Custody.Deposits, by ledger index
	sessions map[string][]int // the same, by the poll that brought it
	gone     map[int64]bool   // ledger indexes of deposits that were disposed of
	exports  map[int64]bool   // exports that hold it, by the event with which they began
}

func (r *custodyReader) take(e ledger.Entry) error {
	switch e.Type {
	case ledger.TypePoll:
		r.poll(&e)
	case ledger.TypeDeposit, ledger.TypeRecovered:
		if i, ok := r.index[e.Index]; ok {
			r.c.Deposits[i].Event = e.DetailsHash
		}
	case ledger.TypeExport:
		if details := r.export(&e); details != nil {
			e.Details = details
			r.event(&e)
		}
	default:
		if slices.Contains(e.IDs, r.c.ID) {
			r.event(&e)
		}
	}
	return nil
}

func (r *custodyReader) event(e *ledger.Entry) {
	about := auditEvent(e)
	about.IDs = []string{r.c.ID} // not the others
	r.c.Events = append(r.c.Events, about)
}

// poll takes in the report of the poll that brought a deposit, and what the server answered to its
// deletion. One that was erased or is damaged is not known any more.
func (r *custodyReader) poll(e *ledger.Entry) {
	var p PollReport
	if json.Unmarshal(e.Details, &p) != nil {
		return
	}
	for _, session := range p.Replies {
		for _, d := range session.DELE {
			r.deletions(e.Index, &p, &session, &d)
		}
	}
	p.Replies = nil
	for _, i := range r.sessions[p.Session] {
		r.c.Deposits[i].Poll = &RecordedPoll{Ledger: e.Index, PollReport: p}
	}
}

func (r *custodyReader) deletions(poll int64, p *PollReport, s *SessionReplies, d *DELEReplies) {
	for index, i := range r.index {
		place, ok := d.Deposits.Find(index)
		if !ok {
			continue
		}
		number, ok := d.Numbers.At(place)
		if !ok {
			continue
		}
		r.c.Deposits[i].Deletions = append(r.c.Deposits[i].Deletions, Deletion{
			Ledger: poll, Started: p.Started, Session: s.Session, Number: number, QUIT: s.QUIT,
			DELE: strings.ReplaceAll(d.Reply, NumberMark, strconv.FormatInt(number, 10)),
		})
	}
}

// export returns the details of an event of an export that holds the message, without
// the list of all the others in it; nil if it does not.
func (r *custodyReader) export(e *ledger.Entry) json.RawMessage {
	var d struct {
		ExportBegun
		Manifest string `json:"manifest_sha256,omitempty"`
	}
	if json.Unmarshal(e.Details, &d) != nil {
		return nil
	}
	begun := d.Begun
	if d.Stage == stageBegun {
		begun = e.Index
	}
	if !r.exports[begun] && !r.exported(d.Deposits) {
		return nil
	}
	r.exports[begun] = true
	d.Deposits = ""
	details, err := json.Marshal(d)
	if err != nil {
		return nil
	}
	return details
}

func (r *custodyReader) exported(deposits Runs) bool {
	if deposits == "" {
		return false
	}
	for index := range r.index {
		if _, ok := deposits.Find(index); ok {
			return true
		}
	}
	for index := range r.gone {
		if _, ok := deposits.Find(index); ok {
			return true
		}
	}
	return false
}
