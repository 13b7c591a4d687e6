package indexer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive/hold"
)

// TestAddressesInOddFormsAreFoundAndHeld has messages of which each is from or to a custodian, in forms that mail has them in.
func TestAddressesInOddFormsAreFoundAndHeld(t *testing.T) {
	files, err := filepath.Glob("testdata/addresses/*.eml")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	a := newMemory()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		a.put(strings.TrimSuffix(filepath.Base(name), ".eml"), "box", string(data))
	}
	message := func(fields string) string { return fields + "Subject: k\n\nx\n" }
	for name, fields := range map[string]string{
		"x500":       "From: J <" + "/O=WEISS/OU=EX/CN=RECIPIENTS/CN=HELD>\nTo: bob@example.org\n",
		"imceaex":    "From: bob@example.org\nTo: <IMCEAEX-_O=WEISS_OU=EX_CN=HELD@gate.example>\n",
		"x400":       "From: c=de;a= ;p=weiss;o=ex;s=held\nTo: bob@example.org\n",
		"name":       "From: bob@example.org\nCc: J. Held\n",
		"spaces":     "From: J <held@weiss example>\n",
		"received":   "From: bob@example.org\nReceived: from a by b for <held@weiss.example>; Mon, 2 Mar 2026 10:00:00 +0100\n",
		"returnpath": "Return-Path: <held@weiss.example>\nFrom: bob@example.org\n",
		"custom":     "From: bob@example.org\nX-Forwarded-For-User: held@weiss.example\n",
		"dkim":       "From: bob@example.org\nDKIM-Signature: v=1; d=weiss.example; i=held@weiss.example; b=AAAA\n",
		"original":   "From: bob@example.org\nX-Original-To: held@weiss.example\n",
		"resent":     "From: bob@example.org\nResent-Bcc: held@weiss.example\n",
	} {
		a.put(name, "box", message(fields))
	}
	a.put("other1", "box", message("From: bob@example.org\nTo: Undisclosed recipients:;\nMessage-ID: <held@weiss.example.org>\n"))
	a.put("other2", "box", message("From: held@weiss.example.org\nTo: heldx@weiss.example, xheld@weiss.example\n"))
	r := start(t, t.TempDir(), a, WorkerOptions{}).catchUp()
	for _, name := range files {
		name = strings.TrimSuffix(filepath.Base(name), ".eml")
		if got := r.find("from:held@weiss.example mailbox:box"); !strings.Contains(" "+got+" ", " "+name+" ") {
			t.Errorf("from: does not find %s: %s", name, got)
		}
	}
	for _, custodian := range []string{"held@weiss.example", "@weiss.example", "HELD@weiss.example"} {
		h := hold.Hold{Custodians: []string{custodian}}
		want := "addr-comment-at addr-encoded-all addr-smtp addr-space-at addr-space-dot addr-two-angles addr-two-spaced custom dkim imceaex name original"
		if custodian == "@weiss.example" {
			want += " other2"
		}
		want += " received resent returnpath spaces x400 x500"
		if got := r.find(h.Terms()); got != want {
			t.Errorf("the hold on %s covers\n%s, want\n%s", custodian, got, want)
		}
	}
	r.want(map[string]string{
		"is:unclear":                "imceaex name spaces x400 x500",
		"is:malformed":              "imceaex name spaces x400 x500",
		"address:bob@weiss.example": "",
	})
}
