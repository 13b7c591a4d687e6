package export

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
)

// A document is one row of a load file: a message, or an attachment of it.
type document struct {
	number    string // with prefix
	name      string // of an attachment, as the sender gave it
	mediaType string
	native    File
	text      File // Path is "" if there is none
}

// batesDigits is the least number of digits, so that numbers sort as text.
const batesDigits = 8

func batesNumber(prefix string, n int64) string { return fmt.Sprintf("%s%0*d", prefix, batesDigits, n) }

// bates is the number of the nth document, counted from 0.
func (x *exporter) bates(n int64) string {
	return batesNumber(x.opts.BatesPrefix, x.opts.BatesStart+n)
}

// family writes natives and text of a message and its attachments, and returns
// the documents, the message first.
func (v *volume) family(ctx context.Context, it *item, natives, texts string) ([]document, error) {
	x := v.x
	place := func(dir string, n int64, ext string) string {
		return path.Join(shard(dir, n), x.bates(n)+ext)
	}
	docs := make([]document, 1, 1+len(it.content.Attachments))
	first := &docs[0]
	first.number, first.mediaType = x.bates(x.docs), "message/rfc822"
	var err error
	if first.native, err = v.native(ctx, it, place(natives, x.docs, ".eml"), first.number); err != nil {
		return nil, err
	}
	if first.text, err = v.write(ctx, it, place(texts, x.docs, ".txt"), first.number, strings.NewReader(it.content.Text)); err != nil {
		return nil, err
	}
	for i, a := range it.content.Attachments {
		docs = append(docs, document{number: x.bates(x.docs + int64(i) + 1), name: a.Name, mediaType: a.MediaType})
	}
	it.entry.Documents = int64(len(docs))
	if len(docs) == 1 {
		return docs, nil
	}
	taken := -1 // the attachment in x.file
	finish := func() error {
		n := taken
		if taken = -1; n < 0 || !x.opts.AttachmentText {
			return nil
		}
		text, err := x.attachmentText(ctx, &it.content.Attachments[n])
		if err != nil || text == "" {
			return err
		}
		d := &docs[n+1]
		d.text, err = v.write(ctx, it, place(texts, x.docs+int64(n)+1, ".txt"), d.number, strings.NewReader(text))
		return err
	}
	err = x.opts.Parser.Attachments(ctx, it.body, it.Size, it.content, func(n int) (io.WriteCloser, error) {
		if err := finish(); err != nil {
			return nil, err
		}
		if err := x.file.reset(); err != nil {
			return nil, err
		}
		taken = n
		d := &docs[n+1]
		w, err := v.create(place(natives, x.docs+int64(n)+1, extension(d.name)), func(f File) {
			f.Document = d.number
			d.native = f
			it.entry.Files = append(it.entry.Files, f)
		})
		if err != nil || !x.opts.AttachmentText || x.opts.Extractor == nil {
			return w, err
		}
		return &both{w, &x.file}, nil
	})
	if err == nil {
		err = finish()
	}
	return docs, err
}

// both writes an attachment to its file and to where the extractor reads it.
type both struct {
	io.WriteCloser
	spool *spool
}

func (b *both) Write(p []byte) (int, error) {
	if n, err := b.spool.Write(p); err != nil {
		return n, err
	}
	return b.WriteCloser.Write(p)
}

func (x *exporter) attachmentText(ctx context.Context, a *Attachment) (string, error) {
	if a.Text != "" || x.opts.Extractor == nil {
		return a.Text, nil
	}
	r, err := x.file.reader()
	if err != nil {
		return "", err
	}
	return x.opts.Extractor.Extract(ctx, a.Name, a.MediaType, x.file.size, io.NewSectionReader(r, 0, x.file.size))
}

// maxExtension is the longest extension that is kept: programs know no longer ones.
const maxExtension = 8

// extension is that of a file name that a stranger chose: a dot and at most
// maxExtension letters and digits; .bin for others.
func extension(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if len(ext) < 2 || len(ext) > maxExtension+1 || strings.Trim(ext[1:], "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ".bin"
	}
	return ext
}
