package document

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
)

// Documents for tests, made by ourselves.

// zipOf makes a zip file of names and contents, in order.
func zipOf(tb testing.TB, files ...string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			tb.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// encryptedZip has a member with the flag of encryption.
func encryptedZip(tb testing.TB) []byte {
	tb.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	w, err := z.CreateRaw(&zip.FileHeader{Name: "secret.txt", Flags: 1, CompressedSize64: 12, UncompressedSize64: 12, CRC32: 1})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write([]byte("ciphertext..")); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func gzipOf(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func tarOf(tb testing.TB, files ...string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

const xmlHead = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"

// rels makes a relationships part of ids, kinds and targets.
func rels(list ...string) string {
	var b strings.Builder
	b.WriteString(xmlHead + `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">`)
	for i := 0; i < len(list); i += 3 {
		mode := ""
		if strings.HasPrefix(list[i+2], "http") {
			mode = ` TargetMode="External"`
		}
		fmt.Fprintf(&b, `<Relationship Id="%s" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/%s" Target="%s"%s/>`,
			list[i], list[i+1], list[i+2], mode)
	}
	b.WriteString(`</Relationships>`)
	return b.String()
}

func docx(tb testing.TB, more ...string) []byte {
	return zipOf(tb, append([]string{
		"[Content_Types].xml", xmlHead + `<Types/>`,
		"_rels/.rels", rels("rId1", "officeDocument", "word/document.xml"),
		"docProps/core.xml", xmlHead + `<cp:coreProperties xmlns:cp="c" xmlns:dc="d"><dc:title>Lagebericht</dc:title><dc:creator>Maria Muster</dc:creator><cp:revision>77</cp:revision></cp:coreProperties>`,
		"word/document.xml", xmlHead + `<w:document xmlns:w="w" xmlns:mc="mc" xmlns:wp="wp"><w:body>` +
			`<w:p><w:r><w:t>Quar</w:t></w:r><w:r><w:t>terly report</w:t></w:r></w:p>` +
			`<w:p><w:r><w:t>left</w:t><w:tab/><w:t>right</w:t><w:br/><w:t>below</w:t></w:r></w:p>` +
			`<w:p><w:ins><w:r><w:t>added </w:t></w:r></w:ins><w:del><w:r><w:delText>struckout</w:delText></w:r></w:del></w:p>` +
			`<w:p><w:r><w:instrText>HYPERLINK secretcode</w:instrText></w:r></w:p>` +
			`<mc:AlternateContent><mc:Choice><w:p><w:r><w:t>boxed</w:t></w:r></w:p></mc:Choice><mc:Fallback><w:p><w:r><w:t>boxed</w:t></w:r></w:p></mc:Fallback></mc:AlternateContent>` +
			`<w:p><wp:docPr id="1" descr="a blue whale"/></w:p>` +
			`<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell1</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>cell2</w:t></w:r></w:p></w:tc></w:tr></w:tbl>` +
			`</w:body></w:document>`,
		"word/_rels/document.xml.rels", rels("a", "header", "header1.xml", "b", "footnotes", "/word/footnotes.xml", "c", "comments", "comments.xml", "d", "hyperlink", "https://example.com/terms"),
		"word/header1.xml", xmlHead + `<w:hdr xmlns:w="w"><w:p><w:r><w:t>letterhead</w:t></w:r></w:p></w:hdr>`,
		"word/footnotes.xml", xmlHead + `<w:footnotes xmlns:w="w"><w:p><w:r><w:t>smallprint</w:t></w:r></w:p></w:footnotes>`,
		"word/comments.xml", xmlHead + `<w:comments xmlns:w="w"><w:p><w:r><w:t>remark</w:t></w:r></w:p></w:comments>`,
	}, more...)...)
}

func xlsx(tb testing.TB) []byte {
	return zipOf(tb,
		"[Content_Types].xml", xmlHead+`<Types/>`,
		"_rels/.rels", rels("rId1", "officeDocument", "xl/workbook.xml"),
		"xl/workbook.xml", xmlHead+`<workbook xmlns:r="r"><sheets><sheet name="Second first" sheetId="9" r:id="rId2"/><sheet name="Umsatz" sheetId="1" r:id="rId1"/></sheets></workbook>`,
		"xl/_rels/workbook.xml.rels", rels("rId1", "worksheet", "worksheets/sheet1.xml", "rId2", "worksheet", "worksheets/sheet2.xml", "rId3", "sharedStrings", "sharedStrings.xml", "rId4", "styles", "styles.xml"),
		"xl/sharedStrings.xml", xmlHead+`<sst><si><t>apples</t></si><si><r><t>rich </t></r><r><t>pears</t></r><rPh><t>phonetic</t></rPh></si></sst>`,
		"xl/styles.xml", xmlHead+`<styleSheet><numFmts><numFmt numFmtId="164" formatCode="dd\.mm\.yyyy\ hh:mm"/></numFmts><cellStyleXfs><xf numFmtId="0"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="10"/></cellXfs></styleSheet>`,
		"xl/worksheets/sheet1.xml", xmlHead+`<worksheet><sheetData>`+
			`<row><c t="s"><v>0</v></c><c t="s"><v>1</v></c><c t="inlineStr"><is><t>inlined</t></is></c><c t="str"><f>A1&amp;"x"</f><v>computed</v></c></row>`+
			`<row><c s="1"><v>45356</v></c><c s="2"><v>45356.604166667</v></c><c s="3"><v>0.125</v></c><c><v>1234.5</v></c><c t="b"><v>1</v></c><c t="s"><v>99</v></c></row>`+
			`</sheetData></worksheet>`,
		"xl/worksheets/_rels/sheet1.xml.rels", rels("x", "comments", "../comments1.xml"),
		"xl/comments1.xml", xmlHead+`<comments><commentList><comment><text><r><t>cellnote</t></r></text></comment></commentList></comments>`,
		"xl/worksheets/sheet2.xml", xmlHead+`<worksheet><sheetData><row><c t="inlineStr"><is><t>other sheet</t></is></c></row></sheetData></worksheet>`,
	)
}

func pptx(tb testing.TB) []byte {
	slide := func(text string) string {
		return xmlHead + `<p:sld xmlns:p="p" xmlns:a="a"><a:p><a:r><a:t>` + text + `</a:t></a:r></a:p></p:sld>`
	}
	return zipOf(tb,
		"[Content_Types].xml", xmlHead+`<Types/>`,
		"_rels/.rels", rels("rId1", "officeDocument", "ppt/presentation.xml"),
		"ppt/slides/slide1.xml", slide("the end"),
		"ppt/slides/slide2.xml", slide("the beginning"),
		"ppt/slides/_rels/slide2.xml.rels", rels("n", "notesSlide", "../notesSlides/notesSlide1.xml"),
		"ppt/notesSlides/notesSlide1.xml", slide("speak slowly"),
		"ppt/presentation.xml", xmlHead+`<p:presentation xmlns:p="p" xmlns:r="r"><p:sldIdLst><p:sldId id="256" r:id="rId2"/><p:sldId id="257" r:id="rId1"/></p:sldIdLst></p:presentation>`,
		"ppt/_rels/presentation.xml.rels", rels("rId1", "slide", "slides/slide1.xml", "rId2", "slide", "slides/slide2.xml"),
	)
}

func odf(tb testing.TB, kind, content string) []byte {
	return zipOf(tb,
		"mimetype", "application/vnd.oasis.opendocument."+kind,
		"content.xml", xmlHead+`<office:document-content xmlns:office="o" xmlns:text="t" xmlns:table="tb" xmlns:draw="d"><office:body>`+content+`</office:body></office:document-content>`,
		"styles.xml", xmlHead+`<office:document-styles xmlns:office="o" xmlns:text="t"><text:p>pagefooter</text:p></office:document-styles>`,
		"meta.xml", xmlHead+`<office:document-meta xmlns:office="o" xmlns:dc="dc"><dc:title>Titel</dc:title><dc:date>2020</dc:date></office:document-meta>`,
		"META-INF/manifest.xml", xmlHead+`<manifest:manifest xmlns:manifest="m"/>`,
	)
}

// pdfOf makes a PDF of objects 1, 2, …; the first is the catalog.
func pdfOf(objects ...string) []byte {
	var b bytes.Buffer
	b.WriteString("%PDF-1.7\n")
	var at []int
	for i, o := range objects {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer\n<</Size %d/Root 1 0 R/Info 2 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, start)
	return b.Bytes()
}

func stream(dict, data string) string {
	return fmt.Sprintf("<<%s/Length %d>>stream\n%s\nendstream", dict, len(data), data)
}

// samplePDF has words in pieces, two fonts, a form, a note, a field, a link and a
// file.
func samplePDF() []byte {
	toUnicode := "1 begincodespacerange <0000> <ffff> endcodespacerange\n1 beginbfchar <0003> <0421> endbfchar\n1 beginbfrange <0004> <0006> <0430> endbfrange\n"
	content := "BT /F1 12 Tf 72 700 Td (Spl) Tj 18 0 Td (it word) Tj 0 -20 Td [(Ker) 20 (ned) -300 (apart)] TJ " +
		"/F2 12 Tf 0 -20 Td <0003000400050006> Tj ET\n" +
		"BI /W 1 /H 1 ID \x00(\xff EI\nq 1 0 0 1 0 300 cm /Fm1 Do Q BT /F1 12 Tf 72 500 Td (caf\\351 \\(paren\\)) Tj ET"
	return pdfOf(
		`<</Type/Catalog/Pages 3 0 R/Names<</EmbeddedFiles<</Names[(a)13 0 R]>>>>>>`,
		`<</Title(Annual figures)/Author<feff00c4007200740065>>>`,
		`<</Type/Pages/Kids[4 0 R]/Count 1/Resources<</Font<</F1 6 0 R/F2 7 0 R>>/XObject<</Fm1 10 0 R>>>>>>`,
		`<</Type/Page/Parent 3 0 R/Contents 5 0 R/Annots[11 0 R 12 0 R]>>`,
		stream("", content),
		`<</Type/Font/Subtype/Type1/BaseFont/X/Encoding/WinAnsiEncoding/FirstChar 32/LastChar 126/Widths[`+strings.Repeat("500 ", 95)+`]>>`,
		`<</Type/Font/Subtype/Type0/BaseFont/Y/Encoding/Identity-H/DescendantFonts[8 0 R]/ToUnicode 9 0 R>>`,
		`<</Type/Font/Subtype/CIDFontType2/DW 500>>`,
		stream("", toUnicode),
		stream("/Type/XObject/Subtype/Form/BBox[0 0 1 1]", "BT /F1 12 Tf 72 100 Td (inside a form) Tj ET"),
		`<</Type/Annot/Subtype/Text/Contents(sticky note)>>`,
		`<</Type/Annot/Subtype/Link/A<</S/URI/URI(https://example.com/pdf)>>>>`,
		`<</Type/Filespec/F(factur-x.xml)/EF<</F 14 0 R>>>>`,
		stream("/Type/EmbeddedFile", `<?xml version="1.0"?><invoice><total currency="EUR">815 euros</total></invoice>`),
	)
}

// packedPDF has its catalog and pages in an object stream, and no table. One
// object has changed since.
func packedPDF(tb testing.TB) []byte {
	tb.Helper()
	objects := []string{`<</Type/Catalog/Pages 2 0 R>>`, `<</Kids[3 0 R]>>`, `<</Contents 5 0 R/Resources<</Font<</F 6 0 R>>>>>>`, `<</Type/Font/Subtype/Type1/BaseFont/Stale>>`}
	var pairs, all string
	for i, o := range objects {
		pairs += fmt.Sprintf("%d %d ", []int{1, 2, 3, 5}[i], len(all))
		all += o + " "
	}
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := io.WriteString(z, pairs+all); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return fmt.Appendf(nil, "%%PDF-1.5\n4 0 obj\n%s\nendobj\n5 0 obj\n%s\nendobj\n6 0 obj\n<</Type/Font/Subtype/Type1/BaseFont/X>>\nendobj\n",
		stream(fmt.Sprintf("/Type/ObjStm/N %d/First %d/Filter/FlateDecode", len(objects), len(pairs)), packed.String()),
		stream("", "BT /F 12 Tf (packed words) Tj ET"))
}

// compoundOf makes a compound file of paths and contents.
func compoundOf(streams ...string) []byte {
	type entry struct {
		name     string
		kind     byte
		children []int
		data     string
	}
	entries := []entry{{name: "Root Entry", kind: 5}}
	for i := 0; i < len(streams); i += 2 {
		at := 0
		names := strings.Split(streams[i], "/")
		for n, name := range names {
			found := -1
			for _, c := range entries[at].children {
				if entries[c].name == name {
					found = c
				}
			}
			if found < 0 {
				e := entry{name: name, kind: 1}
				if n == len(names)-1 {
					e.kind, e.data = 2, streams[i+1]
				}
				found = len(entries)
				entries = append(entries, e)
				entries[at].children = append(entries[at].children, found)
			}
			at = found
		}
	}
	const sector, mini, none, last, fatSector = 512, 64, 0xffffffff, 0xfffffffe, 0xfffffffd
	var ministream []byte
	var miniFAT []uint32
	starts := make([]uint32, len(entries))
	for i, e := range entries {
		starts[i] = last
		if e.kind != 2 || e.data == "" {
			continue
		}
		starts[i] = uint32(len(miniFAT))
		for n := (len(e.data) + mini - 1) / mini; n > 0; n-- {
			next := uint32(len(miniFAT) + 1)
			if n == 1 {
				next = last
			}
			miniFAT = append(miniFAT, next)
		}
		ministream = append(ministream, e.data...)
		ministream = append(ministream, make([]byte, len(miniFAT)*mini-len(ministream))...)
	}
	var dir bytes.Buffer
	put := func(w *bytes.Buffer, v any) { _ = binary.Write(w, binary.LittleEndian, v) }
	sectors := func(n int) int { return (n + sector - 1) / sector }
	nDir, nMiniFAT, nMini := sectors(len(entries)*128), sectors(len(miniFAT)*4), sectors(len(ministream))
	right := make([]uint32, len(entries))
	child := make([]uint32, len(entries))
	for i := range entries {
		right[i], child[i] = none, none
	}
	for i, e := range entries {
		for n, c := range e.children {
			if n == 0 {
				child[i] = uint32(c)
			} else {
				right[e.children[n-1]] = uint32(c)
			}
		}
	}
	for i, e := range entries {
		name := make([]uint16, 32)
		n := copy(name, utf16.Encode([]rune(e.name)))
		size := uint64(len(e.data))
		if i == 0 {
			starts[0], size = uint32(1+nDir+nMiniFAT), uint64(len(ministream))
		}
		put(&dir, name)
		put(&dir, uint16(2*n+2))
		put(&dir, []byte{e.kind, 1})
		put(&dir, []uint32{none, right[i], child[i]})
		put(&dir, make([]byte, 36))
		put(&dir, starts[i])
		put(&dir, size)
	}
	fat := []uint32{fatSector}
	for _, n := range []int{nDir, nMiniFAT, nMini} {
		for ; n > 0; n-- {
			next := uint32(len(fat) + 1)
			if n == 1 {
				next = last
			}
			fat = append(fat, next)
		}
	}
	for len(fat) < sector/4 {
		fat = append(fat, none)
	}
	var out bytes.Buffer
	out.WriteString("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
	put(&out, make([]byte, 16))
	put(&out, []uint16{0x3e, 3, 0xfffe, 9, 6})
	put(&out, make([]byte, 6))
	put(&out, []uint32{0, 1, 1, 0, 4096, uint32(1 + nDir), uint32(nMiniFAT), last, 0})
	difat := make([]uint32, 109)
	for i := range difat {
		difat[i] = none
	}
	difat[0] = 0
	put(&out, difat)
	pad := func(b []byte) []byte { return append(b, make([]byte, (sector-len(b)%sector)%sector)...) }
	put(&out, fat)
	out.Write(pad(dir.Bytes()))
	var mf bytes.Buffer
	put(&mf, miniFAT)
	out.Write(pad(mf.Bytes()))
	out.Write(pad(ministream))
	return out.Bytes()
}

func utf16le(s string) string {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, utf16.Encode([]rune(s)))
	return b.String()
}

// sampleMSG is an Outlook message with a recipient, a zip and a message in it.
func sampleMSG(tb testing.TB, body ...string) []byte {
	const p = "__substg1.0_"
	inner := "__attach_version1.0_#00000001/" + p + "3701000D/"
	return compoundOf(append([]string{
		"__properties_version1.0", strings.Repeat("\x00", 32) + "\x03\x00\xfd\x3f\x00\x00\x00\x00\xe3\x04\x00\x00\x00\x00\x00\x00", // code page 1251
		p + "0037001F", utf16le("Betreff Übergabe"),
		p + "0C1A001E", "\xcf\xf0\xe8\xe2\xe5\xf2", // Привет
		"__recip_version1.0_#00000000/" + p + "39FE001F", utf16le("rcpt@example.com"),
		"__attach_version1.0_#00000000/" + p + "3707001F", utf16le("files.zip"),
		"__attach_version1.0_#00000000/" + p + "37010102", string(zipOf(tb, "in.txt", "zipped inside")),
		inner + "__properties_version1.0", strings.Repeat("\x00", 24),
		inner + p + "0037001F", utf16le("forwarded subject"),
		inner + p + "1000001F", utf16le("forwarded body"),
	}, body...)...)
}
