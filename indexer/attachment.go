package indexer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/indexer/extract"
	"github.com/postkeep/postkeep/indexer/extract/document"
	"github.com/postkeep/postkeep/internal/mailparse"
)

// Extractor finds the text of attached files. *extract.Pool is one.
type Extractor interface {
	// Extract reads a file, not always to its end. What is wrong with the file is
	// in the result; an error means that it could not be looked at.
	Extract(ctx context.Context, name, mediaType string, size int64, r io.Reader) (extract.Result, error)
}

const (
	// maxExtractTime is how long the attachments of one message may take, all
	// together: a batch waits for its slowest message.
	maxExtractTime = 2 * time.Minute
	// maxAttachedText is how much text of the attachments of one message is
	// indexed, in bytes: as much as of the message itself.
	maxAttachedText = mailparse.DefaultMaxTextBytes
	// maxProblems bounds what is said about one message.
	maxProblems = 32
)

// attachments has the attachments of one message read while it is parsed, one
// after the other: the parser is held up by nothing but the pipe.
type attachments struct {
	ctx       context.Context //nolint:containedctx // of one Parse, whose callback has none
	id        string
	extractor Extractor
	log       *slog.Logger
	deadline  time.Time
	current   *attachedFile
	results   map[string]extract.Result // by Part.Path
	off       bool                      // files were not read because none are to be
}

// attachedFile is the writing end of a pipe to the Extractor.
type attachedFile struct {
	*io.PipeWriter
	read bool          // nobody reads on
	done chan struct{} // closed when the Extractor has returned
}

// Write never fails: a file of which enough was read is no error of the message.
func (f *attachedFile) Write(b []byte) (int, error) {
	if !f.read {
		_, err := f.PipeWriter.Write(b)
		f.read = err != nil
	}
	return len(b), nil
}

// parseMessage reads a message with the text of its attachments. off means that some were not read because none are to be.
func (w *Worker) parseMessage(ctx context.Context, id string, body io.Reader) (_ *mailparse.Message, off bool, _ error) {
	parser, ok := w.parsers.Get().(*mailparse.Parser)
	if !ok {
		parser = new(mailparse.Parser)
	}
	defer w.parsers.Put(parser)
	a := &attachments{
		ctx: ctx, id: id, extractor: w.opts.Extractor, log: w.opts.Logger,
		deadline: time.Now().Add(maxExtractTime), results: make(map[string]extract.Result),
	}
	defer a.wait() // also when the parser panics
	m, err := parser.Parse(ctx, body, mailparse.Options{Part: a.part})
	a.wait()
	a.apply(m)
	return m, a.off, err
}

// part is told of every part before its content comes.
func (a *attachments) part(p *mailparse.Part) io.Writer {
	if !isFile(p) {
		return nil
	}
	a.wait()
	if time.Now().After(a.deadline) {
		a.results[p.Path] = extract.Result{Reason: "not read, the attachments before it took too long"}
		return nil
	}
	mediaType := p.MediaType
	if charset := p.Params["charset"]; charset != "" && !strings.ContainsAny(charset, "\"\\\r\n") {
		mediaType += `; charset="` + charset + `"`
	}
	if _, off := a.extractor.(extract.Off); off {
		return &beginning{a: a, name: p.FileName, mediaType: mediaType, path: p.Path}
	}
	r, w := io.Pipe()
	f := &attachedFile{PipeWriter: w, done: make(chan struct{})}
	a.current = f
	name, at := p.FileName, p.Path
	go func() {
		defer close(f.done)
		res, err := a.extractor.Extract(a.ctx, name, mediaType, -1, r)
		if err != nil && a.ctx.Err() == nil {
			a.log.Error("an attachment cannot be read, the message is indexed without it", "id", a.id, "name", name, "error", err)
			res.Reason = "could not be read: " + err.Error()
		}
		a.results[at] = res
		_ = r.CloseWithError(errEnough) // cannot fail
	}()
	return f
}

// beginning takes the beginning of a file that is not read.
type beginning struct {
	a                     *attachments
	name, mediaType, path string
	head                  []byte
	told                  bool
}

// Write never fails. It is told what the file is by its first octets, and again when there are enough of them.
func (f *beginning) Write(b []byte) (int, error) {
	if f.told {
		return len(b), nil
	}
	room := document.SniffBytes - len(f.head)
	f.head = append(f.head, b[:min(len(b), room)]...)
	f.told = len(f.head) == document.SniffBytes
	f.a.results[f.path] = extract.Off{}.Result(f.head, f.name, f.mediaType)
	return len(b), nil
}

var errEnough = errors.New("enough of the attachment was read")

// wait ends the file that is being read, if any, and waits for its text.
func (a *attachments) wait() {
	if f := a.current; f != nil {
		_ = f.Close() // cannot fail
		<-f.done
		a.current = nil
	}
}

// isFile reports whether a part is for the Extractor. Attached text has been made
// readable by the parser, unless its name says that it is something else.
func isFile(p *mailparse.Part) bool {
	if !p.IsAttachment {
		return false
	}
	if !strings.HasPrefix(p.MediaType, "text/") || p.MediaType == "text/rtf" {
		return true
	}
	extension := strings.ToLower(path.Ext(p.FileName))
	return slices.Contains([]string{
		".pdf", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".rtf", ".eml", ".msg", ".zip", ".gz", ".tgz",
	}, extension)
}

// apply gives the parts the text that was found, and notes what was not.
func (a *attachments) apply(m *mailparse.Message) {
	room := maxAttachedText
	for i := range m.Parts {
		p := &m.Parts[i]
		res, ok := a.results[p.Path]
		if !ok {
			continue
		}
		a.off = a.off || res.Off
		if len(res.Text) > room {
			res.Text = strings.ToValidUTF8(res.Text[:room], "")
			res.Reason = strings.TrimPrefix(res.Reason+"; too much text in the attachments, cut", "; ")
		}
		room -= len(res.Text)
		if res.Text != "" {
			p.Text = res.Text
		}
		if res.Encrypted {
			m.Flags = withFlag(m.Flags, mailparse.FlagEncrypted)
		}
		if res.Reason == "" {
			continue
		}
		m.Flags = withFlag(m.Flags, mailparse.FlagPartial)
		name := path.Base(strings.ReplaceAll(p.FileName, `\`, "/"))
		if p.FileName == "" {
			name = p.MediaType
		}
		if problem := name + ": " + res.Reason; len(m.Problems) < maxProblems && !slices.Contains(m.Problems, problem) {
			m.Problems = append(m.Problems, problem)
		}
	}
	slices.Sort(m.Flags)
}
