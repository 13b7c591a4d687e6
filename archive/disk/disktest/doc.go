// Package disktest has file systems for tests of durability.
//
// Recorder knows what a power cut would leave on a disk that promises nothing
// beyond POSIX, and Faulty makes a chosen operation fail. Both wrap a disk.FS;
// to use both, put Faulty around Recorder.
package disktest

// Kind is what an operation does.
type Kind string

// The operations that change a disk or make a change durable.
const (
	Create   Kind = "create" // a new file
	Write    Kind = "write"
	Sync     Kind = "sync" // fsync of a file
	Truncate Kind = "truncate"
	Chmod    Kind = "chmod"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	SyncDir  Kind = "syncdir" // fsync of a directory
)

// An Op is one operation on a file system.
type Op struct {
	Kind Kind
	// Path is what the operation was on: for a Recorder relative to its root and
	// with slashes ("." is the root), for a Faulty as it was passed in.
	Path string
	To   string // the new path of a Rename
	Size int64  // the number of bytes of a Write, the new size of a Truncate
}
