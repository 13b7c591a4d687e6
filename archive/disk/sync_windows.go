package disk

// SyncDir does nothing: Windows has no fsync for directories, NTFS journals
// its metadata.
func (osFS) SyncDir(string) error { return nil }
