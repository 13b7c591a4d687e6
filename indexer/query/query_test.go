package query

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/postkeep/postkeep/indexer/words"
	"pgregory.net/rapid"
)

func word(v string) Node         { return &Text{Value: v} }
func quoted(v string) Node       { return &Text{Value: v, Quoted: true} }
func in(f Field, v string) Node  { return &Text{Field: f, Value: v} }
func day(y, m, d int) Point      { return Point{Year: y, Month: m, Day: d} }
func and(n ...Node) Node         { return &And{n} }
func or(n ...Node) Node          { return &Or{n} }
func ago(n int, unit byte) Point { return Point{Ago: n, Unit: unit} }
func during(p Point) Node        { return &Date{Op: During, From: p} }
func between(received bool, a, b Point) Node {
	return &Date{Received: received, Op: Between, From: a, To: b}
}

func TestParseUnderstandsTheLanguage(t *testing.T) {
	for text, want := range map[string]Node{
		"invoice":                      word("invoice"),
		"  annual   report ":           and(word("annual"), word("report")),
		"annual AND report":            and(word("annual"), word("report")),
		`"annual report"`:              quoted("annual report"),
		`"a \"b\" \\ c\d"`:             quoted(`a "b" \ c\d`),
		"a OR b c OR d":                or(word("a"), and(word("b"), word("c")), word("d")),
		"a (b OR c)":                   and(word("a"), or(word("b"), word("c"))),
		"((a))":                        word("a"),
		"a (b c)":                      and(word("a"), word("b"), word("c")),
		"a OR (b OR c)":                or(word("a"), word("b"), word("c")),
		"-a":                           &Not{word("a")},
		"NOT a b":                      and(&Not{word("a")}, word("b")),
		"a -(b c)":                     and(word("a"), &Not{and(word("b"), word("c"))}),
		"--a":                          &Not{&Not{word("a")}},
		"or and not":                   and(word("or"), word("and"), word("not")),
		"*":                            &All{},
		"inv* w?rd":                    and(word("inv*"), word("w?rd")),
		"from:alice":                   in(From, "alice"),
		"FROM:Alice":                   in(From, "Alice"),
		"from:OR":                      in(From, "OR"),
		`subject:"annual report"`:      &Text{Field: Subject, Value: "annual report", Quoted: true},
		"from:(alice OR -bob)":         or(in(From, "alice"), &Not{in(From, "bob")}),
		"-from:a@example.com":          &Not{in(From, "a@example.com")},
		"msgid:<a.b@c>":                in(MessageID, "<a.b@c>"),
		"attachment:x":                 in(AttachmentText, "x"),
		"http://example.com/a":         word("http://example.com/a"),
		"10:30":                        word("10:30"),
		"foo(bar)":                     and(word("foo"), word("bar")),
		"has:attachment is:Bounce":     and(&Flag{Attachment}, &Flag{"bounce"}),
		"is:(signed OR encrypted)":     or(&Flag{"signed"}, &Flag{"encrypted"}),
		"size:>1M":                     &Size{">", 1 << 20},
		"size:<=10k":                   &Size{"<=", 10 << 10},
		"size:>=5000000000":            &Size{">=", 5000000000},
		"date:2024":                    during(day(2024, 0, 0)),
		"during:2024-03":               during(day(2024, 3, 0)),
		"date:2024-02-29":              during(day(2024, 2, 29)),
		"date:30d":                     during(ago(30, 'd')),
		"date:2024-03-01..2024-04-15":  between(false, day(2024, 3, 1), day(2024, 4, 15)),
		"date:2024..":                  between(false, day(2024, 0, 0), Point{}),
		"received:..2024-05":           between(true, Point{}, day(2024, 5, 0)),
		"date:8w..2W":                  between(false, ago(8, 'w'), ago(2, 'w')),
		"after:2024-03":                &Date{Op: After, From: day(2024, 3, 0)},
		"before:1y":                    &Date{Op: Before, From: ago(1, 'y')},
		"date:(2023 OR 2025)":          or(during(day(2023, 0, 0)), during(day(2025, 0, 0))),
		"東京都 -会議":                      and(word("東京都"), &Not{word("会議")}),
		`"a b"~5`:                      &Near{Value: "a b", Distance: 5},
		`subject:"a b c"~0`:            &Near{Field: Subject, Value: "a b c"},
		`/colou?r/ -/a\/b\.c/`:         and(&Regexp{Pattern: "colou?r"}, &Not{&Regexp{Pattern: `a/b\.c`}}),
		"from:(/a+/ OR b)":             or(&Regexp{From, "a+"}, in(From, "b")),
		"rcpt:a filetype:pdf list:x.y": and(in(Recipient, "a"), in(FileType, "pdf"), in(List, "x.y")),
		"header:X-Foo":                 &Header{Name: "X-Foo"},
		"header:X-Foo=a*":              &Header{Name: "X-Foo", Value: "a*"},
		`header:(X-Foo="a b" OR y)`:    or(&Header{"X-Foo", "a b", true}, &Header{Name: "y"}),
		"lang:DE":                      in(Language, "de"),
		"id:0123ABCD":                  &ID{Prefix: "0123abcd"},
		"thread:0123abcd":              &ID{Prefix: "0123abcd", Thread: true},
		"is:held":                      &Flag{Held},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("Parse(%q): %v", text, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("Parse(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestErrorsNameTheColumn(t *testing.T) {
	for _, c := range []struct {
		in       string
		column   int
		contains string
	}{
		{"", 1, "got the end of the query"},
		{"   ", 4, "expected a word"},
		{"a OR", 5, "end of the query"},
		{"OR a", 1, "got OR"},
		{"a AND OR b", 7, "got OR"},
		{"(a b", 5, "a ) for the ( in column 1"},
		{"a )", 3, "got )"},
		{"()", 2, "got )"},
		{`éé "abc`, 4, `closing "`},
		{"a - b", 3, "right after"},
		{"-", 2, "end of the query"},
		{"... a", 1, "letter or digit"},
		{`""`, 1, "letter or digit"},
		{"cc:*", 4, "header:cc finds"},
		{"from:", 6, "right after from:"},
		{"from: alice", 6, "right after from:"},
		{"from:-alice", 6, "write -from:"},
		{"from:(a to:b)", 9, "a value of from:"},
		{"frm:alice", 1, "did you mean from:"},
		{"x form:alice", 3, "did you mean from:"},
		{"xyzzy:alice", 1, "one of from, to"},
		{"x lang:xx", 8, "expected da, de"},
		{"id:abc", 4, "8 to 64"},
		{"thread:abcdefgh", 8, "8 to 64"},
		{"header:", 8, "right after header:"},
		{"header:=x", 8, "the name of a header field"},
		{"header:X-Y=", 12, "letter or digit"},
		{"header:date=2024", 13, "not in the index"},
		{"/foo", 1, "a closing /"},
		{"a //", 3, "it is empty"},
		{"/usr/bin", 6, "quotes"},
		{"/a(/", 1, "RE2 syntax: missing closing )"},
		{`/\bx/`, 1, "as a whole"},
		{"/東京?/", 1, "a script"},
		{`"a b"~`, 7, "0 to 99"},
		{`"a b"~100`, 7, "got 100"},
		{`"abc"~5`, 1, "two words"},
		{`mailbox:"a b"~5`, 9, "whole values"},
		{"word~2", 1, "similar spellings"},
		{"is:hold", 4, "did you mean held?"},
		{"is:new", 4, "encrypted, signed"},
		{"has:link", 5, "attachment"},
		{`is:"signed"`, 4, "without quotes"},
		{"size:1M", 6, "like >1M"},
		{"size:>", 6, "like >1M"},
		{"size:>1T", 6, "like >1M"},
		{"size:>99999999999G", 6, "like >1M"},
		{"date:2024-13", 6, "a date like"},
		{"date:2023-02-29", 6, "a date like"},
		{"date:yesterday", 6, "a date like"},
		{"date:..", 6, "got nothing"},
		{"a date:2024-01..24", 17, "got 24"},
		{"after:2024..2025", 7, "got 2024..2025"},
		{"東京*", 1, "without * or ?"},
		{"a \xff", 3, "UTF-8"},
		{strings.Repeat("(", MaxDepth+1) + "a", MaxDepth + 1, "inside each other"},
		{strings.Repeat("-", MaxDepth+1) + "a", MaxDepth + 1, "inside each other"},
		{strings.Repeat("a ", MaxTerms) + "a", 2*MaxTerms + 1, "at most 1000"},
		{strings.Repeat("é", MaxLength+1), MaxLength + 1, "characters"},
	} {
		_, err := Parse(c.in)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("Parse(%.40q) = %v, want an *Error", c.in, err)
			continue
		}
		if e.Column != c.column || !strings.Contains(e.Error(), c.contains) {
			t.Errorf("Parse(%.40q): column %d, %q; want column %d and %q", c.in, e.Column, e, c.column, c.contains)
		}
	}
}

func TestBoundsFollowTheTimeZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zone database: ", err)
	}
	now := time.Date(2024, 3, 31, 22, 30, 0, 0, time.UTC) // already April in Berlin
	for text, want := range map[string]string{
		"date:2024-03-31":   "2024-03-30T23:00:00Z 2024-03-31T22:00:00Z", // 23 hours: summer time begins
		"date:2024-03":      "2024-02-29T23:00:00Z 2024-03-31T22:00:00Z",
		"date:2024":         "2023-12-31T23:00:00Z 2024-12-31T23:00:00Z",
		"date:0d":           "2024-03-31T22:00:00Z 2024-04-01T22:00:00Z",
		"date:1d":           "2024-03-30T23:00:00Z 2024-04-01T22:00:00Z",
		"after:1m":          "2024-02-29T23:00:00Z -",
		"before:1w":         "- 2024-03-24T23:00:00Z",
		"before:2024-03":    "- 2024-02-29T23:00:00Z",
		"date:2024-03..":    "2024-02-29T23:00:00Z -",
		"date:..2024-03-01": "- 2024-03-01T23:00:00Z",
		"date:2d..1d":       "2024-03-29T23:00:00Z 2024-03-31T22:00:00Z",
	} {
		n, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		from, to := n.(*Date).Bounds(now, berlin)
		if got := stamp(from) + " " + stamp(to); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// node draws a tree as Parse makes them.
func node(t *rapid.T, depth int) Node {
	kinds := 6
	if depth > 0 {
		kinds = 9
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return &All{}
	case 1:
		flags := []string{Attachment, "encrypted", "signed", "malformed", "journal", "bounce", "held", "partial"}
		return &Flag{rapid.SampledFrom(flags).Draw(t, "flag")}
	case 2:
		op := rapid.SampledFrom([]string{"<", "<=", ">", ">="}).Draw(t, "op")
		return &Size{op, rapid.Int64Min(0).Draw(t, "bytes")}
	case 3:
		return drawDate(t)
	case 4, 5:
		return drawText(t)
	case 6:
		return drawOther(t)
	case 7:
		return &Not{node(t, depth-1)}
	}
	nodes := []Node{node(t, depth-1), node(t, depth-1)}
	if rapid.Bool().Draw(t, "and") {
		return newAnd(nodes)
	}
	return newOr(nodes)
}

func drawText(t *rapid.T) Node {
	fields := []Field{Any, From, To, Cc, Bcc, Recipient, Participant, Subject, Body, AttachmentText, FileName, List, FileType, Mailbox, MessageID}
	n := &Text{Field: rapid.SampledFrom(fields).Draw(t, "field")}
	if n.Quoted = rapid.Bool().Draw(t, "quoted"); n.Quoted {
		n.Value = rapid.String().Draw(t, "phrase") + "ä"
		return n
	}
	n.Value = rapid.StringMatching(`[a-zé0-9.,'@_+*?]{0,8}[a-zé0-9]`).Draw(t, "word")
	return n
}

func drawOther(t *rapid.T) Node {
	field := rapid.SampledFrom([]Field{Any, From, Subject, Body, List}).Draw(t, "field")
	switch rapid.IntRange(0, 4).Draw(t, "other") {
	case 0:
		two := []string{rapid.String().Draw(t, "a") + "x", "y" + rapid.String().Draw(t, "b")}
		return &Near{field, strings.Join(two, " "), rapid.IntRange(0, MaxDistance).Draw(t, "distance")}
	case 1:
		return &Regexp{field, rapid.StringMatching(`([a-z.*/" )(]|\\[\\./])*`).Filter(valid).Draw(t, "pattern")}
	case 2:
		h := &Header{Name: rapid.StringMatching(`X-[!-9;A-Z_]{0,8}`).Filter(func(s string) bool { return !strings.ContainsAny(s, `"()*=`) }).Draw(t, "name")}
		if h.Quoted = rapid.Bool().Draw(t, "quoted"); h.Quoted {
			h.Value = rapid.String().Draw(t, "phrase") + "ä"
		} else if rapid.Bool().Draw(t, "value") {
			h.Value = rapid.StringMatching(`[a-z=*]{0,4}[a-z]`).Draw(t, "word")
		}
		return h
	case 3:
		return &Text{Field: Language, Value: rapid.SampledFrom(words.Languages()).Draw(t, "language")}
	}
	return &ID{rapid.StringMatching(`[0-9a-f]{8,64}`).Draw(t, "prefix"), rapid.Bool().Draw(t, "thread")}
}

// valid reports whether the parser leaves a pattern as it is.
func valid(pattern string) bool {
	_, err := foldedPattern(pattern)
	return err == nil && !strings.Contains(strings.ReplaceAll(pattern, `\\`, ""), `\/`)
}

func drawPoint(t *rapid.T) Point {
	if rapid.Bool().Draw(t, "ago") {
		return ago(rapid.IntRange(0, 60000).Draw(t, "n"), rapid.SampledFrom([]byte("dwmy")).Draw(t, "unit"))
	}
	p := day(rapid.IntRange(1, 9999).Draw(t, "year"), rapid.IntRange(0, 12).Draw(t, "month"), 0)
	if p.Month > 0 {
		p.Day = rapid.IntRange(0, 28).Draw(t, "day")
	}
	return p
}

func drawDate(t *rapid.T) Node {
	n := &Date{Op: DateOp(rapid.IntRange(int(During), int(Before)).Draw(t, "op")), From: drawPoint(t)}
	n.Received = n.Op <= Between && rapid.Bool().Draw(t, "received")
	if n.Op == Between {
		switch rapid.IntRange(0, 2).Draw(t, "ends") {
		case 0:
			n.To = drawPoint(t)
		case 1:
			n.From, n.To = Point{}, n.From
		}
	}
	return n
}

func TestParseOfStringIsTheSameQuery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := node(t, 5)
		got, err := Parse(n.String())
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		if !reflect.DeepEqual(got, n) {
			t.Fatalf("%s: parsed as %s\n%#v\n%#v", n, got, n, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`a "b c" OR -from:(d e*) size:>1M date:2024-03..`, "((((", `"\`, "is:x", "--a", `"a b"~7 subject:/x\/y+/ header:X-A="b c" thread:0123456789`, "from:\xff", "a:b://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Column < 1 || e.Column > utf8.RuneCountInString(s)+1 {
				t.Fatalf("Parse(%q): %v", s, err)
			}
			return
		}
		again, err := Parse(n.String())
		if err != nil || !reflect.DeepEqual(again, n) {
			t.Fatalf("Parse(%q) prints as %q, which parses as %v, %v", s, n, again, err)
		}
	})
}

func ExampleParse() {
	n, err := Parse(`from:(alice OR bob) NOT draft during:2024-03`)
	fmt.Println(n, err)
	_, err = Parse(`report frm:alice`)
	fmt.Println(err)
	// Output:
	// (from:alice OR from:bob) -draft date:2024-03 <nil>
	// query, column 8: expected a field, got frm: (did you mean from:? A text with a colon goes in quotes)
}
