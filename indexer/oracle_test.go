package indexer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/internal/corpus"
)

// expectation is a query of testdata/oracle.py with what it should find.
type expectation struct {
	Kind  string `json:"kind"`
	Query string `json:"query"`
	Hits  []int  `json:"hits"`
}

// oracleRun is a corpus, and how much of it is asked about.
type oracleRun struct {
	corpus                         string
	messages, terms, phrases, near int
	// agreed is the share of the queries of each kind that has to find what the oracle
	// says. The differences are accounted for in docs/search-quality.md.
	agreed float64
}

// TestSearchFindsWhatAnOracleFinds compares the hits of random queries with those of a
// program that shares no code with this one. POSTKEEP_ORACLE=all asks as often as
// docs/search-quality.md says; POSTKEEP_ORACLE_REPORT names a folder for the differences.
func TestSearchFindsWhatAnOracleFinds(t *testing.T) {
	runs := []oracleRun{{"natural-small", 600, 100, 20, 5, 0.98}}
	if os.Getenv("POSTKEEP_ORACLE") == "all" {
		runs = []oracleRun{{"natural-small", 1 << 20, 1000, 200, 50, 0.85}, {"bench-list", 1 << 20, 1000, 200, 50, 0.85}}
	}
	for _, run := range runs {
		t.Run(run.corpus, func(t *testing.T) {
			corpus.Require(t, run.corpus)
			python, err := exec.LookPath("python3")
			if err != nil {
				if os.Getenv("POSTKEEP_REAL") == "required" {
					t.Fatal(err)
				}
				t.Skip("SKIPPED, NO ORACLE: ", err)
			}
			run.compare(t, python)
		})
	}
}

func (run oracleRun) compare(t *testing.T, python string) {
	a, paths := newMemory(), []string{}
	number := map[string]int{}
	var input bytes.Buffer
	enough := errors.New("enough")
	err := corpus.Load(t.Context(), run.corpus, func(path string, msg []byte) error {
		if len(paths) == run.messages {
			return enough
		}
		sum := sha256.Sum256([]byte(path))
		id := hex.EncodeToString(sum[:])
		number[id] = len(paths)
		paths = append(paths, path)
		a.messages[id] = string(msg)
		a.deposits = append(a.deposits, archive.Indexable{ID: id, Size: int64(len(msg)), Received: received, Mailboxes: []string{"m"}, Index: int64(len(a.deposits))})
		fmt.Fprintf(&input, "%d\n%s", len(msg), msg)
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		t.Fatal(err)
	}
	expected := run.ask(t, python, &input)
	x := built(t, a)
	defer x.Close()
	report := &strings.Builder{}
	unsure := map[int]bool{}
	asked, same := map[string]int{}, map[string]int{}
	for _, e := range expected {
		if e.Kind == "unsure" {
			unsure[e.Hits[0]] = true
			fmt.Fprintf(report, "unsure %s: %s\n", paths[e.Hits[0]], e.Query)
			continue
		}
		asked[e.Kind]++
		missing := map[int]bool{}
		for _, n := range e.Hits {
			missing[n] = true
		}
		var extra []int
		if err := x.Each(t.Context(), e.Query, nil, func(id string) error {
			if n := number[id]; missing[n] {
				delete(missing, n)
			} else if !unsure[n] {
				extra = append(extra, n)
			}
			return nil
		}); err != nil {
			t.Fatal(e.Query, err)
		}
		if len(missing) == 0 && len(extra) == 0 {
			same[e.Kind]++
		}
		for n := range missing {
			fmt.Fprintf(report, "%s %s: only the oracle finds %s\n", e.Kind, e.Query, paths[n])
		}
		slices.Sort(extra)
		for _, n := range extra {
			fmt.Fprintf(report, "%s %s: only the index finds %s\n", e.Kind, e.Query, paths[n])
		}
	}
	run.write(t, report.String())
	for kind, n := range asked {
		t.Logf("%s: %d of %d queries for a %s find the same (%d messages, %d of which the oracle is unsure)", run.corpus, same[kind], n, kind, len(paths), len(unsure))
		if float64(same[kind]) < run.agreed*float64(n) {
			t.Errorf("%s: only %d of %d queries for a %s find what the oracle finds", run.corpus, same[kind], n, kind)
		}
	}
	if asked["term"] != run.terms || asked["phrase"] != run.phrases || asked["near"] != run.near {
		t.Errorf("asked for %v", asked)
	}
}

// ask lets the oracle draw queries and answer them.
func (run oracleRun) ask(t *testing.T, python string, input *bytes.Buffer) []expectation {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "oracle.py"), "--terms", fmt.Sprint(run.terms), "--phrases", fmt.Sprint(run.phrases), "--near", fmt.Sprint(run.near))
	cmd.Stdin, cmd.Stderr = input, os.Stderr
	cmd.Env = append(os.Environ(), "PYTHONHASHSEED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var expected []expectation
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e expectation
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		expected = append(expected, e)
	}
	return expected
}

// write keeps the differences for people, where they are asked for.
func (run oracleRun) write(t *testing.T, report string) {
	t.Helper()
	dir := os.Getenv("POSTKEEP_ORACLE_REPORT")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, run.corpus+".txt"), []byte(report), 0o600); err != nil {
		t.Error(err)
	}
}
