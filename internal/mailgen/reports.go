package mailgen

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

func buildList(_ *Generator, e *envelope) []byte {
	const list = "pump-users"
	host := "lists." + e.domain
	e.subject = "[" + list + "] " + e.subject
	footer := "_______________________________________________\n" + list + " mailing list\nhttps://" + host + "/" + list + "\n"
	m := e.message(e.textPart(e.letter().text() + footer))
	m.set("To", list+"@"+host)
	m.add("List-Id", "Users of pumps <"+list+"."+host+">")
	m.add("List-Post", "<mailto:"+list+"@"+host+">")
	m.add("List-Unsubscribe", "<https://"+host+"/"+list+"/leave>,\r\n\t<mailto:"+list+"-leave@"+host+">")
	m.add("Precedence", "list")
	m.add("Sender", list+"-bounces@"+host)
	return []byte(m.String())
}

// buildJournal wraps a message as Exchange's envelope journaling does: the
// report names the Bcc recipient whom the message itself does not.
func buildJournal(_ *Generator, e *envelope) []byte {
	original := e.message(e.textPart(e.letter().text()))
	bcc := pick(e.rng, e.lex.people).local + "@audit." + e.domain
	report := strings.Join([]string{
		"Sender: " + e.from.addr, "Subject: " + encodeHeader("utf-8", 'B', e.subject), "Message-Id: " + e.id,
		"To: " + e.to, "Bcc: " + bcc, "",
	}, "\n")
	var wrapped entity
	wrapped.add("Content-Type", "message/rfc822")
	wrapped.body = original.String()
	outer := *e
	outer.id = fmt.Sprintf("<%016x@journal.report.generator>", e.rng.Uint64())
	m := outer.message(joinParts("mixed", "", e.boundary(), textPart("text/plain", "us-ascii", "7bit", report), wrapped))
	m.add("Sender", "<MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@"+e.domain+">")
	m.add("X-MS-Journal-Report", "")
	m.add("Auto-Submitted", "auto-generated")
	return []byte(m.String())
}

// buildBounce reports that a message of ours could not be delivered (RFC 3464).
func buildBounce(_ *Generator, e *envelope) []byte {
	original := *e
	original.from = address{"Sales", e.to}
	original.to = e.from.addr
	original.id = fmt.Sprintf("<%016x@%s>", e.rng.Uint64(), e.domain)
	sent := original.message(original.textPart(e.lex.letter(e.rng, "Sales").text()))

	reason := "550 5.1.1 <" + original.to + ">: user unknown"
	text := "Your message could not be delivered to one recipient.\n\n" + original.to + ": " + reason + "\n"
	var status, returned entity
	status.add("Content-Type", "message/delivery-status")
	status.body = strings.Join([]string{
		"Reporting-MTA: dns; mail." + e.lex.domain, "Arrival-Date: " + e.date.Format(time.RFC1123Z), "",
		"Final-Recipient: rfc822; " + original.to, "Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; " + reason, "",
	}, "\r\n")
	returned.add("Content-Type", "message/rfc822")
	returned.body = sent.String()

	e.from = address{"Mail Delivery System", "mailer-daemon@" + e.lex.domain}
	e.subject = "Undelivered Mail Returned to Sender"
	m := e.message(joinParts("report", "; report-type=delivery-status", e.boundary(), e.textPart(text), status, returned))
	m.set("Return-Path", "<>")
	m.add("Auto-Submitted", "auto-replied")
	return []byte(m.String())
}

// buildSigned has the structure of a signed message (RFC 3156 section 5), around
// bytes that are no signature.
func buildSigned(_ *Generator, e *envelope) []byte {
	raw := make([]byte, 96)
	for i := range raw {
		raw[i] = byte(e.rng.Uint32())
	}
	armor := "-----BEGIN PGP SIGNATURE-----\r\n\r\n" + base64.StdEncoding.EncodeToString(raw[:48]) + "\r\n" +
		base64.StdEncoding.EncodeToString(raw[48:]) + "\r\n-----END PGP SIGNATURE-----\r\n"
	var signature entity
	signature.add("Content-Type", "application/pgp-signature; name=\"signature.asc\"")
	signature.body = armor
	return e.bytes(joinParts("signed", "; micalg=pgp-sha256;\r\n\tprotocol=\"application/pgp-signature\"", e.boundary(),
		e.textPart(e.letter().text()), signature))
}

// buildBrokenStructure has a header line without a colon, base64 that is none and a
// multipart that never ends.
func buildBrokenStructure(_ *Generator, e *envelope) []byte {
	file := filePart(typePDF, "attachment", "scan.pdf", makePDF([]string{"Scanned page"}))
	file.body = strings.Replace(file.body, "\r\n", "!*~\r\n", 1)
	content := joinParts("mixed", "", e.boundary(), e.textPart(e.letter().text()), file)
	content.body = content.body[:strings.LastIndex(content.body, "\r\n--")]
	raw := e.message(content).String()
	return []byte(strings.Replace(raw, "\r\nTo: ", "\r\nthis line is not a header field\r\nTo: ", 1))
}

// buildBrokenBytes has NULs, bare LF and CR, 8-bit bytes in a header without a
// charset, and no final newline.
func buildBrokenBytes(_ *Generator, e *envelope) []byte {
	m := e.message(e.textPart(e.letter().text()))
	m.set("Subject", e.subject+" caf\xe9")
	m.body = strings.Replace(m.body, "\r\n", "\n", 2) + "before\x00after\x00\r\nbare\rCR\r\n.\nlast line without an end"
	return []byte(m.String())
}

func buildWrongCharset(_ *Generator, e *envelope) []byte {
	content := e.textPart("")
	content.body = encode("iso-8859-1", strings.ReplaceAll(e.letter().text(), "\n", "\r\n"))
	return e.bytes(content)
}
