package mailparse

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/internal/corpus"
)

// The fields of a message that are compared with what other parsers make of it.
const (
	fieldSubject     = "subject"
	fieldAddresses   = "addresses"
	fieldText        = "text"
	fieldAttachments = "attachments"
	fieldStructure   = "structure"
)

// facts is what is compared. A field that is not there is not compared.
type facts map[string][]string

// conformanceSet is a set of messages with expected results.
type conformanceSet struct {
	name string
	// cases finds the messages among the files of the corpus, by their paths, and what is expected of each.
	cases func(t *testing.T, files map[string][]byte) []conformanceCase
	least int // number of cases that there must be
}

type conformanceCase struct {
	name    string
	message []byte
	want    facts
	// got makes the facts of what was parsed; ownFacts if nil.
	got func(*Message, map[string][]byte) facts
}

// TestConformance compares with the expected results that other parsers ship. Every
// difference is listed in testdata/conformance.tsv with a verdict; docs/conformance.md
// has the table.
func TestConformance(t *testing.T) {
	corpus.Require(t, "conformance")
	files := make(map[string][]byte)
	if err := corpus.Load(t.Context(), "conformance", func(path string, msg []byte) error {
		files[strings.TrimPrefix(path, "./")] = msg
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	verdicts := readVerdicts(t)
	for _, set := range []conformanceSet{
		{"stalwart", stalwartCases, 100},
		{"mime4j", mime4jCases, 70},
		{"MimeKit", mimeKitCases, 40},
		{"enmime", enmimeCases, 20},
	} {
		t.Run(set.name, func(t *testing.T) {
			cases := set.cases(t, files)
			if len(cases) < set.least {
				t.Fatalf("%d cases, want %d at least", len(cases), set.least)
			}
			agree, compared := make(map[string]int), make(map[string]int)
			for _, c := range cases {
				c.compare(t, func(field string, same bool, detail string) {
					compared[field]++
					key := set.name + "\t" + c.name + "\t" + field
					_, listed := verdicts[key]
					delete(verdicts, key)
					switch {
					case same:
						agree[field]++
						if listed {
							t.Errorf("%s: listed as a difference, and there is none", key)
						}
					case !listed:
						t.Errorf("%s: %s", key, detail)
					}
				})
			}
			for _, field := range []string{fieldSubject, fieldAddresses, fieldText, fieldAttachments, fieldStructure} {
				t.Logf("%-12s %3d of %3d agree", field, agree[field], compared[field])
			}
		})
	}
	for key := range verdicts {
		t.Errorf("%s: listed as a difference, and was not compared", key)
	}
}

// compare parses the message and reports for each field whether it is as expected.
func (c conformanceCase) compare(t *testing.T, report func(field string, same bool, detail string)) {
	contents := make(map[string]*bytes.Buffer)
	m, err := Parse(t.Context(), bytes.NewReader(c.message), Options{Part: func(p *Part) io.Writer {
		contents[p.Path] = &bytes.Buffer{}
		return contents[p.Path]
	}})
	if err != nil {
		t.Fatal(err)
	}
	octets := make(map[string][]byte)
	for path, b := range contents {
		octets[path] = b.Bytes()
	}
	got := ownFacts
	if c.got != nil {
		got = c.got
	}
	have := got(m, octets)
	for field, want := range c.want {
		same := slices.Equal(have[field], want)
		report(field, same, fmt.Sprintf("\n got %.1500q\nwant %.1500q", have[field], want))
	}
}

// readVerdicts reads the known differences: set, file, field, who is right, why.
func readVerdicts(t *testing.T) map[string]string {
	b, err := os.ReadFile("testdata/conformance.tsv")
	if err != nil {
		t.Fatal(err)
	}
	verdicts := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		columns := strings.Split(line, "\t")
		if len(columns) != 5 || !slices.Contains([]string{"ours", "theirs", "both"}, columns[3]) || columns[4] == "" {
			t.Fatalf("testdata/conformance.tsv: %q", line)
		}
		verdicts[strings.Join(columns[:3], "\t")] = columns[3]
	}
	return verdicts
}

// words makes texts comparable that differ in white space only.
func words(s string) string { return strings.Join(strings.Fields(s), " ") }

// addressFacts writes addresses as they are compared: names and addresses.
func addressFacts(lists ...[]Address) []string {
	facts := []string{}
	for _, list := range lists {
		for _, a := range list {
			facts = append(facts, words(a.Name)+" <"+a.Addr+">")
		}
	}
	return facts
}

// leafFact names what is attached: files, and all that is no text.
func leafFact(name, mediaType string, size int64) (string, bool) {
	if strings.HasPrefix(mediaType, "text/") || strings.HasPrefix(mediaType, "message/") {
		return path.Base(name), name != ""
	}
	return fmt.Sprintf("%s %d", name, size), true
}

// ownFacts are the facts of a parsed message, with all that it encloses.
func ownFacts(m *Message, _ map[string][]byte) facts {
	f := facts{
		fieldSubject:     {words(m.Header.Get("Subject"))},
		fieldAddresses:   addressFacts(m.From, m.To, m.Cc),
		fieldText:        {},
		fieldAttachments: {},
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		if strings.HasPrefix(p.MediaType, "multipart/") || isEnclosed(p.MediaType) {
			continue
		}
		if strings.HasPrefix(p.MediaType, "text/") || strings.HasPrefix(p.MediaType, "message/") {
			f[fieldText] = append(f[fieldText], words(p.Text))
		}
		if fact, ok := leafFact(p.FileName, p.MediaType, p.Size); ok {
			f[fieldAttachments] = append(f[fieldAttachments], fact)
		}
	}
	return f
}

// standardAddresses parses addresses with the standard library. ok is false if
// it does not understand them.
func standardAddresses(values ...string) (list []string, ok bool) {
	list = []string{}
	for _, v := range values {
		if strings.TrimSpace(v) == "" {
			continue
		}
		parsed, err := mail.ParseAddressList(v)
		if err != nil {
			return nil, false
		}
		for _, a := range parsed {
			list = append(list, words(a.Name)+" <"+a.Address+">")
		}
	}
	return list, true
}

// enmimeCases: enmime ships the mail that its encoder makes. Where it was made of a
// message that is there too both must say the same; the rest must be
// read without a complaint.
func enmimeCases(t *testing.T, files map[string][]byte) (cases []conformanceCase) {
	for name, message := range files {
		if !strings.HasPrefix(name, "enmime/") || !strings.HasSuffix(name, ".golden") {
			continue
		}
		c := conformanceCase{name: path.Base(name), message: message, want: facts{fieldStructure: nil}}
		c.got = func(m *Message, _ map[string][]byte) facts {
			f := ownFacts(m, nil)
			f[fieldStructure] = m.Problems
			return f
		}
		raw := strings.NewReplacer("-true.raw.golden", ".raw", "-false.raw.golden", ".raw").Replace(name)
		if original, ok := files[raw]; ok && raw != name {
			for field, want := range ownFacts(parse(t, string(original)), nil) {
				c.want[field] = want
			}
		}
		cases = append(cases, c)
	}
	slices.SortFunc(cases, func(a, b conformanceCase) int { return cmp.Compare(a.name, b.name) })
	return cases
}
