package document

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	// maxRatio is the ratio of unpacked to packed size above which a large
	// member is taken for a bomb. Deflate reaches 1032; the sparsest spreadsheets
	// and logs stay under 100.
	maxRatio = 200
	// largeMember is the size in bytes from which the ratio counts.
	largeMember = 8 << 20
)

var errBomb = errors.New("unpacks to far more than its size, refused")

// flagEncrypted is bit 0 of the general purpose flags of a zip member
// (APPNOTE.TXT section 4.4.4).
const flagEncrypted = 1

// zip reads an archive, or an office document, which is one.
func (r *reader) zip(data []byte, where string, depth int) error {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return errDamaged
	}
	b := &bundle{reader: r, files: make(map[string]*zip.File, len(z.File)), where: where, depth: depth}
	for _, f := range z.File {
		if _, ok := b.files[bundleName(f.Name)]; !ok {
			b.files[bundleName(f.Name)] = f
		}
		b.order = append(b.order, f)
	}
	switch {
	case b.files["[content_types].xml"] != nil:
		return b.openXML()
	case b.files["meta-inf/manifest.xml"] != nil && b.files["content.xml"] != nil:
		return b.openDocument()
	}
	for _, f := range z.File {
		if err := r.stopped(); err != nil {
			return err
		}
		if f.FileInfo().IsDir() {
			continue
		}
		data, err := r.unzip(f)
		if err != nil {
			r.member(File{Name: f.Name}, where, depth)
			r.note(strings.TrimPrefix(where+"/"+path.Base(f.Name), "/"), err)
			continue
		}
		r.member(File{Name: f.Name, Data: data}, where, depth)
	}
	return nil
}

// unzip unpacks one member.
func (r *reader) unzip(f *zip.File) ([]byte, error) {
	if f.Flags&flagEncrypted != 0 {
		return nil, errEncrypted
	}
	in, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errDamaged, err)
	}
	defer in.Close()
	return r.unpack(in, int64(f.CompressedSize64)) //nolint:gosec // a wrong size is refused below
}

// unpack reads what a decompressor gives, packed being its input in bytes.
// What was read until an error is no use.
func (r *reader) unpack(in io.Reader, packed int64) ([]byte, error) {
	room := min(r.limits.MemberBytes, r.limits.UnpackedBytes-r.unpacked)
	if packed >= 0 && packed*maxRatio < room {
		room = max(packed*maxRatio, min(room, largeMember))
	}
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(in, room+1))
	r.unpacked += n
	switch {
	case n > room && r.unpacked > r.limits.UnpackedBytes:
		return nil, errUnpacked
	case n > room && n > r.limits.MemberBytes:
		return nil, errCut
	case n > room:
		return nil, errBomb
	case err != nil:
		return nil, errDamaged
	}
	return buf.Bytes(), nil
}

// gzip reads a compressed file, most often a tar. Its beginning is read where
// the rest is missing or too much.
func (r *reader) gzip(f File, where string, depth int) error {
	z, err := gzip.NewReader(bytes.NewReader(f.Data))
	if err != nil {
		return errDamaged
	}
	data, cut := r.prefix(z)
	if cut == nil && int64(len(data)) > largeMember && len(data)/maxRatio > len(f.Data) {
		return errBomb
	}
	name := path.Base(f.Name)
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".gz":
		name = name[:len(name)-len(ext)]
	case ".tgz":
		name = name[:len(name)-len(ext)] + ".tar"
	}
	if depth >= maxDepth {
		return errDeep
	}
	if err := r.extract(File{Name: name, Data: data, Cut: cut != nil}, where, depth+1); err != nil {
		return err
	}
	return cut
}

// prefix reads as much as a member may have, and says why that is not all.
func (r *reader) prefix(in io.Reader) ([]byte, error) {
	room := min(r.limits.MemberBytes, r.limits.UnpackedBytes-r.unpacked)
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(in, room))
	r.unpacked += n
	switch {
	case err != nil:
		return buf.Bytes(), errDamaged
	case n == room:
		return buf.Bytes(), errUnpacked
	}
	return buf.Bytes(), nil
}

func (r *reader) tar(data []byte, where string, depth int) error {
	t := tar.NewReader(bytes.NewReader(data))
	for {
		if err := r.stopped(); err != nil {
			return err
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return errDamaged
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := r.unpack(t, -1)
		r.member(File{Name: h.Name, Data: content}, where, depth)
		r.note(strings.TrimPrefix(where+"/"+path.Base(h.Name), "/"), err)
	}
}
