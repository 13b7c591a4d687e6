package mailparse

import "testing"

func TestCalendarsAndCardsAreReadable(t *testing.T) {
	for name, c := range map[string]struct{ mediaType, text, want string }{
		"calendar": {"text/calendar; method=REQUEST", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;TZID=\"Europe: Berlin\":20260202T100000\r\nSUMMARY:The plan\\, and\r\n  more\r\nDESCRIPTION:one\\ntwo\r\n" +
			"ORGANIZER;CN=\"Ann: boss\":mailto:ann@example.com\r\nATTENDEE;ROLE=REQ-PARTICIPANT;CN=Bob:MAILTO:bob@example.com\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
			"2026-02-02 10:00\nThe plan, and more\none\ntwo\nAnn: boss ann@example.com\nBob bob@example.com\n"},
		"card": {"text/x-vcard", "BEGIN:VCARD\nVERSION:2.1\nN:Miller;Ann;;;\nitem1.EMAIL;INTERNET:ann@example.com\nNOTE;ENCODING=QUOTED-PRINTABLE:caf=C3=A9\nPHOTO;BASE64:AAAA\n AAAA\nEND:VCARD\n",
			"Miller Ann\nann@example.com\ncafé\n"},
		"neither": {"text/calendar", "no calendar at all\n", "no calendar at all\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if m := parse(t, "Content-Type: "+c.mediaType+"\n\n"+c.text); m.Parts[0].Text != c.want {
				t.Errorf("%q, want %q", m.Parts[0].Text, c.want)
			}
		})
	}
}
