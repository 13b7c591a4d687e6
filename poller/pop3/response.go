package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTextBytes keeps the server's words to one line of a log.
const maxTextBytes = 200

// status is the first line of an answer.
type status struct {
	ok       bool
	more     bool   // "+ ", a SASL challenge (RFC 5034, section 4)
	code     string // response code in upper case
	text     string // the rest, raw
	bareLF   bool   // the line ended in LF without CR
	original string // the whole line, raw
}

// readLine returns the next line without its end. The line is valid until the
// next read.
func readLine(br *bufio.Reader) (line []byte, bareLF bool, err error) {
	line, err = br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, false, limitError(fmt.Sprintf("a line of the answer is longer than %d bytes", maxLineBytes))
	case err != nil:
		return nil, false, err // half a line is no answer
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1], false, nil
	}
	return line, true, nil
}

func readStatus(br *bufio.Reader) (status, error) {
	line, bareLF, err := readLine(br)
	if err != nil {
		return status{}, err
	}
	return parseStatus(string(line), bareLF)
}

// parseStatus parses RFC 1939 status indicators, in any case, and an RFC 2449
// response code. With an error, original is set.
func parseStatus(line string, bareLF bool) (status, error) {
	s := status{bareLF: bareLF, original: line}
	switch {
	case len(line) >= 3 && strings.EqualFold(line[:3], "+OK"):
		s.ok, s.text = true, line[3:]
	case len(line) >= 4 && strings.EqualFold(line[:4], "-ERR"):
		s.text = line[4:]
	case line == "+" || strings.HasPrefix(line, "+ "):
		s.more, s.text = true, strings.TrimPrefix(line[1:], " ")
		return s, nil
	case line == "":
		return s, protocolError("the answer is a blank line")
	default:
		return s, protocolError("the answer is neither +OK nor -ERR")
	}
	s.text = strings.TrimSpace(s.text)
	// A code has no spaces: "[mailbox locked]" is text.
	if code, rest, found := strings.Cut(s.text, "]"); found && strings.HasPrefix(code, "[") && !strings.Contains(code, " ") {
		s.code = strings.ToUpper(printable(code[1:]))
		s.text = strings.TrimSpace(rest)
	}
	return s, nil
}

// readLines calls each with every line of a multi-line answer, up to the
// final dot, without line ends and stuffing. each must not keep the line.
func readLines(br *bufio.Reader, maxLines int, each func(line []byte)) error {
	size := 0
	for n := 0; ; n++ {
		line, _, err := readLine(br)
		if err != nil {
			return err
		}
		if string(line) == "." {
			return nil
		}
		size += len(line)
		if n == maxLines || size > maxListBytes {
			return limitError(fmt.Sprintf("the answer has more than %d lines or %d bytes", maxLines, maxListBytes))
		}
		each(bytes.TrimPrefix(line, []byte(".")))
	}
}

// printable makes text from a server fit for a log and a terminal: one line,
// no control, format or invalid characters, not too long.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) <= maxTextBytes {
		return text
	}
	end := maxTextBytes
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
