package document

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// contentLines reads calendars (RFC 5545) and cards (RFC 6350, and vCard 2.1,
// which has quoted-printable and charsets).
func (r *reader) contentLines(data []byte) {
	lines := bytes.Split(unfold(data), []byte("\n"))
	for _, line := range lines {
		if r.full {
			return
		}
		name, params, value, ok := splitLine(string(line))
		if !ok || skippedProperty(name) {
			continue
		}
		if p := strings.ToUpper(params); strings.Contains(p, "QUOTED-PRINTABLE") {
			if b, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(value))); err == nil {
				value = string(b)
			}
		} else if strings.Contains(p, "ENCODING=B") {
			continue // a picture or a key
		}
		value = mailparse.DecodeText([]byte(value), parameter(params, "CHARSET"))
		if cn := parameter(params, "CN"); cn != "" {
			value = cn + " " + value
		}
		if name == "X-ALT-DESC" || strings.EqualFold(parameter(params, "FMTTYPE"), "text/html") {
			value = mailparse.HTMLText([]byte(value), "utf-8", r.limits.TextBytes)
		}
		r.field(readableValue(value))
	}
}

// unfold joins folded lines (RFC 5545 section 3.1), and the soft line breaks of
// quoted-printable.
func unfold(data []byte) []byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	for _, fold := range []string{"\n ", "\n\t"} {
		data = bytes.ReplaceAll(data, []byte(fold), nil)
	}
	if bytes.Contains(bytes.ToUpper(data), []byte("QUOTED-PRINTABLE")) {
		data = bytes.ReplaceAll(data, []byte("=\n"), nil)
	}
	return data
}

// splitLine splits "group.NAME;params:value"; a parameter in quotes may hold
// the separators.
func splitLine(line string) (name, params, value string, ok bool) {
	quoted := false
	for i := range len(line) {
		switch line[i] {
		case '"':
			quoted = !quoted
		case ':':
			if quoted {
				continue
			}
			name, params, _ = strings.Cut(line[:i], ";")
			if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
				name = name[dot+1:]
			}
			return strings.ToUpper(name), params, line[i+1:], true
		}
	}
	return "", "", "", false
}

func parameter(params, name string) string {
	for p := range strings.SplitSeq(params, ";") {
		if key, value, ok := strings.Cut(p, "="); ok && strings.EqualFold(key, name) {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// skippedProperty reports whether the value of a property is for programs only.
func skippedProperty(name string) bool {
	switch name {
	case "BEGIN", "END", "VERSION", "PRODID", "CALSCALE", "METHOD", "UID", "DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE", "RRULE",
		"TRANSP", "CLASS", "PRIORITY", "TRIGGER", "ACTION", "TZOFFSETFROM", "TZOFFSETTO", "TZID", "TZNAME", "REV", "PHOTO", "LOGO",
		"SOUND", "KEY", "GEO", "STATUS":
		return true
	}
	return strings.HasPrefix(name, "X-") && name != "X-ALT-DESC" && name != "X-WR-CALNAME"
}

// readableValue undoes the escapes of RFC 5545 section 3.3.11, and writes dates
// as people look for them.
func readableValue(s string) string {
	for layout, shown := range map[string]string{
		"20060102T150405Z": "2006-01-02 15:04", "20060102T150405": "2006-01-02 15:04", "20060102": "2006-01-02",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Format(shown)
		}
	}
	s = strings.NewReplacer(`\n`, "\n", `\N`, "\n", `\,`, ",", `\;`, ";", `\\`, `\`, ";", " ").Replace(s)
	return strings.NewReplacer("mailto:", "", "MAILTO:", "").Replace(s)
}
