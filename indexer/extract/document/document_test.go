package document

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// want is what a document says: pieces of the text in their order, what must not
// be there, and the reason.
type want struct {
	name, media string
	data        []byte
	kind        Kind
	text        []string
	not         []string
	reason      string
	encrypted   bool
}

func (w want) check(t *testing.T) {
	t.Helper()
	got := Read(t.Context(), File{Name: w.name, MediaType: w.media, Data: w.data}, Limits{})
	if got.Kind != string(w.kind) || got.Encrypted != w.encrypted || !strings.Contains(got.Reason, w.reason) || w.reason == "" && got.Reason != "" {
		t.Errorf("kind %q, reason %q, encrypted %v", got.Kind, got.Reason, got.Encrypted)
	}
	rest := got.Text
	for _, piece := range w.text {
		_, after, found := strings.Cut(rest, piece)
		if !found {
			t.Errorf("%q is not in the text, or not in order:\n%s", piece, got.Text)
			continue
		}
		rest = after
	}
	for _, piece := range w.not {
		if strings.Contains(got.Text, piece) {
			t.Errorf("%q is in the text:\n%s", piece, got.Text)
		}
	}
}

func TestOfficeDocuments(t *testing.T) {
	for name, w := range map[string]want{
		"docx": {data: docx(t), kind: KindZip, text: []string{"Lagebericht\n", "Maria Muster", "letterhead", "Quarterly report\n", "left\tright\nbelow", "added struckout",
			"boxed", "a blue whale", "cell1\n", "cell2", "smallprint", "remark", "https://example.com/terms"}, not: []string{"secretcode", "77", "boxed\nboxed"}},
		"docx with a workbook in it": {data: docx(t, "word/embeddings/book.xlsx", string(xlsx(t))), kind: KindZip, text: []string{"Quarterly", "book.xlsx", "apples"}},
		"xlsx": {data: xlsx(t), kind: KindZip, text: []string{"Second first\n", "other sheet", "Umsatz\n", "apples\trich pears\tinlined\tcomputed", "\n2024-03-05\t05.03.2024 14:30\t12.5%\t1234.5\tTRUE", "cellnote"},
			not: []string{"phonetic", "45356"}},
		"pptx": {data: pptx(t), kind: KindZip, text: []string{"the beginning\n", "speak slowly\n", "the end"}},
		"odt": {data: odf(t, "text", `<text:h>Heading</text:h><text:p>one<text:s text:c="2"/>two<text:tab/>three<text:line-break/>four <text:a href="https://example.com/odt">link</text:a></text:p><office:binary-data>QUJD</office:binary-data>`),
			kind: KindZip, text: []string{"Titel\n", "Heading\n", "one  two\tthree\nfour link https://example.com/odt", "pagefooter"}, not: []string{"QUJD", "2020"}},
		"ods": {data: odf(t, "spreadsheet", `<table:table table:name="Blatt"><table:table-row><table:table-cell office:value="45356"><text:p>05.03.2024</text:p></table:table-cell><table:table-cell><text:p>12,50 €</text:p></table:table-cell></table:table-row></table:table>`),
			kind: KindZip, text: []string{"Blatt\n", "05.03.2024 \t12,50 €"}, not: []string{"45356"}},
		"odp": {data: odf(t, "presentation", `<draw:page><text:p>slide one</text:p></draw:page><draw:page><text:p>slide two</text:p></draw:page>`),
			kind: KindZip, text: []string{"slide one\n", "slide two"}},
		"encrypted docx": {data: compoundOf("EncryptionInfo", "x", "EncryptedPackage", "ciphertext"), kind: KindCompound, reason: "encrypted", encrypted: true},
		"encrypted odt": {data: zipOf(t, "mimetype", "application/vnd.oasis.opendocument.text", "content.xml", "\x01\x02",
			"META-INF/manifest.xml", `<manifest:file-entry><manifest:encryption-data/></manifest:file-entry>`), kind: KindZip, reason: "encrypted", encrypted: true},
		"doc": {data: compoundOf("WordDocument", "x"), kind: KindCompound, reason: "before 2007"},
		"xlsb": {data: zipOf(t, "[Content_Types].xml", "<Types/>", "_rels/.rels", rels("r", "officeDocument", "xl/workbook.bin"), "xl/workbook.bin", "\x83\x01"),
			kind: KindZip, reason: "binary workbook"},
		"document part with another name": {data: zipOf(t, "[Content_Types].xml", "<Types/>", "_rels/.rels", rels("r", "officeDocument", "/word/document2.xml"),
			"word/document2.xml", `<w:p><w:t>renamed</w:t></w:p>`), kind: KindZip, text: []string{"renamed"}},
	} {
		t.Run(name, w.check)
	}
}

