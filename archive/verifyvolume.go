package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"

	"github.com/postkeep/postkeep/archive/catalog"
	"github.com/postkeep/postkeep/archive/ledger"
	"github.com/postkeep/postkeep/archive/volume"
)

// rereadBytes is how much of a message that is put together from parts is read at a time.
const rereadBytes = 64 << 10

// volumes verifies the volumes that are there, and reports those that are not.
func (v *verification) volumes(ctx context.Context) error {
	if v.store.volumes == nil {
		return nil
	}
	missing := maps.Clone(v.ends)
	found := false
	for _, info := range v.store.volumes.Volumes() {
		delete(missing, info.Number)
		if v.o.Volume != 0 && info.Number != v.o.Volume {
			continue
		}
		found = true
		if info.Number < v.note.Volume {
			v.done += info.Bytes
			continue
		}
		if info.Number > v.note.Volume {
			v.note.Volume, v.note.Next = info.Number, 0
		}
		if err := v.volume(ctx, info); err != nil {
			return err
		}
		v.done += info.Bytes
		v.report.Volumes++
		if info.Sealed { // another grows, and is read on from where this reading ended
			v.note.Volume, v.note.Next = info.Number+1, 0
		}
		if err := v.keep(); err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(missing)) {
		if v.o.Volume == 0 || v.o.Volume == number {
			found = true
			if err := v.missing(ctx, number); err != nil {
				return err
			}
		}
	}
	if !found && v.o.Volume != 0 {
		return fmt.Errorf("there is no volume %d", v.o.Volume)
	}
	return nil
}

// missing reports a volume that the ledger knows and nobody has.
func (v *verification) missing(ctx context.Context, number uint32) error {
	d := Damage{
		File: volumeFile(fmt.Sprintf("%08d", number)),
		What: fmt.Sprintf("the volume is missing: the ledger knows %d bytes of tar in it; put back a copy", v.ends[number]),
	}
	err := v.name(ctx, &d, number, 0, math.MaxInt64)
	v.damage(d)
	return err
}

// volume verifies one volume. When somebody wants to replace its file it lets them, and goes on in the new one: all
// places are the same.
func (v *verification) volume(ctx context.Context, info volume.Info) error {
	for {
		work, done, err := v.store.rewrites.lend(ctx) // the file stays as it is meanwhile
		if err != nil {
			return err
		}
		err = v.readVolume(work, info)
		gaveWay := errors.Is(context.Cause(work), errGiveWay) && ctx.Err() == nil
		if done(); !gaveWay || err == nil {
			return err
		}
		v.again = true
	}
}

func (v *verification) readVolume(ctx context.Context, info volume.Info) error {
	if err := v.refreshSeals(ctx); err != nil {
		return err
	}
	c := &volumeCheck{v: v, info: info}
	before := v.report
	count := func(p volume.Checked) {
		c.fail(c.passed(context.WithoutCancel(ctx), p.Next)) // nobody looks before Next again
		v.note.Next = p.Next
		v.report.Entries = before.Entries + int64(p.Entries)
		v.report.Messages = before.Messages + int64(p.Messages)
		v.report.Bytes = before.Bytes + c.reread + p.Read
	}
	o := volume.VerifyOptions{
		Deep: v.o.Deep, SHA256: v.seals[info.Number], From: v.note.Next, BytesPerSecond: v.o.BytesPerSecond,
		Damage: func(d volume.Damage) { c.fail(c.damage(ctx, d)) },
		Progress: func(p volume.Progress) {
			count(p.Checked)
			c.fail(v.progress("volume", info.Number, p.Done))
		},
	}
	if v.store.catalog != nil {
		c.rows.c, c.rows.volume, c.rows.from, c.rows.to = v.store.catalog, info.Number, v.note.Next, info.End
		o.Entry = func(e volume.Entry) error { return errors.Join(c.err, c.entry(ctx, e)) }
	}
	r, err := v.store.volumes.Verify(ctx, info.Number, o)
	count(r.Checked)
	if err = errors.Join(err, c.err); err != nil {
		return err
	}
	switch {
	case r.Opaque:
		v.noted("volume %d is encrypted, and there is no key here: its bytes were compared with their checksums only", info.Number)
	case v.o.Deep && o.Entry != nil:
		return c.passed(ctx, math.MaxInt64)
	}
	return nil
}

// refreshSeals takes note of files that were replaced since the verification began.
func (v *verification) refreshSeals(ctx context.Context) error {
	if v.store.ledger == nil || v.offline {
		return nil
	}
	return v.store.readable(ctx, v.size, v.store.ledger.Size(), func(e ledger.Entry) error {
		if n, sums := sealedFile(e); n != 0 {
			v.seals[n] = sums
		}
		return nil
	}, func(int64, error) {})
}

