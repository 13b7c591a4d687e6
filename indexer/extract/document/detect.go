package document

import (
	"bytes"
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"
)

// Kind is what a file is, as far as reading it goes.
type Kind string

// The kinds of files.
const (
	KindNone     Kind = ""         // no text is looked for: pictures, sound, programs
	KindPDF      Kind = "pdf"      //
	KindZip      Kind = "zip"      // and office documents, which are zip files
	KindCompound Kind = "compound" // OLE2: Outlook messages, Office before 2007
	KindRTF      Kind = "rtf"      //
	KindGzip     Kind = "gzip"     //
	KindTar      Kind = "tar"      //
	KindMail     Kind = "mail"     // RFC 5322
	KindCalendar Kind = "calendar" // RFC 5545
	KindCard     Kind = "card"     // RFC 6350
	KindHTML     Kind = "html"     //
	KindXML      Kind = "xml"      //
	KindText     Kind = "text"     // in any charset
	KindOther    Kind = "other"    // has text that is not read: other archives, PostScript
)

// SniffBytes is how much of a file Detect looks at.
const SniffBytes = 4 << 10

// ReadableInPart reports whether the beginning of a file can be read alone.
func (k Kind) ReadableInPart() bool {
	switch k {
	case KindPDF, KindZip, KindCompound:
		return false
	}
	return true
}

// magic are the first octets of files. They go before what the sender says,
// which is often wrong.
var magic = []struct {
	prefix string
	kind   Kind
}{
	{"%PDF-", KindPDF},
	{"PK\x03\x04", KindZip},
	{"PK\x05\x06", KindZip},
	{"PK00PK\x03\x04", KindZip},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", KindCompound},
	{`{\rtf`, KindRTF},
	{"\x1f\x8b\x08", KindGzip},
	{"Rar!\x1a\x07", KindOther},
	{"7z\xbc\xaf\x27\x1c", KindOther},
	{"BZh", KindOther},
	{"\xfd7zXZ\x00", KindOther},
	{"\x28\xb5\x2f\xfd", KindOther}, // zstd
	{"%!PS", KindOther},
	{"-----BEGIN ", KindNone}, // keys, signatures, PGP: base64
}

const (
	ustarAt = 257 // POSIX.1-1988
	ustar   = "ustar"
)

// Detect tells what a file is by its beginning (SniffBytes are enough), then by
// its media type, then by its name.
func Detect(head []byte, mediaType, name string) Kind {
	for _, m := range magic {
		if bytes.HasPrefix(head, []byte(m.prefix)) {
			return m.kind
		}
	}
	if len(head) > ustarAt+len(ustar) && string(head[ustarAt:ustarAt+len(ustar)]) == ustar {
		return KindTar
	}
	head = head[:min(len(head), SniffBytes)]
	if i := bytes.Index(head, []byte("%PDF-")); i >= 0 && i < 1<<10 { // readers allow for as much in front
		return KindPDF
	}
	base, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		base = strings.ToLower(mediaType)
	}
	extension := strings.ToLower(path.Ext(name))
	declared := strings.HasPrefix(base, "text/") || isMail(base, extension) || isText(extension)
	if declared && isPicture(head) || len(head) == 0 {
		return KindNone
	}
	if !looksLikeText(head, declared) {
		return binaryKind(base, extension)
	}
	return detectText(head, base, extension)
}