func TestTrackedChangesSplitNoWords(t *testing.T) {
	const body = `<w:p><w:r><w:t>pay Quar</w:t></w:r><w:del><w:r><w:delText>tett</w:delText></w:r></w:del><w:ins><w:r><w:t>terly</w:t></w:r></w:ins>` +
		`<w:moveFrom><w:r><w:t>elsewhere</w:t></w:r></w:moveFrom><w:r><w:instrText>secretfield</w:instrText><w:delInstrText>oldfield</w:delInstrText><w:t> now</w:t></w:r></w:p><w:p><w:r><w:t>next</w:t></w:r></w:p>`
	want{data: zipOf(t, "[Content_Types].xml", "<Types/>", "word/document.xml", "<w:document><w:body>"+body), kind: KindZip,
		text: []string{"pay Quarterly now tett elsewhere\nnext"}, not: []string{"field"}}.check(t)
}

// without takes parts out of a zip file.
func without(tb testing.TB, data []byte, unwanted func(name string) bool) []byte {
	tb.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		tb.Fatal(err)
	}
	var files []string
	for _, f := range z.File {
		if unwanted(f.Name) {
			continue
		}
		content, err := fs.ReadFile(z, f.Name)
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, f.Name, string(content))
	}
	return zipOf(tb, files...)
}

func TestOfficeDocumentsThatLackPartsAreReadByTheUsualNamesOrFlagged(t *testing.T) {
	rels := func(name string) bool { return strings.HasSuffix(name, ".rels") }
	lacks := func(part string) func(string) bool {
		return func(name string) bool { return strings.Contains(name, part) }
	}
	for name, w := range map[string]want{
		"docx without relations": {data: without(t, docx(t), rels), kind: KindZip, text: []string{"letterhead", "Quarterly report\n", "smallprint", "remark"}},
		"xlsx without relations": {data: without(t, xlsx(t), rels), kind: KindZip, text: []string{"Second first\n", "apples\trich pears", "2024-03-05", "Umsatz\n", "other sheet", "cellnote"}},
		"pptx without relations": {data: without(t, pptx(t), rels), kind: KindZip, text: []string{"the end", "the beginning\n", "speak slowly"}},
		"xlsx without sheets":    {data: without(t, xlsx(t), lacks("sheet1.xml")), kind: KindZip, text: []string{"Second first\n", "Umsatz"}, reason: "a part is missing"},
		"xlsx without strings":   {data: without(t, xlsx(t), lacks("sharedStrings")), kind: KindZip, text: []string{"inlined"}, reason: "a part is missing"},
		"pptx without a slide":   {data: without(t, pptx(t), lacks("slides/slide1.xml")), kind: KindZip, text: []string{"the beginning"}, reason: "a part is missing"},
		"docx without text":      {data: without(t, docx(t), lacks("word/document.xml")), kind: KindZip, reason: "damaged"},
	} {
		t.Run(name, w.check)
	}
}

func TestDateFormats(t *testing.T) {
	c := cellStyles{formats: map[string]string{}, cells: []string{"164"}}
	for _, f := range []struct{ code, value, want string }{
		{"yyyy-mm-dd", "45356", "2024-03-05"},
		{"d/m/yy", "45356", "5/3/24"},
		{`[$-407]d\. mmmm yyyy;@`, "45356", "5. March 2024"},
		{"dddd", "45356", "Tuesday"},
		{"h:mm AM/PM", "0.75", "6:00 PM"},
		{"hh:mm:ss", "0.5000115740", "12:00:01"},
		{"mm:ss", "0.0006944444", "01:00"},
		{"yyyy-mm-dd", "1", "1900-01-01"},
		{"yyyy-mm-dd", "-1", "-1"},
		{"yyyy-mm-dd", "1e300", "1e300"},
		{"yyyy-mm-dd", "NaN", "NaN"},
		{"#,##0.00", "1234.5", "1234.5"},
		{`0.00" Days"`, "2", "2"},
		{"General", "7", "7"},
		{"0%", "0.07", "7%"},
	} {
		c.formats["164"] = f.code
		if got := c.show(f.value, 0); got != f.want {
			t.Errorf("%s as %s: %q, want %q", f.value, f.code, got, f.want)
		}
	}
	c.formats["164"], c.date1904 = "yyyy-mm-dd", true
	if got := c.show("0", 0); got != "1904-01-01" {
		t.Errorf("1904: %q", got)
	}
}

