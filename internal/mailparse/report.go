package mailparse

import (
	"iter"
	"strings"
)

// DeliveryReport is what a bounce says: the fields of a delivery status
// notification (RFC 3464), or the X-Failed-Recipients of one that has no such form.
// Values are decoded, addresses and names of hosts without their type.
type DeliveryReport struct {
	ReportingMTA string
	EnvelopeID   string // Original-Envelope-Id
	ArrivalDate  string // as written
	Recipients   []DeliveryRecipient
}

// DeliveryRecipient is what became of one recipient. Any field may be empty.
type DeliveryRecipient struct {
	Final      string // address
	Original   string // address before aliases and forwarding
	Action     string // lower case: failed, delayed, delivered, relayed, expanded
	Status     string // as 5.1.1 (RFC 3463)
	RemoteMTA  string
	Diagnostic string
}

// FeedbackReport is what a mailbox provider says about a message that its user
// complained of (RFC 5965). Values are as written.
type FeedbackReport struct {
	Type         string // lower case: abuse, fraud, virus, not-spam, auth-failure, …
	UserAgent    string
	MailFrom     string   // Original-Mail-From, without angle brackets
	Recipients   []string // Original-Rcpt-To, without angle brackets
	SourceIP     string
	ArrivalDate  string // Arrival-Date or Received-Date
	ReportedURIs []string
	Domains      []string // Reported-Domain
}

// Fragment is the place of a message/partial in the whole (RFC 2046 section 5.2.2).
type Fragment struct {
	ID            string // common to all fragments
	Number, Total int    // from 1; Total is 0 where only the last fragment knows it
}

// maxReportEntries is the number of recipients taken of one report.
const maxReportEntries = maxAddresses

// reportFields yields the fields of a report, names in lower case, values unfolded.
// A blank line, which begins the next group, is yielded as an empty name.
func reportFields(text string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		name, value, ok := "", "", false
		for line := range strings.Lines(text) {
			trimmed := strings.TrimSpace(line)
			if ok && trimmed != "" && (line[0] == ' ' || line[0] == '\t') {
				if len(value) < maxDoubtBytes { // joining is quadratic
					value += " " + trimmed
				}
				continue
			}
			if ok && !yield(name, decodeWords(value, "")) {
				return
			}
			if name, value, ok = strings.Cut(trimmed, ":"); ok {
				name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
			} else if trimmed == "" && !yield("", "") {
				return
			}
		}
		if ok {
			yield(name, decodeWords(value, ""))
		}
	}
}

// parseDeliveryReport reads the fields of a message/delivery-status. Groups
// belong to one recipient each; where the blank line between two is missing, the next
// Final-Recipient tells, and a blank line too many tells nothing.
func parseDeliveryReport(text string) *DeliveryReport {
	d := &DeliveryReport{}
	var r DeliveryRecipient
	flush := func() {
		if (r.Final != "" || r.Original != "") && len(d.Recipients) < maxReportEntries {
			d.Recipients = append(d.Recipients, r)
		}
		r = DeliveryRecipient{}
	}
	for name, value := range reportFields(text) {
		switch name {
		case "":
			if r.Action != "" || r.Status != "" {
				flush()
			}
		case "reporting-mta":
			d.ReportingMTA = withoutType(value)
		case "original-envelope-id":
			d.EnvelopeID = value
		case "arrival-date":
			d.ArrivalDate = value
		case "final-recipient":
			if r.Final != "" {
				flush()
			}
			r.Final = reportAddr(value)
		case "original-recipient":
			if r.Original != "" {
				flush()
			}
			r.Original = reportAddr(value)
		case "action":
			action, _, _ := strings.Cut(value, " ")
			r.Action = strings.ToLower(action)
		case "status":
			r.Status, _, _ = strings.Cut(value, " ") // "5.1.1 (user unknown)"
		case "remote-mta":
			r.RemoteMTA = withoutType(value)
		case "diagnostic-code":
			r.Diagnostic = withoutType(value)
		}
	}
	flush()
	return d
}

// withoutType cuts the type off a value like "rfc822; a@example.com".
func withoutType(value string) string {
	if kind, rest, ok := strings.Cut(value, ";"); ok && !strings.ContainsAny(kind, " @") {
		value = rest
	}
	return strings.TrimSpace(value)
}

func reportAddr(value string) string {
	value = withoutType(value)
	if addr := firstAddr(value); addr != "" {
		return addr
	}
	return strings.Trim(value, "<>")
}

func parseFeedbackReport(text string) *FeedbackReport {
	f := &FeedbackReport{}
	for name, value := range reportFields(text) {
		bare := strings.Trim(value, "<> ")
		switch name {
		case "feedback-type":
			f.Type = strings.ToLower(value)
		case "user-agent":
			f.UserAgent = value
		case "original-mail-from":
			f.MailFrom = bare
		case "original-rcpt-to":
			f.Recipients = appendLimited(f.Recipients, bare)
		case "source-ip":
			f.SourceIP = value
		case "arrival-date", "received-date":
			f.ArrivalDate = value
		case "reported-uri":
			f.ReportedURIs = appendLimited(f.ReportedURIs, value)
		case "reported-domain":
			f.Domains = appendLimited(f.Domains, value)
		}
	}
	return f
}

func appendLimited(list []string, value string) []string {
	if value == "" || len(list) >= maxReportEntries {
		return list
	}
	return append(list, value)
}

// finishReports sets what is known when the whole message was read.
func (s *state) finishReports() {
	m := s.msg
	if isBounce(m) {
		s.flag(FlagBounce)
		if m.Delivery == nil {
			if failed := parseAddresses(m.Header.Raw("X-Failed-Recipients"), ""); len(failed) > 0 {
				m.Delivery = &DeliveryReport{}
				for _, a := range failed {
					m.Delivery.Recipients = append(m.Delivery.Recipients, DeliveryRecipient{Final: a.Addr, Action: "failed"})
				}
			}
		}
	}
	if m.Feedback != nil {
		s.flag(FlagReport)
	}
}

func isDeliveryStatus(mediaType string) bool {
	return mediaType == "message/delivery-status" || mediaType == "message/global-delivery-status"
}

// isBounce reports whether the message is a delivery status notification (RFC
// 3464), or one of those that programs made before there was a form for them.
func isBounce(m *Message) bool {
	root := &m.Parts[0]
	if root.MediaType == "multipart/report" && strings.EqualFold(root.Params["report-type"], "delivery-status") ||
		m.Header.Has("X-Failed-Recipients") {
		return true
	}
	for i := range m.Parts {
		if p := &m.Parts[i]; p.Depth <= 1 && isDeliveryStatus(p.MediaType) {
			return true
		}
	}
	if len(m.From) == 0 {
		return false
	}
	local, _, _ := strings.Cut(strings.ToLower(m.From[0].Addr), "@")
	return local == "mailer-daemon" ||
		local == "postmaster" && strings.Trim(m.Header.Raw("Return-Path"), " ") == "<>"
}
