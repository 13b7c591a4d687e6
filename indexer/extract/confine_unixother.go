//go:build unix && !linux

package extract

// platformMeans are none: the process keeps its memory limit itself, see Serve.
func platformMeans(int64) []means { return nil }
