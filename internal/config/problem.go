package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

const (
	// maxProblems bounds a report: more is one mistake with many consequences.
	maxProblems = 20
	// contextLines is how many lines are shown before the one with the problem.
	contextLines = 2
	// maxShown is how many characters of a line are shown.
	maxShown = 120
	// maxMessage is the length in bytes of a message, which may quote a value.
	maxMessage = 400
)

// position is a place in the file, both counted from 1, columns in characters.
type position struct{ line, column int }

// Error is all that is wrong with a configuration, in the order of the file.
type Error struct {
	// File is the name of the file, without its folder.
	File     string
	Problems []Problem
}

// Problem is one mistake.
type Problem struct {
	// Line and Column are counted from 1, columns in characters.
	Line, Column int
	Message      string
	// Snippet shows the place with a caret under the column. Comments, and what
	// might be a secret, are left out.
	Snippet string
}

// Error gives, for each problem, "file:line:column: message" and the snippet.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == maxProblems {
			fmt.Fprintf(&b, "\nand %d more", len(e.Problems)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, p.Line, p.Column, p.Message)
		if p.Snippet != "" {
			b.WriteString("\n" + p.Snippet)
		}
	}
	return b.String()
}

func (d *decoder) fail(at position, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	d.problems = append(d.problems, Problem{Line: at.line, Column: at.column, Message: message})
}

func (d *decoder) err(file string) error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	lines := showable(string(d.text))
	for i := range d.problems[:min(len(d.problems), maxProblems)] {
		p := &d.problems[i]
		p.Snippet = snippet(lines, p.Line, p.Column)
	}
	return &Error{File: file, Problems: d.problems}
}

func snippet(lines []string, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	var b strings.Builder
	for n := max(1, line-contextLines); n <= line; n++ {
		mark := ' '
		if n == line {
			mark = '>'
		}
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%c%5d | %s", mark, n, lines[n-1]), " "))
	}
	fmt.Fprintf(&b, "       | %s^", strings.Repeat(" ", min(max(column, 1), maxShown)-1))
	return b.String()
}

var (
	keyForm  = regexp.MustCompile(`([\w.-]+)["']?\s*:(?:\s|$)`)
	wordForm = regexp.MustCompile(`^([\s-]*)(\w*)`)
	userInfo = regexp.MustCompile(`://\S*@`)
)

// showable returns the lines of the file with everything removed that could be
// a secret, whatever mistake put it there: comments, the values of keys that do
// not exist, of the password keys and of lines without a key, and the user part
// of URLs.
func showable(text string) []string {
	safe := safeKeys()
	lines := strings.Split(text, "\n")
	covered := -1 // while not negative: deeper lines belong to a value that is not shown
	for i, line := range lines {
		line = strings.ToValidUTF8(strings.TrimRight(line, "\r "), "?")
		indent := len(line) - len(strings.TrimLeft(line, " -\t"))
		if covered >= 0 && indent > covered {
			lines[i] = "…"
			continue
		}
		covered = -1
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			lines[i] = "#"
			continue
		}
		line, _, _ = strings.Cut(line, " #")
		shown, whole := maskLine(line, safe)
		if !whole {
			covered = indent
		}
		lines[i] = printable(shown)
	}
	return lines
}

// maskLine cuts line after the first key that is not safe; whole is false when
// the value of that key may go on in the next lines.
func maskLine(line string, safe map[string]bool) (shown string, whole bool) {
	keys := keyForm.FindAllStringSubmatchIndex(line, -1)
	for _, m := range keys {
		if !safe[line[m[2]:m[3]]] {
			colon := m[3] + strings.IndexByte(line[m[3]:], ':') + 1
			return line[:colon] + " …", false
		}
	}
	if len(keys) == 0 {
		word := wordForm.FindStringSubmatch(line)
		if _, known := safe[word[2]]; known {
			return word[0] + " …", true
		}
		if strings.Trim(line, " -[]{},") == "" {
			return line, true
		}
		return word[1] + "…", true
	}
	return userInfo.ReplaceAllString(line, "://…@"), true
}

func printable(line string) string {
	runes := []rune(line)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	if len(runes) > maxShown {
		return string(runes[:maxShown]) + "…"
	}
	return string(runes)
}
