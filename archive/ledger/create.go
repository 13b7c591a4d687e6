package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postkeep/postkeep/archive/disk"
)

const (
	eventsName  = "events.jsonl"
	detailsName = "details.jsonl"
	hashesName  = "nodes"
	// formerHashes has every node; it was written by earlier versions.
	formerHashes = "hashes"
)

// Create makes the two directories where they are missing, a key pair, and an
// empty ledger with a signed checkpoint. It fails with fs.ErrExist if there is
// a ledger, or a key whose ledger is missing: a second ledger under the same
// key would contradict what was signed before. A Create that was interrupted can
// be repeated.
func Create(ctx context.Context, opt Options) error {
	opt = opt.withDefaults()
	if err := ctx.Err(); err != nil {
		return err
	}
	haveKey, err := vacant(opt)
	if err != nil {
		return fmt.Errorf("create ledger: %w", err)
	}
	if err := makeFiles(opt); err != nil {
		return fmt.Errorf("create ledger: %w", err)
	}
	if !haveKey {
		if err := makeKeys(opt); err != nil {
			return fmt.Errorf("create ledger: %w", err)
		}
	}
	v, _, err := readVerifier(opt)
	if err != nil {
		return fmt.Errorf("create ledger: %w", err)
	}
	s, err := readSigner(opt, v)
	if err != nil {
		return fmt.Errorf("create ledger: %w", err)
	}
	msg, err := sign(&tree{}, s)
	if err != nil {
		return fmt.Errorf("create ledger: %w", err)
	}
	return disk.WriteFile(opt.FS, filepath.Join(opt.Dir, checkpointName), msg, disk.FilePerm)
}

// vacant fails if there is something that Create must not touch. It reports
// whether an interrupted Create has left its key.
func vacant(opt Options) (haveKey bool, err error) {
	size := map[string]int64{} // of the files that exist
	for _, name := range []string{
		filepath.Join(opt.Dir, checkpointName), filepath.Join(opt.Dir, eventsName),
		filepath.Join(opt.Dir, detailsName), filepath.Join(opt.KeyDir, keyName),
	} {
		info, err := opt.FS.Stat(name)
		if err == nil {
			size[filepath.Base(name)] = info.Size()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	_, haveCheckpoint := size[checkpointName]
	_, haveEvents := size[eventsName]
	_, haveKey = size[keyName]
	if haveCheckpoint || size[eventsName] > 0 || size[detailsName] > 0 {
		return false, fmt.Errorf("%s: %w", opt.Dir, fs.ErrExist)
	}
	if haveKey && !haveEvents {
		return false, fmt.Errorf("%s holds the key of a ledger that is missing: %w", opt.KeyDir, fs.ErrExist)
	}
	return haveKey, nil
}

// makeFiles makes the directories and the empty files durable, before there is a key.
func makeFiles(opt Options) error {
	for _, dir := range []string{opt.Dir, opt.KeyDir} {
		if err := opt.FS.MkdirAll(dir, disk.DirPerm); err != nil {
			return err
		}
		if err := opt.FS.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	for _, name := range []string{eventsName, detailsName, hashesName} {
		f, err := opt.FS.OpenFile(filepath.Join(opt.Dir, name), os.O_RDWR|os.O_CREATE, disk.FilePerm)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	// A temporary file of an interrupted Create is sealed and could not be opened again.
	if err := opt.FS.Remove(filepath.Join(opt.KeyDir, keyName+".tmp")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return opt.FS.SyncDir(opt.Dir)
}
