package mailparse

import (
	"io"
	"strconv"
	"strings"
)

// open puts the entity whose header was just read on the stack.
func (w *walker) open() {
	w.inHeader = false
	if len(w.msg.Parts) >= w.opts.MaxParts {
		w.cut(issueTooMany)
		w.stack = append(w.stack, entity{kind: skippedEntity, part: -1})
		return
	}
	h := w.hdr.header()
	part := w.newPart(&h)
	e := entity{part: len(w.msg.Parts), start: w.offset}
	w.msg.Parts = append(w.msg.Parts, part)
	if w.message {
		w.messageHeader(h)
	}
	isMultipart := strings.HasPrefix(part.MediaType, "multipart/")
	switch {
	case (isMultipart || isEnclosed(part.MediaType)) && part.Depth >= w.opts.MaxDepth:
		w.cut(issueTooDeep)
		e.leaf = newLeaf(w, e.part)
	case isMultipart:
		e.kind = multipartEntity
		e.boundary = strings.TrimRight(part.Params["boundary"], " \t")
		e.digest = part.MediaType == "multipart/digest"
		e.isText = w.hasTextToo(h)
		e.leaf = newPreamble(w, e.part)
	case !isEnclosed(part.MediaType):
		e.leaf = newLeaf(w, e.part)
		e.leaf.inner = w.unpacker(e.part)
		e.leaf.announce()
	case !isBase64(part.Encoding) && !isQuotedPrintable(part.Encoding):
		e.kind = messageEntity
		w.begin(part.Path+".1", part.Depth+1, e.part, true, "text/plain")
	default:
		e.leaf = newLeaf(w, e.part)
		e.leaf.inner = newWalker(w.state, part.Path+".1", part.Depth+1, e.part, true)
	}
	w.stack = append(w.stack, e)
}

// hasTextToo reports whether the header of a multipart goes on with that of a text: the
// boundary line between the two was lost, and the text stands before the next one.
func (w *walker) hasTextToo(h Header) bool {
	types := h.Values("Content-Type")
	if len(types) < 2 || !strings.HasPrefix(strings.ToLower(types[len(types)-1]), "text/") {
		return false
	}
	w.problem("two Content-Type fields")
	return true
}

// unpacker returns what looks for parts in the content of a part, nil if nothing does.
// The part is attached only if nothing is found, which is known at its end.
func (w *walker) unpacker(part int) content {
	var unpack func(io.Reader, int) bool
	p := &w.msg.Parts[part]
	switch {
	case isCMS(p):
		unpack = w.unwrapCMS
	case p.MediaType == typeTNEF, p.MediaType == "application/vnd.ms-tnef",
		p.MediaType == "application/octet-stream" && strings.EqualFold(p.FileName, "winmail.dat"):
		p.MediaType = typeTNEF
		unpack = w.unpackTNEF
	default:
		return nil
	}
	attached := p.IsAttachment
	p.IsAttachment = false
	return newFeed(func(r io.Reader) {
		if !unpack(r, part) {
			w.msg.Parts[part].IsAttachment = attached
		}
	})
}

// isEnclosed reports whether parts of the type hold a whole message.
func isEnclosed(mediaType string) bool {
	switch mediaType {
	case "message/rfc822", "message/global", "message/news":
		return true
	}
	return false
}

