package mailgen

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"strings"
)

const (
	typePDF  = "application/pdf"
	typePNG  = "image/png"
	typeDOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
)

// The files are written without compression, whose output may change with the
// version of Go. Writing to a bytes.Buffer cannot fail.

func makeCSV(rng *rand.Rand, lex *lexicon) []byte {
	var b strings.Builder
	b.WriteString("order;product;quantity;amount\r\n")
	for range 3 + rng.IntN(10) {
		b.WriteString(lex.expand(rng, "{n};{product};") + fmt.Sprintf("%d;%d.%02d\r\n", 1+rng.IntN(50), rng.IntN(5000), rng.IntN(100)))
	}
	return []byte(b.String())
}

// makePNG draws 16 x 16 pixels of two colours.
func makePNG(rng *rand.Rand) []byte {
	c := color.Palette{color.White, color.RGBA{byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()), 255}}
	img := image.NewPaletted(image.Rect(0, 0, 16, 16), c)
	for i := range img.Pix {
		img.Pix[i] = byte(rng.IntN(2))
	}
	var b bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.NoCompression}
	_ = enc.Encode(&b, img)
	return b.Bytes()
}

// makePDF writes one page with lines of text that windows-1252 can hold (PDF 1.4).
func makePDF(lines []string) []byte {
	escape := strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`)
	content := "BT /F1 14 Tf 72 770 Td 20 TL\n"
	for _, line := range lines {
		content += "(" + escape.Replace(encode("windows-1252", line)) + ") Tj T*\n"
	}
	content += "ET"
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", len(content), content),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
	}
	var b strings.Builder
	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
	xref := fmt.Sprintf("xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for i, object := range objects {
		xref += fmt.Sprintf("%010d 00000 n \n", b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, object)
	}
	start := b.Len()
	fmt.Fprintf(&b, "%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", xref, len(objects)+1, start)
	return []byte(b.String())
}

// makeDOCX writes the smallest package that word processors open.
func makeDOCX(paragraphs []string) []byte {
	const header = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>` + "\n"
	var text bytes.Buffer
	for _, p := range paragraphs {
		text.WriteString("<w:p><w:r><w:t>")
		_ = xml.EscapeText(&text, []byte(p))
		text.WriteString("</w:t></w:r></w:p>")
	}
	files := [][2]string{
		{"[Content_Types].xml", header + `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">` +
			`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>`},
		{"_rels/.rels", header + `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">` +
			`<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>`},
		{"word/document.xml", header + `<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>` +
			text.String() + `</w:body></w:document>`},
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.CreateRaw(&zip.FileHeader{
			Name: f[0], Method: zip.Store, CRC32: crc32.ChecksumIEEE([]byte(f[1])),
			CompressedSize64: uint64(len(f[1])), UncompressedSize64: uint64(len(f[1])),
		})
		if err == nil {
			_, _ = w.Write([]byte(f[1]))
		}
	}
	_ = z.Close()
	return b.Bytes()
}
