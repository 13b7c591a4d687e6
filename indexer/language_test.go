package indexer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/indexer/query"
)

const journalReport = `From: <MicrosoftExchange@example.com>
To: <journal@example.com>
Subject: offer
MIME-Version: 1.0
X-MS-Journal-Report:
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/plain

Sender: alice@example.com
Subject: offer
Message-Id: <offer@example.com>
To: bob@example.com
Bcc: boss@example.com
To: carol@example.com, Expanded: staff@example.com

--b
Content-Type: message/rfc822

From: Alice <alice@example.com>
To: bob@example.com, staff@example.com
Date: Mon, 15 Apr 2024 08:00:00 +0000
Subject: offer
Message-ID: <offer@example.com>

Please find the offer attached, as we have said on the phone.
--b--
`

// conversation is three messages of a thread, of which the archive lacks the first, and two
// that are not of it.
func conversation() *memory {
	a := newMemory()
	a.put("reply", "m", "Message-ID: <2@x>\nReferences: <1@x>\nSubject: Re: plan\nX-Mailer: Mutt/1.5 (Linux)\nX-Spam-Flag: YES\n\nyes\n")
	a.put("answer", "m", "Message-ID: <3@x>\nIn-Reply-To: <2@x>\nSubject: Re: plan\nList-Id: Plans <plan-talk.lists.example.org>\n\nno\n")
	a.put("last", "m", "Message-ID: <4@x>\nReferences: <1@x> <2@x> <3@x>\nSubject: Re: plan\nDelivered-To: eve@example.net\n\nmaybe\n")
	a.put("other", "m", "Message-ID: <5@x>\nSubject: plan\nX-Mailer: Outlook\n\nMutt on Linux\n")
	a.put("bare", "m", "Subject: nothing else\n\nx\n")
	return a
}

func TestSearchFindsHeadersListsThreadsAndIDs(t *testing.T) {
	r := start(t, t.TempDir(), conversation(), WorkerOptions{}).catchUp()
	reply := id("reply")
	r.want(map[string]string{
		"header:X-Mailer":                     "other reply",
		"header:x-mailer=mutt":                "reply",
		`header:X-Mailer="mutt 1.5"`:          "reply",
		`header:X-Mailer="1.5 mutt"`:          "reply",
		`header:X-Mailer="mutt outlook"`:      "",
		"header:X-Mailer=Mutt/1.5":            "reply",
		"header:X-Mailer=out*":                "other",
		"header:(X-Mailer=mutt OR List-Id)":   "answer reply",
		"header:X-Spam-Flag=yes":              "reply",
		"header:X-Mailer=yes":                 "",
		"header:subject=plan":                 "answer last other reply",
		"header:message-id=5@x":               "other",
		"list:plan-talk.lists.example.org":    "answer",
		"list:plan-talk":                      "answer",
		"list:lists.example.org":              "answer",
		"list:example.com":                    "",
		"rcpt:eve":                            "last",
		"eve@example.net":                     "",
		"to:eve":                              "",
		"id:" + reply:                         "reply",
		"id:" + strings.ToUpper(reply[:60]):   "reply",
		"id:" + id("last"):                    "last",
		"thread:" + reply:                     "answer last reply",
		"thread:" + id("answer"):              "answer last reply",
		"thread:" + id("other"):               "other",
		"thread:" + id("bare"):                "bare",
		"thread:" + id("unheard"):             "",
		"-thread:" + reply + " -subject:plan": "bare",
	})
}

func TestIDsAreFoundByTheirFirstDigits(t *testing.T) {
	a := newMemory()
	a.put("zz", "m", "Subject: x\n\nx\n")
	long := strings.Repeat("7a", 10)
	a.put(long[:10], "m", "Subject: y\n\ny\n")
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	if got := r.find("id:" + id("zz")[:8]); got != "7a7a7a7a7a zz" { // both begin with zeros
		t.Errorf("%q", got)
	}
	if got := r.find("id:" + id("zz")[:63]); got != "zz" {
		t.Errorf("%q", got)
	}
}

