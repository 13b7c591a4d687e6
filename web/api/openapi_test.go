package api

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryRouteIsDescribed(t *testing.T) {
	s, _ := instance(t, hello)
	ops := operations()
	for _, r := range s.routes() {
		if ops[r.pattern].summary == "" {
			t.Errorf("%s has no description in operations", r.pattern)
		}
		delete(ops, r.pattern)
	}
	for pattern := range ops {
		t.Errorf("%s is described and not there", pattern)
	}
}

func TestDocumentNamesEveryTypeThatItRefersTo(t *testing.T) {
	s, _ := instance(t, hello)
	doc, err := s.Document()
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(doc, &parsed); err != nil || parsed.OpenAPI != "3.1.0" {
		t.Fatal(parsed.OpenAPI, err)
	}
	for _, ref := range strings.Split(string(doc), `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if parsed.Components.Schemas[name] == nil {
			t.Errorf("no schema %s", name)
		}
	}
	seen := map[string]bool{}
	for path, item := range parsed.Paths {
		for method, op := range item {
			if op.OperationID == "" || seen[op.OperationID] {
				t.Errorf("%s %s: operation id %q", method, path, op.OperationID)
			}
			seen[op.OperationID] = true
		}
	}
	if len(seen) != len(s.routes()) {
		t.Errorf("%d operations for %d routes", len(seen), len(s.routes()))
	}
	if dir := os.Getenv("POSTKEEP_OPENAPI_OUT"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "openapi.json"), doc, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
