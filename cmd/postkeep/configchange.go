package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/disk"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

// settingsFile holds, in the data directory, the settings that were recorded last. Without it the next
// start records the configuration as one that was never seen.
const settingsFile = "settings.json"

// configEvent are the details of the event for a configuration that is another one than before.
type configEvent struct {
	At        string `json:"at"` // start or reload
	Summary   string `json:"summary"`
	Mailboxes int    `json:"mailboxes"`       // that are configured
	SHA256    string `json:"sha256"`          // of settings.json
	First     bool   `json:"first,omitempty"` // there is nothing to compare with
	// Changed are the settings by key. Of mailboxes that were added or removed only the names are given.
	Changed []settingChange `json:"changed,omitempty"`
	Added   []string        `json:"added,omitempty"`
	Removed []string        `json:"removed,omitempty"`
	// More is how many changes and mailboxes are not listed.
	More int `json:"more,omitempty"`
}

type settingChange struct {
	Key string `json:"key"`
	Was string `json:"was"` // "" if it was the default, or not there
	Is  string `json:"is"`
}

const (
	// maxListedChanges bounds each list of a configEvent, so that ten thousand mailboxes fit
	// into the details of an event.
	maxListedChanges = 1000
	// maxSettingBytes bounds a value in it.
	maxSettingBytes = 200
	// maxSummaryChanges is what people read in one line.
	maxSummaryChanges = 5
)

// recordConfig writes an event if the configuration is another one than that which was recorded last. An archive that takes
// nothing takes no event either, and says so itself.
func (i *instance) recordConfig(ctx context.Context, cfg *config.Config, at string) error {
	name := filepath.Join(cfg.DataDir, settingsFile)
	now := cfg.Settings()
	data, err := json.MarshalIndent(now, "", " ")
	if err != nil {
		return err
	}
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if bytes.Equal(old, data) {
		return nil
	}
	var was map[string]string
	if err := json.Unmarshal(old, &was); err != nil {
		was = nil // as if it were not there
	}
	event := compareSettings(was, now)
	sum := sha256.Sum256(data)
	event.At, event.Mailboxes, event.SHA256 = at, len(cfg.Mailboxes), hex.EncodeToString(sum[:])
	_, err = i.store.Record(ctx, archive.Action{Type: archive.ActionConfig, Actor: api.SystemUser(), Details: event})
	if errors.Is(err, archive.ErrReadOnly) {
		i.log.Warn("the changed configuration could not be recorded", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("record the changed configuration: %w", err)
	}
	return disk.WriteFile(disk.OS(), name, data, disk.FilePerm)
}

// compareSettings says what is another than it was. A nil was is the first configuration.
func compareSettings(was, now map[string]string) configEvent {
	if was == nil {
		return configEvent{First: true, Summary: "first configuration"}
	}
	var e configEvent
	before, after := mailboxNames(was), mailboxNames(now)
	keys := maps.Clone(was)
	maps.Copy(keys, now)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if box := config.MailboxOf(key); was[key] == now[key] || box != "" && before[box] != after[box] {
			continue
		}
		if len(e.Changed) == maxListedChanges {
			e.More++
			continue
		}
		e.Changed = append(e.Changed, settingChange{key, short(was[key]), short(now[key])})
	}
	e.Added, e.Removed = e.missing(after, before), e.missing(before, after)
	e.Summary = e.words()
	return e
}

func mailboxNames(settings map[string]string) map[string]bool {
	names := map[string]bool{}
	for key := range settings {
		if box := config.MailboxOf(key); box != "" {
			names[box] = true
		}
	}
	return names
}

// missing lists the names that are in one set and not in the other.
func (e *configEvent) missing(in, notIn map[string]bool) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if notIn[name] {
			continue
		}
		if len(names) == maxListedChanges {
			e.More++
			continue
		}
		names = append(names, name)
	}
	return names
}

// short cuts a value; it is for people.
func short(value string) string {
	if len(value) <= maxSettingBytes {
		return value
	}
	return strings.ToValidUTF8(value[:maxSettingBytes], "") + "…"
}

func (e *configEvent) words() string {
	var words []string
	for _, c := range e.Changed {
		was, is := c.Was, c.Is
		if was == "" {
			was = "(default)"
		}
		if is == "" {
			is = "(default)"
		}
		words = append(words, c.Key+": "+was+" → "+is)
	}
	for _, name := range e.Added {
		words = append(words, "mailbox "+name+" added")
	}
	for _, name := range e.Removed {
		words = append(words, "mailbox "+name+" removed")
	}
	if more := len(words) - maxSummaryChanges + e.More; len(words) > maxSummaryChanges {
		words = append(words[:maxSummaryChanges], plural(more, "more change", "more changes"))
	}
	return strings.Join(words, "; ")
}
