package mailparse

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"
)

func TestTmp(t *testing.T) {
	root := os.Getenv("MPDIR")
	if root == "" {
		t.Skip()
	}
	n := 0
	var bytes int64
	var slow time.Duration
	problems := map[string]int{}
	flags := map[string]int{}
	start := time.Now()
	ex := map[string]string{}
	filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		f, _ := os.Open(p)
		defer f.Close()
		s := time.Now()
		m, err := Parse(context.Background(), f, Options{})
		if err != nil {
			t.Error(err)
		}
		_ = m.Text()
		if e := time.Since(s); e > slow {
			slow = e
			fmt.Println("slow", e, p, m.Size)
		}
		n++
		bytes += m.Size
		for _, x := range m.Problems {
			problems[x]++
			ex[x] = p
		}
		for _, x := range m.Flags {
			flags[x]++
		}
		return nil
	})
	fmt.Println(n, bytes, time.Since(start), flags)
	var k []string
	for x := range problems {
		k = append(k, x)
	}
	sort.Strings(k)
	for _, x := range k {
		fmt.Println(problems[x], x, ex[x])
	}
}
