package mailparse

import (
	"strings"
	"time"
)

// isDirectory reports whether a text part is a calendar (RFC 5545) or a business card (RFC
// 6350), which have the same form.
func isDirectory(mediaType string) bool {
	switch mediaType {
	case "text/calendar", "text/vcard", "text/x-vcard", "text/x-vcalendar", "text/directory":
		return true
	}
	return false
}

// directoryText returns what people look for in a calendar or card: the texts,
// names, addresses and times, a line each. Text that is none of both is returned
// as it is.
func directoryText(text string) string {
	var out strings.Builder
	for line := range unfoldedLines(text) {
		head, value, ok := strings.Cut(line, ":")
		if strings.Count(head, `"`)%2 == 1 { // the colon is in a quoted parameter
			if rest, after, more := strings.Cut(value, `"`); more {
				more, after, _ := strings.Cut(after, ":")
				head, value = head+":"+rest+`"`+more, after
			}
		}
		if !ok {
			continue
		}
		params := strings.Split(head, ";")
		name := strings.ToUpper(params[0])
		if _, after, grouped := strings.Cut(name, "."); grouped { // item1.EMAIL
			name = after
		}
		if value = directoryValue(name, value, params[1:]); value != "" {
			writeBlock(&out, value)
		}
	}
	if out.Len() == 0 {
		return text
	}
	return out.String()
}

// unfoldedLines yields the lines of text, those that were folded (RFC 5545 section 3.1)
// joined.
func unfoldedLines(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		var line strings.Builder
		for next := range strings.Lines(text) {
			next = strings.TrimRight(next, "\n")
			if next != "" && (next[0] == ' ' || next[0] == '\t') {
				line.WriteString(next[1:])
				continue
			}
			if soft := line.String(); strings.HasSuffix(soft, "=") && strings.Contains(strings.ToUpper(soft), "QUOTED-PRINTABLE") { // vCard 2.1
				line.Reset()
				line.WriteString(soft[:len(soft)-1] + next)
				continue
			}
			if line.Len() > 0 && !yield(line.String()) {
				return
			}
			line.Reset()
			line.WriteString(next)
		}
		if line.Len() > 0 {
			yield(line.String())
		}
	}
}

// directoryValue returns the readable value of a property, "" if it is of no interest.
func directoryValue(name, value string, params []string) string {
	switch name {
	case "SUMMARY", "DESCRIPTION", "LOCATION", "COMMENT", "CATEGORIES", "CONTACT", "FN", "NICKNAME", "TITLE", "ROLE", "NOTE", "TEL", "EMAIL", "URL", "RESOURCES":
	case "N", "ORG", "ADR", "LABEL":
		value = strings.Join(strings.FieldsFunc(value, func(r rune) bool { return r == ';' }), " ")
	case "DTSTART", "DTEND", "DUE", "BDAY":
		value = readableTime(value)
	case "ORGANIZER", "ATTENDEE":
		if len(value) > 7 && strings.EqualFold(value[:7], "mailto:") {
			value = value[7:]
		}
		for _, p := range params {
			if key, cn, ok := strings.Cut(p, "="); ok && strings.EqualFold(key, "CN") {
				value = strings.Trim(cn, `"`) + " " + value
			}
		}
	default:
		return ""
	}
	charset := ""
	for _, p := range params { // vCard 2.1
		if key, label, ok := strings.Cut(p, "="); ok && strings.EqualFold(key, "CHARSET") {
			charset = label
		}
	}
	for _, p := range params {
		if strings.EqualFold(p, "QUOTED-PRINTABLE") || strings.EqualFold(p, "ENCODING=QUOTED-PRINTABLE") {
			d := qpDecoder{issue: func(string) {}}
			value, _, _ = decodeCharset(d.close(d.line(nil, []byte(value), []byte("\n")), false), charset)
		}
	}
	return strings.TrimSpace(strings.NewReplacer(`\n`, "\n", `\N`, "\n", `\,`, ",", `\;`, ";", `\\`, `\`).Replace(value))
}

// readableTime writes a time as people look for it, in whatever zone it is.
func readableTime(value string) string {
	for _, f := range []struct{ layout, readable string }{
		{"20060102T150405", "2006-01-02 15:04"}, {"20060102T150405Z", "2006-01-02 15:04"}, {"20060102", time.DateOnly},
	} {
		if t, err := time.Parse(f.layout, value); err == nil {
			return t.Format(f.readable)
		}
	}
	return value
}
