package mailparse

import "strings"

// unflow joins the lines of format=flowed (RFC 3676) that were broken for
// transport. Quoted lines keep a ">" for each level. delSp means that the space which
// marks a broken line is no part of the text.
func unflow(text string, delSp bool) string {
	if !strings.Contains(text, " \n") && !strings.Contains(text, "\n ") && !strings.HasPrefix(text, " ") {
		return text
	}
	var out strings.Builder
	out.Grow(len(text))
	open, openDepth := false, 0 // a line that goes on
	for line := range strings.Lines(text) {
		line, ended := strings.CutSuffix(line, "\n")
		rest := strings.TrimLeft(line, ">")
		depth := len(line) - len(rest)
		if open && depth != openDepth {
			out.WriteByte('\n') // section 4.5: a paragraph has one depth
			open = false
		}
		if !open {
			out.WriteString(line[:depth])
			if depth > 0 && rest != "" && rest[0] != ' ' {
				out.WriteByte(' ')
			}
		}
		isSignature := rest == "-- " || rest == " -- " // section 4.3
		if open || depth == 0 {
			rest = strings.TrimPrefix(rest, " ") // section 4.4: stuffed
		}
		open = strings.HasSuffix(rest, " ") && !isSignature
		openDepth = depth
		if open && delSp {
			rest = rest[:len(rest)-1]
		}
		out.WriteString(rest)
		if ended && !open {
			out.WriteByte('\n')
		}
	}
	return out.String()
}