func TestPDF(t *testing.T) {
	text := []string{"Annual figures\n", "Ärte\n", "Split word\n", "Kerned apart\n", "Сабв\n", "inside a form\n", "café (paren)\n",
		"sticky note\n", "https://example.com/pdf", "factur-x.xml\n", "815 euros"}
	for name, w := range map[string]want{
		"text":                        {data: samplePDF(), kind: KindPDF, text: text},
		"junk at both ends":           {data: append(append([]byte("\r\nMIME junk\n"), samplePDF()...), "\x00\x00 trailing"...), kind: KindPDF, text: text},
		"version 2.0":                 {data: bytes.Replace(samplePDF(), []byte("%PDF-1.7"), []byte("%PDF-2.0"), 1), kind: KindPDF, text: text},
		"another media type and name": {name: "a.txt", media: "text/plain", data: samplePDF(), kind: KindPDF, text: text},
		"without text":                {data: pdfOf(`<</Pages 3 0 R>>`, `<<>>`, `<</Kids[4 0 R]>>`, `<</Type/Page>>`), kind: KindPDF, reason: "scanned"},
		"glyph numbers only": {data: pdfOf(`<</Pages 3 0 R>>`, `<<>>`, `<</Kids[4 0 R]>>`, `<</Type/Page/Contents 5 0 R/Resources<</Font<</F 6 0 R>>>>>>`,
			stream("", "BT /F 9 Tf <00010002> Tj ET"), `<</Type/Font/Subtype/Type0/Encoding/Identity-H/DescendantFonts[<</DW 1>>]>>`), kind: KindPDF, reason: "does not say"},
		"encrypted": {data: bytes.Replace(samplePDF(), []byte("trailer\n<<"), []byte("trailer\n<</ID[(a)(a)]/Encrypt<</Filter/Standard/V 5/R 6/Length 256>>"), 1),
			kind: KindPDF, reason: "encrypted", encrypted: true},
		"unreadable filter on one of two pages": {data: pdfOf(`<</Pages 3 0 R>>`, `<<>>`, `<</Kids[4 0 R 5 0 R]>>`, `<</Type/Page/Contents 6 0 R>>`,
			`<</Type/Page/Contents 7 0 R/Resources<</Font<</F<</Type/Font/Subtype/Type1>>>>>>>>`, stream("/Filter/LZWDecode", "abc"), stream("", "BT /F 9 Tf (legible) Tj ET")),
			kind: KindPDF, text: []string{"legible"}, reason: "damaged"},
	} {
		t.Run(name, w.check)
	}
}

func TestRTF(t *testing.T) {
	rtf := `{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 Arial Cyr;}}{\colortbl;\red0\green0\blue0;}` +
		`{\*\generator Writer 9;}{\info{\title Vertrag}{\creatim\yr2024}}{\header kopfzeile\par}\pard caf\'e9 \u8364?\u-10179?\u-8704?\f1 \'cf\'f0\'e8\f0\par` + "\n" +
		`a\tab b\line c\~d\{e\}\emdash{\pict\wmetafile8 0123456789abcdef}{\field{\*\fldinst HYPERLINK "http://hidden"}{\fldrslt shown}}\bin4 {{{{ done{\footnote note}}`
	for name, w := range map[string]want{
		"text":      {data: []byte(rtf), kind: KindRTF, text: []string{"Vertrag", "kopfzeile\n", "café €😀При\n", "a\tb\nc d{e}—", "shown", "done", "note"}, not: []string{"Arial", "Writer", "hidden", "0123"}},
		"truncated": {data: []byte(rtf[:len(rtf)-30]), kind: KindRTF, text: []string{"café"}, reason: "damaged"},
		"HTML":      {data: []byte(`{\rtf1\ansi\fromhtml1{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 paragraph{\*\htmltag72 </p>}{\*\htmltag64 <p>}second{\*\htmltag72 </p>}\htmlrtf }\htmlrtf0 }`), kind: KindRTF, text: []string{"paragraph\n", "second"}, not: []string{"<p>"}},
		"object":    {data: []byte(`{\rtf1 text{\object{\*\objdata 0105}}}`), kind: KindRTF, text: []string{"text"}, not: []string{"0105"}, reason: "embedded objects"},
	} {
		t.Run(name, w.check)
	}
}

