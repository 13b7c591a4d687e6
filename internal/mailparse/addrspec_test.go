package mailparse

import (
	"slices"
	"strings"
	"testing"
)

// oddAddresses are forms in which mail has addresses, most of them not as RFC 5322 wants it, that are held@weiss.example all the same.
var oddAddresses = map[string]string{
	"encoded as a whole":         "=?utf-8?Q?J=C3=B6rg_<held@weiss.example>?=",
	"encoded, quoted":            `"=?utf-8?Q?J=C3=B6rg_<held@weiss.example>?="`,
	"encoded in base64":          "=?utf-8?B?SsO2cmcgPGhlbGRAd2Vpc3MuZXhhbXBsZT4=?=",
	"encoded in two words":       "=?utf-8?Q?J=C3=B6rg_<held@?= =?utf-8?Q?weiss.example>?=",
	"encoded address":            "=?utf-8?Q?held=40weiss.example?=",
	"encoded in the brackets":    "J <=?us-ascii?Q?held=40weiss.example?=>",
	"encoded, not well":          "=?utf-8?Q?J=C3=B6rg <held@weiss.example>?=",
	"space at the @":             "held @ weiss.example",
	"space at the @ in brackets": "J <held @ weiss.example>",
	"comment at the @":           "held(c1)@(c2)weiss.example",
	"space at the dot":           "held@weiss  . example",
	"space behind the dot":       "J <held@weiss. example>",
	"spaces everywhere":          "held @ weiss . example",
	"two in brackets":            "<held@weiss.example> <other@weiss.example>",
	"second in brackets":         "<other@weiss.example> <held@weiss.example>",
	"two without a comma":        "x@weiss.example held@weiss.example",
	"two in one bracket":         "<x@weiss.example held@weiss.example>",
	"SMTP:":                      `"held@weiss.example" <SMTP:held@weiss.example>`,
	"smtp: without brackets":     "smtp:held@weiss.example",
	"mailto:":                    "J <mailto:held@weiss.example>",
	"[mailto:]":                  "J [mailto:held@weiss.example]",
	"route":                      "J <@relay.example,@b.example:held@weiss.example>",
	"group":                      "Team: held@weiss.example, b@weiss.example;",
	"semicolons":                 "b@weiss.example; held@weiss.example",
	"no closing bracket":         "J <held@weiss.example",
	"no closing bracket, next":   "J <held@weiss.example, B <b@weiss.example>",
	"closing bracket only":       "J held@weiss.example>",
	"doubled brackets":           "J <<held@weiss.example>>",
	"trailing dot":               "held@weiss.example.",
	"trailing dot in brackets":   "J <held@weiss.example.>",
	"no-break space":             "J <held@weiss.example\u00a0>",
	"no-break space between":     "J\u00a0held@weiss.example",
	"zero-width space":           "J <held\u200b@weiss.example\ufeff>",
	"wide @":                     "J <held＠weiss．example>",
	"quoted local part":          `"held"@weiss.example`,
	"quotes within brackets":     `J <"held"@weiss.example>`,
	"quoted as a whole":          `"held@weiss.example"`,
	"single quotes":              "'held@weiss.example'",
	"single quotes in brackets":  "J <'held@weiss.example'>",
	"upper case":                 "HELD@WEISS.EXAMPLE",
	"comment behind":             "held@weiss.example (J)",
	"quote that never ends":      `"J <held@weiss.example>`,
	"comment that never ends":    "J (x <held@weiss.example>",
}

func TestAddressesInOddForms(t *testing.T) {
	for name, value := range oddAddresses {
		m := parse(t, "From: "+value+"\r\nTo: bob@example.org\r\nSubject: k\r\n\r\nx\r\n")
		if !slices.ContainsFunc(m.From, func(a Address) bool { return strings.EqualFold(a.Addr, "held@weiss.example") }) {
			t.Errorf("%s: %s is read as %+v", name, value, m.From)
		}
		if all, _ := m.HeaderAddresses(); !slices.Contains(all, "held@weiss.example") {
			t.Errorf("%s: %s is not among all addresses %q", name, value, all)
		}
		if m.HasFlag(FlagUnclear) {
			t.Errorf("%s: %s is unclear", name, value)
		}
	}
}

