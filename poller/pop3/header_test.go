package pop3_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postkeep/postkeep/poller/pop3"
)

func TestHeaderHash(t *testing.T) {
	sum := func(s string) string {
		h := sha256.Sum256([]byte(s))
		return hex.EncodeToString(h[:])
	}
	for _, tc := range []struct {
		name, message, hashed string
		confirmable           bool
	}{
		{"whole message", "Subject: a\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n", "Subject: a\nMessage-ID: <1@x>", true},
		{"TOP 0 with a blank line", "Subject: a\r\nMessage-ID: <1@x>\r\n\r\n", "Subject: a\nMessage-ID: <1@x>", true},
		{"TOP 0 without", "Subject: a\r\nMessage-ID: <1@x>\r\n", "Subject: a\nMessage-ID: <1@x>", true},
		{"no final line end", "Received: by x", "Received: by x", true},
		{"bare LF", "A: b\nRECEIVED : x\n\nbody", "A: b\nRECEIVED : x", true},
		{"CR within a line", "A: b\rc\r\r\nreceived: x\r\n\r\n", "A: b\rc\r\nreceived: x", true},
		{"nothing to identify it", "Subject: a\r\n\r\nMessage-ID: <1@x>\r\n", "Subject: a", false},
		{"the name in a value", "Subject: Message-ID: x\r\n\r\n", "Subject: Message-ID: x", false},
		{"a longer name", "X-Received: x\r\nReceived-SPF: pass\r\n\r\n", "X-Received: x\nReceived-SPF: pass", false},
		{"empty header", "\r\nReceived: x\r\n", "", false},
		{"empty", "", "", false},
		{"too long", "Received: x\r\nA: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hash, confirmable, err := pop3.HeaderHash(strings.NewReader(tc.message))
			if err != nil || confirmable != tc.confirmable {
				t.Errorf("confirmable %v, error %v", confirmable, err)
			}
			if tc.name != "too long" && hash != sum(tc.hashed) {
				t.Errorf("hash of something else than %q", tc.hashed)
			}
			h := pop3.NewHeaderHasher()
			if _, err := io.Copy(h, iotest.OneByteReader(strings.NewReader(tc.message))); err != nil {
				t.Fatal(err)
			}
			byBytes, confirmable := h.Sum()
			if tc.confirmable && byBytes != hash || confirmable != tc.confirmable {
				t.Errorf("byte by byte the result differs")
			}
		})
	}
}
