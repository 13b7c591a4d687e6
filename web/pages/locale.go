package pages

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed locale
var localeFiles embed.FS

// dictionary has the translation of every English text of the pages.
type dictionary map[string]string

// loadLocales reads the dictionaries by language. English needs none.
func loadLocales() (map[string]dictionary, error) {
	names, err := fs.Glob(localeFiles, "locale/*.json")
	if err != nil {
		return nil, err
	}
	locales := map[string]dictionary{}
	for _, name := range names {
		b, err := fs.ReadFile(localeFiles, name)
		if err != nil {
			return nil, err
		}
		d := dictionary{}
		if err := json.Unmarshal(b, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		lang, _, _ := strings.Cut(path.Base(name), ".") // de.search.json
		if locales[lang] == nil {
			locales[lang] = dictionary{}
		}
		for k, t := range d {
			locales[lang][k] = t
		}
	}
	return locales, nil
}
