package mailgen

import (
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// demoText holds hand-written messages: after a line "==== mailbox mailbox…" the
// fields of the header and some of our own (see demoMessage), an empty line, the
// text, and lines "Attach: kind name | line | line…".
//
//go:embed demo.txt
var demoText string

const (
	demoDomain = "harbour.example"
	demoCount  = 300
)

// A Mail is a message in a mailbox.
type Mail struct {
	Mailbox string
	Raw     []byte
}

// Demo returns the mail of a small coffee company: 300 messages in the mailboxes
// sales, support and archive at harbour.example. The hand-written ones make searches
// such as "from:maria contract", "Rechnung" or "抹茶" worth while; generated ones
// in many languages surround them, among them a journal report, a bounce and
// two that are broken. Some messages are in two mailboxes.
func Demo() ([]Mail, error) {
	mails, err := writtenMail()
	if err != nil {
		return nil, fmt.Errorf("mailgen: demo: %w", err)
	}
	g, err := New(Options{Seed: 1, Domain: demoDomain, Interval: 8 * time.Hour})
	if err != nil {
		return nil, err
	}
	for _, l := range g.lexicons {
		l.words = nil // people read this: sentences with sense only
	}
	limited := map[Kind]int{Journal: 1, Bounce: 1, BrokenStructure: 1, BrokenBytes: 1, WrongCharset: 0}
	for i := 0; len(mails) < demoCount; i++ {
		if left, ok := limited[g.Kind(i)]; ok {
			if left == 0 {
				continue
			}
			limited[g.Kind(i)]--
		}
		mailbox := g.Mailbox(i)
		if g.Kind(i) == Journal {
			mailbox = "archive" // which is what journal reports are sent to
		}
		mails = append(mails, Mail{mailbox, g.Message(i)})
	}
	return mails, nil
}

func writtenMail() ([]Mail, error) {
	var mails []Mail
	parents := make(map[string][]string) // by Id: the Message-IDs up to and including it
	for i, block := range strings.Split(demoText, "==== ")[1:] {
		mailboxes, rest, _ := strings.Cut(block, "\n")
		m, err := parseDemo(rest)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		raw, err := m.bytes(parents, rand.New(rand.NewPCG(uint64(i), 0)))
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		for _, mailbox := range strings.Fields(mailboxes) {
			mails = append(mails, Mail{mailbox, raw})
		}
	}
	return mails, nil
}

// A demoMessage is one entry of demoText.
type demoMessage struct {
	fields map[string]string // Id, Reply, Charset, Encoding, Html and those of the header
	text   string
	files  []string
}

func parseDemo(block string) (demoMessage, error) {
	m := demoMessage{fields: map[string]string{"Charset": "utf-8", "Encoding": "quoted-printable"}}
	header, text, found := strings.Cut(block, "\n\n")
	if !found {
		return m, fmt.Errorf("no text after %q", header)
	}
	for line := range strings.Lines(header) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		m.fields[key] = value
	}
	for line := range strings.Lines(text) {
		if file, ok := strings.CutPrefix(line, "Attach: "); ok {
			m.files = append(m.files, strings.TrimSpace(file))
		} else {
			m.text += line
		}
	}
	return m, nil
}

func (m demoMessage) bytes(parents map[string][]string, rng *rand.Rand) ([]byte, error) {
	date, err := time.Parse("2006-01-02 15:04 -0700", m.fields["Date"])
	if err != nil {
		return nil, err
	}
	content, err := m.content(rng)
	if err != nil {
		return nil, err
	}
	charset, kind := m.fields["Charset"], byte('B')
	if strings.HasPrefix(charset, "iso-8859") {
		kind = 'Q'
	}
	id := "<" + m.fields["Id"] + "@" + demoDomain + ">"
	thread := parents[m.fields["Reply"]]
	parents[m.fields["Id"]] = append(thread[:len(thread):len(thread)], id)

	var e entity
	e.add("Received", "from mail.example (mail.example [192.0.2.1])\r\n\tby mx."+demoDomain+" with ESMTPS; "+date.UTC().Format(time.RFC1123Z))
	for _, name := range []string{"From", "To", "Cc", "Bcc"} {
		if value, ok := m.fields[name]; ok {
			e.add(name, encodeAddresses(charset, kind, value))
		}
	}
	e.add("Subject", encodeHeader(charset, kind, m.fields["Subject"]))
	e.add("Date", date.Format(time.RFC1123Z))
	e.add("Message-ID", id)
	if n := len(thread); n > 0 {
		e.add("In-Reply-To", thread[n-1])
		e.add("References", strings.Join(thread, "\r\n\t"))
	}
	e.add("MIME-Version", "1.0")
	e.fields = append(e.fields, content.fields...)
	e.body = content.body
	return []byte(e.String()), nil
}

func (m demoMessage) content(rng *rand.Rand) (entity, error) {
	content := textPart("text/plain", m.fields["Charset"], m.fields["Encoding"], m.text)
	if m.fields["Html"] != "" {
		paragraphs := strings.Split(strings.TrimSpace(m.text), "\n\n")
		last := len(paragraphs) - 1
		p := prose{greeting: paragraphs[0], paragraphs: paragraphs[1:last], closing: paragraphs[last]}
		content = joinParts("alternative", "", boundary(rng), content, htmlPart(p, "https://"+demoDomain+"/logo.png"))
	}
	parts := []entity{content}
	for _, file := range m.files {
		part, err := demoFile(file, rng)
		if err != nil {
			return entity{}, err
		}
		parts = append(parts, part)
	}
	if len(parts) == 1 {
		return content, nil
	}
	return joinParts("mixed", "", boundary(rng), parts...), nil
}

// demoFile makes what "kind name | line | line…" says.
func demoFile(file string, rng *rand.Rand) (entity, error) {
	lines := strings.Split(file, " | ")
	kind, name, _ := strings.Cut(lines[0], " ")
	switch kind {
	case "pdf":
		return filePart(typePDF, "attachment", name, makePDF(lines[1:])), nil
	case "csv":
		return filePart("text/csv; charset=utf-8", "attachment", name, []byte(strings.Join(lines[1:], "\r\n")+"\r\n")), nil
	case "png":
		return filePart(typePNG, "attachment", name, makePNG(rng)), nil
	case "docx":
		return filePart(typeDOCX, "attachment", name, makeDOCX(lines[1:])), nil
	}
	return entity{}, fmt.Errorf("unknown kind of file %q", file)
}

// encodeAddresses encodes the display names of a list of addresses.
func encodeAddresses(charset string, kind byte, list string) string {
	items := strings.Split(list, ", ")
	for i, item := range items {
		if name, addr, found := strings.Cut(item, " <"); found {
			items[i] = encodeHeader(charset, kind, name) + " <" + addr
		}
	}
	return strings.Join(items, ",\r\n\t")
}