// TestWhatIsNoAddressIsUnclear: nobody can say that it is not the custodian's.
func TestWhatIsNoAddressIsUnclear(t *testing.T) {
	for name, header := range map[string]string{
		"X.500":                    "From: J <" + "/O=WEISS/OU=EX/CN=RECIPIENTS/CN=HELD>\r\n",
		"X.500, encapsulated":      "From: <IMCEAEX-_O=WEISS_OU=EX_CN=HELD@gate.example>\r\n",
		"X.400":                    "From: c=de;a= ;p=weiss;o=ex;s=held\r\n",
		"X.400 with slashes":       "From: /S=held/O=weiss/C=de/@gate.example\r\n",
		"LDAP":                     "From: CN=Held,OU=weiss,DC=example\r\n",
		"a name":                   "From: Jörg Held\r\n",
		"a name in brackets":       "From: <held>\r\n",
		"a bang path":              "From: weiss!held\r\n",
		"an empty domain":          "From: held@\r\n",
		"an empty local part":      "From: @weiss.example\r\n",
		"a label too few":          "From: held@weiss..example\r\n",
		"spaces in the domain":     "From: J <held@weiss example>\r\n",
		"at in words":              "From: held at weiss dot example\r\n",
		"a comment alone":          "From: (held)\r\n",
		"empty":                    "From: \r\n",
		"an unreadable recipient":  "From: a@b.example\r\nTo: Jörg Held\r\n",
		"an unreadable Cc":         "From: a@b.example\r\nCc: b@b.example, CN=Held/O=weiss\r\n",
		"unreadable, was sent on":  "From: a@b.example\r\nResent-To: held\r\n",
		"unreadable among several": "From: a@b.example\r\nTo: c@b.example, held, d@b.example\r\n",
	} {
		m := parse(t, header+"Subject: k\r\n\r\nx\r\n")
		if !m.HasFlag(FlagUnclear) || !m.HasFlag(FlagMalformed) {
			t.Errorf("%s: flags %v, from %+v, to %+v", name, m.Flags, m.From, m.To)
		}
	}
	for name, text := range map[string]string{
		"CR behind LF":         "From: a@b.example\n\rCc: held@weiss.example\n\r\n\rx\n",
		"text behind a field":  "From: a@b.example\r\nheld@weiss.example writes\r\n\r\nx\r\n",
		"nothing but a header": "From: a@b.example\r\nand held@weiss.example",
	} {
		if m := parse(t, text); !m.HasFlag(FlagUnclear) || !m.HasFlag(FlagMalformed) {
			t.Errorf("%s: flags %v, %v", name, m.Flags, m.Problems)
		}
	}
	for _, header := range []string{
		"From: a@b.example\r\nTo: undisclosed-recipients:;\r\n",
		"From: a@b.example\r\nTo: Undisclosed Recipients\r\n",
		"From: a@b.example\r\nTo: Undisclosed Recipients@relay.example\r\n",
		"From: J (comment) <a@b.example>\r\nReply-To: <>\r\nTo: \r\n",
		"From: a@b.example\r\nReturn-Path: <>\r\nTo: x@[192.0.2.1], root@localhost\r\n",
		"From: Jörg <jörg@müller.example>, \"A, B\" <o'neil+x@b-c.example>\r\nTo: Group: ;\r\n",
	} {
		if m := parse(t, header+"Subject: k\r\n\r\nx\r\n"); m.HasFlag(FlagUnclear) {
			t.Errorf("%q is unclear: %v", header, m.Problems)
		}
	}
}

func TestAddressesAnywhereInTheHeader(t *testing.T) {
	for name, field := range map[string]string{
		"trace":             "Received: from x by y with ESMTP id 1 for <held@weiss.example>; Mon, 2 Mar 2026 10:00:00 +0100",
		"envelope":          "Return-Path: <held@weiss.example>",
		"delivery":          "X-Whatever-Original-Recipient: rfc822;held@weiss.example",
		"authentication":    "Authentication-Results: mx; spf=pass smtp.mailfrom=held@weiss.example; dkim=none",
		"list":              "List-Unsubscribe: <https://l.example/u?m=held%40weiss.example>",
		"display name":      `Reply-To: "held@weiss.example via list" <list@l.example>`,
		"comment":           "X-Note: written by (held@weiss.example)",
		"encoded":           "Comments: =?utf-8?B?Zm9yIGhlbGRAd2Vpc3MuZXhhbXBsZQ==?=",
		"percent hack":      "X-Env: held%weiss.example@relay.example",
		"batv":              "Return-Path: <prvs=1234abcd=held@weiss.example>",
		"encapsulated SMTP": "X-MS-To: IMCEASMTP-held+40weiss+2Eexample@gate.example",
		"junk line":         "this line is no field held@weiss.example",
		"spaces":            "Cc: held @ weiss . example",
		"batv with a slash": "Return-Path: <prvs=held/1234abcd@weiss.example>",
		"srs":               "Return-Path: <SRS0=HHH=TT=weiss.example=held@forward.example>",
		"srs, twice":        "Return-Path: <SRS1=GGG=forward.example==HHH=TT=weiss.example=held@other.example>",
		"verp":              "Return-Path: <list-return-12-held=weiss.example@l.example>",
		"verp with a plus":  "Return-Path: <list-bounces+held=weiss.example@l.example>",
		"forwarded":         "Return-Path: <b+caf_=held=weiss.example@b.example>",
		"authenticated":     "X-Sender-Id: provider|x-authuser|held@weiss.example",
		"uucp":              "X-Path: relay!held@weiss.example",
	} {
		m := parse(t, "From: a@b.example\r\n"+field+"\r\nSubject: k\r\n\r\nx\r\n")
		if all, whole := m.HeaderAddresses(); !whole || !slices.Contains(all, "held@weiss.example") {
			t.Errorf("%s: %s gives %q", name, field, all)
		}
	}
	for _, line := range []string{"From held@weiss.example Mon Mar  2 10:00:00 2026", ">From held@weiss.example Mon Mar  2 10:00:00 2026"} {
		m := parse(t, line+"\r\nFrom: a@b.example\r\n\r\nx\r\n")
		if all, whole := m.HeaderAddresses(); !whole || !slices.Contains(all, "held@weiss.example") || m.HasFlag(FlagUnclear) {
			t.Errorf("%q gives %q, flags %v", line, all, m.Flags)
		}
	}
	m := parse(t, "From: a@b.example\r\nCc: held . smith @ weiss . example\r\n\r\nx\r\n")
	if len(m.Cc) != 1 || m.Cc[0] != (Address{Addr: "held.smith@weiss.example"}) {
		t.Errorf("a local part with spaces at the dot is read as %+v", m.Cc)
	}
	m = parse(t, "From: a@b.example\r\nMessage-ID: <1@held.example>\r\nReferences: <2@held.example>\r\n\r\nx\r\n")
	if all, _ := m.HeaderAddresses(); !slices.Equal(all, []string{"a@b.example"}) {
		t.Errorf("ids of messages are taken for addresses: %q", all)
	}
}
