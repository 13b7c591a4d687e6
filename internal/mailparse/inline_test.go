package mailparse

import (
	"io"
	"strings"
	"testing"
)

func TestFilesInTextBecomeParts(t *testing.T) {
	const uu = "begin 644 a file.txt\n#0V%T\n`\nend\n"
	for name, c := range map[string]struct{ message, text, file, content string }{
		"uuencode":                  {"before\n" + uu + "after\n", "before\nafter\n", "a file.txt", "Cat"},
		"without an empty line":     {"begin 644 f\n#0V%T\nend\n", "", "f", "Cat"},
		"nothing but":               {uu, "", "a file.txt", "Cat"},
		"without end":               {"x\nbegin 0644 f\n#0V%T\nthis is text\n", "x\nthis is text\n", "f", "Cat"},
		"prose that begins":         {"begin 123 with this\nand end there\n", "begin 123 with this\nand end there\n", "", ""},
		"no mode":                   {"begin the day\n#0V%T\n", "begin the day\n#0V%T\n", "", ""},
		"yEnc":                      {"x\n=ybegin line=128 size=4 name=a b.bin \n\x6b=\x7d\x6b\x6b\n=yend size=4\ny\n", "x\ny\n", "a b.bin", "A\x13AA"},
		"yEnc, not this":            {"=ybeginx size=1\nx\n", "=ybeginx size=1\nx\n", "", ""},
		"begin line at the end":     {"x\nbegin 644 f\n", "x\nbegin 644 f\n", "", ""},
		"begin line behind another": {"begin 644 e\nbegin 644 f\n#0V%T\nend\n", "begin 644 e", "f", "Cat"},
	} {
		t.Run(name, func(t *testing.T) {
			k := map[string]*strings.Builder{}
			m, err := Parse(t.Context(), strings.NewReader("Subject: s\n\n"+c.message), Options{Part: func(p *Part) io.Writer {
				k[p.Path] = &strings.Builder{}
				return k[p.Path]
			}})
			if err != nil {
				t.Fatal(err)
			}
			if m.Parts[0].Text != c.text || m.HasFlag(FlagPartial) || k["1"].String() != c.message {
				t.Errorf("text %q, want %q; problems %q", m.Parts[0].Text, c.text, m.Problems)
			}
			switch {
			case c.file == "" && len(m.Attachments) > 0 || c.file != "" && len(m.Attachments) != 1:
				t.Errorf("attachments %v", m.Attachments)
			case c.file != "" && (m.Attachments[0].FileName != c.file || k["1.1"].String() != c.content):
				t.Errorf("%v with %q", m.Attachments, k["1.1"])
			}
		})
	}
}
