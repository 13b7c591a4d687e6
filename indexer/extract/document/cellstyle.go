package document

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// cellStyles is how a workbook shows numbers, as far as it matters for finding
// them: dates, times and percentages.
type cellStyles struct {
	formats  map[string]string // codes of the workbook's own formats, by id
	cells    []string          // format id by style
	date1904 bool
}

// builtinFormats are the number formats that are dates or percentages and that no
// workbook spells out (ECMA-376 part 1 section 18.8.30). 14 and 22 depend on the
// reader's country; here they are ISO 8601.
var builtinFormats = map[string]string{
	"9": "0%", "10": "0.00%", "14": "yyyy-mm-dd", "15": "d-mmm-yy", "16": "d-mmm", "17": "mmm-yy",
	"18": "h:mm AM/PM", "19": "h:mm:ss AM/PM", "20": "h:mm", "21": "h:mm:ss", "22": "yyyy-mm-dd h:mm",
	"45": "mm:ss", "46": "h:mm:ss", "47": "mm:ss",
}

// maxStyles is what a workbook may have (64,000 in Excel).
const maxStyles = 1 << 16

func (c *cellStyles) read(b *bundle, part string) {
	c.formats = make(map[string]string)
	inCells := false
	_ = b.xml(b.part(part), xmlHandler{ // as far as it can be read
		start: func(name string, attrs []xml.Attr) {
			switch {
			case name == "numFmt" && len(c.formats) < maxStyles:
				c.formats[attribute(attrs, "numFmtId")] = attribute(attrs, "formatCode")
			case name == "cellXfs":
				inCells = true
			case name == "xf" && inCells && len(c.cells) < maxStyles:
				c.cells = append(c.cells, attribute(attrs, "numFmtId"))
			}
		},
		end: func(name string) {
			if name == "cellXfs" {
				inCells = false
			}
		},
	})
}

// show formats a number as a cell of the style does.
func (c *cellStyles) show(value string, style int) string {
	if style < 0 || style >= len(c.cells) {
		return value
	}
	id := c.cells[style]
	code, ok := c.formats[id]
	if !ok {
		code = builtinFormats[id]
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || code == "" {
		return value
	}
	code = firstSection(code)
	if strings.HasSuffix(code, "%") {
		return strconv.FormatFloat(math.Round(n*1e6)/1e4, 'f', -1, 64) + "%"
	}
	if !strings.ContainsAny(code, "yYmMdDhHsS") || strings.ContainsAny(code, "0#?") && !strings.Contains(code, "ss") || !(n >= 0 && n <= maxSerial) {
		return value
	}
	return formatDate(c.time(n), code)
}

// maxSerial is 9999-12-31.
const maxSerial = 2958465.99999

// time makes a time of a day number with its fraction. Day 60 of the 1900
// system is a 29 February that never was.
func (c *cellStyles) time(n float64) time.Time {
	epoch := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	switch {
	case c.date1904:
		epoch = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	case n < 60:
		epoch = epoch.AddDate(0, 0, 1)
	}
	days, fraction := math.Modf(n)
	return epoch.AddDate(0, 0, int(days)).Add(time.Duration(math.Round(fraction*86400)) * time.Second)
}

// firstSection returns the part of a format code for positive numbers, without
// colours, conditions, locales, quotes and padding.
func firstSection(code string) string {
	var b strings.Builder
	for i := 0; i < len(code); i++ {
		switch code[i] {
		case ';':
			return b.String()
		case '[':
			end := strings.IndexByte(code[i:], ']')
			if end < 0 {
				return b.String()
			}
			if strings.Trim(strings.ToLower(code[i+1:i+end]), "hms") == "" { // elapsed time
				b.WriteString(code[i+1 : i+end])
			}
			i += end
		case '"':
			end := strings.IndexByte(code[i+1:], '"')
			if end < 0 {
				return b.String()
			}
			if literal := code[i+1 : i+1+end]; strings.Trim(literal, " .,-/:") == "" {
				b.WriteString(literal) // letters would be taken for fields
			}
			i += end + 1
		case '\\':
		case '_', '*':
			i++
		default:
			b.WriteByte(code[i])
		}
	}
	return b.String()
}

// formatDate writes a time as a format code has it.
func formatDate(t time.Time, code string) string {
	lower := strings.ToLower(code)
	half := strings.Contains(lower, "am/pm")
	var b strings.Builder
	minutes := false // the next m is minutes: after hours
	for i := 0; i < len(lower); {
		c := lower[i]
		n := 1
		for i+n < len(lower) && lower[i+n] == c {
			n++
		}
		switch {
		case strings.HasPrefix(lower[i:], "am/pm"):
			b.WriteString(t.Format("PM"))
			n = len("am/pm")
		case c == 'm' && (minutes || strings.HasPrefix(strings.TrimLeft(lower[i+n:], ":."), "s")):
			fmt.Fprintf(&b, "%0*d", min(n, 2), t.Minute())
			minutes = false
		case c == 'y' || c == 'm' || c == 'd':
			b.WriteString(t.Format(dateLayout(c, n)))
		case c == 'h':
			hour := t.Hour()
			if half {
				hour = (hour+11)%12 + 1
			}
			fmt.Fprintf(&b, "%0*d", min(n, 2), hour)
			minutes = true
		case c == 's':
			fmt.Fprintf(&b, "%0*d", min(n, 2), t.Second())
		case c != '@':
			b.WriteString(code[i : i+n])
		}
		i += n
	}
	return strings.TrimSpace(b.String())
}

// dateLayout returns the layout of package time for n letters c.
func dateLayout(c byte, n int) string {
	layouts := map[byte][]string{
		'y': {"06", "06", "2006", "2006"},
		'm': {"1", "01", "Jan", "January"},
		'd': {"2", "02", "Mon", "Monday"},
	}[c]
	return layouts[min(n, len(layouts))-1]
}
