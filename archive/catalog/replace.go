package catalog

import (
	"context"
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// Replace takes over the content of another catalog file, which nobody has open, in one transaction: readers see all of
// the old one or all of the new, also if the old one is damaged. Like Apply it is serialised by the caller.
func (c *Catalog) Replace(ctx context.Context, path string) error {
	conn, err := c.write.Conn(ctx)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	err = conn.Raw(func(driver any) error {
		d, ok := driver.(interface {
			NewRestore(path string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("the SQLite driver cannot restore")
		}
		b, err := d.NewRestore(path)
		if err != nil {
			return err
		}
		const all = -1 // pages
		_, err = b.Step(all)
		return errors.Join(err, b.Finish())
	})
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("catalog: replace: %w", err)
	}
	return c.lookForGraves(ctx)
}
