package retention

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Period is a length of time by the calendar: years and months are as long as they are.
// The zero value is no period.
type Period struct {
	Months int           // years count as 12
	Days   int           // weeks count as 7
	Rest   time.Duration // below days
}

// maxMonths is a thousand years: what is longer was not meant.
const maxMonths = 12_000

var errPeriod = errors.New("want a number with y, m, w, d, h or s, or several: 10y, 6m, 90d, 1y6m")

// ParsePeriod reads a period such as 10y, 6m, 90d or 1y6m. The units are y for years, m for months,
// w for weeks, d for days, h for hours and s for seconds, each at most once and in this order.
func ParsePeriod(s string) (Period, error) {
	var p Period
	units, rest := "ymwdhs", s
	for rest != "" {
		digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if digits < 1 {
			return Period{}, fmt.Errorf("period %.40q: %w", s, errPeriod)
		}
		at := strings.IndexByte(units, rest[digits])
		n, err := strconv.Atoi(rest[:digits])
		if at < 0 || err != nil || n > maxMonths*31 {
			return Period{}, fmt.Errorf("period %.40q: %w", s, errPeriod)
		}
		p.add(n, units[at])
		units, rest = units[at+1:], rest[digits+1:]
	}
	if p == (Period{}) || p.Months > maxMonths {
		return Period{}, fmt.Errorf("period %.40q is empty or over a thousand years: %w", s, errPeriod)
	}
	return p, nil
}

func (p *Period) add(n int, unit byte) {
	switch unit {
	case 'y':
		p.Months += 12 * n
	case 'm':
		p.Months += n
	case 'w':
		p.Days += 7 * n
	case 'd':
		p.Days += n
	case 'h':
		p.Rest += time.Duration(n) * time.Hour
	case 's':
		p.Rest += time.Duration(n) * time.Second
	}
}

// String writes the period as ParsePeriod reads it, "" for none.
func (p Period) String() string {
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit byte
	}{
		{p.Months / 12, 'y'}, {p.Months % 12, 'm'}, {p.Days, 'd'},
		{int(p.Rest / time.Hour), 'h'}, {int(p.Rest % time.Hour / time.Second), 's'},
	} {
		if part.n != 0 {
			b.WriteString(strconv.Itoa(part.n))
			b.WriteByte(part.unit)
		}
	}
	return b.String()
}

// MarshalText and UnmarshalText make it the text of String in JSON.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (p *Period) UnmarshalText(text []byte) (err error) {
	*p = Period{}
	if len(text) > 0 {
		*p, err = ParsePeriod(string(text))
	}
	return err
}

// IsZero reports whether there is no period.
func (p Period) IsZero() bool { return p == Period{} }

// After returns the end of a period that begins at t, in UTC. Where the month has no such day it ends with the
// month, so that of two beginnings the later one never ends earlier.
func (p Period) After(t time.Time) time.Time {
	t = t.UTC()
	year, month, day := t.Date()
	first := time.Date(year, month+time.Month(p.Months), 1, 0, 0, 0, 0, time.UTC)
	next := first.AddDate(0, 1, 0)
	end := first.AddDate(0, 0, day-1).Add(t.Sub(time.Date(year, month, day, 0, 0, 0, 0, time.UTC)))
	if end.After(next) {
		end = next
	}
	return end.AddDate(0, 0, p.Days).Add(p.Rest)
}
