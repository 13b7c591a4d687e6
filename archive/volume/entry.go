package volume

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	// commentKey is the one PAX record that we write. GNU tar warns about every key that it does not
	// know, "comment" is defined by POSIX to be ignored.
	commentKey = "comment"
	// entryVersion is in every comment. It is raised when an entry has to be read in another way.
	entryVersion = 1
	// entryMode is the mode of every file in a volume: evidence is not edited.
	entryMode = 0o400
	// maxTime is the last second that the octal digits of a tar header can hold, in 2242.
	maxTime = 1<<33 - 1

	depositDir     = "deposits/"
	partDir        = "parts/"
	messageSuffix  = ".eml"
	recipeSuffix   = ".recipe"
	depositSuffix  = ".json"
	redactedSuffix = ".redacted" // in the place of one of the others
	idDigits       = 64
)

// comment is the metadata of an entry. Its fields are in the order of their JSON
// names, so that the encoding is canonical.
type comment struct {
	SHA256 string `json:"sha256"`
	V      int    `json:"v"`
}

func messageName(id string) string { return id + messageSuffix }

func depositName(id string, n int) string {
	return depositDir + id + "." + strconv.Itoa(n) + depositSuffix
}

func validID(id string) bool {
	if len(id) != idDigits {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// entryName returns the name of an entry with the bytes of a message, a recipe or a part.
func entryName(kind Kind, id string) string {
	switch kind {
	case KindRecipe:
		return id + recipeSuffix
	case KindPart:
		return partDir + id
	}
	return messageName(id)
}

// redactedName returns what an entry is called when it is redacted. It is no longer than the name with
// the longest number of a deposit, and fits a tar header.
func redactedName(e Entry) string {
	name := e.Name
	for _, suffix := range []string{messageSuffix, recipeSuffix, depositSuffix} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name + redactedSuffix
}

// parseName says what kind of entry a name stands for.
func parseName(name string) (kind Kind, id string, n int) {
	if id, ok := strings.CutSuffix(name, messageSuffix); ok && validID(id) {
		return KindMessage, id, 0
	}
	if id, ok := strings.CutSuffix(name, recipeSuffix); ok && validID(id) {
		return KindRecipe, id, 0
	}
	if id, ok := strings.CutPrefix(name, partDir); ok && validID(id) {
		return KindPart, id, 0
	}
	rest, ok := strings.CutPrefix(name, depositDir)
	rest, ok2 := strings.CutSuffix(rest, depositSuffix)
	id, number, ok3 := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if ok && ok2 && ok3 && err == nil && validID(id) && n >= 0 && n <= MaxDeposit && name == depositName(id, n) {
		return KindDeposit, id, n
	}
	return KindUnknown, "", 0
}

// parseRedactedName says what kind of entry there was; the recipe of a message counts as the message.
func parseRedactedName(name string) (was Kind, id string, n int) {
	base, ok := strings.CutSuffix(name, redactedSuffix)
	if !ok {
		return KindUnknown, "", 0
	}
	for _, suffix := range []string{messageSuffix, depositSuffix, ""} {
		if was, id, n := parseName(base + suffix); was != KindUnknown {
			return was, id, n
		}
	}
	return KindUnknown, "", 0
}

// headerBytes returns the tar header blocks of an entry.
func headerBytes(name string, size int64, sha256 string, t time.Time) ([]byte, error) {
	c, err := json.Marshal(comment{SHA256: sha256, V: entryVersion})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(3 * tarBlock)
	err = tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag:   tar.TypeReg,
		Name:       name,
		Size:       size,
		Mode:       entryMode,
		ModTime:    time.Unix(min(max(t.Unix(), 0), maxTime), 0),
		Format:     tar.FormatPAX,
		PAXRecords: map[string]string{commentKey: string(c)},
	})
	return b.Bytes(), err
}

// EntryOffset is where an entry begins that ends at an offset and has a body of size bytes, as this version
// of the format writes entries: with three blocks of header.
func EntryOffset(end, size int64) int64 { return end - padding(size) - size - 3*tarBlock }

// padding is the number of zeros that fill the last block of size bytes.
func padding(size int64) int64 { return -size & (tarBlock - 1) }

// readHeader reads the header blocks at the place from a stream. The stream then
// is at the body. What is not an entry of a volume gives an error.
func readHeader(r io.Reader, at Place) (Entry, error) {
	counted := &countingReader{r: r}
	h, err := tar.NewReader(counted).Next()
	if errors.Is(err, io.EOF) {
		err = errors.New("two blocks of zeros")
	}
	if err != nil {
		return Entry{}, fmt.Errorf("tar header: %w", err)
	}
	for key := range h.PAXRecords {
		if key != commentKey {
			return Entry{}, fmt.Errorf("tar header: unexpected PAX record %.40q", key)
		}
	}
	var c comment
	if err := json.Unmarshal([]byte(h.PAXRecords[commentKey]), &c); err != nil {
		return Entry{}, fmt.Errorf("tar header: comment: %w", err)
	}
	if h.Typeflag != tar.TypeReg || h.Size < 0 || h.Size > MaxMessageBytes || c.V < 1 || !validID(c.SHA256) {
		return Entry{}, errors.New("tar header: not one that volumes have")
	}
	e := Entry{Place: at, Name: h.Name, Size: h.Size, ModTime: h.ModTime.UTC(), SHA256: c.SHA256}
	e.End = at.Offset + counted.n + h.Size + padding(h.Size)
	if c.V == entryVersion {
		e.Kind, e.ID, e.N = parseName(h.Name)
		if e.Kind == KindUnknown {
			if e.Was, e.ID, e.N = parseRedactedName(h.Name); e.Was != KindUnknown {
				e.Kind = KindRedacted
			}
		}
	}
	if (e.Kind == KindMessage || e.Kind == KindPart) && e.ID != e.SHA256 {
		return Entry{}, errors.New("tar header: name and comment disagree")
	}
	return e, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
