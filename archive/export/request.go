package export

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Request says what an export is to be. It is the head of the manifest, but for Resume: the same request of the same messages gives
// the same files.
type Request struct {
	Query          string `json:"query"`
	Format         Format `json:"format"`
	Deduplicate    bool   `json:"deduplicate,omitempty"`
	OnePerThread   bool   `json:"one_per_thread,omitempty"`
	SplitBytes     int64  `json:"split_bytes,omitempty"`
	AttachmentText bool   `json:"attachments_text,omitempty"`
	TimeZone       string `json:"time_zone,omitempty"`
	BatesPrefix    string `json:"bates_prefix,omitempty"`
	BatesStart     int64  `json:"bates_start,omitempty"`
	MboxName       string `json:"mbox_name,omitempty"`
	// Resume says how far the export is there already.
	Resume *Resume `json:"resume,omitempty"`
}

// A Resume is what is there of an interrupted export. It is not believed: all of it is made again, and compared.
type Resume struct {
	Messages int64  `json:"messages"`        // that are there
	IDs      string `json:"ids_sha256"`      // of their ids, each followed by a line feed
	Offset   int64  `json:"manifest_bytes"`  // behind the last entry that holds
	Manifest string `json:"manifest_sha256"` // up to there
}

const (
	// maxMboxName is the longest name that file systems take.
	maxMboxName = 255
	// maxZone is longer than any name of a time zone.
	maxZone = 64
	// defaultMbox is the mbox in a directory or zip.
	defaultMbox = "mail.mbox"
)

// fill sets what was left out and says what does not fit together.
func (r *Request) fill() (*time.Location, error) {
	t := traits(r.Format)
	if r.TimeZone == "" {
		r.TimeZone = time.UTC.String()
	}
	if t.text && r.BatesPrefix == "" {
		r.BatesPrefix = defaultPrefix
	}
	if t.text && r.BatesStart == 0 {
		r.BatesStart = 1
	}
	if r.Format == Mbox && r.MboxName == "" {
		r.MboxName = defaultMbox
	}
	if len(r.TimeZone) > maxZone {
		return nil, fmt.Errorf("%w: a time zone has a name of at most %d octets", ErrOptions, maxZone)
	}
	zone, err := time.LoadLocation(r.TimeZone)
	switch {
	case t.open == nil:
		return nil, fmt.Errorf("%w: there is no format %.40q", ErrOptions, r.Format)
	case err != nil:
		return nil, fmt.Errorf("%w: time zone: %w", ErrOptions, err)
	case r.AttachmentText && !t.text:
		return nil, fmt.Errorf("%w: %s has no place for the text of attachments", ErrOptions, r.Format)
	case r.SplitBytes < 0:
		return nil, fmt.Errorf("%w: volumes of %d octets", ErrOptions, r.SplitBytes)
	case t.text && (r.BatesStart < 0 || len(r.BatesPrefix) > maxBatesPrefix || !plain(r.BatesPrefix)):
		return nil, fmt.Errorf("%w: Bates numbers want a prefix of at most %d letters, digits, '-', '_' or '.', and a start of 0 or more", ErrOptions, maxBatesPrefix)
	case !t.text && (r.BatesPrefix != "" || r.BatesStart != 0):
		return nil, fmt.Errorf("%w: %s has no Bates numbers", ErrOptions, r.Format)
	case r.Format == Mbox && !mboxFile(r.MboxName), r.Format != Mbox && r.MboxName != "":
		return nil, fmt.Errorf("%w: an mbox cannot have the name %.300q", ErrOptions, r.MboxName)
	case r.Resume != nil && (r.Resume.Messages < 1 || r.Resume.Offset < 1 || !validID(r.Resume.IDs) || !validID(r.Resume.Manifest)):
		return nil, fmt.Errorf("%w: what is there of an interrupted export wants numbers above 0 and hashes in lower-case hexadecimal", ErrOptions)
	}
	return zone, nil
}

// mboxFile reports whether an mbox may have a name: that of a file beside the others of the export.
func mboxFile(name string) bool {
	if !fileName(name) || strings.Contains(name, "/") || len(name) > maxMboxName || !utf8.ValidString(name) || strings.IndexFunc(name, unicode.IsControl) >= 0 {
		return false
	}
	switch strings.TrimSuffix(name, partialSuffix) {
	case manifestName, proofName, howToName, lockName:
		return false
	}
	return true
}
