package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/postkeep/postkeep/internal/mailgen"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
)

// contract is the API of a running program beside its OpenAPI document.
type contract struct {
	t       *testing.T
	url     string
	client  http.Client // of somebody who has logged in
	doc     map[string]any
	schemas *jsonschema.Compiler
	done    map[string]bool   // operations, as "GET /api/v1/me"
	kept    map[string]string // what later requests need of earlier answers
}

// operation is one request. In path, query and body {name} stands for what was kept.
type operation struct {
	pattern     string // as in the document
	query, body string
	// keep names values of the answer: the name and the JSON path, as in "id=hits.0.id",
	// or a header, as in "export=@Postkeep-Export".
	keep string
	want int // status, 200 if 0
}

// TestEveryOperationDoesWhatItsDocumentSays sends a request to each operation of the API and
// holds request and answer against the OpenAPI document.
func TestEveryOperationDoesWhatItsDocumentSays(t *testing.T) {
	c := newContract(t)
	for _, o := range c.operations() {
		c.try(o)
	}
	for path, item := range c.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if name := strings.ToUpper(method) + " " + path; !c.done[name] {
				t.Errorf("%s is never tried", name)
			}
		}
	}
}

func (c *contract) operations() []operation {
	totpCode := func() string {
		code, err := totp.GenerateCode(contractSecret, time.Now())
		if err != nil {
			c.t.Fatal(err)
		}
		return code
	}
	return []operation{
		{pattern: "GET /api/v1/openapi.json"},
		{pattern: "POST /api/v1/polls", body: `{"mailboxes":["sales","support"]}`},
		{pattern: "GET /api/v1/status"},
		{pattern: "GET /api/v1/metrics"},
		{pattern: "GET /api/v1/mailboxes", keep: "name=0.name"},
		{pattern: "GET /api/v1/mailboxes/{name}/polls", query: "limit=5"},
		{pattern: "GET /api/v1/search", query: "q=mailbox:support&limit=5&facets=mailbox,domain,year,month,filetype,flag", keep: "id=hits.0.id"},
		{pattern: "GET /api/v1/search", query: "q=*&limit=3&threads=true&sort=relevance", keep: "next=next"},
		{pattern: "GET /api/v1/search", query: "q=*&limit=3&threads=true&sort=relevance&after={next}"},
		{pattern: "GET /api/v1/search", query: "q=(", want: http.StatusBadRequest},
		{pattern: "GET /api/v1/search/explain", query: "q=contract+from:maria"},
		{pattern: "GET /api/v1/messages/{id}"},
		{pattern: "GET /api/v1/messages/{id}/raw"},
		{pattern: "GET /api/v1/messages/{id}/structure", keep: "path=parts.0.path"},
		{pattern: "GET /api/v1/messages/{id}/parts/{path}"},
		{pattern: "GET /api/v1/messages/{id}/custody"},
		{pattern: "POST /api/v1/exports", body: `{"query":"mailbox:sales","format":"eml"}`},
		{pattern: "POST /api/v1/exports", body: `{"query":"*","format":"pst"}`, want: http.StatusBadRequest},
		{pattern: "GET /api/v1/audit", query: "limit=1000"},
		{pattern: "GET /api/v1/completeness"},
		{pattern: "GET /api/v1/users"},
		{pattern: "POST /api/v1/users", body: `{"name":"carla","roles":["auditor"],"mailboxes":["sales"],"from":"2026-01-01T00:00:00Z"}`, keep: "name=name"},
		{pattern: "POST /api/v1/users", body: `{"name":"carla","roles":["auditor"]}`, want: http.StatusConflict},
		{pattern: "PATCH /api/v1/users/{name}", body: `{"disabled":true,"mailboxes":[]}`},
		{pattern: "POST /api/v1/users/{name}/tokens", body: `{"name":"script","expires":"2100-01-01T00:00:00Z"}`, keep: "token=id"},
		{pattern: "DELETE /api/v1/users/{name}/tokens/{token}"},
		{pattern: "GET /api/v1/users/changes"},
		{pattern: "POST /api/v1/users/changes/{id}/approve", want: http.StatusNotFound}, // nobody has asked for any
		{pattern: "POST /api/v1/users/changes/{id}/reject", want: http.StatusNotFound},
		{pattern: "GET /api/v1/me"},
		{pattern: "PUT /api/v1/me/searches", body: `[{"name":"contracts","query":"contract"}]`},
		{pattern: "POST /api/v1/me/tokens", body: `{"name":"script"}`, keep: "token=id"},
		{pattern: "DELETE /api/v1/me/tokens/{token}"},
		{pattern: "PUT /api/v1/me/codes", body: fmt.Sprintf(`{"secret":%q,"code":%q,"password":%q}`, contractSecret, totpCode(), webPassword)},
		{pattern: "PUT /api/v1/me/codes", body: fmt.Sprintf(`{"secret":"","code":"","password":%q}`, webPassword)},
		{pattern: "PUT /api/v1/me/password", body: fmt.Sprintf(`{"old":%q,"new":"another password"}`, webPassword)},
		{pattern: "POST /api/v1/holds", body: `{"name":"matter","reason":"notice","query":"from:maria"}`, keep: "name=name"},
		{pattern: "GET /api/v1/holds"},
		{pattern: "GET /api/v1/holds/{name}"},
		{pattern: "POST /api/v1/holds/{name}/release", body: `{"reason":"settled"}`},
		{pattern: "GET /api/v1/holds", query: "all=1"},
		{pattern: "POST /api/v1/retention/rules", body: `{"name":"old sales","mailbox":"sales","max":"1d","basis":"date"}`, keep: "name=name"},
		{pattern: "GET /api/v1/retention/rules"},
		{pattern: "GET /api/v1/retention/rules/{name}/differences"},
		{pattern: "POST /api/v1/retention/rules/{name}/differences/confirm", body: `{"ids":[]}`, want: http.StatusBadRequest}, // nothing waits
		{pattern: "POST /api/v1/retention/plans", body: `{}`, keep: "id=id"},
		{pattern: "GET /api/v1/retention/plans"},
		{pattern: "GET /api/v1/retention/plans/{id}"},
		{pattern: "GET /api/v1/retention/plans/{id}/deposits"},
		{pattern: "POST /api/v1/retention/plans/{id}/approve"},
		{pattern: "POST /api/v1/retention/plans/{id}/apply", body: `{}`},
		{pattern: "GET /api/v1/retention/plans/{id}/certificate"},
		{pattern: "DELETE /api/v1/retention/rules/{name}"},
		{pattern: "GET /api/v1/retention/clock"},
		{pattern: "POST /api/v1/retention/clock/confirm"},
		{pattern: "GET /api/v1/retention/changes"},
		{pattern: "POST /api/v1/retention/changes/{id}/approve", want: http.StatusNotFound}, // nobody has asked for any
		{pattern: "POST /api/v1/retention/changes/{id}/reject", want: http.StatusNotFound},
		{pattern: "GET /api/v1/search", query: "q=mailbox:support&limit=1", keep: "id=hits.0.id"},
		{pattern: "POST /api/v1/messages/{id}/erase", body: `{"reason":"asked by its writer"}`},
		{pattern: "GET /api/v1/messages/{id}"}, // who disposed of it, when and why
		{pattern: "POST /api/v1/verify", body: `{"deep":true}`},
		{pattern: "POST /api/v1/index/rebuild"},
		{pattern: "POST /api/v1/catalog/rebuild"},
		{pattern: "POST /api/v1/volumes/rotate"},
	}
}

