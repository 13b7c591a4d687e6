package mailparse

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"mime"
	"path"
	"slices"
	"strings"
	"testing"
)

// sorted yields the paths that have the prefix and the suffix, in order.
func sorted(files map[string][]byte, prefix, suffix string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	return names
}

// stalwartMessage is the JSON that stalwart's mail-parser makes of a message.
type stalwartMessage struct {
	Parts []struct {
		Headers []struct {
			Name  any             `json:"name"`
			Value json.RawMessage `json:"value"`
		} `json:"headers"`
		Body json.RawMessage `json:"body"`
	} `json:"parts"`
}

func stalwartCases(t *testing.T, files map[string][]byte) (cases []conformanceCase) {
	const dir = "stalwart-mail-parser/resources/eml/"
	for _, name := range sorted(files, dir, ".eml") {
		expected, ok := files[strings.TrimSuffix(name, ".eml")+".json"]
		if !ok {
			continue
		}
		var m stalwartMessage
		if err := json.Unmarshal(expected, &m); err != nil {
			t.Fatal(name, err)
		}
		f := facts{fieldSubject: {""}, fieldAddresses: {}, fieldText: {}, fieldAttachments: {}}
		for _, h := range []string{"from", "to", "cc"} {
			for i := range m.Parts[0].Headers {
				if v := m.Parts[0].Headers[i]; v.Name == h {
					f[fieldAddresses] = append(f[fieldAddresses], stalwartAddresses(v.Value)...)
				}
			}
		}
		for i := len(m.Parts[0].Headers) - 1; i >= 0; i-- {
			var text struct{ Text string }
			if v := m.Parts[0].Headers[i]; v.Name == "subject" && json.Unmarshal(v.Value, &text) == nil {
				f[fieldSubject] = []string{words(text.Text)}
			}
		}
		m.leaves(t, f)
		cases = append(cases, conformanceCase{name: strings.TrimPrefix(name, dir), message: files[name], want: f})
	}
	return cases
}

func stalwartAddresses(value json.RawMessage) (list []string) {
	type address struct{ Name, Address string }
	var v struct {
		Address struct {
			List  []address
			Group []struct{ Addresses []address }
		}
	}
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	for _, g := range v.Address.Group {
		v.Address.List = append(v.Address.List, g.Addresses...)
	}
	for _, a := range v.Address.List {
		list = append(list, words(a.Name)+" <"+a.Address+">")
	}
	return list
}

// leaves adds the texts and files of all parts, in the order in which they begin.
func (m *stalwartMessage) leaves(t *testing.T, f facts) {
	for i := range m.Parts {
		p := &m.Parts[i]
		var body struct {
			Text, Html           *string //nolint:revive // as in the file
			Binary, InlineBinary []uint8
			Message              *stalwartMessage
			Multipart            []int
		}
		decoded := map[string]json.RawMessage{}
		if err := json.Unmarshal(p.Body, &decoded); err != nil {
			t.Fatal(err)
		}
		var octets []int // JSON has them as numbers
		for kind, target := range map[string]any{"Text": &body.Text, "Html": &body.Html, "Binary": &octets, "InlineBinary": &octets, "Message": &body.Message} {
			if raw, ok := decoded[kind]; ok {
				if err := json.Unmarshal(raw, target); err != nil {
					t.Fatal(err)
				}
			}
		}
		name, mediaType, flowed := m.describe(i)
		switch {
		case body.Message != nil:
			body.Message.leaves(t, f)
		case body.Html != nil:
			f[fieldText] = append(f[fieldText], words(readHTML(*body.Html, 1<<20).text))
		case body.Text != nil && flowed:
			f[fieldText] = append(f[fieldText], words(unflow(plainText(*body.Text), false)))
		case body.Text != nil && isDirectory(mediaType):
			f[fieldText] = append(f[fieldText], words(directoryText(plainText(*body.Text))))
		case body.Text != nil:
			f[fieldText] = append(f[fieldText], words(plainText(*body.Text)))
		}
		_, isMultipart := decoded["Multipart"]
		if isMultipart || body.Message != nil {
			continue
		}
		if body.Text != nil || body.Html != nil {
			mediaType = "text/plain"
		}
		if fact, ok := leafFact(name, mediaType, int64(len(octets))); ok {
			f[fieldAttachments] = append(f[fieldAttachments], fact)
		}
	}
}

