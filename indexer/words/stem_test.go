package words

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func stem(s *Stemmer, language, word string) string {
	for t := range All(word) {
		if stem := s.Stem(language, t.Term, word[t.Start:t.End]); stem != "" {
			return stem
		}
		return string(t.Term)
	}
	return ""
}

func TestWordsThatDifferInTheirEndingHaveTheSameStem(t *testing.T) {
	s := NewStemmer()
	for language, groups := range map[string][]string{
		"da": {"bog bogen", "rapport rapporten rapporter"},
		"de": {"Haus Hauses Häuser Häusern", "Rechnung Rechnungen", "große großen großes", "Übung Übungen"},
		"en": {"run running runs", "invoice invoices invoiced", "company companies", "Quarterly quarterly"},
		"es": {"factura facturas", "canción canciones", "importante importantes"},
		"fr": {"facture factures", "national nationale nationaux", "aimé aimée aimer"},
		"it": {"fattura fatture", "importante importanti", "città"},
		"nl": {"rekening rekeningen", "groot grote"},
		"pt": {"fatura faturas", "contrato contratos"},
		"ru": {"счета счету", "договор договора договоров"},
		"sv": {"rapport rapporten rapporter", "bil bilar bilen"},
	} {
		for _, g := range groups {
			group := strings.Fields(g)
			for _, w := range group[1:] {
				if a, b := stem(s, language, group[0]), stem(s, language, w); a != b {
					t.Errorf("%s: %s has the stem %s, %s has %s", language, group[0], a, w, b)
				}
			}
		}
	}
	for _, word := range []string{"v2", "a1b", strings.Repeat("running", 10), "東京"} {
		want := strings.Join(terms(word)[:1], "")
		if got := stem(s, "en", word); got != want {
			t.Errorf("%s has the stem %s, want none but itself", word, got)
		}
	}
}

func TestStemsAreTheSameWhenRemembered(t *testing.T) {
	s := NewStemmer()
	for _, w := range []string{"running", "Running", "RUNNING", "Häuser", "HÄUSER", "ha\u0308user"} {
		for _, language := range []string{"en", "de"} {
			first, again, other := stem(s, language, w), stem(s, language, w), stem(NewStemmer(), language, w)
			if first != again || first != other {
				t.Errorf("%s in %s: %s, %s, %s", w, language, first, again, other)
			}
		}
	}
}

func TestKnownWordsTakeNoMemory(t *testing.T) {
	s, term := NewStemmer(), []byte("running")
	s.Stem("en", term, "Running")
	if n := testing.AllocsPerRun(100, func() { s.Stem("en", term, "Running") }); n != 0 {
		t.Errorf("%v allocations for a word that is known", n)
	}
}

func FuzzStem(f *testing.F) {
	f.Add("running")
	f.Add("Häuser œuvre naïveté")
	f.Add("счета ёлками")
	f.Fuzz(func(t *testing.T, text string) {
		s := NewStemmer()
		for tok := range All(text) {
			for _, language := range Languages() {
				stem := s.Stem(language, tok.Term, text[tok.Start:tok.End])
				if !utf8.ValidString(stem) || stem == string(tok.Term) || len(stem) > 2*MaxTermBytes {
					t.Fatalf("%q in %s: %q", tok.Term, language, stem)
				}
			}
		}
	})
}