func TestJournalReportsAreFoundByEveryRecipient(t *testing.T) {
	a := newMemory()
	a.put("report", "m", journalReport)
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"rcpt:boss@example.com":  "report",
		"rcpt:staff":             "report",
		"rcpt:carol@example.com": "report",
		"rcpt:bob":               "report",
		"bcc:boss":               "",
		"to:bob":                 "report",
		"participant:boss":       "report",
		"boss@example.com":       "report",
		"is:journal lang:en":     "report",
		"rcpt:alice":             "",
	})
}

func TestFileTypesAreFoundByExtensionKindAndMediaType(t *testing.T) {
	r := start(t, t.TempDir(), sample(), WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"filetype:pdf":             "carol",
		"filetype:.PDF":            "carol",
		"filetype:application/pdf": "carol",
		"filetype:document":        "carol",
		"filetype:text":            "carol",
		"filetype:txt":             "carol",
		"filetype:image":           "",
		"filetype:p*":              "carol",
		"filetype:(zip OR pdf)":    "carol",
	})
	for _, c := range []struct{ name, media, want string }{
		{"a.JPEG", "application/octet-stream", "jpg"},
		{"noname", "image/png", "png"},
		{"", "application/octet-stream", ""},
		{"v1.2 final", "application/pdf", "pdf"},
		{"", "application/x-shar", "shar"},
		{"x.unheard", "text/plain", "unheard"},
	} {
		if got := fileTypeOf(c.name, c.media); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.name, c.media, got, c.want)
		}
	}
}

func TestRegularExpressionsFitWholeWords(t *testing.T) {
	r := start(t, t.TempDir(), sample(), WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"/qui.k/":                        "alice bob",
		"/QUI[A-Z]K/":                    "alice bob",
		"/^quick$/":                      "alice bob",
		"/uic/":                          "",
		"/(jumps|zebra)/":                "alice broken",
		"/Größe|x/":                      "bob",
		`from:/.*@(sub\.)?example\.org/`: "bob carol",
		"subject:/re(port)?/":            "alice bob",
		"mailbox:/s.*t/":                 "carol kanji",
		`filename:/.*\.pdf/`:             "carol",
		"-/.*/":                          "",
	})
}

func TestWordsNearEachOther(t *testing.T) {
	a := newMemory()
	a.put("one", "m", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "red green", "one two three four five six one eight"))
	a.put("two", "m", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "blue", "six red 1 foo@bar.com 東京都 end"))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	r.want(map[string]string{
		`"one three"~0`:            "",
		`"one three"~1`:            "one",
		`"three one"~1`:            "one",
		`"five one"~1`:             "one",
		`"two six eight"~4`:        "one",
		`"two six eight"~3`:        "",
		`"one one"~4`:              "",
		`"one one"~5`:              "one",
		`"two two"~99`:             "",
		`"one one one"~99`:         "",
		`"red two"~99`:             "", // not in one field
		`"red green"~0`:            "one",
		`body:"red green"~9`:       "",
		`subject:"green red"~0`:    "one",
		`"foo@bar.com red"~1`:      "two",
		`"foo@bar.com red"~0`:      "",
		`"bar@foo.com red"~9`:      "",
		`"東京都 six"~5`:              "two",
		`"東京都 six"~4`:              "",
		`"six red"~0 -"six 1"~0`:   "two",
		`"six one"~0 OR "1 six"~1`: "one two",
	})
	res, err := r.Search(t.Context(), Request{Query: `"six red"~9`, Sort: SortRelevance})
	if err != nil || res.Total != 1 || res.Hits[0].Score == 0 {
		t.Errorf("by relevance: %+v, %v", res, err)
	}
}