// describe returns the file name and the type of a part.
func (m *stalwartMessage) describe(i int) (name, mediaType string, flowed bool) {
	for _, h := range m.Parts[i].Headers {
		var v struct {
			ContentType struct {
				CType      string `json:"c_type"`
				CSubtype   string `json:"c_subtype"`
				Attributes []struct{ Name, Value string }
			}
		}
		if json.Unmarshal(h.Value, &v) != nil {
			continue
		}
		if h.Name == "content_type" {
			mediaType = strings.ToLower(v.ContentType.CType + "/" + v.ContentType.CSubtype)
		}
		for _, a := range v.ContentType.Attributes {
			switch {
			case h.Name == "content_disposition" && a.Name == "filename", h.Name == "content_type" && a.Name == "name" && name == "":
				name = a.Value
			case a.Name == "format" && strings.EqualFold(a.Value, "flowed"):
				flowed = true
			}
		}
	}
	return name, mediaType, flowed
}

// mime4jNode is a node of the XML that mime4j makes of a message.
type mime4jNode struct {
	XMLName  xml.Name
	Name     string       `xml:"name,attr"`
	Text     string       `xml:",chardata"`
	Children []mime4jNode `xml:",any"`
}

func mime4jCases(t *testing.T, files map[string][]byte) (cases []conformanceCase) {
	const dir = "james-mime4j/core/src/test/resources/"
	for _, name := range sorted(files, dir, ".msg") {
		base := strings.TrimSuffix(name, ".msg")
		expected, ok := files[base+"_decoded.xml"]
		if !ok {
			continue
		}
		var root mime4jNode
		if err := xml.Unmarshal(expected, &root); err != nil {
			t.Fatal(name, err)
		}
		f := facts{fieldText: {}, fieldAttachments: {}}
		header := root.fields()
		f[fieldSubject] = []string{words(standardWords(header["subject"]))}
		if list, ok := standardAddresses(header["from"], header["to"], header["cc"]); ok {
			f[fieldAddresses] = list
		}
		root.leaves(f, func(file string) []byte { return files[path.Dir(name)+"/"+file] })
		cases = append(cases, conformanceCase{name: strings.TrimPrefix(name, dir), message: files[name], want: f, got: octetFacts})
	}
	return cases
}

func standardWords(value string) string {
	if text, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		return text
	}
	return value
}

// fields returns the first field of each name of the entity's header.
func (n *mime4jNode) fields() map[string]string {
	fields := make(map[string]string)
	for _, header := range n.Children {
		if header.XMLName.Local != "header" {
			continue
		}
		for _, field := range header.Children {
			name, value, _ := strings.Cut(strings.TrimSpace(field.Text), ":")
			name = strings.ToLower(strings.TrimSpace(name))
			if _, ok := fields[name]; !ok {
				fields[name] = words(value)
			}
		}
	}
	return fields
}

func (n *mime4jNode) leaves(f facts, file func(string) []byte) {
	header := n.fields()
	for i := range n.Children {
		switch c := &n.Children[i]; c.XMLName.Local {
		case "text-body", "binary-body":
			content := file(c.Name)
			if c.XMLName.Local == "text-body" {
				f[fieldText] = append(f[fieldText], sameLineEnds(content))
			} else {
				name := ""
				for _, field := range []string{"content-disposition", "content-type"} {
					if _, params, err := mime.ParseMediaType(header[field]); err == nil && name == "" {
						name = params["filename"] + params["name"]
					}
				}
				f[fieldAttachments] = append(f[fieldAttachments], fmt.Sprint(standardWords(name), " ", len(content)))
			}
		case "header":
		default:
			c.leaves(f, file)
		}
	}
}

func sameLineEnds(b []byte) string {
	return strings.TrimRight(string(bytes.ReplaceAll(b, []byte("\r"), nil)), "\n")
}

// octetFacts are facts with the decoded octets of texts: mime4j decodes no charset.
func octetFacts(m *Message, octets map[string][]byte) facts {
	f := ownFacts(m, nil)
	f[fieldText], f[fieldAttachments] = []string{}, []string{}
	for i := range m.Parts {
		p := &m.Parts[i]
		switch {
		case strings.HasPrefix(p.MediaType, "multipart/") || isEnclosed(p.MediaType):
		case strings.HasPrefix(p.MediaType, "text/") || strings.HasPrefix(p.MediaType, "message/"):
			f[fieldText] = append(f[fieldText], sameLineEnds(octets[p.Path]))
		default:
			f[fieldAttachments] = append(f[fieldAttachments], fmt.Sprint(p.FileName, " ", p.Size))
		}
	}
	return f
}

const mimeKitDir = "MimeKit/UnitTests/TestData/"

