package mailparse

import (
	"strconv"
	"strings"
	"time"
)

// maxDateBytes is the longest date looked at; the longest sensible one has
// half of that.
const maxDateBytes = 128

// parseDate reads a date in the form of RFC 5322 section 3.3, in its obsolete
// forms (section 4.3), and in those that mailers made up: ctime, ISO 8601, month
// first, names of months in other languages. It returns UTC, or the zero time if
// there is no date in s.
func parseDate(s string) time.Time {
	if len(s) > maxDateBytes {
		s = s[:maxDateBytes]
	}
	p := dateParser{day: -1, year: -1, hour: -1}
	for _, word := range strings.FieldsFunc(stripComments(s), func(r rune) bool {
		return r == ' ' || r == '\t' || r == ','
	}) {
		p.word(word)
	}
	return p.time()
}

type dateParser struct {
	day, year                  int // -1 if not seen
	month                      time.Month
	hour, minute, second, nsec int // hour -1 if not seen
	offset                     int // seconds east of UTC
	pm, am                     bool
}

func (p *dateParser) word(w string) {
	switch c := w[0]; {
	case strings.IndexByte(w, ':') > 0 && isDigit(c):
		p.clock(w)
	case strings.IndexByte(w, ':') > 0 && strings.IndexByte(w, '-') > 0:
		// unreadable
	case (c == '+' || c == '-') && len(w) > 1 && isDigit(w[1]):
		p.zone(w)
	case isDigit(c):
		p.digits(w)
	default:
		p.name(strings.Trim(w, ".;\"'"))
	}
}

// clock reads 15:04:05, 15:04, 15:04:05.123Z, 15:04:05+0200, 3:04PM and
// 2006-01-02T15:04:05.
func (p *dateParser) clock(w string) {
	if date, clock, ok := strings.Cut(w, "T"); ok && strings.IndexByte(date, '-') > 0 {
		p.digits(date)
		w = clock
	}
	end := 0
	for end < len(w) && (isDigit(w[end]) || w[end] == ':' || w[end] == '.') {
		end++
	}
	clock, rest := w[:end], w[end:]
	fields := strings.Split(clock, ":")
	if p.hour >= 0 || len(fields) < 2 {
		return
	}
	p.hour = number(fields[0])
	p.minute = number(fields[1])
	if len(fields) > 2 {
		sec, frac, _ := strings.Cut(fields[2], ".")
		p.second = number(sec)
		if n := number(frac); frac != "" && n >= 0 && len(frac) <= 9 {
			for range 9 - len(frac) {
				n *= 10
			}
			p.nsec = n
		}
	}
	if rest != "" {
		p.word(rest)
	}
}

// digits reads a day, a year, or a date in one word: 2-Jan-2006, 2006-01-02,
// 01/02/2006, 20060102.
func (p *dateParser) digits(w string) {
	parts := strings.FieldsFunc(w, func(r rune) bool { return r == '-' || r == '/' || r == '.' })
	if len(parts) == 3 {
		p.triple(parts)
		return
	}
	n := number(strings.TrimRight(parts[0], "stndrh."))
	switch {
	case n < 0 || len(parts) != 1:
	case len(w) == 8 && p.day < 0: // 20060102
		p.year, p.month, p.day = n/10000, time.Month(n/100%100), n%100
	case p.day < 0 && n >= 1 && n <= 31 && len(w) <= 4:
		p.day = n
	case p.year < 0:
		p.setYear(n, len(w))
	}
}

func (p *dateParser) triple(parts []string) {
	a, b, c := number(parts[0]), number(parts[1]), number(parts[2])
	switch {
	case b < 0 && a >= 0 && c >= 0: // 2-Jan-2006
		p.name(parts[1])
		p.day = a
		p.setYear(c, len(parts[2]))
	case a > 31: // 2006-01-02
		p.year, p.month, p.day = a, time.Month(b), c
	case b > 12: // 01/31/2006
		p.month, p.day = time.Month(a), b
		p.setYear(c, len(parts[2]))
	case a >= 0 && b >= 0 && c >= 0: // 31.01.2006; 01/02 is taken as day and month
		p.day, p.month = a, time.Month(b)
		p.setYear(c, len(parts[2]))
	}
}

