package export_test

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/export"
)

// formula reports whether a spreadsheet may take a cell for a formula, whatever it drops before it.
func formula(cell string) bool {
	cell = strings.TrimLeft(cell, "\" \u00a0\u3000\ufeff\u200b\u200c\u200d\u2060\t\r\n")
	for _, start := range []string{"=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "﹢", "﹣", "﹫", "−"} {
		if strings.HasPrefix(cell, start) {
			return true
		}
	}
	return false
}

// cells are those that programs make of a line: strict ones, ones that do not mind quotes, and ones that do not know them.
func cells(t *testing.T, line string) (all []string) {
	t.Helper()
	for _, comma := range ",;\t|" {
		for _, lazy := range []bool{false, true} {
			r := csv.NewReader(strings.NewReader(line))
			r.Comma, r.LazyQuotes, r.FieldsPerRecord, r.TrimLeadingSpace = comma, lazy, -1, lazy
			rows, err := r.ReadAll()
			if err != nil && comma == ',' {
				t.Fatalf("%q: %v", line, err)
			}
			for _, row := range rows {
				all = append(all, row...)
			}
		}
		if comma != ',' { // of which RFC 4180 says how it is quoted
			all = append(all, strings.Split(line, string(comma))...)
		}
	}
	return all
}

func FuzzCellIsNoFormulaInAnyLanguage(f *testing.F) {
	for _, s := range []string{
		"", "plain", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "x;=1", "x; =1", "x;\"=1\"", "\"=1\"", "a\";=1;\"b", "＝1", "x;＝1", "－1",
		"a|=1", "a\t=1", "a;;=1", "\u200b=1", ";\ufeff=1", "'=1", ";' =1", "\x00=1", "\u00a0=1", "Re: -; +@", "\xff=1", "a;\x01\"\x02=1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var line bytes.Buffer
		w := csv.NewWriter(&line)
		if err := w.Write([]string{"id", export.Cell(s), "end"}); err != nil {
			t.Fatal(err)
		}
		w.Flush()
		for _, c := range cells(t, line.String()) {
			if formula(c) {
				t.Errorf("%q is written as %q, of which %q is a formula", s, line.String(), c)
			}
		}
	})
}

func TestCellKeepsOrdinaryText(t *testing.T) {
	for _, s := range []string{"Re: plain", "a@example.com; b@example.com", "a-b, c+d = e", "2026-03-01T09:00:00Z", "Maria <maria@example.com>", `{"user":"anna","to":-1}`} {
		if got := export.Cell(s); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}