// A volumeCheck compares what a volume holds with the catalog.
type volumeCheck struct {
	v    *verification
	info volume.Info
	rows placeRows
	bad  []volume.Damage // of the entries
	err  error           // about the check itself
	// reread are the bytes of messages that were put together from parts.
	reread int64

	held map[string]map[int]catalog.Held // deposits that were read lately, by message and number
	rowN int                             // how many they are
}

// file is the name of the volume.
func (c *volumeCheck) file() string {
	suffix := ".tar.zst"
	if c.info.Encrypted {
		suffix = ".pkv"
	}
	return volumeFile(fmt.Sprintf("%08d%s", c.info.Number, suffix))
}

func (c *volumeCheck) fail(err error) { c.err = errors.Join(c.err, err) }

// damage reports damage of the volume's file, with the messages that are hit.
func (c *volumeCheck) damage(ctx context.Context, d volume.Damage) error {
	out := Damage{File: volumeFile(d.File), Offset: d.Offset, Bytes: d.Size, What: d.Err.Error()}
	switch {
	case d.File == fmt.Sprintf("%08d.seek", d.Volume):
		out.Repairable = true
	case d.Tar == d.TarEnd && d.Offset >= c.info.Bytes && c.torn():
		// Nothing of it was ever receipted.
		c.v.noted("%s ends with %d bytes of an unfinished write: they are set aside when the archive is opened", out.File, d.Size)
		return nil
	}
	if d.Tar < d.TarEnd {
		c.bad = append(c.bad, d)
		out.What = "what is stored here is not what was written: " + out.What
	}
	switch d.Entry.Kind {
	case volume.KindMessage, volume.KindRecipe:
		out.Messages = []string{d.Entry.ID}
	case volume.KindDeposit:
		out.Messages = []string{d.Entry.ID}
		out.What = fmt.Sprintf("record %d of the deposits of a message: %s", d.Entry.N, out.What)
	case volume.KindPart:
		if err := c.v.nameUsers(ctx, &out, d.Entry.ID); err != nil {
			return err
		}
		out.What = "part " + d.Entry.ID[:partDigits] + " of messages: " + out.What
	case volume.KindUnknown:
		if d.Tar < d.TarEnd {
			if err := c.v.name(ctx, &out, d.Volume, d.Tar, d.TarEnd); err != nil {
				return err
			}
		}
	}
	if len(c.v.reported) < maxReported {
		c.v.reported[volume.Place{Volume: d.Volume, Offset: d.Offset}] = true
	}
	c.v.damage(out)
	return nil
}

// torn says whether bytes behind the end of the volume may be what a crash has left: the volume was not sealed.
func (c *volumeCheck) torn() bool {
	v := c.v
	info, err := v.store.opts.FS.Stat(filepath.Join(v.store.dir, filepath.FromSlash(c.file())))
	_, sealed := v.seals[c.info.Number]
	all := v.store.volumes.Volumes()
	sealed = sealed || c.info.Sealed || c.info.Number != all[len(all)-1].Number
	return v.offline && v.store.ledger != nil && c.info.End >= v.ends[c.info.Number] && !sealed &&
		err == nil && info.Mode().Perm()&0o200 != 0
}

const (
	// partDigits of the name of a part are enough to tell it from others.
	partDigits = 16
	// maxReported bounds the memory for frames that are damaged; more are reported again with each message that needs them.
	maxReported = 100_000
)

// nameUsers adds the messages that have a part.
func (v *verification) nameUsers(ctx context.Context, d *Damage, part string) error {
	if v.store.catalog == nil {
		return nil
	}
	users, err := v.store.catalog.Users(ctx, part)
	for _, id := range users {
		v.nameMessage(d, id)
	}
	return err
}

func (v *verification) nameMessage(d *Damage, id string) {
	switch {
	case slices.Contains(d.Messages, id):
	case len(d.Messages) < maxNamed:
		d.Messages = append(d.Messages, id)
	default:
		d.More++
	}
}

// name adds the messages that have bytes in a stretch of a volume's tar stream.
func (v *verification) name(ctx context.Context, d *Damage, number uint32, from, to int64) error {
	if v.store.catalog == nil {
		return nil
	}
	before, ok, err := v.store.catalog.Before(ctx, number, from)
	if err != nil {
		return err
	}
	if ok {
		e, body, err := v.store.volumes.Open(ctx, volume.Place{Volume: number, Offset: before.Offset})
		if err == nil {
			err = body.Close()
		}
		if err != nil || e.End > from {
			v.nameMessage(d, before.ID)
		}
	}
	rows, err := v.store.catalog.Places(ctx, number, from, to, verifyRows)
	if err != nil {
		return err
	}
	for _, m := range rows {
		v.nameMessage(d, m.ID)
	}
	found, err := v.store.catalog.PartsIn(ctx, number, from, to, verifyRows)
	for _, p := range found {
		err = errors.Join(err, v.nameUsers(ctx, d, p.ID))
	}
	return err
}