// newPart makes a Part of the header of an entity.
func (w *walker) newPart(h *Header) Part {
	p := Part{Path: w.path, Depth: w.depth, parent: w.parent}
	contentType := h.Raw("Content-Type")
	p.MediaType, p.Params = h.parseParams(contentType)
	h.charset = p.Params["charset"]
	switch {
	case contentType == "":
		p.MediaType = w.defaultType
	case p.MediaType == "html" || p.MediaType == "plain":
		p.MediaType = "text/" + p.MediaType
	case strings.IndexByte(p.MediaType, '/') <= 0 || strings.HasSuffix(p.MediaType, "/"):
		// RFC 2045 section 5.2: what is not valid is text/plain. So is
		// "text", which the first MIME mailers wrote.
		if p.MediaType != "text" {
			w.problem("unreadable Content-Type")
		}
		p.MediaType = "text/plain"
	}
	var disposition map[string]string
	p.Disposition, disposition = h.parseParams(h.Raw("Content-Disposition"))
	p.FileName = disposition["filename"]
	if p.FileName == "" {
		p.FileName = p.Params["name"]
	}
	p.ContentID = strings.Trim(h.Get("Content-ID"), "<> \t")
	p.Description = h.Get("Content-Description")
	encoding, _, _ := strings.Cut(stripComments(h.Raw("Content-Transfer-Encoding")), ";")
	p.Encoding = strings.ToLower(h.decode(strings.Trim(encoding, "\"' \t")))
	w.classify(&p)
	if p.MediaType == "message/partial" && p.Depth == 0 {
		w.fragment(&p)
	}
	return p
}

// fragment notes that the message is a piece of another.
func (w *walker) fragment(p *Part) {
	number, _ := strconv.Atoi(p.Params["number"])
	total, _ := strconv.Atoi(p.Params["total"])
	w.msg.Fragment = &Fragment{ID: strings.Trim(p.Params["id"], "<>"), Number: number, Total: total}
	w.cut("a fragment of a message (message/partial)")
}

// classify sets IsAttachment, and the flags that a part gives to the message.
func (w *walker) classify(p *Part) {
	parentType := ""
	if p.parent >= 0 {
		parentType = w.msg.Parts[p.parent].MediaType
	}
	switch p.MediaType {
	case "multipart/signed", "application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature":
		w.flag(FlagSigned)
		return
	case "multipart/encrypted", "application/pgp-encrypted":
		w.flag(FlagEncrypted)
		return
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		// RFC 8551 section 3.2.2; where nothing is said, the content tells.
		switch strings.ToLower(p.Params["smime-type"]) {
		case "signed-data", "signed-receipt":
			w.flag(FlagSigned)
		case "enveloped-data", "authenveloped-data":
			w.flag(FlagEncrypted)
		}
		return
	}
	if parentType == "multipart/encrypted" {
		return
	}
	p.IsAttachment = w.isAttachment(p, parentType)
}

func (w *walker) isAttachment(p *Part, parentType string) bool {
	major, _, _ := strings.Cut(p.MediaType, "/")
	switch {
	case major == "multipart":
		return false
	case p.parent < 0 && (major == "message" || p.MediaType == "text/plain" || p.MediaType == "text/html") && p.Disposition != "attachment":
		return false
	case isEnclosed(p.MediaType):
		return p.Disposition == "attachment" || p.Disposition != "inline" &&
			parentType != "multipart/report" && parentType != "multipart/digest" && (!w.journal || p.parent != 0)
	case major == "message":
		return false
	case p.Disposition == "attachment":
		return true
	case major == "text":
		return parentType != "multipart/alternative" &&
			(p.FileName != "" || p.MediaType != "text/plain" && p.MediaType != "text/html" && p.MediaType != "text/rfc822-headers")
	}
	return p.ContentID == "" || parentType != "multipart/related" || major != "image"
}

// messageHeader stores the header of the message or of an enclosed one.
func (w *walker) messageHeader(h Header) {
	if w.parent < 0 {
		w.msg.Header = h
		w.journal = isJournalReport(h)
		if len(h.fields) == 0 {
			w.problem("no header")
		}
		return
	}
	size := len(w.hdr.buf)
	if w.journal && w.msg.Parts[w.parent].parent == 0 {
		size = 0 // it is the message
	}
	if size > w.textRoom() {
		w.textCut()
		return
	}
	w.textUsed += size
	w.msg.Parts[w.parent].Enclosed = &Enclosed{Header: h, Envelope: newEnvelope(h)}
}

// textRoom is the number of octets of text that may still be kept.
func (s *state) textRoom() int { return max(0, s.opts.MaxTextBytes-s.textUsed) }

// textCut notes that text was left out, unless none was wanted.
func (s *state) textCut() {
	if s.opts.MaxTextBytes > 0 {
		s.cut("too much text, cut")
	}
}