func mimeKitCases(t *testing.T, files map[string][]byte) (cases []conformanceCase) {
	for _, name := range sorted(files, mimeKitDir+"tnef/", ".tnef") {
		cases = append(cases, mimeKitTNEF(files, name))
	}
	for _, name := range sorted(files, mimeKitDir+"mbox/", "-summary.txt") {
		cases = append(cases, mimeKitMbox(t, files, strings.TrimSuffix(name, "-summary.txt"))...)
	}
	for file, want := range map[string]string{"encoders/photo.uu": "encoders/photo.jpg", "yenc/simple.msg": ""} {
		message := files[mimeKitDir+file]
		fact := "testfile.txt"
		if want != "" {
			message = append([]byte("Content-Type: text/plain\n\n"), message...)
			fact = fmt.Sprintf("%s %d", path.Base(want), len(files[mimeKitDir+want]))
		}
		cases = append(cases, conformanceCase{name: file, message: message, want: facts{fieldAttachments: {fact}}})
	}
	return cases
}

// mimeKitTNEF expects the files that are in the list beside winmail.dat, and have their
// content in a folder.
func mimeKitTNEF(files map[string][]byte, name string) conformanceCase {
	base := strings.TrimSuffix(name, ".tnef")
	want := []string{}
	for file := range strings.FieldsFuncSeq(string(files[base+".list"]), func(r rune) bool { return r == '\n' || r == '\r' }) {
		if strings.HasPrefix(file, "body.") {
			continue
		}
		if content, ok := files[base+"/"+file]; ok {
			file = fmt.Sprintf("%s %d", file, withoutCR(content))
		}
		want = append(want, file)
	}
	message := append([]byte("Content-Type: application/ms-tnef\nContent-Transfer-Encoding: binary\n\n"), files[name]...)
	got := func(m *Message, octets map[string][]byte) facts {
		list := []string{}
		for _, p := range m.Parts[1:] {
			if p.FileName != "" {
				fact := p.FileName
				if _, ok := files[base+"/"+fact]; ok {
					fact = fmt.Sprintf("%s %d", fact, withoutCR(octets[p.Path]))
				}
				list = append(list, fact)
			}
		}
		slices.Sort(list)
		return facts{fieldAttachments: list}
	}
	slices.Sort(want)
	return conformanceCase{name: strings.TrimPrefix(name, mimeKitDir), message: message, want: facts{fieldAttachments: want}, got: got}
}

// withoutCR counts octets but for carriage returns: the files have lost theirs.
func withoutCR(b []byte) int { return len(b) - bytes.Count(b, []byte("\r")) }

// mimeKitMbox expects what the summary of an mbox file says of its messages.
func mimeKitMbox(t *testing.T, files map[string][]byte, base string) (cases []conformanceCase) {
	mbox, ok := files[base+".mbox.txt"]
	if !ok {
		return nil
	}
	var offsets []struct{ BeginOffset, EndOffset int }
	if err := json.Unmarshal(bytes.TrimPrefix(files[base+".unix-offsets.json"], []byte("\ufeff")), &offsets); err != nil {
		t.Fatal(base, err)
	}
	summary := strings.TrimPrefix(strings.ReplaceAll(string(files[base+"-summary.txt"]), "\r", ""), "\ufeff")
	blocks := strings.Split(strings.TrimSpace(summary), "\n\nFrom ")
	if len(blocks) != len(offsets) {
		t.Fatalf("%s: %d summaries of %d messages", base, len(blocks), len(offsets))
	}
	for i, block := range blocks {
		want := facts{fieldSubject: {""}, fieldStructure: {}}
		values := map[string]string{}
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ":")
			depth := (len(name) - len(strings.TrimLeft(name, " "))) / 3
			switch name = strings.TrimSpace(name); name {
			case "Content-Type":
				want[fieldStructure] = append(want[fieldStructure], strings.ToLower(fmt.Sprint(depth, value)))
			case "Subject":
				want[fieldSubject] = []string{words(value)}
			default:
				values[name] = value
			}
		}
		if list, ok := standardAddresses(values["From"], values["To"]); ok {
			want[fieldAddresses] = list
		}
		got := func(m *Message, _ map[string][]byte) facts {
			f := ownFacts(m, nil)
			f[fieldAddresses] = addressFacts(m.From, m.To) // Cc is not in the summary
			f[fieldStructure] = nil
			for _, p := range m.Parts {
				f[fieldStructure] = append(f[fieldStructure], fmt.Sprint(p.Depth, " ", p.MediaType))
			}
			return f
		}
		name := fmt.Sprintf("%s#%d", strings.TrimPrefix(base, mimeKitDir), i+1)
		cases = append(cases, conformanceCase{name: name, message: mbox[offsets[i].BeginOffset:offsets[i].EndOffset], want: want, got: got})
	}
	return cases
}
