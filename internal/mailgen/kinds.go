package mailgen

import (
	"fmt"
	"html"
	"math/rand/v2"
	"strings"
	"time"
)

// A Kind is what a message is an example of.
type Kind string

// The kinds of messages. The text kinds are named by their charset.
const (
	ASCII           Kind = "us-ascii"
	UTF8EightBit    Kind = "utf-8 8bit"
	UTF8QP          Kind = "utf-8 quoted-printable"
	UTF8Base64      Kind = "utf-8 base64"
	Latin1          Kind = "iso-8859-1"
	Latin9          Kind = "iso-8859-15"
	Windows1252     Kind = "windows-1252"
	Windows1251     Kind = "windows-1251"
	KOI8R           Kind = "koi8-r"
	ISO2022JP       Kind = "iso-2022-jp"
	ShiftJIS        Kind = "shift_jis"
	GB18030         Kind = "gb18030"
	Big5            Kind = "big5"
	HTML            Kind = "html"             // multipart/alternative
	CSV             Kind = "csv"              // attachment
	PDF             Kind = "pdf"              // attachment
	PNG             Kind = "png"              // image within HTML, multipart/related
	DOCX            Kind = "docx"             // attachment with a name in RFC 2231 encoding
	Flowed          Kind = "flowed"           // RFC 3676, with quotations
	Thread          Kind = "thread"           // a message and its replies
	List            Kind = "list"             // mailing list
	Journal         Kind = "journal"          // Exchange journal report with a Bcc
	Bounce          Kind = "bounce"           // RFC 3464
	Signed          Kind = "signed"           // multipart/signed; the signature is not valid
	BrokenStructure Kind = "broken structure" // header line without colon, unclosed multipart, bad base64
	BrokenBytes     Kind = "broken bytes"     // NULs, bare LF, no final newline
	WrongCharset    Kind = "wrong charset"    // says utf-8, is iso-8859-1
)

// Broken reports whether messages of the kind break the rules of mail.
func (k Kind) Broken() bool {
	return k == BrokenStructure || k == BrokenBytes || k == WrongCharset
}

// A spec says how messages of a kind are made and how frequent they are.
type spec struct {
	kind      Kind
	weight    int // messages in a cycle
	languages []string
	charset   string
	transfer  string // Content-Transfer-Encoding
	build     func(*Generator, *envelope) []byte
}

func specs() []spec {
	western := []string{"de", "fr", "es"}
	english, russian, japanese := []string{"en"}, []string{"ru"}, []string{"ja"}
	all := []string{"en", "en", "en", "de", "fr", "es", "ru", "el", "ar", "ja", "zh-hans", "zh-hant"}
	return []spec{
		{ASCII, 8, english, "us-ascii", "7bit", buildText},
		{UTF8EightBit, 5, all, "utf-8", "8bit", buildText},
		{UTF8QP, 5, western, "utf-8", "quoted-printable", buildText},
		{UTF8Base64, 5, []string{"el", "ar", "ru", "ja", "zh-hans"}, "utf-8", "base64", buildText},
		{Latin1, 3, western, "iso-8859-1", "quoted-printable", buildText},
		{Latin9, 2, western, "iso-8859-15", "8bit", buildText},
		{Windows1252, 3, western, "windows-1252", "quoted-printable", buildText},
		{Windows1251, 2, russian, "windows-1251", "8bit", buildText},
		{KOI8R, 2, russian, "koi8-r", "8bit", buildText},
		{ISO2022JP, 2, japanese, "iso-2022-jp", "7bit", buildText},
		{ShiftJIS, 1, japanese, "shift_jis", "base64", buildText},
		{GB18030, 2, []string{"zh-hans"}, "gb18030", "base64", buildText},
		{Big5, 2, []string{"zh-hant"}, "big5", "base64", buildText},
		{HTML, 6, all, "utf-8", "quoted-printable", buildHTML},
		{CSV, 2, all, "utf-8", "quoted-printable", buildCSV},
		{PDF, 3, all, "utf-8", "quoted-printable", buildPDF},
		{PNG, 2, all, "utf-8", "quoted-printable", buildPNG},
		{DOCX, 2, western, "utf-8", "quoted-printable", buildDOCX},
		{Flowed, 2, english, "us-ascii", "7bit", buildFlowed},
		{Thread, 5, all, "utf-8", "quoted-printable", buildThread},
		{List, 3, english, "us-ascii", "7bit", buildList},
		{Journal, 1, western, "utf-8", "quoted-printable", buildJournal},
		{Bounce, 1, english, "us-ascii", "7bit", buildBounce},
		{Signed, 1, english, "us-ascii", "7bit", buildSigned},
		{BrokenStructure, 1, english, "us-ascii", "7bit", buildBrokenStructure},
		{BrokenBytes, 1, english, "us-ascii", "7bit", buildBrokenBytes},
		{WrongCharset, 1, western, "utf-8", "8bit", buildWrongCharset},
	}
}

