package indexer

import (
	"fmt"

	"github.com/postkeep/postkeep/internal/mailparse"
)

// Reading names the way in which this program reads messages. It changes whenever a query may find other messages; attachments says that
// their text is read, too.
func Reading(attachments bool) string {
	r := fmt.Sprintf("parser %d, index %d", mailparse.Version, mappingVersion)
	if attachments {
		r += ", attachments"
	}
	return r
}

// Read reports whether everything in the index was read in this way.
func (x *Index) Read(attachments bool) bool {
	read := true
	err := x.use(func(slots []*slot) error {
		for _, s := range slots {
			if s.gen.mapping != mappingVersion || attachments && s.gen.state.Load().Unread {
				read = false
			}
		}
		return nil
	})
	return read && err == nil
}
