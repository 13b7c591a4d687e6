package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

const (
	// minWidth is what output is made for where no terminal says otherwise.
	minWidth = 80
	// maxWidth keeps lines readable on wide terminals.
	maxWidth = 120
)

// printable replaces control characters, which in hostile mail could command
// the terminal, and directional overrides, which could make a name look like
// another.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar:
			return '\uFFFD'
		}
		return r
	}, s)
}

// oneLine is printable text with its white space collapsed.
func oneLine(s string) string { return printable(strings.Join(strings.Fields(s), " ")) }

// fit cuts text to a number of columns.
func fit(s string, columns int) string {
	if runewidth.StringWidth(s) <= columns {
		return s
	}
	return runewidth.Truncate(s, columns, "…")
}

// pad is fit, filled up with spaces.
func pad(s string, columns int) string { return runewidth.FillRight(fit(s, columns), columns) }

// wrap breaks text at its spaces into lines of at most that many columns. A longer word
// has a line of its own.
func wrap(s string, columns int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && runewidth.StringWidth(line)+1+runewidth.StringWidth(word) > columns {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// style colours text on a terminal and does nothing elsewhere.
type style bool

func (on style) with(code, s string) string {
	if !on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (on style) bold(s string) string   { return on.with("1", s) }
func (on style) dim(s string) string    { return on.with("2", s) }
func (on style) red(s string) string    { return on.with("31", s) }
func (on style) green(s string) string  { return on.with("32", s) }
func (on style) yellow(s string) string { return on.with("33", s) }
func (on style) cyan(s string) string   { return on.with("36", s) }

// styleFor colours if w is a terminal and NO_COLOR is not set (no-color.org).
func (a *app) styleFor(w io.Writer) style {
	_, tty := terminal(w)
	return style(tty && a.getenv("NO_COLOR") == "")
}

// width is the number of columns to write for.
func (a *app) width() int {
	if w, ok := terminal(a.stdout); ok {
		return min(w, maxWidth)
	}
	return minWidth
}

// size is a number of octets for people.
func size(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), "KMGTPE"
	i := -1
	for v >= step && i < len(units)-1 {
		v /= step
		i++
	}
	if v < 10 {
		return fmt.Sprintf("%.1f %ciB", v, units[i])
	}
	return fmt.Sprintf("%.0f %ciB", v, units[i])
}

// count is a number with a thousands separator.
func count[N int | int64 | uint64](n N) string {
	s := fmt.Sprintf("%d", n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// table writes rows in columns: the first to the left, numbers to the right.
func table(w io.Writer, st style, header []string, left int, rows [][]string) error {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	line := func(cells []string) string {
		out := make([]string, len(cells))
		for i, cell := range cells {
			if i < left {
				out[i] = runewidth.FillRight(cell, widths[i])
			} else {
				out[i] = runewidth.FillLeft(cell, widths[i])
			}
		}
		return strings.TrimRight(strings.Join(out, "  "), " ")
	}
	if _, err := fmt.Fprintln(w, st.dim(line(header))); err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, line(row)); err != nil {
			return err
		}
	}
	return nil
}
