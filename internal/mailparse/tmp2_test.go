package mailparse

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDump(t *testing.T) {
	pat := os.Getenv("MPFILES")
	if pat == "" {
		t.Skip()
	}
	for _, g := range strings.Fields(pat) {
		fs, _ := filepath.Glob(g)
		for _, p := range fs {
			f, _ := os.Open(p)
			m, _ := Parse(context.Background(), f, Options{})
			f.Close()
			fmt.Printf("=== %s\n subj=%q from=%q to=%q date=%v id=%q flags=%v\n problems=%q\n", p, m.Subject, m.From, m.To, m.Date, m.MessageID, m.Flags, m.Problems)
			if m.Journal != nil {
				fmt.Printf(" journal %+v\n", *m.Journal)
			}
			for _, q := range m.Parts {
				tx := q.Text
				if len(tx) > 200 {
					tx = tx[:200]
				}
				fmt.Printf("  %s %s disp=%q fn=%q enc=%q cs=%q size=%d att=%v iss=%q text=%q\n", q.Path, q.MediaType, q.Disposition, q.FileName, q.Encoding, q.Charset, q.Size, q.IsAttachment, q.Issues, tx)
			}
		}
	}
}
