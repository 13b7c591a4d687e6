package mailparse

import (
	"path"
	"strconv"
	"strings"
)

// embed opens a part that was found within the content of another: a file in
// uuencode or yEnc, what winmail.dat holds. number counts from 1 within the parent. It is nil
// if a limit allows no more. The caller writes to it, and closes it.
func (s *state) embed(parent, number int, p Part) *leaf {
	above := &s.msg.Parts[parent]
	switch {
	case len(s.msg.Parts) >= s.opts.MaxParts:
		s.cut(issueTooMany)
		return nil
	case above.Depth >= s.opts.MaxDepth:
		s.cut(issueTooDeep)
		return nil
	}
	p.Path, p.Depth, p.parent = above.Path+"."+strconv.Itoa(number), above.Depth+1, parent
	if p.MediaType == "" {
		p.MediaType = typeByName(p.FileName)
	}
	s.msg.Parts = append(s.msg.Parts, p)
	l := newLeaf(&walker{state: s}, len(s.msg.Parts)-1)
	l.announce()
	return l
}

// typeByName returns the media type of a file that came without one. What is not
// text is left to those who look into files.
func typeByName(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".txt":
		return "text/plain"
	case ".htm", ".html":
		return "text/html"
	}
	return "application/octet-stream"
}

// write takes decoded octets.
func (l *leaf) write(p []byte) {
	for len(p) > 0 {
		n := min(len(p), chunkBytes)
		l.w.out = append(l.w.out, p[:n]...)
		l.flush()
		p = p[n:]
	}
}
