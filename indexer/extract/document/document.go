// Package document finds the text in files that people attach to mail: PDF,
// office documents, saved messages, calendars, and archives of these.
//
// Files come from strangers. Every reader here works within Limits, gives up with
// a reason instead of guessing, and may still loop or panic in a library: Read
// is for a process that can be killed (package extract), not for a server.
package document

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// Limits bound one Read. The zero value takes the defaults.
type Limits struct {
	// TextBytes is the number of bytes of text that are returned. 0 means
	// DefaultTextBytes.
	TextBytes int
	// MemberBytes is the size in bytes of one unpacked file, which is held in
	// memory. 0 means DefaultMemberBytes.
	MemberBytes int64
	// UnpackedBytes is the number of bytes that everything in a file unpacks
	// to. 0 means DefaultUnpackedBytes.
	UnpackedBytes int64
}

// Defaults of Limits.
const (
	// DefaultTextBytes is several novels; more makes the index large and no
	// search better.
	DefaultTextBytes = 4 << 20
	// DefaultMemberBytes is above the XML of the largest spreadsheets that are mailed.
	DefaultMemberBytes = 64 << 20
	// DefaultUnpackedBytes takes about two seconds to unpack.
	DefaultUnpackedBytes = 256 << 20
)

const (
	// maxDepth is the number of levels of files in files. People send a zip with
	// a message with a document with a spreadsheet; an archive that holds itself has no end.
	maxDepth = 6
	// maxMembers is the number of files looked at, over all levels.
	maxMembers = 10_000
	// maxReasons keeps a reason readable where every member has one.
	maxReasons = 5
	// maxReasonBytes bounds one reason, in which names are the sender's.
	maxReasonBytes = 200
)

// File is a file to be read.
type File struct {
	// Name is the file name, may be empty.
	Name string
	// MediaType is what the sender says it is, may be empty and have parameters.
	MediaType string
	// Data is the content. It is not changed.
	Data []byte
	// Cut means that Data is only the beginning.
	Cut bool
}

// Result is what was found in a file.
type Result struct {
	// Kind is what the file is, "" for one in which no text is looked for.
	Kind string
	// Text is valid UTF-8, of at most Limits.TextBytes.
	Text string
	// Reason says in words why Text is not all of it, "" if it is.
	Reason string
	// Encrypted means that something cannot be read without a password.
	Encrypted bool
}

// ReasonOther is the Result.Reason of files that may have text, in a format that nobody here reads.
const ReasonOther = "a format that is not read"

var (
	errEncrypted = errors.New("encrypted")
	errText      = errors.New("more text than the limit, cut")
	errUnpacked  = errors.New("unpacks to more than the limit, the rest is not read")
	errDeep      = errors.New("files nested too deep, not read")
	errMembers   = errors.New("too many files, the rest is not read")
	errCut       = errors.New("larger than the limit, not read")
	errDamaged   = errors.New("damaged")
)

// Read returns the text of f. It never fails: what could not be read has a reason.
func Read(ctx context.Context, f File, limits Limits) Result {
	if limits.TextBytes <= 0 {
		limits.TextBytes = DefaultTextBytes
	}
	if limits.MemberBytes <= 0 {
		limits.MemberBytes = DefaultMemberBytes
	}
	if limits.UnpackedBytes <= 0 {
		limits.UnpackedBytes = DefaultUnpackedBytes
	}
	r := &reader{ctx: ctx, limits: limits}
	kind := Detect(f.Data, f.MediaType, f.Name)
	r.read(f, "", 0)
	if r.full {
		r.note("", errText)
	}
	return Result{Kind: string(kind), Text: r.out.String(), Reason: strings.Join(r.reasons, "; "), Encrypted: r.encrypted}
}

// reader reads one file with all that is in it.
type reader struct {
	ctx       context.Context
	limits    Limits
	out       strings.Builder
	full      bool // the text limit is reached
	unpacked  int64
	members   int
	reasons   []string
	encrypted bool
}

