package mailparse

import "strings"

// Span is a range of octets of a text: text[Start:End].
type Span struct{ Start, End int }

// Quoted returns the ranges of p.Text that repeat other mail, in order: lines marked
// with ">", the line that says whose they are, and all behind the header that
// Outlook and others put above the message that is answered.
func (p *Part) Quoted() []Span {
	var spans []Span
	text := p.Text
	before := [2]Span{} // the last lines that are not blank: of the attribution
	for at := 0; at < len(text); {
		end := lineEnd(text, at)
		line := strings.TrimSpace(text[at:end])
		switch {
		case line == "":
		case isQuoted(line):
			start := at
			if n := len(spans); n == 0 || spans[n-1].End < before[1].Start {
				start = attribution(text, before, at)
			}
			spans = appendSpan(spans, Span{start, end})
			before = [2]Span{{end, end}, {end, end}}
		case beginsOriginal(line, text[at:]):
			return appendSpan(spans, Span{at, len(text)})
		default:
			before[0], before[1] = before[1], Span{at, end}
		}
		at = end
	}
	return spans
}

// OwnText returns p.Text without what Quoted finds.
func (p *Part) OwnText() string {
	spans := p.Quoted()
	if len(spans) == 0 {
		return p.Text
	}
	var out strings.Builder
	at := 0
	for _, s := range spans {
		out.WriteString(p.Text[at:s.Start])
		at = s.End
	}
	out.WriteString(p.Text[at:])
	return out.String()
}

// OwnText returns what the sender wrote: the own text of the first text that is
// no attachment. It is "" if that holds nothing but quoted text.
func (m *Message) OwnText() string {
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.Text != "" && !p.IsAttachment && (m.Journal == nil || p.parent != 0) {
			return p.OwnText()
		}
	}
	return ""
}

func lineEnd(text string, at int) int {
	if n := strings.IndexByte(text[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(text)
}

func appendSpan(spans []Span, s Span) []Span {
	if n := len(spans); n > 0 && spans[n-1].End == s.Start {
		spans[n-1].End = s.End
		return spans
	}
	return append(spans, s)
}

// isQuoted looks for the mark of a quoted line, also with the initials of its author.
func isQuoted(line string) bool {
	if line[0] == '>' {
		return !strings.HasPrefix(line, ">From ") // how mbox quotes
	}
	for i := 0; i < len(line) && i < 5; i++ {
		if c := line[i]; c == '>' && i > 1 {
			return true
		} else if c < 'A' || c > 'Z' {
			return false
		}
	}
	return false
}

// attribution returns where the lines above a quotation begin that say whose
// it is ("On … Ann wrote:"), wrapped to two lines at most; at if there are none.
func attribution(text string, before [2]Span, at int) int {
	last := strings.TrimSpace(text[before[1].Start:before[1].End])
	if !strings.HasSuffix(last, ":") || strings.TrimSpace(text[before[1].End:at]) != "" {
		return at
	}
	if isAttribution(last) && !strings.HasPrefix(last, "<") {
		return before[1].Start
	}
	if before[0].End == before[1].Start && before[0] != before[1] && isAttribution(text[before[0].Start:before[0].End]+last) {
		return before[0].Start
	}
	return at
}

// isAttribution asks for the time or the address that an attribution has and the
// words before an example have not.
func isAttribution(s string) bool {
	return strings.ContainsAny(s, "0123456789@")
}

// beginsOriginal reports whether the message that is answered or forwarded begins at
// the start of rest, of which line is the first line.
func beginsOriginal(line, rest string) bool {
	if strings.HasPrefix(line, "---") {
		title := strings.Trim(line, "- ")
		for _, known := range [...]string{
			"Original Message", "Original message", "Forwarded message", "Forwarded Message", "Forwarded by",
			"Ursprüngliche Nachricht", "Original-Nachricht", "Originalnachricht", "Weitergeleitete Nachricht", "Message d'origine", "Message original",
			"Message transféré", "Mensaje original", "Mensaje reenviado", "Messaggio originale", "Messaggio inoltrato", "Messaggio Originale",
			"Oorspronkelijk bericht", "Doorgestuurd bericht", "Mensagem original", "Mensagem encaminhada", "Исходное сообщение",
			"Пересылаемое сообщение", "Original-Mail",
		} {
			if strings.HasPrefix(title, known) {
				return true
			}
		}
		return false
	}
	return isOriginalFrom(line) && hasHeaderBelow(rest)
}

// isOriginalFrom reports whether line is the From of the header that Outlook writes
// above the original: in English, German, French, Spanish, Italian, Dutch,
// Portuguese, Russian, Polish, Swedish, Japanese or Chinese.
func isOriginalFrom(line string) bool {
	return isHeaderName(line, "From", "Von", "De", "Da", "Van", "От", "Od", "Från", "差出人", "发件人", "寄件者")
}

// isHeaderName reports whether line is a field of one of these names. French puts
// a space before the colon, mail made from HTML marks the name with asterisks.
func isHeaderName(line string, names ...string) bool {
	name, _, ok := strings.Cut(line[:min(len(line), 40)], ":")
	if !ok {
		name, _, ok = strings.Cut(line[:min(len(line), 40)], "：")
	}
	if !ok {
		return false
	}
	name = strings.Trim(name, "* \u00a0")
	for _, known := range names {
		if name == known {
			return true
		}
	}
	return false
}

// hasHeaderBelow looks for the date in the lines below a From.
func hasHeaderBelow(rest string) bool {
	at := lineEnd(rest, 0)
	for range 3 {
		end := lineEnd(rest, at)
		if isHeaderName(strings.TrimSpace(rest[at:end]), "Sent", "Date", "Gesendet", "Datum", "Envoyé", "Enviado", "Fecha", "Inviato", "Data",
			"Verzonden", "Отправлено", "Дата", "Wysłano", "Skickat", "送信日時", "发送时间", "寄件日期") {
			return true
		}
		at = end
	}
	return false
}
