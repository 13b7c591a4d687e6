package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Date restricts the time of a message to whole days.
type Date struct {
	// Received means the time of the first deposit in the archive, else the Date
	// header (for a message without a readable one, the time received).
	Received bool
	Op       DateOp
	// From is the point; for Between the first one. To is used by Between only.
	// For Between, either may be zero: open.
	From, To Point
}

// A DateOp says how the points of a Date are meant.
type DateOp int

const (
	// During is the day, month or year From; for a point some time ago, from then until the end of today.
	During DateOp = iota
	// Between is from the beginning of From to the end of To.
	Between
	// After is from the beginning of From on.
	After
	// Before is before the beginning of From.
	Before
)

// A Point is a day, month or year, or a number of them before today.
type Point struct {
	Year, Month, Day int  // Month and Day may be 0: the whole year or month
	Ago              int  // used with Unit
	Unit             byte // 'd', 'w', 'm' or 'y'; 0 for a point of the calendar
}

// IsZero reports whether p is no point.
func (p Point) IsZero() bool { return p == Point{} }

func (p Point) String() string {
	switch {
	case p.IsZero():
		return ""
	case p.Unit != 0:
		return strconv.Itoa(p.Ago) + string(p.Unit)
	case p.Month == 0:
		return fmt.Sprintf("%04d", p.Year)
	case p.Day == 0:
		return fmt.Sprintf("%04d-%02d", p.Year, p.Month)
	}
	return fmt.Sprintf("%04d-%02d-%02d", p.Year, p.Month, p.Day)
}

// Bounds returns the first moment that the condition includes and the first one
// after it that it does not; zero means no bound. Days are those of loc, and
// points some time ago count from the day of now.
func (n *Date) Bounds(now time.Time, loc *time.Location) (from, to time.Time) {
	start, end := n.From.days(now, loc)
	switch n.Op {
	case After:
		return start, time.Time{}
	case Before:
		return time.Time{}, start
	case Between:
		_, end = n.To.days(now, loc)
	case During:
		if n.From.Unit != 0 {
			_, end = Point{Unit: 'd'}.days(now, loc)
		}
	}
	return start, end
}

// days returns the beginning of p and of what follows it; zero for no point.
func (p Point) days(now time.Time, loc *time.Location) (start, end time.Time) {
	midnight := func(y, m, d int) time.Time { return time.Date(y, time.Month(m), d, 0, 0, 0, 0, loc) }
	if p.IsZero() {
		return time.Time{}, time.Time{}
	}
	if p.Unit != 0 {
		y, month, d := now.In(loc).Date()
		m := int(month)
		switch p.Unit {
		case 'd':
			d -= p.Ago
		case 'w':
			d -= 7 * p.Ago
		case 'm':
			m -= p.Ago
		case 'y':
			y -= p.Ago
		}
		return midnight(y, m, d), midnight(y, m, d+1)
	}
	switch {
	case p.Month == 0:
		return midnight(p.Year, 1, 1), midnight(p.Year+1, 1, 1)
	case p.Day == 0:
		return midnight(p.Year, p.Month, 1), midnight(p.Year, p.Month+1, 1)
	}
	return midnight(p.Year, p.Month, p.Day), midnight(p.Year, p.Month, p.Day+1)
}

const dateExample = "a date like 2024, 2024-03, 2024-03-15 or 30d"

func parseDate(field string, t token) (Node, error) {
	n := &Date{Received: field == "received"}
	first, second, isRange := strings.Cut(t.text, "..")
	switch field {
	case "after":
		n.Op = After
	case "before":
		n.Op = Before
	default:
		if isRange {
			n.Op = Between
		}
	}
	if n.Op != Between {
		first, isRange = t.text, false
	}
	var err error
	if first != "" || second == "" {
		if n.From, err = parsePoint(first, t.column); err != nil {
			return nil, err
		}
	}
	if isRange && second != "" {
		n.To, err = parsePoint(second, t.column+len([]rune(first))+len(".."))
	}
	return n, err
}

func parsePoint(s string, column int) (Point, error) {
	bad := &Error{Column: column, Expected: dateExample, Got: s}
	if s == "" {
		bad.Got = "nothing"
		return Point{}, bad
	}
	if unit := s[len(s)-1] | 0x20; strings.IndexByte("dwmy", unit) >= 0 {
		n, err := strconv.ParseUint(s[:len(s)-1], 10, 16)
		if err != nil {
			return Point{}, bad
		}
		return Point{Ago: int(n), Unit: unit}, nil
	}
	layout := "2006-01-02"
	if len(s) < len(layout) {
		layout = layout[:len(s)]
	}
	if len(layout) != len("2006") && len(layout) != len("2006-01") && len(layout) != len("2006-01-02") {
		return Point{}, bad
	}
	d, err := time.Parse(layout, s)
	if err != nil || d.Year() == 0 {
		return Point{}, bad
	}
	p := Point{Year: d.Year()}
	if len(s) >= len("2006-01") {
		p.Month = int(d.Month())
	}
	if len(s) == len("2006-01-02") {
		p.Day = d.Day()
	}
	return p, nil
}
