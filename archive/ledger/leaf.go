package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// timeLayout has nanoseconds in full, so that lines compare as text.
	timeLayout = "2006-01-02T15:04:05.000000000Z"
	// saltSize in bytes makes the details of an erased event unguessable.
	saltSize = 16
	// linePrefix begins every line of events.jsonl and details.jsonl; find relies on it.
	linePrefix = `{"index":`
	// headSize bounds what a leaf has before its actor: index, type, time and clock.
	headSize = 192
	maxType  = 32 // bytes

	// What follows the index in a line of details.jsonl.
	saltHead   = `,"salt":"`
	saltTail   = `","details":`
	erasedTail = `,"erased":true}` // and spaces, so that the line keeps its length
)

// A leaf is a line of events.jsonl; appendLeaf writes the fields in this order.
type leaf struct {
	Index int64  `json:"index"`
	Type  Type   `json:"type"`
	Time  string `json:"time"`
	// Clock is what the clock read, if that is far behind Time.
	Clock string `json:"clock,omitempty"`
	leafTail
}

// A leafTail is what a leaf has after the time.
type leafTail struct {
	Actor   string   `json:"actor"`
	IDs     []string `json:"ids,omitempty"`
	Volume  uint32   `json:"volume,omitempty"`
	End     int64    `json:"end,omitempty"`
	Details string   `json:"details"`
}

// A prepared event lacks nothing but its index and time.
type prepared struct {
	typ  Type
	tail []byte // of the leaf, from the comma after the time
	side []byte // of the line in details.jsonl, from the comma after the index
}

// prepare encodes an event.
func prepare(e Event, rand io.Reader) (prepared, error) {
	if !validType(e.Type) {
		return prepared{}, fmt.Errorf("%w: type %q", ErrInvalid, e.Type)
	}
	details, err := encode(e.Details)
	if err != nil {
		return prepared{}, fmt.Errorf("%w: details of %s: %w", ErrInvalid, e.Type, err)
	}
	if len(details) > MaxDetails || !utf8.Valid(details) {
		return prepared{}, fmt.Errorf("%w: details of %s have %d bytes, at most %d of UTF-8 are taken", ErrInvalid, e.Type, len(details), MaxDetails)
	}
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(rand, salt); err != nil {
		return prepared{}, fmt.Errorf("salt: %w", err)
	}
	tail, err := encode(leafTail{Actor: e.Actor, IDs: e.IDs, Volume: e.Volume, End: e.End, Details: detailsHash(salt, details)})
	if err != nil {
		return prepared{}, fmt.Errorf("%w: %s: %w", ErrInvalid, e.Type, err)
	}
	if headSize+len(tail) > MaxLeaf {
		return prepared{}, fmt.Errorf("%w: %s with %d ids is longer than %d bytes", ErrInvalid, e.Type, len(e.IDs), MaxLeaf)
	}
	tail[0] = ','
	side := fmt.Appendf(nil, "%s%x%s%s}", saltHead, salt, saltTail, details)
	return prepared{typ: e.Type, tail: tail, side: side}, nil
}

// validType says whether a type needs no escaping in JSON.
func validType(t Type) bool {
	for i := range len(t) {
		if c := t[i]; (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return len(t) > 0 && len(t) <= maxType
}

// encode is json.Marshal without the escapes that are meant for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// detailsHash is the commitment that a leaf makes to its details.
func detailsHash(salt, details []byte) string {
	h := sha256.New()
	h.Write(salt)
	h.Write(details)
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0]))
}

// appendLeaf appends the line of events.jsonl without its newline.
func (p *prepared) appendLeaf(b []byte, index int64, at moment) []byte {
	b = strconv.AppendInt(append(b, linePrefix...), index, 10)
	b = append(append(b, `,"type":"`...), p.typ...)
	b = at.time.AppendFormat(append(b, `","time":"`...), timeLayout)
	if at.time.Sub(at.clock) > clockNoted {
		b = at.clock.AppendFormat(append(b, `","clock":"`...), timeLayout)
	}
	return append(append(b, '"'), p.tail...)
}

// appendSide appends the line of details.jsonl without its newline.
func (p *prepared) appendSide(b []byte, index int64) []byte {
	b = strconv.AppendInt(append(b, linePrefix...), index, 10)
	return append(b, p.side...)
}

// indexOf returns the index with which a line of either file begins, or false
// if it is not such a line.
func indexOf(line []byte) (int64, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(linePrefix))
	if !ok {
		return 0, false
	}
	end := bytes.IndexByte(rest[:min(len(rest), 20)], ',') // an int64 has at most 19 digits
	if end < 1 || rest[0] < '0' || rest[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return n, err == nil
}