func detectText(head []byte, mediaType, extension string) Kind {
	start := bytes.ToUpper(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"))
	has := func(prefix string) bool { return bytes.HasPrefix(start, []byte(prefix)) }
	switch {
	case has("BEGIN:VCALENDAR"):
		return KindCalendar
	case has("BEGIN:VCARD"):
		return KindCard
	case isMail(mediaType, extension):
		return KindMail
	case has("<!DOCTYPE HTML"), has("<HTML"), mediaType == "text/html", extension == ".html", extension == ".htm", extension == ".xhtml":
		return KindHTML
	case has("<?XML"), mediaType == "text/xml", mediaType == "application/xml", strings.HasSuffix(mediaType, "+xml"):
		return KindXML
	}
	major, _, _ := strings.Cut(mediaType, "/")
	switch {
	case major == "image" || major == "audio" || major == "video" || major == "font":
		return KindNone
	case strings.HasPrefix(mediaType, "application/pgp-"), strings.Contains(mediaType, "pkcs7"):
		return KindNone
	}
	return KindText
}

// binaryKind tells what a file is that is no text and has no beginning that is known. Nobody can say that there is no text in
// a format that is not known.
func binaryKind(mediaType, extension string) Kind {
	major, _, _ := strings.Cut(mediaType, "/")
	switch {
	case major == "image" || major == "audio" || major == "video" || major == "font", mediaType == "application/vnd.ms-fontobject":
		return KindNone
	case strings.Contains(mediaType, "pkcs7") || strings.Contains(mediaType, "pgp-") || strings.Contains(mediaType, "x509") || mediaType == "application/pkix-cert":
		return KindNone // signatures and keys
	}
	switch extension {
	case ".jpg", ".jpeg", ".jpe", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif", ".ico", ".cur", ".emf", ".wmf", ".emz", ".wmz", ".raw", ".avif",
		".mp3", ".m4a", ".aac", ".wav", ".ogg", ".oga", ".opus", ".flac", ".wma", ".amr", ".aif", ".aiff", ".mid", ".midi", ".au",
		".mp4", ".m4v", ".mov", ".avi", ".mpg", ".mpeg", ".mkv", ".webm", ".wmv", ".3gp", ".flv", ".swf",
		".ttf", ".otf", ".woff", ".woff2", ".eot", ".exe", ".dll", ".com", ".sys", ".ocx", ".scr", ".pif", ".class", ".so", ".o", ".obj", ".pyc",
		".p7s", ".p7m", ".p7c", ".p7b", ".sig", ".cer", ".crt", ".der", ".pfx", ".p12", ".gpg", ".pgp":
		return KindNone // .p7m, .gpg and .pgp are flagged as encrypted, or unwrapped, before
	}
	return KindOther
}

// isText reports whether files of that name are text, whatever their charset
// makes of their octets.
func isText(extension string) bool {
	switch extension {
	case ".txt", ".csv", ".tsv", ".htm", ".html", ".xhtml", ".xml", ".json", ".log", ".md", ".ics", ".vcf":
		return true
	}
	return false
}

// isPicture reports whether a file that is called text is a picture, sound, film
// or font by its beginning. The signatures of some of them are letters only, so
// that a NUL is asked for too.
func isPicture(head []byte) bool {
	if bytes.IndexByte(head, 0) < 0 {
		return false
	}
	major, _, _ := strings.Cut(http.DetectContentType(head), "/")
	return major == "image" || major == "audio" || major == "video" || major == "font"
}

func isMail(mediaType, extension string) bool {
	switch extension {
	case ".eml", ".mht", ".mhtml":
		return true
	}
	return mediaType == "message/rfc822" || mediaType == "message/global"
}

// looksLikeText reports whether the beginning of a file is text in some
// charset: no NUL unless it is UTF-16, hardly any other control character, and
// not mostly octets above 127 unless they are UTF-8 or the sender says that it is text.
func looksLikeText(head []byte, declared bool) bool {
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return true
	}
	control, high := 0, 0
	for _, c := range head {
		switch {
		case c == 0 && !declared:
			return false
		case c >= utf8.RuneSelf:
			high++
		case c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != '\f' && c != 0x1b:
			control++
		}
	}
	if control > len(head)/50 && !declared {
		return false
	}
	return len(head) > 0 && (declared || high <= len(head)/3 || utf8.Valid(head[:max(0, len(head)-utf8.UTFMax)]))
}

// charset returns what the sender says, "" for nothing.
func (f File) charset() string {
	_, params, err := mime.ParseMediaType(f.MediaType)
	if err != nil {
		return ""
	}
	return params["charset"]
}