func TestHeldIsAskedForWithEveryQuery(t *testing.T) {
	dir, a := t.TempDir(), sample()
	r := start(t, dir, a, WorkerOptions{}).catchUp()
	if _, err := r.Search(t.Context(), Request{Query: "quick -is:held"}); !errors.Is(err, ErrNoHolds) {
		t.Errorf("without holds: %v", err)
	}
	r.stop()
	var held []string
	asked := 0
	x, err := Open(t.Context(), Options{Dir: dir, Held: func(context.Context) ([]string, error) { asked++; return held, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	r = &running{Index: x, t: t}
	r.want(map[string]string{"is:held": "", "quick -is:held": "alice bob"})
	held = []string{id("alice"), id("carol"), id("unheard")}
	slices.Sort(held)
	r.want(map[string]string{"is:held": "alice carol", "quick -is:held": "bob", "is:held OR (is:held zebra)": "alice carol"})
	if asked != 5 {
		t.Errorf("asked %d times for 5 queries", asked)
	}
}

func TestLanguageOfTheTextIsFound(t *testing.T) {
	a := newMemory()
	a.put("german", "m", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "x", "Das ist nicht die Antwort, die wir von Ihnen haben wollten.\n> but it is the one that you have got from us"))
	a.put("english", "m", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "x", "This is not the answer that we have wanted from you."))
	a.put("none", "m", mail("a@x", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", "x", "int x = 1;"))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	r.want(map[string]string{"lang:de": "german", "lang:en": "english", "-lang:(de OR en)": "none"})
}

func TestQueriesThatAreRefusedSayWhere(t *testing.T) {
	r := start(t, t.TempDir(), sample(), WorkerOptions{}).catchUp()
	var syntax *query.Error
	if _, err := r.Search(t.Context(), Request{Query: "zebra form:alice"}); !errors.As(err, &syntax) || !strings.Contains(err.Error(), "column 7") || !strings.Contains(err.Error(), "from:") {
		t.Errorf("%v", err)
	}
	if _, err := r.Search(t.Context(), Request{Query: "/(((a{9}){9}){9}){9}/"}); err == nil {
		t.Error("an expression of six thousand letters is accepted")
	}
	started := time.Now()
	if _, err := r.Search(t.Context(), Request{Query: "/" + strings.Repeat("(a|b|c|.)*", 40) + "x/"}); time.Since(started) > 10*time.Second {
		t.Errorf("%s for an expression, %v", time.Since(started), err)
	}
}

func TestBareWordsFindOtherEndings(t *testing.T) {
	a := newMemory()
	put := func(name, subject, body string) {
		a.put(name, "m", mail("Runner <runs@example.com>", "b@x", "Mon, 1 Jan 2024 10:00:00 +0000", subject, body))
	}
	put("english", "Reports", "He was running to the office with all of the invoices that we have sent to them.")
	put("plain", "report", "The run was not on the list that we have sent to you: invoice")
	put("german", "Rechnungen", "Wir haben die Häuser nicht gesehen, die Sie auf der Liste haben: Par run.")
	put("russian", "x", "Мы не видели договоров, о которых вы говорили, и это всё что у нас есть.")
	put("unsure", "reports", "running invoices Häuser")
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	r.want(map[string]string{
		"body:run":            "english german plain",
		"body:running":        "english plain unsure",
		`body:"run"`:          "german plain",
		"body:runn*":          "english unsure",
		"body:/run+/":         "german plain",
		"body:ran":            "",
		"invoiced":            "english plain",
		"subject:reporting":   "english plain",
		"report":              "english plain",
		"Haus":                "german",
		"häuser":              "german unsure",
		"hauser":              "german unsure",
		"body:Häusern":        "german",
		"Rechnung":            "german",
		"договор":             "russian",
		"Paris":               "", // par- would be its stem in Spanish
		"from:running":        "",
		`"run invoice"~99`:    "plain",
		"body:(run -running)": "german",
		"body:/.*/":           "english german plain russian unsure",
	})
	res, err := r.Search(t.Context(), Request{Query: "body:running", Sort: SortRelevance})
	if err != nil || name(res.Hits[len(res.Hits)-1].ID) != "plain" {
		t.Errorf("the word itself does not come before its other endings: %+v, %v", res, err)
	}
}

func TestConditionsDoNotDisturbRelevance(t *testing.T) {
	r := start(t, t.TempDir(), sample(), WorkerOptions{}).catchUp()
	for _, condition := range []string{"mailbox:sales", "date:2024", "size:<1M", "-has:attachment", "id:" + id("bob")[:54], "header:subject=re*",
		"-header:X-Mailer", "(is:signed OR lang:en OR msgid:*report*)", "-filetype:pdf", "thread:" + id("bob")} {
		res, err := r.Search(t.Context(), Request{Query: "fox " + condition, Sort: SortRelevance})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Hits) == 0 || name(res.Hits[0].ID) != "bob" { // shorter than alice's
			t.Errorf("%s: %+v", condition, res.Hits)
		}
		for _, h := range res.Hits {
			if !(h.Score > 0 && h.Score < 1) {
				t.Errorf("%s: score %v", condition, h.Score)
			}
		}
	}
}
