package disk

import "time"

// A FileID tells a file from a copy of it: it survives that the file, or a directory above it, gets another name on
// the same file system, and that this is mounted elsewhere.
type FileID struct {
	Inode uint64 `json:"inode"`
	// Birth is when the file was made, zero where the file system does not say.
	Birth time.Time `json:"birth,omitzero"`
}

// Same reports whether two ids are of one file.
func (f FileID) Same(g FileID) bool {
	if f.Birth.IsZero() || g.Birth.IsZero() {
		return f.Inode == g.Inode
	}
	return f.Birth.Equal(g.Birth) && (birthDecides || f.Inode == g.Inode)
}