// parseLeaf reads the line of events.jsonl that has the index. The entry does
// not refer to the line.
func parseLeaf(line []byte, index int64) (Entry, error) {
	if n, ok := indexOf(line); !ok || n != index {
		return Entry{}, fmt.Errorf("%w: event %d has another event's line, or none", ErrDiverged, index)
	}
	var v leaf
	err := json.Unmarshal(line, &v)
	if err == nil && (v.Index != index || !validType(v.Type) || !isHash(v.Details)) {
		err = errors.New("a field is missing or malformed")
	}
	at, timeErr := time.Parse(timeLayout, v.Time)
	clock := at
	if v.Clock != "" && timeErr == nil {
		clock, timeErr = time.Parse(timeLayout, v.Clock)
	}
	if err = errors.Join(err, timeErr); err != nil {
		return Entry{}, fmt.Errorf("%w: line of event %d: %w", ErrDiverged, index, err)
	}
	return Entry{
		Index: v.Index, Type: v.Type, Time: at, Clock: clock, Actor: v.Actor, IDs: v.IDs,
		Volume: v.Volume, End: v.End, DetailsHash: v.Details,
	}, nil
}

// scanLeaf reads of a leaf only what verifying needs. It is several times as fast as
// parseLeaf, to which it leaves all lines that are not laid out as appendLeaf does.
func scanLeaf(line []byte, index int64) (Entry, error) {
	const timeHead, detailsHead = `","time":"`, `,"details":"`
	n, ok := indexOf(line)
	_, rest, _ := bytes.Cut(line, []byte(`,"type":"`))
	typ, rest, _ := bytes.Cut(rest, []byte(timeHead))
	tail := len(line) - len(detailsHead) - 2*sha256.Size - len(`"}`)
	if !ok || n != index || !validType(Type(typ)) || len(rest) <= len(timeLayout) || tail < 0 ||
		!bytes.HasPrefix(line[tail:], []byte(detailsHead)) || !bytes.HasSuffix(line, []byte(`"}`)) || !json.Valid(line) {
		return parseLeaf(line, index)
	}
	at, err := time.Parse(timeLayout, string(rest[:len(timeLayout)]))
	details := string(line[tail+len(detailsHead) : len(line)-2])
	if err != nil || rest[len(timeLayout)] != '"' || !isHash(details) {
		return parseLeaf(line, index)
	}
	return Entry{Index: index, Time: at, DetailsHash: details}, nil
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size
}

// A detailsLine is a line of details.jsonl taken apart. It refers to the line.
type detailsLine struct {
	erased  bool
	salt    [saltSize]byte
	details []byte
}

// parseDetails reads the line of details.jsonl that has the index. It takes only
// what appendSide has written, byte for byte, and erased lines.
func parseDetails(line []byte, index int64) (d detailsLine, ok bool) {
	var buf [len(linePrefix) + 20]byte
	rest, ok := bytes.CutPrefix(line, strconv.AppendInt(append(buf[:0], linePrefix...), index, 10))
	if !ok {
		return d, false
	}
	if bytes.HasPrefix(rest, []byte(erasedTail)) {
		d.erased = true
		return d, len(bytes.TrimRight(rest, " ")) == len(erasedTail)
	}
	rest, ok = bytes.CutPrefix(rest, []byte(saltHead))
	if !ok || len(rest) < 2*saltSize+len(saltTail)+1 || rest[len(rest)-1] != '}' {
		return d, false
	}
	for _, c := range rest[:2*saltSize] {
		if c >= 'A' && c <= 'F' {
			return d, false // hex takes upper case too
		}
	}
	if _, err := hex.Decode(d.salt[:], rest[:2*saltSize]); err != nil {
		return d, false
	}
	d.details, ok = bytes.CutPrefix(rest[2*saltSize:len(rest)-1], []byte(saltTail))
	return d, ok
}

// setDetails fills in the details from the entry's line of details.jsonl and
// returns their salt, nil if they were erased or are damaged.
func (e *Entry) setDetails(line []byte) (salt []byte) {
	d, ok := parseDetails(line, e.Index)
	switch {
	case ok && d.erased:
		e.Erased = true
	case ok && detailsHash(d.salt[:], d.details) == e.DetailsHash:
		e.Details = bytes.Clone(d.details)
		return d.salt[:]
	default:
		e.Damaged = true
	}
	return nil
}