// setYear follows RFC 5322 section 4.3 for years of two and three digits.
func (p *dateParser) setYear(n, digits int) {
	switch {
	case digits <= 2 && n < 50:
		n += 2000
	case digits <= 3:
		n += 1900
	case digits == 5 && n/1000 == 19: // QUIRK: "19104" for 2004, from before the year 2000
		n = 1900 + n%1000
	}
	p.year = n
}

// name reads a month, a zone or am and pm; days of the week and the rest are
// of no use.
func (p *dateParser) name(w string) {
	lower := strings.ToLower(decodeRaw(w, ""))
	if i := strings.IndexAny(lower, "+-"); i > 0 { // GMT+0200
		if i+1 < len(lower) && isDigit(lower[i+1]) {
			p.zone(lower[i:])
		}
		return
	}
	if hours, ok := zoneHours(lower); ok {
		p.offset = int(hours * 3600)
		return
	}
	switch {
	case lower == "am":
		p.am = true
	case lower == "pm":
		p.pm = true
	case p.month == 0:
		p.month = monthOf(lower)
	}
}

// zone reads +0200, -05:00, +2.
func (p *dateParser) zone(w string) {
	digits := strings.ReplaceAll(w[1:], ":", "")
	n := number(digits)
	if n < 0 || len(digits) > 4 {
		return
	}
	if len(digits) <= 2 {
		n *= 100
	}
	if n/100 > 24 || n%100 > 59 {
		return
	}
	p.offset = n/100*3600 + n%100*60
	if w[0] == '-' {
		p.offset = -p.offset
	}
}

func (p *dateParser) time() time.Time {
	if p.day < 1 || p.day > 31 || p.month < 1 || p.month > 12 || p.year < 1900 || p.year > 9999 {
		return time.Time{}
	}
	if p.hour < 0 {
		p.hour = 0
	}
	switch {
	case p.pm && p.hour < 12:
		p.hour += 12
	case p.am && p.hour == 12:
		p.hour = 0
	}
	if p.hour > 24 || p.minute < 0 || p.minute > 59 || p.second < 0 || p.second > 60 {
		p.hour, p.minute, p.second = 0, 0, 0
	}
	t := time.Date(p.year, p.month, p.day, p.hour, p.minute, p.second, p.nsec, time.UTC)
	return t.Add(-time.Duration(p.offset) * time.Second)
}

// monthOf knows the months in the languages of mailers that translate them.
func monthOf(s string) time.Month {
	for _, m := range []struct {
		prefixes string
		month    time.Month
	}{
		{"jan gen ene янв", time.January}, {"feb fév fev фев", time.February},
		{"mar mrt mär mrz мар", time.March}, {"apr avr abr апр", time.April},
		{"may mai mag mei maj мая май", time.May}, {"jun juin giu июн", time.June},
		{"jul juil lug июл", time.July}, {"aug aoû aou ago авг", time.August},
		{"sep set сен", time.September}, {"oct okt ott out окт", time.October},
		{"nov ноя", time.November}, {"dec dez déc dic дек", time.December},
	} {
		for prefix := range strings.FieldsSeq(m.prefixes) {
			if strings.HasPrefix(s, prefix) {
				return m.month
			}
		}
	}
	return 0
}

// zoneHours knows the zones of RFC 5322 section 4.3 and the frequent others.
// Names that mean several zones, and the military letters, which RFC 1123
// found to be used wrongly, are taken as UTC.
func zoneHours(s string) (float64, bool) {
	switch s {
	case "ut", "utc", "gmt", "z", "wet":
		return 0, true
	case "edt", "ast":
		return -4, true
	case "est", "cdt":
		return -5, true
	case "cst", "mdt":
		return -6, true
	case "mst", "pdt":
		return -7, true
	case "pst", "akdt":
		return -8, true
	case "akst":
		return -9, true
	case "hst":
		return -10, true
	case "bst", "cet", "met", "mez", "west":
		return 1, true
	case "cest", "mest", "mesz", "eet", "sast":
		return 2, true
	case "eest", "msk":
		return 3, true
	case "msd":
		return 4, true
	case "jst", "kst":
		return 9, true
	case "aest":
		return 10, true
	case "aedt":
		return 11, true
	case "nzst":
		return 12, true
	case "nzdt":
		return 13, true
	}
	return 0, false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number returns the value of a string of digits, or -1.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || !isDigit(s[0]) {
		return -1
	}
	return n
}
