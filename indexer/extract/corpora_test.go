package extract

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postkeep/postkeep/internal/corpus"
	"github.com/postkeep/postkeep/internal/mailparse"
)

// collected is an attached file.
type collected struct {
	name, mediaType string
	bytes.Buffer
}

// Real attachments: whatever is in them, no process fails over one, and what was
// not read has a reason.
func TestRealAttachments(t *testing.T) {
	p := pool(t, roleServe, func(o *Options) { o.Workers = 2; o.Logger = nil })
	for _, set := range []string{"conformance", "bench-list"} {
		t.Run(set, func(t *testing.T) {
			corpus.Require(t, set)
			counts := make(map[string]int)
			var spent time.Duration
			if err := corpus.Load(t.Context(), set, func(file string, msg []byte) error {
				var files []*collected
				if _, err := mailparse.Parse(t.Context(), bytes.NewReader(msg), mailparse.Options{MaxTextBytes: -1, Part: func(part *mailparse.Part) io.Writer {
					if !part.IsAttachment {
						return nil
					}
					f := &collected{name: part.FileName, mediaType: part.MediaType}
					files = append(files, f)
					return f
				}}); err != nil {
					return err
				}
				for _, f := range files {
					start := time.Now()
					res, err := p.Extract(t.Context(), f.name, f.mediaType, int64(f.Len()), f)
					if err != nil {
						return fmt.Errorf("%s: %w", file, err)
					}
					spent += time.Since(start)
					if strings.Contains(res.Reason, "the process") || strings.Contains(res.Reason, "takes too") {
						t.Errorf("%s: %s: %s", file, f.name, res.Reason)
					}
					outcome := "read"
					switch {
					case res.Kind == "":
						outcome = "not looked into"
					case res.Reason != "":
						outcome = res.Reason
					}
					counts[fmt.Sprintf("%-10s %-6s %s", res.Kind, strings.ToLower(path.Ext(f.name)), outcome)]++
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			for _, k := range slices.Sorted(maps.Keys(counts)) {
				t.Logf("%5d %s", counts[k], k)
			}
			t.Logf("reading took %v", spent)
		})
	}
}
