package words

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func terms(text string) []string {
	var out []string
	for t := range All(text) {
		out = append(out, string(t.Term))
	}
	return out
}

func TestAllSplitsAndFolds(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		" ... ":                        "",
		"Hello, World":                 "hello world",
		"foo@bar.com v2.6.3 a_b":       "foo bar com v2 6 3 a b",
		"don't l'avion":                "don t l avion",
		"Größe GRÖSSE Übung":           "grosse grosse ubung",
		"naïve cafe\u0301 Łódź Æsir":   "naive cafe lodz aesir",
		"Ἀθῆναι ΟΔΟΣ οδος":             "αθηναι οδοσ οδοσ",
		"Ёлка мой":                     "елка мои",
		"İstanbul ısı":                 "istanbul isi",
		"Donau\u00addampf":             "donaudampf",
		"ｆｕｌｌ１２ ﬁn":                    "full12 fin",
		"שָׁלוֹם":                      "שלום",
		"東京都":                          "東京 京都 都",
		"東":                            "東",
		"ab東京cd":                       "ab 東京 京 cd",
		"東京 大阪":                        "東京 京 大阪 阪",
		"한국어":                          "한국 국어 어",
		"สวัสดี":                       "สว วั ัส สด ดี ี",
		"a\xffb":                       "a b",
		"x\u0301":                      "x",
		"\u0301a":                      "a",
		strings.Repeat("é", 200):       strings.Repeat("e", MaxTermBytes),
		strings.Repeat("я", 60) + " b": strings.Repeat("я", MaxTermBytes/2) + " b",
	} {
		if got := strings.Join(terms(text), " "); got != want {
			t.Errorf("All(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestPositionsAndOffsetsPointToTheText(t *testing.T) {
	text := "Zwei Wörter, 東京!"
	var got []string
	last := 0
	for tok := range All(text) {
		if tok.Position != last+1 {
			t.Errorf("position %d after %d", tok.Position, last)
		}
		last = tok.Position
		got = append(got, text[tok.Start:tok.End])
	}
	if want := []string{"Zwei", "Wörter", "東京", "京"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAllStopsWhenTold(t *testing.T) {
	for _, text := range []string{"a b c", "東京都庁"} {
		n := 0
		for range All(text) {
			n++
			break
		}
		if n != 1 {
			t.Errorf("%q: %d tokens", text, n)
		}
	}
}

func TestFoldKeepsWhatIsBetweenWords(t *testing.T) {
	if got, want := Fold("Jürgen.GROẞ+x@Exämple.com *?"), "jurgen.gross+x@example.com *?"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzAll(f *testing.F) {
	f.Add("Größe 東京 don't \xff\u0301")
	f.Add("สวัสดี 한국어 \u2e80\u2e80 ½")
	f.Fuzz(func(t *testing.T, text string) {
		position := 0
		for tok := range All(text) {
			if len(tok.Term) == 0 || len(tok.Term) > MaxTermBytes || !utf8.Valid(tok.Term) {
				t.Fatalf("%q: term %q", text, tok.Term)
			}
			if tok.Position <= position || tok.Start >= tok.End || tok.End > len(text) {
				t.Fatalf("%q: %+v after position %d", text, tok, position)
			}
			position = tok.Position
		}
	})
}