// entry compares an entry with the catalog.
func (c *volumeCheck) entry(ctx context.Context, e volume.Entry) error {
	if e.End > c.info.End {
		return nil // came after the verification had begun
	}
	switch e.Kind {
	case volume.KindDeposit:
		return c.deposit(ctx, e)
	case volume.KindMessage, volume.KindRecipe:
	default:
		return nil
	}
	listed := false
	for {
		row, ok, err := c.rows.peek(ctx)
		if err != nil {
			return err
		}
		if !ok || row.Offset > e.Offset {
			break
		}
		c.rows.take()
		if listed = row.Offset == e.Offset && row.ID == e.ID; listed {
			break
		}
		if err := c.lost(ctx, row); err != nil {
			return err
		}
	}
	if !listed {
		if err := c.unlisted(ctx, e); err != nil {
			return err
		}
	}
	if e.Kind == volume.KindRecipe {
		return c.together(ctx, e)
	}
	return nil
}

// passed reports what the catalog lists before an offset, and no message was found for.
func (c *volumeCheck) passed(ctx context.Context, offset int64) error {
	for c.rows.c != nil {
		row, ok, err := c.rows.peek(ctx)
		if err != nil || !ok || row.Offset >= offset {
			return err
		}
		c.rows.take()
		if err := c.lost(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// lost reports a message that is not where the catalog says, unless the damage of the volume is the reason.
func (c *volumeCheck) lost(ctx context.Context, row catalog.Message) error {
	for _, d := range c.bad {
		if d.Tar <= row.Offset && row.Offset < d.TarEnd {
			return nil
		}
	}
	c.v.settle() // the writer is between volume and catalog at times
	now, ok, err := c.v.store.catalog.Message(ctx, row.ID)
	if err != nil || !ok || now.Volume != row.Volume || now.Offset != row.Offset {
		return err // it was moved or disposed of meanwhile
	}
	c.v.damage(Damage{File: catalogName, Messages: []string{row.ID}, What: fmt.Sprintf(
		"message is not in volume %d at offset %d of its tar stream, where the catalog says: postkeep rebuild catalog", row.Volume, row.Offset)})
	return nil
}

// unlisted reports a message that the catalog does not know.
func (c *volumeCheck) unlisted(ctx context.Context, e volume.Entry) error {
	c.v.settle()
	if _, ok, err := c.v.store.catalog.Message(ctx, e.ID); err != nil || ok {
		return err // a damaged copy was replaced by another
	}
	if gone, err := c.gone(ctx, e); err != nil || gone {
		return err
	}
	buried, underWay, err := c.v.disposed(ctx, e.ID)
	if err != nil || underWay {
		return err
	}
	if buried {
		c.v.damage(Damage{File: c.file(), Messages: []string{e.ID},
			What: fmt.Sprintf("message was disposed of, but is still at offset %d of the tar stream: was an older copy of the volume put back?", e.Offset)})
		return nil
	}
	c.v.damage(Damage{File: catalogName, Messages: []string{e.ID}, Repairable: true,
		What: fmt.Sprintf("message in volume %d at offset %d of its tar stream is not in the catalog: postkeep rebuild catalog", e.Volume, e.Offset)})
	return nil
}

// gone says whether an entry was redacted meanwhile.
func (c *volumeCheck) gone(ctx context.Context, e volume.Entry) (bool, error) {
	_, body, err := c.v.store.volumes.Open(ctx, e.Place)
	if errors.Is(err, volume.ErrRedacted) {
		return true, nil
	}
	if err != nil {
		return false, ctx.Err() // the damage is reported as such
	}
	return false, body.Close()
}

// together puts a message together from its parts and compares it with its id.
func (c *volumeCheck) together(ctx context.Context, e volume.Entry) error {
	body, err := c.v.store.OpenMessage(ctx, e.ID)
	if err == nil {
		for buf := make([]byte, rereadBytes); err == nil; {
			var n int
			n, err = body.Read(buf)
			c.reread += int64(n)
			if err := c.v.limit.WaitN(ctx, n); err != nil {
				return errors.Join(err, body.Close())
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		err = errors.Join(err, body.Close())
	}
	if ctx.Err() != nil || err == nil || errors.Is(err, ErrNotFound) {
		return ctx.Err() // what the catalog does not list is reported as such
	}
	c.v.settle()
	if _, ok, err := c.v.store.catalog.Message(ctx, e.ID); err != nil || !ok {
		return err // it was disposed of in this moment
	}
	var damage *volume.DamageError
	if errors.As(err, &damage) && c.v.reported[volume.Place{Volume: damage.Volume, Offset: damage.Offset}] {
		return nil
	}
	c.v.damage(Damage{File: c.file(), Messages: []string{e.ID},
		What: fmt.Sprintf("message cannot be put together from its parts: %v", err)})
	return nil
}