// read reads a file. where is the way to it in the outermost one, "" for that.
func (r *reader) read(f File, where string, depth int) {
	defer func() {
		if p := recover(); p != nil { // libraries panic over damaged files
			r.note(where, fmt.Errorf("%w (%v)", errDamaged, p))
		}
	}()
	r.note(where, r.extract(f, where, depth))
}

func (r *reader) extract(f File, where string, depth int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	kind := Detect(f.Data, f.MediaType, f.Name)
	if f.Cut && !kind.ReadableInPart() {
		return errCut
	}
	var err error
	switch kind {
	case KindPDF:
		err = r.pdf(f.Data, where, depth)
	case KindZip:
		err = r.zip(f.Data, where, depth)
	case KindCompound:
		err = r.compound(f.Data, where, depth)
	case KindRTF:
		err = r.rtf(f.Data)
	case KindGzip:
		err = r.gzip(f, where, depth)
	case KindTar:
		err = r.tar(f.Data, where, depth)
	case KindMail:
		err = r.mail(f.Data, where, depth)
	case KindCalendar, KindCard:
		r.text(mailparse.DirectoryText(f.Data, f.charset()))
	case KindHTML:
		r.html(f.Data, f.charset())
	case KindXML:
		err = r.plainXML(f.Data)
	case KindText:
		r.plain(f.Data, f.charset())
	case KindOther:
		err = errors.New(ReasonOther)
	case KindNone:
	}
	if err == nil && f.Cut && kind != KindNone {
		err = errText
	}
	return err
}

// member reads a file inside another.
func (r *reader) member(f File, where string, depth int) {
	r.members++
	name := path.Base(strings.ReplaceAll(f.Name, `\`, "/"))
	r.text(f.Name)
	r.newline()
	where = strings.TrimPrefix(where+"/"+name, "/")
	if depth >= maxDepth {
		if kind := Detect(f.Data, f.MediaType, f.Name); kind != KindNone {
			r.note(where, errDeep)
		}
		return
	}
	r.read(f, where, depth+1)
	r.newline()
}

// stopped reports whether there is no use in going on, and why.
func (r *reader) stopped() error {
	switch {
	case r.full:
		return errText
	case r.unpacked > r.limits.UnpackedBytes:
		return errUnpacked
	case r.members >= maxMembers:
		return errMembers
	}
	return r.ctx.Err()
}

// note adds a reason, once.
func (r *reader) note(where string, err error) {
	if err == nil {
		return
	}
	if errors.Is(err, errEncrypted) {
		r.encrypted = true
	}
	reason := err.Error()
	if where != "" && !errors.Is(err, errText) {
		reason = where + ": " + reason
	}
	reason = truncate(strings.ToValidUTF8(oneLine(reason), "\uFFFD"), maxReasonBytes)
	if !slices.Contains(r.reasons, reason) && len(r.reasons) < maxReasons {
		r.reasons = append(r.reasons, reason)
	}
}

// text adds text, as much as there is room for.
func (r *reader) text(s string) {
	if room := r.limits.TextBytes - r.out.Len(); len(s) > room {
		s, r.full = truncate(s, room), true
	}
	r.out.WriteString(strings.ToValidUTF8(s, "\uFFFD"))
	if r.out.Len() > r.limits.TextBytes { // three bytes may stand for one
		cut := truncate(r.out.String(), r.limits.TextBytes)
		r.out.Reset()
		r.out.WriteString(cut)
		r.full = true
	}
}

// newline ends a line, if one has begun.
func (r *reader) newline() { r.separate('\n') }

// separate adds a separator, unless there is one.
func (r *reader) separate(c byte) {
	s := r.out.String()
	if s == "" || s[len(s)-1] == '\n' || s[len(s)-1] == c {
		return
	}
	r.text(string(c))
}

// field adds a value as a line of its own, if there is one.
func (r *reader) field(value string) {
	if value = strings.TrimSpace(value); value != "" {
		r.newline()
		r.text(value)
		r.newline()
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// truncate cuts s to n bytes, between characters.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
