package pop3_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/postkeep/postkeep/poller/pop3"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

func TestListReadsWhatServersSend(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		want   []pop3.Entry
		kind   pop3.Kind
	}{
		"decent":              {"+OK\r\n1 120\r\n2 200\r\n.\r\n", []pop3.Entry{{1, 120}, {2, 200}}, 0},
		"empty":               {"+OK\r\n.\r\n", nil, 0},
		"spaces and more":     {"+OK\r\n 1   120  x\r\n.\r\n", []pop3.Entry{{1, 120}}, 0},
		"sizes that are none": {"+OK\r\n1 -5\r\n2\r\n3 x\r\n4 99999999999999999999\r\n5 0\r\n.\r\n", []pop3.Entry{{1, -1}, {2, -1}, {3, -1}, {4, -1}, {5, 0}}, 0},
		"number that is none": {"+OK\r\nx 5\r\n1 5\r\n.\r\n", nil, pop3.KindProtocol},
		"number zero":         {"+OK\r\n0 5\r\n.\r\n", nil, pop3.KindProtocol},
		"absurd number":       {"+OK\r\n99999999999 5\r\n.\r\n", nil, pop3.KindProtocol},
		"refused":             {"-ERR no\r\n", nil, pop3.KindRefused},
	} {
		t.Run(name, func(t *testing.T) {
			conn := login(t, script(t, session("", "C: LIST", tc.answer, "C: NOOP", "+OK\r\n")...))
			got, err := conn.List(t.Context())
			if !slices.Equal(got, tc.want) || pop3.KindOf(err) != tc.kind {
				t.Errorf("%v, %v", got, err)
			}
			if err := conn.Noop(t.Context()); err != nil {
				t.Errorf("the session did not stay usable: %v", err)
			}
		})
	}
}

func TestUIDLReadsWhatServersSend(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		want   []pop3.UIDLEntry
	}{
		"decent":               {"+OK\r\n1 a\r\n2 b\r\n.\r\n", []pop3.UIDLEntry{{1, "a"}, {2, "b"}}},
		"several spaces":       {"+OK\r\n1   a\r\n.\r\n", []pop3.UIDLEntry{{1, "a"}}},
		"blank":                {"+OK\r\n1\r\n2 \r\n.\r\n", []pop3.UIDLEntry{{1, ""}, {2, ""}}},
		"spaces, 8-bit, slash": {"+OK\r\n1 a b/\xfc%\r\n.\r\n", []pop3.UIDLEntry{{1, "a%20b/%FC%25"}}},
		"duplicates":           {"+OK\r\n1 a\r\n2 a\r\n1 c\r\n.\r\n", []pop3.UIDLEntry{{1, "a"}, {2, "a"}, {1, "c"}}},
		"without a number":     {"+OK\r\nabc\r\n\r\n2 b\r\n.\r\n", []pop3.UIDLEntry{{2, "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := login(t, script(t, session("", "C: UIDL", tc.answer)...))
			got, err := conn.UIDL(t.Context())
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestUIDLRefused(t *testing.T) {
	for answer, unsupported := range map[string]bool{
		"-ERR Command not understood": true,
		"-ERR":                        true,
		"-ERR what?":                  true,
		"-ERR [SYS/TEMP] later":       false,
		"-ERR temporary failure":      false,
		"-ERR [SYS/PERM] broken":      false,
	} {
		server := startServer(t, pop3test.Config{Hook: pop3test.Reply("UIDL", "", answer)}, "a")
		_, err := login(t, optionsFor(server)).UIDL(t.Context())
		if err == nil || errors.Is(err, errors.ErrUnsupported) != unsupported {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

func TestStatReadsWhatServersSend(t *testing.T) {
	for answer, want := range map[string]struct {
		count  int
		octets int64
		kind   pop3.Kind
	}{
		"+OK 2 320":                    {2, 320, 0},
		"+OK 0 0":                      {0, 0, 0},
		"+OK 2 320 and more":           {2, 320, 0},
		"+OK":                          {0, 0, pop3.KindProtocol},
		"+OK -1 320":                   {0, 0, pop3.KindProtocol},
		"+OK 2 -320":                   {0, 0, pop3.KindProtocol},
		"+OK 99999999999999999999 320": {0, 0, pop3.KindProtocol},
		"-ERR [SYS/TEMP] no":           {0, 0, pop3.KindTemporary},
	} {
		conn := login(t, script(t, session("", "C: STAT", answer+"\r\n")...))
		count, octets, err := conn.Stat(t.Context())
		if count != want.count || octets != want.octets || pop3.KindOf(err) != want.kind {
			t.Errorf("%q: %d, %d, %v", answer, count, octets, err)
		}
	}
}