// message puts the header of a letter before its content.
func (e *envelope) message(content entity) entity {
	var m entity
	host := "mail." + e.lex.domain
	m.add("Return-Path", "<"+e.from.addr+">")
	m.add("Delivered-To", e.to)
	m.add("Received", fmt.Sprintf("from %s (%s [192.0.2.%d])\r\n\tby mx.%s with ESMTPS id %08x\r\n\tfor <%s>; %s",
		host, host, 1+e.rng.IntN(254), e.domain, e.rng.Uint32(), e.to, e.date.UTC().Format(time.RFC1123Z)))
	kind := byte('B')
	if e.rng.IntN(2) == 0 && e.lex.separator != "" && e.spec.charset != "iso-2022-jp" {
		kind = 'Q'
	}
	m.add("From", encodeHeader(e.spec.charset, kind, e.from.name)+" <"+e.from.addr+">")
	m.add("To", e.to)
	m.add("Subject", encodeHeader(e.spec.charset, kind, e.subject))
	m.add("Date", e.date.Format(time.RFC1123Z))
	m.add("Message-ID", e.id)
	if n := len(e.parents); n > 0 {
		m.add("In-Reply-To", e.parents[n-1])
		m.add("References", strings.Join(e.parents, "\r\n\t"))
	}
	m.add("MIME-Version", "1.0")
	m.fields = append(m.fields, content.fields...)
	m.body = content.body
	return m
}

func (e *envelope) bytes(content entity) []byte { return []byte(e.message(content).String()) }

func (e *envelope) letter() prose { return e.lex.letter(e.rng, e.from.name) }

func (e *envelope) boundary() string { return boundary(e.rng) }

func boundary(rng *rand.Rand) string { return fmt.Sprintf("=_%016x", rng.Uint64()) }

func (e *envelope) textPart(text string) entity {
	return textPart("text/plain", e.spec.charset, e.spec.transfer, text)
}

func buildText(_ *Generator, e *envelope) []byte {
	text := e.letter().text()
	if e.spec.kind == Latin9 || e.spec.kind == Windows1252 {
		text = strings.ReplaceAll(text, "EUR", "€")
	}
	if e.spec.kind == Windows1252 { // what iso-8859-1 does not have
		text = strings.NewReplacer("; ", " – ", "'", "’").Replace(text)
	}
	return e.bytes(e.textPart(text))
}

// htmlPart is the letter as a newsletter program writes it, with a remote image.
func htmlPart(p prose, image string) entity {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><style>p { font-family: sans-serif; }</style></head>\n<body>\n")
	fmt.Fprintf(&b, "<p>%s</p>\n", html.EscapeString(p.greeting))
	for _, paragraph := range p.paragraphs {
		fmt.Fprintf(&b, "<p>%s</p>\n", html.EscapeString(paragraph))
	}
	fmt.Fprintf(&b, "<p>%s</p>\n", strings.ReplaceAll(html.EscapeString(p.closing), "\n", "<br>\n"))
	fmt.Fprintf(&b, "<img src=\"%s\" alt=\"\">\n</body></html>\n", image)
	return textPart("text/html", "utf-8", "quoted-printable", b.String())
}

func buildHTML(_ *Generator, e *envelope) []byte {
	p := e.letter()
	pixel := fmt.Sprintf("https://news.%s/open/%08x.gif", e.lex.domain, e.rng.Uint32())
	return e.bytes(joinParts("alternative", "", e.boundary(), e.textPart(p.text()), htmlPart(p, pixel)))
}

func buildPNG(_ *Generator, e *envelope) []byte {
	p := e.letter()
	cid := fmt.Sprintf("logo.%08x@%s", e.rng.Uint32(), e.lex.domain)
	image := filePart(typePNG, "inline", "logo.png", makePNG(e.rng))
	image.add("Content-ID", "<"+cid+">")
	page := joinParts("related", "", e.boundary(), htmlPart(p, "cid:"+cid), image)
	return e.bytes(joinParts("alternative", "", e.boundary(), e.textPart(p.text()), page))
}

func (e *envelope) withFile(file entity) []byte {
	return e.bytes(joinParts("mixed", "", e.boundary(), e.textPart(e.letter().text()), file))
}

func buildCSV(_ *Generator, e *envelope) []byte {
	return e.withFile(filePart("text/csv; charset=utf-8", "attachment", fmt.Sprintf("orders-%d.csv", e.rng.IntN(1000)), makeCSV(e.rng, e.lex)))
}

func buildPDF(_ *Generator, e *envelope) []byte {
	number := fmt.Sprintf("2026-%05d", 1+e.rng.IntN(40000))
	pdf := makePDF([]string{"Invoice " + number, "Customer: " + e.from.addr, fmt.Sprintf("Total: %d.00", 20+e.rng.IntN(9000))})
	return e.withFile(filePart(typePDF, "attachment", "invoice-"+number+".pdf", pdf))
}

func buildDOCX(_ *Generator, e *envelope) []byte {
	p := e.letter()
	return e.withFile(filePart(typeDOCX, "attachment", pick(e.rng, e.lex.products)+".docx", makeDOCX(p.paragraphs)))
}

func buildThread(_ *Generator, e *envelope) []byte {
	p := e.letter()
	text := p.text()
	if len(e.parents) > 0 {
		quoted := wrap(e.lex.expand(e.rng, pick(e.rng, e.lex.sentences)), lineWidth)
		text = "> " + strings.Join(quoted, "\n> ") + "\n\n" + text
	}
	return e.bytes(e.textPart(text))
}

// buildFlowed ends every line that goes on with a space (RFC 3676 section 4.2).
func buildFlowed(_ *Generator, e *envelope) []byte {
	p := e.letter()
	quoted := wrap(strings.Repeat(e.lex.expand(e.rng, pick(e.rng, e.lex.sentences))+" ", 2), lineWidth-4)
	text := "> " + strings.Join(quoted, " \n> ") + "\n\n"
	for _, paragraph := range p.paragraphs {
		text += strings.Join(wrap(paragraph, lineWidth-4), " \n") + "\n\n"
	}
	text += "-- \n" + e.from.name + "\n"
	return e.bytes(textPart("text/plain; format=flowed; delsp=no", "us-ascii", "7bit", text))
}