// contractSecret is of one-time codes.
const contractSecret = "JBSWY3DPEHPK3PXP"

func newContract(t *testing.T) *contract {
	t.Helper()
	g, err := mailgen.New(mailgen.Options{Seed: 3, Count: 40})
	if err != nil {
		t.Fatal(err)
	}
	config := pop3test.Config{Mailboxes: []pop3test.Mailbox{{User: "sales", Password: "geheim"}, {User: "support", Password: "geheim"}}}
	for i, raw := range g.All() {
		box := &config.Mailboxes[i%2]
		box.Messages = append(box.Messages, pop3test.Bytes(raw))
	}
	server, err := pop3test.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	address := freeAddress(t)
	yaml := fmt.Sprintf("web: { listen: %q }\nmailboxes:\n", address)
	for _, name := range []string{"sales", "support"} {
		yaml += fmt.Sprintf("  - { name: %s, host: %s, port: %d, tls: none, username: %s, password_file: password, schedule: \"0 0 1 1 *\" }\n", name, server.Host(), server.Port(), name)
	}
	s := newSite(t, yaml)
	client, _ := s.daemon()
	if _, err := client.AddUser(t.Context(), api.NewPerson{Name: "boss", Roles: []access.Role{access.Admin, access.Officer}, Password: webPassword}); err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil) // a session: programs with tokens set no credentials
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{t: t, url: "http://" + address, client: http.Client{Jar: jar}, done: map[string]bool{}, kept: map[string]string{}}
	if resp, err := c.client.PostForm(c.url+"/login", url.Values{"name": {"boss"}, "password": {webPassword}}); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	} else {
		_ = resp.Body.Close()
	}
	code, _, doc := c.send(http.MethodGet, "/api/v1/openapi.json", "")
	if err := json.Unmarshal(doc, &c.doc); err != nil || code != http.StatusOK {
		t.Fatal(code, err)
	}
	c.schemas = jsonschema.NewCompiler()
	c.schemas.AssertFormat()
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.schemas.AddResource("openapi.json", schema); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *contract) send(method, path, body string) (int, http.Header, []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, resp.Header, b
}

