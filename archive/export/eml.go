package export

import (
	"context"
	"fmt"
	"path"
)

// native writes the exact bytes of a message to a file of its own, whose SHA-256 is the id: it was made sure of before.
func (v *volume) native(ctx context.Context, it *item, name, document string) (File, error) {
	f := File{Path: v.prefix + name, Size: it.Size, SHA256: it.ID, Document: document}
	w, err := v.x.sink.create(f.Path)
	if err != nil {
		return f, err
	}
	if err := it.writeTo(ctx, w); err != nil {
		return f, err
	}
	v.size += f.Size
	it.entry.Native, it.entry.Files = f.Path, append(it.entry.Files, f)
	return f, w.Close()
}

// emlFormat writes one file per message.
type emlFormat struct {
	v    *volume
	name func(it *item) string
}

func openEML(v *volume) (format, error) {
	return &emlFormat{v, func(it *item) string { return it.ID + ".eml" }}, nil
}

// openMaildir makes a maildir (https://cr.yp.to/proto/maildir.html). The messages
// are in new/, whose names need no colon, which Windows does not take.
func openMaildir(v *volume) (format, error) {
	for _, dir := range []string{"cur", "new", "tmp"} {
		if err := v.x.sink.mkdir(path.Join(v.prefix, dir)); err != nil {
			return nil, err
		}
	}
	return &emlFormat{v, func(it *item) string {
		return fmt.Sprintf("new/%d.%s.postkeep", it.Received.Unix(), it.ID)
	}}, nil
}

func (f *emlFormat) add(ctx context.Context, it *item) error {
	_, err := f.v.native(ctx, it, f.name(it), "")
	return err
}

func (f *emlFormat) finish() error { return nil }
