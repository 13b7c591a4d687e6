package mailparse

import "testing"

func TestFlowedTextIsJoined(t *testing.T) {
	for name, c := range map[string]struct{ params, text, want string }{
		"joined":           {"", "one \r\ntwo \r\nthree\r\nnext\r\n", "one two three\nnext\n"},
		"DelSp":            {"; DelSp=yes", "Donaudampf \r\nschiff\r\n", "Donaudampfschiff\n"},
		"stuffed":          {"", " >no quote\r\n From here\r\n", ">no quote\nFrom here\n"},
		"quoted":           {"", ">> a \r\n>> b\r\n> c \r\nmine\r\n", ">> a b\n> c \nmine\n"},
		"quoted, no space": {"", ">a \r\n>b\r\n", "> a b\n"},
		"signature":        {"", "text \r\nmore\r\n-- \r\nAnn\r\n", "text more\n-- \nAnn\n"},
		"not ended":        {"", "one \r\ntwo ", "one two "},
		"nothing flowed":   {"", "one\r\n\r\ntwo\r\n", "one\n\ntwo\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if m := parse(t, "Content-Type: text/plain; format=flowed"+c.params+"\r\n\r\n"+c.text); m.Parts[0].Text != c.want {
				t.Errorf("%q, want %q", m.Parts[0].Text, c.want)
			}
			if m := parse(t, "Content-Type: text/plain"+c.params+"\r\n\r\n"+c.text); len(m.Parts[0].Text) < len(c.text)-10 {
				t.Errorf("joined without format=flowed: %q", m.Parts[0].Text)
			}
		})
	}
}
