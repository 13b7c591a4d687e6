package export

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
)

// batchMessages is how many messages a Batch holds: the relationships come
// behind its documents, and are kept in memory until then.
const batchMessages = 1000

// edrmFormat writes EDRM XML 1.2 (the schema of 31 October 2010: Root, Batch, Documents,
// Relationships) with natives and text.
type edrmFormat struct {
	v         *volume
	f         *sharedFile
	messages  int
	relations [][2]string // parent and child
}

const edrmHead = xml.Header + `<Root MajorVersion="1" MinorVersion="2" Description="Postkeep export" Locale="en" DataInterchangeType="Update">` + "\n"

func openEDRM(v *volume) (format, error) {
	f, err := v.grow("edrm.xml")
	e := &edrmFormat{v: v, f: f}
	if err != nil {
		return e, err
	}
	_, err = io.WriteString(f, edrmHead)
	return e, err
}

// The elements of EDRM XML that are written.
type (
	edrmDocument struct {
		XMLName  xml.Name   `xml:"Document"`
		DocID    string     `xml:"DocID,attr"`
		DocType  string     `xml:"DocType,attr"`
		MimeType string     `xml:"MimeType,attr"`
		Tags     []edrmTag  `xml:"Tags>Tag"`
		Files    []edrmFile `xml:"Files>File"`
		Location []edrmAt   `xml:"Locations>Location"`
	}
	edrmTag struct {
		Name  string `xml:"TagName,attr"`
		Type  string `xml:"TagDataType,attr"`
		Value string `xml:"TagValue,attr"`
	}
	edrmFile struct {
		Type     string       `xml:"FileType,attr"`
		External edrmExternal `xml:"ExternalFile"`
	}
	edrmExternal struct {
		Path string `xml:"FilePath,attr"`
		Name string `xml:"FileName,attr"`
		Size int64  `xml:"FileSize,attr"`
		Hash string `xml:"Hash,attr"` // SHA-256; the schema leaves the kind open
	}
	edrmAt struct {
		Custodian string `xml:"Custodian"`
		URI       string `xml:"LocationURI"`
	}
)

func (e *edrmFormat) add(ctx context.Context, it *item) error {
	docs, err := e.v.family(ctx, it, "natives", "text")
	if err != nil {
		return err
	}
	if err := e.batch(); err != nil {
		return err
	}
	e.messages++
	for _, d := range docs[1:] {
		e.relations = append(e.relations, [2]string{docs[0].number, d.number})
	}
	for i := range docs {
		if err := e.document(it, docs, i); err != nil {
			return err
		}
	}
	return nil
}

// batch begins a batch, or ends a full one and begins the next.
func (e *edrmFormat) batch() error {
	if e.messages == batchMessages {
		if err := e.endBatch(); err != nil {
			return err
		}
	}
	if e.messages > 0 {
		return nil
	}
	_, err := io.WriteString(e.f, " <Batch>\n  <Documents>\n")
	return err
}

func (e *edrmFormat) endBatch() error {
	var b bytes.Buffer
	b.WriteString("  </Documents>\n")
	if len(e.relations) > 0 {
		b.WriteString("  <Relationships>\n")
		for _, r := range e.relations {
			fmt.Fprintf(&b, "   <Relationship Type=\"Attachment\" ParentDocID=\"%s\" ChildDocID=\"%s\"/>\n", r[0], r[1])
		}
		b.WriteString("  </Relationships>\n")
	}
	b.WriteString(" </Batch>\n")
	e.messages, e.relations = 0, nil
	_, err := e.f.Write(b.Bytes())
	return err
}

func (e *edrmFormat) document(it *item, docs []document, i int) error {
	d := &docs[i]
	out := edrmDocument{DocID: d.number, DocType: "File", MimeType: xmlText(d.mediaType)}
	tag := func(name, kind, value string) {
		if value != "" {
			out.Tags = append(out.Tags, edrmTag{name, kind, xmlText(value)})
		}
	}
	if i == 0 {
		m := it.content
		out.DocType = "Message"
		tag("#From", "Text", list(m.From))
		tag("#To", "Text", list(m.To))
		tag("#CC", "Text", list(m.Cc))
		tag("#BCC", "Text", list(m.Bcc))
		tag("#Subject", "Text", m.Subject)
		tag("#DateSent", "DateTime", it.date().In(e.v.x.opts.Location).Format(time.RFC3339))
		tag("#DateReceived", "DateTime", it.Received.In(e.v.x.opts.Location).Format(time.RFC3339))
		tag("#MessageID", "Text", m.MessageID)
		tag("#InReplyTo", "Text", list(m.InReplyTo))
		tag("#HasAttachments", "Boolean", strconv.FormatBool(len(docs) > 1))
		tag("#AttachmentCount", "Integer", strconv.Itoa(len(docs)-1))
	} else {
		tag("#FileName", "Text", d.name)
		tag("#FileExtension", "Text", strings.TrimPrefix(path.Ext(d.native.Path), "."))
	}
	tag("#SHA256", "Text", d.native.SHA256)
	for _, f := range []struct {
		kind string
		file File
	}{{"Native", d.native}, {"Text", d.text}} {
		if f.file.Path == "" {
			continue
		}
		dir, name := path.Split(strings.TrimPrefix(f.file.Path, e.v.prefix))
		out.Files = append(out.Files, edrmFile{f.kind, edrmExternal{strings.TrimSuffix(dir, "/"), name, f.file.Size, f.file.SHA256}})
	}
	for _, box := range it.mailboxes() {
		out.Location = append(out.Location, edrmAt{xmlText(box), "postkeep:" + it.ID})
	}
	enc := xml.NewEncoder(e.f)
	enc.Indent("   ", " ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(e.f, "\n")
	return err
}

// xmlText takes out what XML 1.0 cannot hold.
func xmlText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 0xfffe || r == 0xffff {
			return '\ufffd'
		}
		return r
	}, oneLine(s))
}

func (e *edrmFormat) finish() error {
	if e.messages > 0 {
		if err := e.endBatch(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(e.f, "</Root>\n")
	return err
}
