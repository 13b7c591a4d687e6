package pop3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Entry is a line of LIST.
type Entry struct {
	Number int   // within this session, from 1
	Size   int64 // in octets as the server claims it; -1 if it is not a size
}

// UIDLEntry is a line of UIDL.
type UIDLEntry struct {
	Number int // within this session, from 1

	// UIDL is the unique-id in printable ASCII without spaces: every byte
	// outside 0x21 to 0x7E, and '%', stands as %XX. So different unique-ids stay
	// different, however the server breaks RFC 1939 (over 70 characters, spaces,
	// UTF-8). It is empty if the server sent none.
	UIDL string
}

// Stat returns the number of messages and their size in octets as the server
// claims them (STAT). The counts may contradict List.
func (c *Conn) Stat(ctx context.Context) (count int, octets int64, err error) {
	err = c.run(ctx, "STAT", func() error {
		s, err := c.simple("STAT")
		if err != nil {
			return err
		}
		if !s.ok {
			return c.refused("STAT", s, KindRefused)
		}
		words := strings.Fields(s.text)
		if len(words) < 2 {
			words = []string{"", ""}
		}
		n, ok := parseNumber(words[0])
		octets = parseSize(words[1])
		if !ok && words[0] != "0" || octets < 0 {
			return &Error{Op: "STAT", Host: c.addr, Kind: KindProtocol,
				Err: protocolError(fmt.Sprintf("expected a number of messages and a size, got %q", c.words(s.text)))}
		}
		count = n
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return count, octets, nil
}

// List returns the messages that are not marked as deleted, in the order of
// the server (LIST). A line without a message number is an error of
// KindProtocol, for a message could be missed; the session stays usable.
func (c *Conn) List(ctx context.Context) ([]Entry, error) {
	var entries []Entry
	err := c.run(ctx, "LIST", func() error {
		return c.listing("LIST", maxListEntries, func(line []byte) error {
			number, rest, ok := cutNumber(line)
			if !ok {
				return protocolError(fmt.Sprintf("expected a message number and a size, got %q", c.words(string(line))))
			}
			size, _, _ := strings.Cut(string(rest), " ")
			entries = append(entries, Entry{Number: number, Size: parseSize(size)})
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// UIDL returns the unique-ids of the messages that are not marked as deleted,
// in the order of the server. A server that does not know UIDL gives an error
// of KindUnsupported (errors.ErrUnsupported). A message may be missing or
// appear twice, and a unique-id may appear for several messages; lines without
// a message number are left out.
func (c *Conn) UIDL(ctx context.Context) ([]UIDLEntry, error) {
	var entries []UIDLEntry
	err := c.run(ctx, "UIDL", func() error {
		err := c.listing("UIDL", maxListEntries, func(line []byte) error {
			if number, rest, ok := cutNumber(line); ok {
				entries = append(entries, UIDLEntry{Number: number, UIDL: escapeUIDL(rest)})
			}
			return nil
		})
		// UIDL is optional (RFC 1939, section 7), and servers word its absence
		// in many ways.
		var e *Error
		if errors.As(err, &e) && e.Kind == KindRefused && e.Code == "" {
			e.Kind = KindUnsupported
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// cutNumber splits a line of LIST or UIDL after the message number and any
// amount of white space.
func cutNumber(line []byte) (number int, rest []byte, ok bool) {
	line = bytes.TrimLeft(line, " \t")
	end := bytes.IndexAny(line, " \t")
	if end < 0 {
		end = len(line)
	}
	number, ok = parseNumber(string(line[:end]))
	return number, bytes.TrimLeft(line[end:], " \t"), ok
}

// parseNumber parses a message number. The bound makes it fit an int on every
// platform.
func parseNumber(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err == nil && n > 0
}

func parseSize(s string) int64 {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}

func escapeUIDL(raw []byte) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(raw))
	for _, b := range raw {
		if b <= ' ' || b > '~' || b == '%' {
			out = append(out, '%', hex[b>>4], hex[b&15])
		} else {
			out = append(out, b)
		}
	}
	return string(out)
}
