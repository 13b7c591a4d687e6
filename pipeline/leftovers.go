package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The embedded server begins with an empty store. What an earlier run, or a
// server that failed, left in its directory waits beside it until an Archiver
// has drained it; what cannot be read is set aside for people to look at.
const (
	suffixWaiting  = "-waiting-"
	suffixSetAside = "-set-aside-"
	// leftoverTime makes the names sort by age.
	leftoverTime = "20060102T150405.000000"
	// maxWaiting and maxSetAside bound the directories that are kept: each may
	// be as large as Options.MaxStoreBytes. Beyond maxWaiting the oldest counts
	// as unreadable, beyond maxSetAside the oldest is deleted: its messages were
	// never receipted, so nothing has deleted them on their servers.
	maxWaiting  = 4
	maxSetAside = 4
)

// leftovers lists the directories with the suffix beside dir, the oldest first.
func leftovers(dir, suffix string) []string {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return nil // there is none
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), filepath.Base(dir)+suffix) {
			found = append(found, filepath.Join(filepath.Dir(dir), e.Name()))
		}
	}
	slices.Sort(found)
	return found
}

// clear moves what is in the store's directory out of the way. A directory
// without streams is used as it is.
func (b *Bus) clear() error {
	entries, err := os.ReadDir(b.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Rename(b.opts.Dir, freeName(b.opts.Dir+suffixWaiting)); err != nil {
		return fmt.Errorf("move the streams of the last run out of the way: %w", err)
	}
	waiting := leftovers(b.opts.Dir, suffixWaiting)
	for _, dir := range waiting[:max(0, len(waiting)-maxWaiting)] {
		err = errors.Join(err, b.setAside(dir, "too many wait to be archived"))
	}
	return err
}

// freeName appends the time to a name, so that there is no such file.
func freeName(prefix string) string {
	for now := time.Now().UTC(); ; now = now.Add(time.Microsecond) {
		name := prefix + now.Format(leftoverTime)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
	}
}

// setAside keeps a directory for people, and deletes those that are too many.
func (b *Bus) setAside(dir, reason string) error {
	name := freeName(b.opts.Dir + suffixSetAside)
	if err := os.Rename(dir, name); err != nil {
		return fmt.Errorf("set aside %s: %w", dir, err)
	}
	b.log.Error("streams of an earlier run are not readable, or not completely: set aside", "dir", name, "reason", reason)
	var err error
	kept := leftovers(b.opts.Dir, suffixSetAside)
	for _, old := range kept[:max(0, len(kept)-maxSetAside)] {
		b.log.Warn("deleting the oldest streams that were set aside", "dir", old)
		err = errors.Join(err, os.RemoveAll(old))
	}
	return err
}

// leftoverProblems says what lies beside the store's directory.
func leftoverProblems(dir string) (out []string) {
	for _, d := range leftovers(dir, suffixWaiting) {
		out = append(out, fmt.Sprintf("streams: messages of an earlier run may wait in %s; the next start of postkeep run or poll archives them", d))
	}
	for _, d := range leftovers(dir, suffixSetAside) {
		out = append(out, fmt.Sprintf("streams: %s could not be read completely and was set aside; its messages are fetched again where their "+
			"servers still list them; delete it when none is missing", d))
	}
	return out
}

// Offline is the status of an embedded server that does not run: what waits in
// the directory for the next start.
func Offline(dir string) Status {
	st := Status{Server: embeddedName, Problems: leftoverProblems(dir)}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		st.Problems = append(st.Problems,
			fmt.Sprintf("streams: an earlier run did not end properly; messages may wait in %s, and the next start of postkeep run or poll archives them", dir))
	}
	return st
}