func TestMessages(t *testing.T) {
	eml := "From: Anna <anna@example.com>\r\nTo: bert@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/html\r\n\r\n<p>the body</p>\r\n--b\r\nContent-Type: application/octet-stream; name=a.docx\r\nContent-Disposition: attachment\r\n\r\n" +
		string(docx(t)) + "\r\n--b--\r\n"
	for name, w := range map[string]want{
		"eml":              {name: "x.eml", data: []byte(eml), kind: KindMail, text: []string{"anna@example.com", "Grüße", "the body", "a.docx", "Quarterly report"}},
		"eml by its type":  {media: "message/rfc822", data: []byte(eml), kind: KindMail, text: []string{"Grüße"}},
		"msg":              {data: sampleMSG(t, "__substg1.0_1000001F", utf16le("plain body")), kind: KindCompound, text: []string{"Betreff Übergabe\n", "Привет", "rcpt@example.com", "plain body", "files.zip", "in.txt", "zipped inside", "forwarded subject", "forwarded body"}},
		"msg with HTML":    {data: sampleMSG(t, "__substg1.0_10130102", "<p>html <b>body</b></p>"), kind: KindCompound, text: []string{"html body"}},
		"msg with RTF":     {data: sampleMSG(t, "__substg1.0_10090102", "\x20\x00\x00\x00\x14\x00\x00\x00MELA\x00\x00\x00\x00"+`{\rtf1 rich body}`), kind: KindCompound, text: []string{"rich body"}},
		"msg without body": {data: sampleMSG(t, "__substg1.0_10090102", "garbage"), kind: KindCompound, text: []string{"Betreff"}, reason: "damaged"},
		"ics": {media: "text/calendar", data: []byte("BEGIN:VCALENDAR\r\nPRODID:-//x//y\r\nBEGIN:VEVENT\r\nUID:123@x\r\nDTSTART;TZID=Europe/Berlin:20240305T143000\r\nSUMMARY:Budget\r\n  review\\, part 2\r\nLOCATION:Room 5\\nsecond floor\r\n" +
			"ATTENDEE;CN=\"Muster, Maria: boss\";ROLE=CHAIR:mailto:maria@example.com\r\nATTACH;ENCODING=BASE64;VALUE=BINARY:QUJD\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"),
			kind: KindCalendar, text: []string{"2024-03-05 14:30", "Budget review, part 2", "Room 5\nsecond floor", "Muster, Maria: boss maria@example.com"}, not: []string{"123@x", "QUJD", "mailto"}},
		"vcf": {name: "card.vcf", data: []byte("BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;J=F6rg\r\nitem1.TEL;WORK:+49 30 123456\r\nNOTE;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:first =\r\nsecond=C3=A4\r\nPHOTO;ENCODING=BASE64:AAAA\r\nEND:VCARD\r\n"),
			kind: KindCard, text: []string{"Müller Jörg", "+49 30 123456", "first secondä"}, not: []string{"AAAA", "VCARD"}},
	} {
		t.Run(name, w.check)
	}
}

