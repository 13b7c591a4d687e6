package query

import (
	"strconv"
	"strings"
)

func (n *And) String() string    { return text(n) }
func (n *Or) String() string     { return text(n) }
func (n *Not) String() string    { return text(n) }
func (n *All) String() string    { return text(n) }
func (n *Text) String() string   { return text(n) }
func (n *Near) String() string   { return text(n) }
func (n *Regexp) String() string { return text(n) }
func (n *Header) String() string { return text(n) }
func (n *ID) String() string     { return text(n) }
func (n *Flag) String() string   { return text(n) }
func (n *Size) String() string   { return text(n) }
func (n *Date) String() string   { return text(n) }

func text(n Node) string {
	var b strings.Builder
	n.print(&b)
	return b.String()
}

func (n *And) print(b *strings.Builder) {
	for i, c := range n.Nodes {
		if i > 0 {
			b.WriteByte(' ')
		}
		_, or := c.(*Or)
		printGrouped(b, c, or)
	}
}

func (n *Or) print(b *strings.Builder) {
	for i, c := range n.Nodes {
		if i > 0 {
			b.WriteString(" OR ")
		}
		c.print(b)
	}
}

func (n *Not) print(b *strings.Builder) {
	b.WriteByte('-')
	_, and := n.Node.(*And)
	_, or := n.Node.(*Or)
	printGrouped(b, n.Node, and || or)
}

func printGrouped(b *strings.Builder, n Node, group bool) {
	if group {
		b.WriteByte('(')
	}
	n.print(b)
	if group {
		b.WriteByte(')')
	}
}

func (*All) print(b *strings.Builder) { b.WriteByte('*') }

func (n *Text) print(b *strings.Builder) {
	n.Field.print(b)
	printValue(b, n.Value, n.Quoted)
}

func (f Field) print(b *strings.Builder) {
	if f != Any {
		b.WriteString(string(f))
		b.WriteByte(':')
	}
}

func printValue(b *strings.Builder, value string, quoted bool) {
	if quoted {
		value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
	}
	b.WriteString(value)
}

func (n *Near) print(b *strings.Builder) {
	n.Field.print(b)
	printValue(b, n.Value, true)
	b.WriteByte('~')
	b.WriteString(strconv.Itoa(n.Distance))
}

func (n *Regexp) print(b *strings.Builder) {
	n.Field.print(b)
	b.WriteByte('/')
	escaped := false
	for _, r := range n.Pattern {
		if r == '/' && !escaped {
			b.WriteByte('\\')
		}
		escaped = r == '\\' && !escaped
		b.WriteRune(r)
	}
	b.WriteByte('/')
}

func (n *Header) print(b *strings.Builder) {
	b.WriteString("header:")
	b.WriteString(n.Name)
	if n.Value != "" {
		b.WriteByte('=')
		printValue(b, n.Value, n.Quoted)
	}
}

func (n *ID) print(b *strings.Builder) {
	if n.Thread {
		b.WriteString("thread:")
	} else {
		b.WriteString("id:")
	}
	b.WriteString(n.Prefix)
}

func (n *Flag) print(b *strings.Builder) {
	if n.Name == Attachment {
		b.WriteString("has:")
	} else {
		b.WriteString("is:")
	}
	b.WriteString(n.Name)
}

func (n *Size) print(b *strings.Builder) {
	v, unit := n.Bytes, ""
	for _, u := range []string{"K", "M", "G"} {
		if v == 0 || v%1024 != 0 {
			break
		}
		v, unit = v/1024, u
	}
	b.WriteString("size:" + n.Op + strconv.FormatInt(v, 10) + unit)
}

func (n *Date) print(b *strings.Builder) {
	name := "date"
	switch {
	case n.Received:
		name = "received"
	case n.Op == After:
		name = "after"
	case n.Op == Before:
		name = "before"
	}
	b.WriteString(name + ":" + n.From.String())
	if n.Op == Between {
		b.WriteString(".." + n.To.String())
	}
}
