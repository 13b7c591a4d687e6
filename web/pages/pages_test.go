package pages

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// inTemplates finds the texts that templates translate.
var inTemplates = regexp.MustCompile(`\.(?:T|N)\s+(?:[^"}|]*?)("(?:[^"\\]|\\.)*")(?:\s+("(?:[^"\\]|\\.)*"))?`)

// texts returns every text of templates and code that is translated.
func texts(t *testing.T) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(templateFiles, "templates", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(templateFiles, path)
		for _, m := range inTemplates.FindAllStringSubmatch(string(b), -1) {
			for _, quoted := range m[1:] {
				if text, err := strconv.Unquote(quoted); err == nil && text != "%s" {
					all = append(all, text)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(all, inCode(t)...)
}

// inCode finds the texts that Go code translates: arguments of T and N, and
// the names in tables of pages.
func inCode(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				all = append(all, text)
			}
		}
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if ok && (sel.Sel.Name == "T" || sel.Sel.Name == "N") {
					for _, arg := range n.Args[:min(len(n.Args), 3)] {
						add(arg)
					}
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Name" {
					add(n.Value)
				}
			}
			return true
		})
	}
	return all
}

func TestEveryTextIsInGermanToo(t *testing.T) {
	locales, err := loadLocales()
	if err != nil {
		t.Fatal(err)
	}
	all := texts(t)
	if len(all) < 40 {
		t.Fatalf("only %d texts found: the search for them is broken", len(all))
	}
	missing := map[string]bool{}
	for _, text := range all {
		german, ok := locales["de"][text]
		switch {
		case !ok:
			missing[text] = true
		case strings.Count(german, "%") != strings.Count(text, "%"):
			t.Errorf("%q has other verbs than %q", german, text)
		}
	}
	for text := range missing {
		t.Errorf("no German for %q", text)
	}
	for text := range locales["de"] {
		if !slices.Contains(all, text) && !slices.Contains(fromElsewhere(), text) {
			t.Errorf("%q is nowhere on a page", text)
		}
	}
}

// fromElsewhere are texts that pages get as data.
func fromElsewhere() []string {
	return []string{"user", "auditor", "officer", "admin", "local", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
		"malformed", "encrypted", "signed", "journal", "bounce", "partial", "held", "report",
		"Newest first", "Oldest first", "Best match first", "Largest first", "By sender", "Chain of custody", "Pictures",
		"search", "view", "export", "hold", "policy", "disposal-intent", "disposal-done", "config", "deposit", "poll", "verify",
		"waiting", "running", "planned", "approved", "interrupted", "applied", "retention", "erasure",
		"seal", "repack", "rebuild", "recovered", "anchor", "Message", "Text", "Headers", "Parts", "Source"}
}

func TestDatesAndNumbersFollowTheLanguage(t *testing.T) {
	at := time.Date(2026, 3, 4, 15, 6, 7, 0, time.UTC)
	for lang, want := range map[string][]string{
		"en": {"4 Mar 2026, 15:06", "1,234,567", "1.2 MB", "4 Mar", "3 hours ago", "1 message"},
		"de": {"4. März 2026, 15:06", "1.234.567", "1,2 MB", "4. März", "vor 3 Stunden", "1 Nachricht"},
	} {
		locales, err := loadLocales()
		if err != nil {
			t.Fatal(err)
		}
		v := &View{Lang: lang, Location: time.UTC, words: locales[lang], printer: message.NewPrinter(language.Make(lang)), now: at.Add(3 * time.Hour)}
		later := &View{Lang: lang, Location: time.UTC, words: locales[lang], printer: v.printer, now: at.AddDate(0, 1, 0)}
		got := []string{v.Time(at), v.Number(1234567), v.Bytes(1234567), later.Short(at), v.Ago(at), v.N(1, "%s message", "%s messages")}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", lang, got, want)
		}
	}
}
