package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// asset is a static file under a name that changes with its content, so that
// browsers may keep it for ever.
type asset struct {
	path    string // as pages refer to it
	kind    string
	content []byte
}

// loadAssets returns the static files by their plain names.
func loadAssets() (map[string]asset, error) {
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return nil, err
	}
	files := map[string]asset{}
	for _, e := range entries {
		content, err := fs.ReadFile(staticFiles, path.Join("static", e.Name()))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		files[e.Name()] = asset{
			path: "/static/" + e.Name() + "?v=" + hex.EncodeToString(sum[:6]),
			kind: mime.TypeByExtension(path.Ext(e.Name())), content: content,
		}
	}
	return files, nil
}

func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	file, ok := s.files[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", file.kind)
	// The query names the content; scripts that import each other do without it.
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.RawQuery != "" && strings.HasSuffix(file.path, "?"+r.URL.RawQuery) {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(file.content) // the browser has gone if this fails
}

// loadTemplates parses every page together with the layout and what they share.
func loadTemplates(files map[string]asset) (map[string]*template.Template, error) {
	funcs := template.FuncMap{
		"static": func(name string) string { return files[name].path },
		"icon":   func(name string) iconRef { return iconRef{files["icons.svg"].path, name} },
		"dict":   dict,
	}
	shared, err := template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/shared/*.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	pages := map[string]*template.Template{}
	for _, file := range names {
		t, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if t, err = t.ParseFS(templateFiles, file); err != nil {
			return nil, err
		}
		pages[strings.TrimSuffix(path.Base(file), ".html")] = t
	}
	return pages, nil
}

// iconRef names a symbol in the sprite; the template "icon" draws it.
type iconRef struct{ Sprite, Name string }

// dict makes a map of names and values, to hand several things to a template.
func dict(pairs ...any) map[string]any {
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		if name, ok := pairs[i].(string); ok {
			m[name] = pairs[i+1]
		}
	}
	return m
}