// try sends a request, and compares it and its answer with the document.
func (c *contract) try(o operation) {
	c.t.Helper()
	method, at, _ := strings.Cut(o.pattern, " ")
	path, body := c.fill(at), c.fill(o.body)
	if o.query != "" {
		path += "?" + c.fill(o.query)
	}
	c.done[o.pattern] = true
	place := "openapi.json#/paths/" + escapePointer(at) + "/" + strings.ToLower(method)
	if want := lookUp(c.doc, "paths", at, strings.ToLower(method), "requestBody"); (want != nil) != (o.body != "") {
		c.t.Errorf("%s: with a body: %v, the document has one: %v", o.pattern, o.body != "", want != nil)
	}
	if o.body != "" {
		c.fits(o.pattern+": request", place+"/requestBody/content/application~1json/schema", []byte(body))
	}
	code, header, answer := c.send(method, path, body)
	want := o.want
	if want == 0 {
		want = http.StatusOK
	}
	if code != want {
		c.t.Errorf("%s: %d %.500s, want %d", o.pattern, code, answer, want)
		return
	}
	response := "200"
	if want != http.StatusOK {
		response = "default"
	}
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		c.t.Errorf("%s: %v", o.pattern, err)
	}
	content, _ := lookUp(c.doc, "paths", at, strings.ToLower(method), "responses", response, "content").(map[string]any)
	if content[kind] == nil && content["*/*"] == nil {
		c.t.Errorf("%s: answers with %s, the document has %v", o.pattern, kind, content)
		return
	}
	schema := place + "/responses/" + response + "/content/" + escapePointer(kind) + "/schema"
	switch kind {
	case "application/json", "application/problem+json":
		c.fits(o.pattern, schema, answer)
	case "application/x-ndjson":
		lines := bytes.Split(bytes.TrimSpace(answer), []byte("\n"))
		for _, line := range lines {
			c.fits(o.pattern, schema, line)
		}
	}
	c.keep(o, header, answer)
}

// fits holds a value against a schema of the document.
func (c *contract) fits(what, place string, value []byte) {
	c.t.Helper()
	schema, err := c.schemas.Compile(place)
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		c.t.Errorf("%s: %v: %.300s", what, err, value)
		return
	}
	if err := schema.Validate(v); err != nil {
		c.t.Errorf("%s: %.1000s\nin %.500s", what, err, value)
	}
}

func (c *contract) keep(o operation, header http.Header, answer []byte) {
	c.t.Helper()
	var value any
	_ = json.Unmarshal(answer, &value) // not all answers are JSON
	for _, want := range strings.Fields(o.keep) {
		name, from, _ := strings.Cut(want, "=")
		if at, ok := strings.CutPrefix(from, "@"); ok {
			c.kept[name] = header.Get(at)
			continue
		}
		b, err := json.Marshal(lookUp(value, strings.Split(from, ".")...))
		if err != nil {
			c.t.Fatal(err)
		}
		c.kept[name] = strings.Trim(string(b), `"`)
		if c.kept[name] == "null" {
			c.t.Fatalf("%s: no %s in %.300s", o.pattern, from, answer)
		}
	}
}

// fill puts what was kept in its place.
func (c *contract) fill(s string) string {
	for name, value := range c.kept {
		s = strings.ReplaceAll(s, "{"+name+"}", value)
	}
	return s
}

// lookUp finds a value in decoded JSON, nil if it is not there.
func lookUp(v any, path ...string) any {
	for _, name := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[name]
		case []any:
			var i int
			if _, err := fmt.Sscanf(name, "%d", &i); err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

// escapePointer escapes a name for a JSON pointer (RFC 6901) in a URL.
func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
}
