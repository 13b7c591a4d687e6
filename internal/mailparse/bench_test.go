package mailparse

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/internal/corpus"
)

// typicalMessage is made like the mail of people today: text and HTML, with a
// header of some thirty lines.
func typicalMessage(attachment int) string {
	var b strings.Builder
	for i := range 6 {
		fmt.Fprintf(&b, "Received: from mx%d.example.com (mx%d.example.com [192.0.2.%d])\r\n\tby mail.example.org with ESMTPS id abc%d\r\n\tfor <bob@example.org>; Mon, 2 Feb 2026 10:00:0%d +0100 (CET)\r\n", i, i, i, i, i)
	}
	for i := range 12 {
		fmt.Fprintf(&b, "X-Header-%d: %s\r\n", i, strings.Repeat("value ", 8))
	}
	b.WriteString("From: =?utf-8?q?J=C3=B6rg?= <joerg@example.com>\r\nTo: Bob <bob@example.org>, \"Miller, Ann\" <ann@example.org>\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?= about the plan\r\n" +
		"Date: Mon, 2 Feb 2026 10:00:00 +0100\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_m\"\r\n\r\n" +
		"--=_m\r\nContent-Type: multipart/alternative; boundary=\"=_a\"\r\n\r\n--=_a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	for i := range 30 {
		fmt.Fprintf(&b, "This is line %d of a letter with some words in it, caf=C3=A9 too.\r\n", i)
	}
	b.WriteString("--=_a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body>")
	for i := range 30 {
		fmt.Fprintf(&b, "<p style=\"margin:0\">This is line %d of a letter with some <b>words</b> in it, caf&eacute; too.</p>\r\n", i)
	}
	b.WriteString("</body></html>\r\n--=_a--\r\n")
	if attachment > 0 {
		b.WriteString("--=_m\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		encoded := base64.StdEncoding.EncodeToString(make([]byte, attachment))
		for len(encoded) > 76 {
			b.WriteString(encoded[:76] + "\r\n")
			encoded = encoded[76:]
		}
		b.WriteString(encoded + "\r\n")
	}
	b.WriteString("--=_m--\r\n")
	return b.String()
}

func BenchmarkParse(b *testing.B) {
	for name, size := range map[string]int{"letter": 0, "attachment1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			message := typicalMessage(size)
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if m := parse(b, message); m.HasFlag(FlagMalformed) || m.Text() == "" {
					b.Fatal(m.Problems)
				}
			}
		})
	}
}

// BenchmarkParseList parses the first messages of a mailing list, with the text as the index takes it.
func BenchmarkParseList(b *testing.B) {
	if !corpus.Available(b, "bench-list") {
		b.Skip()
	}
	const want = 2000
	var messages [][]byte
	var size int64
	err := corpus.Load(b.Context(), "bench-list", func(_ string, msg []byte) error {
		messages = append(messages, msg)
		size += int64(len(msg))
		if len(messages) == want {
			return io.EOF
		}
		return nil
	})
	if !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	var p Parser
	for b.Loop() {
		for _, msg := range messages {
			m, err := p.Parse(b.Context(), bytes.NewReader(msg), Options{})
			if err != nil {
				b.Fatal(err)
			}
			_ = m.Text()
		}
	}
}
