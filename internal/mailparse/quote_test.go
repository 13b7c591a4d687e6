package mailparse

import "testing"

func TestOwnText(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing quoted":      {"a\n\nb\n", "a\n\nb\n"},
		"below":               {"yes\n\nOn 1 Feb 2026, Ann wrote:\n> really?\n> so?\n", "yes\n\n"},
		"between":             {"On 1 Feb 2026 Ann wrote:\n> one?\nyes\n> two?\nno\n", "yes\nno\n"},
		"wrapped attribution": {"yes\n\nAm 1. Februar 2026 schrieb Ann\n<ann@example.com>:\n\n>> what?\n", "yes\n\n"},
		"initials":            {"AB> what?\nthis\n", "this\n"},
		"no attribution":      {"Like so:\n> echo\nclear?\n", "Like so:\nclear?\n"},
		"Outlook":             {"yes\n\n-----Original Message-----\nFrom: Ann\nreally?\n", "yes\n\n"},
		"Outlook, German":     {"ja\n\nVon: Ann <ann@example.com>\nGesendet: Montag\nAn: Bob\nBetreff: x\n\nwirklich?\n", "ja\n\n"},
		"From alone":          {"From: the top\nto the bottom\n", "From: the top\nto the bottom\n"},
		"a line drawn":        {"a\n------ cut here ------\nb\n", "a\n------ cut here ------\nb\n"},
		"mbox quoting":        {">From here on\n", ">From here on\n"},
	} {
		t.Run(name, func(t *testing.T) {
			p := Part{Text: c.text}
			if got := p.OwnText(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			for i, s := range p.Quoted() {
				if s.Start >= s.End || s.End > len(c.text) || i > 0 && s.Start < p.Quoted()[i-1].End {
					t.Errorf("spans %v of %d octets", p.Quoted(), len(c.text))
				}
			}
		})
	}
}
