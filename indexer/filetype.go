package indexer

import (
	"path"
	"slices"
	"strings"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// fileTypes names the types of files by their usual extension, with the kind
// that people may ask for instead, other extensions, and media types.
var fileTypes = []struct{ name, kind, others, media string }{
	{"pdf", "document", "", "application/pdf"},
	{"doc", "document", "dot", "application/msword"},
	{"docx", "document", "docm dotx dotm", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
	{"odt", "document", "ott", "application/vnd.oasis.opendocument.text"},
	{"rtf", "document", "", "application/rtf text/rtf text/richtext"},
	{"pages", "document", "", "application/vnd.apple.pages"},
	{"txt", "text", "text log", "text/plain"},
	{"md", "text", "markdown", "text/markdown"},
	{"html", "text", "htm xhtml", "text/html application/xhtml+xml"},
	{"xml", "text", "", "application/xml text/xml"},
	{"json", "text", "", "application/json"},
	{"patch", "text", "diff", "text/x-patch text/x-diff"},
	{"csv", "spreadsheet", "", "text/csv"},
	{"xls", "spreadsheet", "xlt", "application/vnd.ms-excel"},
	{"xlsx", "spreadsheet", "xlsm xlsb xltx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	{"ods", "spreadsheet", "ots", "application/vnd.oasis.opendocument.spreadsheet"},
	{"ppt", "presentation", "pps pot", "application/vnd.ms-powerpoint"},
	{"pptx", "presentation", "pptm ppsx potx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
	{"odp", "presentation", "otp", "application/vnd.oasis.opendocument.presentation"},
	{"jpg", "image", "jpeg jpe jfif", "image/jpeg image/jpg image/pjpeg"},
	{"png", "image", "", "image/png image/x-png"},
	{"gif", "image", "", "image/gif"},
	{"tif", "image", "tiff", "image/tiff"},
	{"bmp", "image", "dib", "image/bmp image/x-ms-bmp"},
	{"webp", "image", "", "image/webp"},
	{"svg", "image", "svgz", "image/svg+xml"},
	{"heic", "image", "heif", "image/heic image/heif"},
	{"mp3", "audio", "", "audio/mpeg audio/mp3"},
	{"wav", "audio", "wave", "audio/wav audio/x-wav"},
	{"m4a", "audio", "", "audio/mp4"},
	{"ogg", "audio", "oga opus", "audio/ogg"},
	{"mp4", "video", "m4v", "video/mp4"},
	{"avi", "video", "", "video/x-msvideo"},
	{"mov", "video", "qt", "video/quicktime"},
	{"mpg", "video", "mpeg", "video/mpeg"},
	{"webm", "video", "mkv", "video/webm"},
	{"zip", "archive", "zipx", "application/zip application/x-zip-compressed"},
	{"gz", "archive", "tgz", "application/gzip application/x-gzip"},
	{"tar", "archive", "", "application/x-tar"},
	{"rar", "archive", "", "application/vnd.rar application/x-rar-compressed"},
	{"7z", "archive", "", "application/x-7z-compressed"},
	{"bz2", "archive", "tbz", "application/x-bzip2"},
	{"xz", "archive", "txz", "application/x-xz"},
	{"ics", "calendar", "ical ifb vcs", "text/calendar application/ics"},
	{"vcf", "contact", "vcard", "text/vcard text/x-vcard text/directory"},
	{"eml", "message", "", "message/rfc822 message/global"},
	{"msg", "message", "", "application/vnd.ms-outlook"},
	{"exe", "program", "scr com msi dll", "application/x-msdownload application/vnd.microsoft.portable-executable"},
	{"js", "program", "mjs", "text/javascript application/javascript"},
	{"bat", "program", "cmd ps1 vbs", ""},
	{"p7m", "signature", "p7s", "application/pkcs7-mime application/pkcs7-signature application/x-pkcs7-signature"},
	{"asc", "signature", "sig pgp gpg", "application/pgp-signature application/pgp-encrypted application/pgp-keys"},
}

// maxExtension is longer than the extensions that say something.
const maxExtension = 10

// fileTypeOf names the type of an attached file: by its extension, else by its
// media type; "" if neither says anything.
func fileTypeOf(name, mediaType string) string {
	ext := strings.ToLower(strings.TrimPrefix(path.Ext(strings.TrimSpace(name)), "."))
	if ext != "" && len(ext) <= maxExtension && isOneWord(ext) {
		return typeByExtension(ext)
	}
	return typeByMedia(mediaType)
}

func typeByExtension(ext string) string {
	for _, t := range fileTypes {
		if t.name == ext || slices.Contains(strings.Fields(t.others), ext) {
			return t.name
		}
	}
	return ext
}

func typeByMedia(media string) string {
	for _, t := range fileTypes {
		if slices.Contains(strings.Fields(t.media), media) {
			return t.name
		}
	}
	_, sub, _ := strings.Cut(media, "/")
	sub = strings.TrimPrefix(sub, "x-")
	if sub == "octet-stream" || !isOneWord(sub) { // says nothing, or is no extension
		return ""
	}
	return sub
}

// fileTypesNamed returns the types that a person means by a word: a kind, an
// extension with or without its dot, or a media type.
func fileTypesNamed(word string) []string {
	word = strings.TrimPrefix(strings.ToLower(word), ".")
	var types []string
	for _, t := range fileTypes {
		if t.kind == word {
			types = append(types, t.name)
		}
	}
	switch {
	case len(types) > 0:
		return types
	case strings.Contains(word, "/"):
		return []string{typeByMedia(word)}
	}
	return []string{typeByExtension(word)}
}

// attachedTypes are the types of the attached files.
func attachedTypes(m *mailparse.Message) []string {
	var types []string
	for _, a := range m.Attachments {
		if t := fileTypeOf(a.FileName, a.MediaType); t != "" {
			types = append(types, t)
		}
	}
	return types
}
