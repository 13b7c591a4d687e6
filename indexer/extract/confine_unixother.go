//go:build unix && !linux

package extract

import "errors"

// The process keeps its limit itself, see Serve.
func limitMemory(int64) error { return errors.ErrUnsupported }

func filterSystemCalls() error { return errors.ErrUnsupported }