func TestTextInAnyCharset(t *testing.T) {
	for name, w := range map[string]want{
		"utf-8":            {name: "a.csv", data: []byte("Name;Größe\nÄpfel;3\n"), kind: KindText, text: []string{"Name;Größe", "Äpfel"}},
		"utf-16":           {name: "a.txt", data: []byte("\xff\xfe" + utf16le("Привет")), kind: KindText, text: []string{"Привет"}},
		"declared":         {media: "text/plain; charset=koi8-r", data: []byte("\xf0\xd2\xc9\xd7\xc5\xd4"), kind: KindText, text: []string{"Привет"}},
		"windows-1252":     {name: "a.log", media: "application/octet-stream", data: []byte("line caf\xe9\n"), kind: KindText, text: []string{"café"}},
		"html":             {name: "a.htm", data: []byte("<p>caf&eacute;</p><script>x()</script>"), kind: KindHTML, text: []string{"café"}, not: []string{"x()"}},
		"html by content":  {name: "a.bin", data: []byte("\n <!DOCTYPE html><title>t</title>body"), kind: KindHTML, text: []string{"t", "body"}},
		"xml":              {name: "a.xml", data: []byte(`<?xml version="1.0" encoding="iso-8859-1"?><a b="attr"><c>ein</c><d>zw` + "\xf6" + `lf</d></a>`), kind: KindXML, text: []string{"ein\n", "zwölf"}},
		"script":           {name: "a.sh", media: "application/x-sh", data: []byte("#!/bin/sh\necho hello\n"), kind: KindText, text: []string{"echo hello"}},
		"picture":          {name: "a.txt", data: []byte("\x89PNG\r\n\x1a\n\x00\x00\x00"), kind: KindNone},
		"program":          {name: "a.exe", data: []byte("MZ\x90\x00\x03\x00"), kind: KindNone},
		"key":              {name: "a.asc", data: []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\nmQEN"), kind: KindNone},
		"nothing":          {name: "a.txt", kind: KindNone},
		"unknown archives": {name: "a.rar", data: []byte("Rar!\x1a\x07\x00"), kind: KindOther, reason: "not read"},
	} {
		t.Run(name, w.check)
	}
}

func TestDamagedPDFIsReadByItsObjects(t *testing.T) {
	sample, packed := samplePDF(), packedPDF(t)
	cut := func(data []byte, before string) []byte { return data[:bytes.LastIndex(data, []byte(before))] }
	text := []string{"Annual figures\n", "Ärte\n", "Split word\n", "café (paren)\n", "https://example.com/pdf", "815 euros"}
	for name, w := range map[string]want{
		"without a table":      {data: cut(sample, "xref\n0 "), kind: KindPDF, text: text[2:]},
		"table cut":            {data: cut(sample, "trailer"), kind: KindPDF, text: text[2:]},
		"without startxref":    {data: cut(sample, "startxref"), kind: KindPDF, text: text[2:]},
		"offsets wrong":        {data: bytes.Replace(sample, []byte("1 0 obj\n"), []byte("% a line that a mail program wrote\n1 0 obj\n"), 1), kind: KindPDF, text: text[2:]},
		"startxref wrong":      {data: append(cut(sample, "startxref"), "startxref\n7\n%%EOF\n"...), kind: KindPDF, text: text[2:]},
		"line ends changed":    {data: bytes.ReplaceAll(sample, []byte("\nendobj\n"), []byte("\r\nendobj\r\n")), kind: KindPDF, text: text[2:]},
		"cut in the last page": {data: cut(sample, "11 0 obj"), kind: KindPDF, text: text[2:4], reason: "damaged"},
		"object streams":       {data: packed, kind: KindPDF, text: []string{"packed words"}, not: []string{"stale"}},
		"endless objects":      {data: []byte("%PDF-1.4\n" + strings.Repeat("1 0 obj ", 1<<17)), kind: KindPDF, reason: "damaged"},
		"endless numbers":      {data: []byte("%PDF-1.4\n" + strings.Repeat("123456 ", 1<<17) + "obj /Root 1 0 R"), kind: KindPDF, reason: "damaged"},
	} {
		t.Run(name, w.check)
	}
}

func TestArchives(t *testing.T) {
	inner := zipOf(t, "deep.txt", "deep text", "pic.png", "\x89PNG\x00")
	files := []string{"a/one.txt", "first text", "two.docx", string(docx(t)), "in.zip", string(inner)}
	text := []string{"a/one.txt\n", "first text", "two.docx\n", "Quarterly report", "in.zip\n", "deep.txt\n", "deep text", "pic.png"}
	for name, w := range map[string]want{
		"zip":            {data: zipOf(t, files...), kind: KindZip, text: text},
		"tar":            {data: tarOf(t, files...), kind: KindTar, text: text},
		"tar.gz":         {name: "x.tgz", data: gzipOf(t, tarOf(t, files...)), kind: KindGzip, text: text},
		"gz":             {name: "notes.html.gz", data: gzipOf(t, []byte("<p>gzipped&auml;")), kind: KindGzip, text: []string{"gzippedä"}},
		"empty zip":      {data: zipOf(t), kind: KindZip},
		"encrypted":      {data: encryptedZip(t), kind: KindZip, text: []string{"secret.txt"}, reason: "secret.txt: encrypted", encrypted: true},
		"encrypted deep": {data: zipOf(t, "locked.zip", string(encryptedZip(t))), kind: KindZip, reason: "locked.zip/secret.txt: encrypted", encrypted: true},
		"one is damaged": {data: zipOf(t, "bad.pdf", "%PDF-1.4 nothing", "good.txt", "good"), kind: KindZip, text: []string{"bad.pdf", "good"}, reason: "bad.pdf: damaged"},
	} {
		t.Run(name, w.check)
	}
}

// bounded is how long anything hostile may take here. On a quiet machine it is
// a second.
const bounded = 20 * time.Second

func TestHostileFilesAreRefusedInBoundedTime(t *testing.T) {
	zeros := strings.Repeat("\x00", 12<<20)
	spaces := strings.Repeat(" ", 10<<20)
	nested := zipOf(t, "end.txt", "the end")
	for range maxDepth + 2 {
		nested = zipOf(t, "next.zip", string(nested))
	}
	many := make([]string, 0, 2*maxMembers+20)
	for range maxMembers + 10 {
		many = append(many, "f", "")
	}
	deep := strings.Repeat("<a>", 1<<17)
	entities := `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><x>&c;&c;</x>`
	page := func(kids string) []byte { return pdfOf(`<</Pages 3 0 R>>`, `<<>>`, kids) }
	forms := `<</Pages 3 0 R>>`
	for name, w := range map[string]want{
		"zip bomb":            {data: zipOf(t, "bomb.txt", zeros), kind: KindZip, reason: "refused"},
		"document bomb":       {data: docx(t, "word/embeddings/x.bin", zeros), kind: KindZip, text: []string{"Quarterly"}, reason: "refused"},
		"bomb of spaces":      {data: zipOf(t, "[Content_Types].xml", "<Types/>", "word/document.xml", "<w:p>"+spaces+spaces), kind: KindZip, reason: "refused"},
		"gzip bomb":           {name: "a.gz", data: gzipOf(t, []byte(spaces)), kind: KindGzip, reason: "refused"},
		"gzip of gzip":        {name: "a.gz", data: gzipOf(t, gzipOf(t, gzipOf(t, gzipOf(t, gzipOf(t, gzipOf(t, gzipOf(t, gzipOf(t, []byte("text"))))))))), kind: KindGzip, reason: "too deep"},
		"zip of zip of zip":   {data: nested, kind: KindZip, reason: "too deep"},
		"very many files":     {data: zipOf(t, many...), kind: KindZip, reason: "too many files"},
		"XML depth":           {name: "a.xml", data: []byte("<?xml version='1.0'?>" + deep), kind: KindXML},
		"XML entities":        {name: "a.xml", data: []byte(entities), kind: KindXML, not: []string{"aaaa"}},
		"document depth":      {data: zipOf(t, "[Content_Types].xml", "<Types/>", "word/document.xml", deep+"<t>found"), kind: KindZip, text: []string{"found"}},
		"RTF depth":           {data: []byte(`{\rtf1 ` + strings.Repeat("{", 1<<20)), kind: KindRTF, reason: "limit"},
		"RTF fonts":           {data: []byte(`{\rtf1{\fonttbl` + strings.Repeat(`{\f1\fcharset1}`, 1<<13) + `}end}`), kind: KindRTF, text: []string{"end"}},
		"PDF kids of itself":  {data: page(`<</Kids[3 0 R 3 0 R]>>`), kind: KindPDF, reason: "without end"},
		"PDF resources":       {data: page(`<</Kids[3 0 R]/Resources 3 0 R>>`), kind: KindPDF, reason: "without end"},
		"PDF name tree":       {data: pdfOf(`<</Pages 3 0 R/Names<</EmbeddedFiles 4 0 R>>>>`, `<<>>`, `<</Kids[]>>`, `<</Kids[4 0 R 4 0 R]>>`), kind: KindPDF, reason: "without end"},
		"PDF form in itself":  {data: pdfOf(forms, `<<>>`, `<</Kids[4 0 R]>>`, `<</Contents 5 0 R/Resources<</XObject<</F 5 0 R>>>>>>`, stream("/Subtype/Form/Resources<</XObject<</F 5 0 R>>>>", strings.Repeat("/F Do ", 100))), kind: KindPDF, reason: "scanned"},
		"PDF reference loop":  {data: pdfOf(`3 0 R`, `<<>>`, `4 0 R`, `3 0 R`), kind: KindPDF, reason: "damaged"},
		"MSG of bad sectors":  {data: append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), bytes.Repeat([]byte{0xfe}, 4096)...), kind: KindCompound, reason: "damaged"},
		"calendar in a line":  {media: "text/calendar", data: []byte("BEGIN:VCALENDAR\nSUMMARY:" + strings.Repeat("x\n ", 1<<18)), kind: KindCalendar, text: []string{"xxx"}},
		"text beyond measure": {name: "a.txt", data: bytes.Repeat([]byte("words "), 3<<20), kind: KindText, text: []string{"words"}, reason: "cut"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			w.check(t)
			if d := time.Since(start); d > bounded {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestOverlappingMembersAreCountedEachTime(t *testing.T) {
	member := strings.Repeat("some text that compresses well. ", 1<<15) // 1 MiB
	files := make([]string, 0, 80)
	for range 20 {
		files = append(files, "f.bin\x00", "\x00"+member) // no text is looked for: the text limit does not end it
	}
	res := Read(t.Context(), File{Data: zipOf(t, files...)}, Limits{UnpackedBytes: 8 << 20})
	if !strings.Contains(res.Reason, "unpacks to more") {
		t.Errorf("reason %q", res.Reason)
	}
}

func samples(tb testing.TB) map[string]File {
	return map[string]File{
		"docx": {Data: docx(tb)}, "xlsx": {Data: xlsx(tb)}, "pptx": {Data: pptx(tb)}, "odt": {Data: odf(tb, "text", "<text:p>x</text:p>")},
		"ods": {Data: odf(tb, "spreadsheet", `<table:table table:name="t"><table:table-row><table:table-cell><text:p>1</text:p></table:table-cell></table:table-row></table:table>`)},
		"odp": {Data: odf(tb, "presentation", "<draw:page><text:p>x</text:p></draw:page>")},
		"pdf": {Data: samplePDF()}, "msg": {Data: sampleMSG(tb, "__substg1.0_1000001F", utf16le("body"))},
		"zip": {Data: zipOf(tb, "a.txt", "text")}, "tgz": {Data: gzipOf(tb, tarOf(tb, "a.txt", "text"))}, "tar": {Data: tarOf(tb, "a.txt", "text")},
		"rtf": {Data: []byte(`{\rtf1\ansicpg1251{\fonttbl{\f0\fcharset204 A;}}\f0 \'cf\u8364? text\par}`)},
		"eml": {Name: "a.eml", Data: []byte("Subject: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/zip\n\nPK\n--b--\n")},
		"ics": {Data: []byte("BEGIN:VCALENDAR\nSUMMARY;X=\"a:b\":text\nEND:VCALENDAR\n")}, "vcf": {Data: []byte("BEGIN:VCARD\nN;ENCODING=QUOTED-PRINTABLE:=C3=A4\nEND:VCARD\n")},
		"html": {Name: "a.html", Data: []byte("<p>x<a href=http://example.com>y")}, "xml": {Data: []byte("<?xml version='1.0'?><a>b</a>")}, "txt": {Name: "a.csv", Data: []byte("a;b\n")},
	}
}

func TestTruncatedFilesAreReadAsFarAsTheyGo(t *testing.T) {
	for name, f := range samples(t) {
		step := max(1, len(f.Data)/30)
		for n := 0; n < len(f.Data); n += step {
			cut := f
			cut.Data = f.Data[:n:n]
			res := Read(t.Context(), cut, Limits{TextBytes: 1 << 16})
			if n > 0 && n < len(f.Data)-64 && res.Reason == "" && res.Text == "" && !strings.Contains("tar txt ics vcf html xml eml", name) && res.Kind != "" && res.Kind != string(KindText) {
				t.Errorf("%s cut at %d: nothing was found, and no reason given", name, n)
			}
			cut.Cut = true
			if res := Read(t.Context(), cut, Limits{TextBytes: 1 << 16}); res.Kind != "" && res.Reason == "" {
				t.Errorf("%s known to be cut at %d: no reason", name, n)
			}
		}
	}
}

// Each reader has a fuzz target, so that the fuzzer finds its way into the format.

func fuzz(f *testing.F, kinds ...string) {
	all := samples(f)
	for _, k := range kinds {
		f.Add(all[k].Data)
	}
	name := all[kinds[0]].Name
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 16
		res := Read(t.Context(), File{Name: name, Data: data}, Limits{TextBytes: most, MemberBytes: 1 << 20, UnpackedBytes: 4 << 20})
		if len(res.Text) > most || strings.ToValidUTF8(res.Text, "") != res.Text {
			t.Fatalf("%d bytes of text", len(res.Text))
		}
		if len(res.Reason) > maxReasons*(maxReasonBytes+2) {
			t.Fatalf("reason of %d bytes", len(res.Reason))
		}
	})
}

func FuzzWord(f *testing.F)         { fuzz(f, "docx") }
func FuzzWorkbook(f *testing.F)     { fuzz(f, "xlsx") }
func FuzzPresentation(f *testing.F) { fuzz(f, "pptx") }
func FuzzOpenDocument(f *testing.F) { fuzz(f, "odt", "ods", "odp") }
func FuzzRTF(f *testing.F)          { fuzz(f, "rtf") }
func FuzzOutlook(f *testing.F)      { fuzz(f, "msg") }
func FuzzArchives(f *testing.F)     { fuzz(f, "zip", "tgz", "tar") }
func FuzzMail(f *testing.F)         { fuzz(f, "eml") }
func FuzzContentLines(f *testing.F) { fuzz(f, "ics", "vcf") }
func FuzzMarkup(f *testing.F)       { fuzz(f, "html", "xml", "txt") }

// FuzzPDFStructure is about finding objects without a table: each is where it is said to be.
func FuzzPDFStructure(f *testing.F) {
	f.Add(samplePDF(), 10)
	f.Add(packedPDF(f), 40)
	f.Fuzz(func(t *testing.T, data []byte, first int) {
		const limit = 1 << 20
		o := findPDFObjects(data)
		for id, at := range o.at {
			if n, _, _, ok := objectHead(data[:at.offset+bytes.Index(data[at.offset:], []byte("obj"))]); !ok || n != at.offset || bytes.Contains(data[n:n+1], []byte(" ")) {
				t.Fatalf("object %d is not at %d", id, at.offset)
			}
		}
		more := appendObjects(data, data, first, func(id int) bool { return id%2 > 0 }, limit)
		if !bytes.HasPrefix(more, data) || len(more) > limit+2*len(data)+64 {
			t.Fatalf("%d bytes became %d", len(data), len(more))
		}
		_ = findPDFObjects(more).file(more)
	})
}

// FuzzPDFContent is about what we do with content and character maps. The library,
// which parses the file, has loops without end, which only package extract ends.
func FuzzPDFContent(f *testing.F) {
	f.Add([]byte("BT /F1 12 Tf 72 700 Td [(Ker) 20 (ned)] TJ <00410042> Tj ET"))
	f.Add([]byte("1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfrange <00> <ff> [<0041>] endbfrange"))
	f.Fuzz(func(t *testing.T, data []byte) {
		content := string(data)
		doc := pdfOf(`<</Pages 3 0 R>>`, `<<>>`, `<</Kids[4 0 R]>>`,
			`<</Contents 5 0 R/Resources<</Font<</F1 6 0 R>>/XObject<</X 7 0 R>>>>>>`, stream("", content),
			`<</Type/Font/Subtype/Type0/DescendantFonts[<<>>]/ToUnicode 5 0 R>>`, stream("/Subtype/Form", content))
		Read(t.Context(), File{Data: doc}, Limits{TextBytes: 1 << 16})
	})
}
