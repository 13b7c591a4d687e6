package mailparse

import (
	"fmt"
	"slices"
	"testing"
)

func TestDeliveryReportFields(t *testing.T) {
	const want = "&{mx.example.com env-1 Mon, 2 Feb 2026 10:00:00 +0100 [{a@example.com b@example.com failed 5.1.1 mail.example.com 550 no such user here} {c@example.com  delayed 4.4.1  }]}"
	for name, gap := range map[string]string{"as it should be": "\n", "blank line missing": "", "blank lines too many": "\n\n \n"} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, "From: MAILER-DAEMON@example.com\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nsorry\n--b\nContent-Type: message/delivery-status\n\n"+
				"Reporting-MTA: dns; mx.example.com\nOriginal-Envelope-Id: env-1\nArrival-Date: Mon, 2 Feb 2026 10:00:00 +0100\n\n"+
				"Final-Recipient: RFC822; <a@example.com>\nOriginal-Recipient: rfc822;b@example.com\n"+gap[:min(1, len(gap)/2)]+"Action: Failed (user)\nStatus: 5.1.1 (bad mailbox)\nRemote-MTA: dns; mail.example.com\n"+
				"Diagnostic-Code: smtp; 550 no such\n\tuser here\n"+gap+"Final-Recipient: rfc822; c@example.com\nAction: delayed\nStatus: 4.4.1\n--b--\n")
			if got := fmt.Sprint(m.Delivery); got != want || !slices.Equal(m.Flags, []string{FlagBounce}) {
				t.Errorf("%s\nwant %s, flags %v", got, want, m.Flags)
			}
		})
	}
}

func TestBounceWithoutReportNamesItsRecipients(t *testing.T) {
	m := parse(t, "From: Mailer-Daemon@example.com\nX-Failed-Recipients: a@example.com, b@example.com\n\nsorry")
	if m.Delivery == nil || len(m.Delivery.Recipients) != 2 || m.Delivery.Recipients[1].Final != "b@example.com" {
		t.Errorf("%+v", m.Delivery)
	}
}

func TestFeedbackReportFields(t *testing.T) {
	m := parse(t, "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\n\nspam!\n--b\nContent-Type: message/feedback-report\n\n"+
		"Feedback-Type: Abuse\nUser-Agent: loop/1\nOriginal-Mail-From: <s@example.com>\nOriginal-Rcpt-To: <u@example.org>\nSource-IP: 192.0.2.1\nReported-Domain: example.com\nReported-URI: https://example.com/x\nReceived-Date: today\n--b--\n")
	const want = "&{abuse loop/1 s@example.com [u@example.org] 192.0.2.1 today [https://example.com/x] [example.com]}"
	if got := fmt.Sprint(m.Feedback); got != want || !slices.Equal(m.Flags, []string{FlagReport}) {
		t.Errorf("%s\nwant %s, flags %v", got, want, m.Flags)
	}
}

func TestFragmentIsPartial(t *testing.T) {
	m := parse(t, "Content-Type: message/partial; id=\"x@example.com\"; number=2; total=3\n\nmiddle\n")
	if m.Fragment == nil || *m.Fragment != (Fragment{"x@example.com", 2, 3}) || !slices.Equal(m.Flags, []string{FlagPartial}) || m.Text() != "middle\n" {
		t.Errorf("%+v, flags %v, text %q", m.Fragment, m.Flags, m.Text())
	}
}

func TestTransportRecipients(t *testing.T) {
	m := parse(t, "Delivered-To: box@example.com\nX-Original-To: Ann@example.com\nEnvelope-To: one@example.com, two@example.com\nX-Envelope-To: <three@example.com>\nX-RCPT-TO: nobody\n"+
		"Received: from a (a [192.0.2.1])\r\n\tby b with ESMTP id 1 for <alias@example.org>; Mon, 2 Feb 2026 10:00:00 +0100\n"+
		"Received: (invoked for bounce, for ann@EXAMPLE.com) by c for multiple recipients; Mon, 2 Feb 2026\nTo: visible@example.com\n\n")
	want := []string{"box@example.com", "Ann@example.com", "one@example.com", "two@example.com", "three@example.com", "alias@example.org"}
	if !slices.Equal(m.Recipients, want) {
		t.Errorf("%q, want %q", m.Recipients, want)
	}
}

func journalReport(report, header, body string) string {
	return "Subject: report\nX-MS-Journal-Report:\nContent-Type: multipart/mixed; boundary=j\n\n--j\nContent-Type: text/plain\n\n" + report +
		"\n--j\nContent-Type: message/rfc822\n\n" + header + "\n" + body + "\n--j--\n"
}

func TestJournalEntries(t *testing.T) {
	m := parse(t, journalReport("Sender: s@example.com\nSubject: s\nTo: a@example.com, Expanded: list@example.com\nBcc: b@example.com, Forwarded: old@example.com\nRecipient: c@example.com\n", "Subject: s\n", "x"))
	const want = "[{a@example.com to list@example.com } {b@example.com bcc  old@example.com} {c@example.com recipient  }]"
	if got := fmt.Sprint(m.Journal.Entries); got != want || m.Journal.Subject != "s" {
		t.Errorf("%s\nwant %s", got, want)
	}
	if !slices.Equal(m.Recipients, m.Journal.Recipients) || len(m.Recipients) != 5 {
		t.Errorf("recipients %q, of the report %q", m.Recipients, m.Journal.Recipients)
	}
	m = parse(t, journalReport("Sender: s@example.com\nMessage-ID: <1@example.com>\nRecipients:\n a@example.com\n <b@example.com>\n", "Subject: s\n", "x"))
	if !slices.Equal(m.Recipients, []string{"a@example.com", "b@example.com"}) {
		t.Errorf("recipients without keys: %q", m.Recipients)
	}
}

func TestJournalKeyIsThatOfTheMessage(t *testing.T) {
	key := func(report, header, body string) string {
		return parse(t, journalReport(report, header, body)).Journal.Key
	}
	one := key("Sender: s@example.com\nTo: a@example.com\n", "Message-ID: <1@x>\n", "text")
	if other := key("Sender: s@example.com\nTo: b@example.com\n", "Received: more\nMessage-ID: <1@x>\n", "text"); one != other || len(one) != 64 {
		t.Errorf("two reports of one message: %q and %q", one, other)
	}
	if key("To: a@example.com\n", "Message-ID: <1@x>\n", "other text") == one || key("To: a@example.com\n", "Message-ID: <2@x>\n", "text") == one {
		t.Error("another message has the same key")
	}
}
