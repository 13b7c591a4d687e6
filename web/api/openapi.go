package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"reflect"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/export"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/web/users"
)

// operation describes a route for the OpenAPI document.
type operation struct {
	summary string
	query   []parameter
	in, out any    // values of the types of the bodies; nil is none
	media   string // of the answer; JSON if ""
	lines   bool   // the answer is one JSON value per line
}

// parameter is one of the query.
type parameter struct {
	name, about string
	number      bool
	required    bool
}

const (
	mediaLines = "application/x-ndjson"
	mediaBytes = "*/*" // what the part says of itself
)

// operations describes every route by its pattern.
func operations() map[string]operation {
	name := parameter{name: "before", about: "ledger index of a poll: those before it", number: true}
	ops := map[string]operation{
		"GET /api/v1/openapi.json":               {summary: "This document", out: json.RawMessage(nil)},
		"GET /api/v1/status":                     {summary: "State of the instance", out: Status{}},
		"GET /api/v1/metrics":                    {summary: "State of the instance for Prometheus", media: "text/plain"},
		"GET /api/v1/mailboxes":                  {summary: "Mailboxes of configuration and archive", out: []Mailbox{}},
		"GET /api/v1/mailboxes/{name}/polls":     {summary: "Polls of a mailbox, newest first", query: []parameter{name, limitParameter()}, out: []archive.RecordedPoll{}},
		"POST /api/v1/polls":                     {summary: "Poll now, and tell of it until everything is searchable", in: PollRequest{}, out: PollEvent{}, lines: true},
		"POST /api/v1/index/rebuild":             {summary: "Build the index anew, while searches go on", out: Rebuilt{}},
		"POST /api/v1/catalog/rebuild":           {summary: "Make the catalog anew, while the old one answers", out: Rebuilt{}},
		"POST /api/v1/verify":                    {summary: "Verify the archive, and tell of it", in: VerifyRequest{}, out: VerifyEvent{}, lines: true},
		"POST /api/v1/volumes/rotate":            {summary: "Encrypt every sealed volume for the present recipients", out: RotateEvent{}, lines: true},
		"GET /api/v1/search/explain":             {summary: "What the words of a query become", query: []parameter{{name: "q", about: "query"}}, out: indexer.Explanation{}},
		"GET /api/v1/search":                     {summary: "Search", query: searchParameters(), out: SearchResult{}},
		"POST /api/v1/exports":                   {summary: "An export of all messages that a query finds, made and sealed here: a stream that says which files to write", in: export.Request{}, media: exportMedia},
		"GET /api/v1/messages/{id}":              {summary: "A message with its text", query: []parameter{withParameter()}, out: Detail{}},
		"GET /api/v1/messages/{id}/raw":          {summary: "The exact bytes of a message", query: []parameter{viewParameter()}, media: "message/rfc822"},
		"GET /api/v1/messages/{id}/structure":    {summary: "Headers and parts of a message", query: []parameter{viewParameter()}, out: Structure{}},
		"GET /api/v1/messages/{id}/parts/{path}": {summary: "The decoded content of a part, always as a download", query: []parameter{viewParameter()}, media: mediaBytes},
		"GET /api/v1/messages/{id}/custody":      {summary: "Where a message came from and what happened to it", query: []parameter{viewParameter()}, out: Custody{}},
		"GET /api/v1/audit": {summary: "The ledger, newest first", query: []parameter{
			{name: "since", about: "day or time"}, {name: "until", about: "day or time"}, {name: "actor", about: "beginning of who did it"},
			{name: "type", about: "types, separated by commas"}, {name: "object", about: "beginning of a message id, or a word of the details"},
			{name: "before", about: "ledger index: events before it", number: true}, limitParameter(),
		}, out: AuditResult{}},
		"GET /api/v1/completeness": {summary: "What polls listed, archived, left and failed, day by day", query: []parameter{
			{name: "mailbox", about: "may be repeated; all without"}, {name: "from", about: "day"}, {name: "to", about: "day"},
		}, out: []archive.Completeness{}},
		"GET /api/v1/users":                          {summary: "People who may log in", out: []Person{}},
		"POST /api/v1/users":                         {summary: "Make a user", in: NewPerson{}, out: Person{}},
		"PATCH /api/v1/users/{name}":                 {summary: "Change a user", in: PersonChange{}, out: Person{}},
		"POST /api/v1/users/{name}/tokens":           {summary: "Make a token of a user; it is shown once", in: TokenRequest{}, out: NewToken{}},
		"DELETE /api/v1/users/{name}/tokens/{token}": {summary: "Revoke a token of a user", out: Person{}},
		"GET /api/v1/me":                             {summary: "Whoever asks", out: Person{}},
		"PUT /api/v1/me/password":                    {summary: "Change one's password, which ends one's sessions", in: PasswordChange{}, out: Person{}},
		"PUT /api/v1/me/codes":                       {summary: "Turn one's one-time codes on or off", in: CodesChange{}, out: Person{}},
		"POST /api/v1/me/tokens":                     {summary: "Make a token; it is shown once", in: TokenRequest{}, out: NewToken{}},
		"DELETE /api/v1/me/tokens/{token}":           {summary: "Revoke a token", out: Person{}},
		"PUT /api/v1/me/searches":                    {summary: "Replace one's saved searches", in: []users.SavedSearch{}, out: Person{}},
	}
	maps.Copy(ops, complyOperations())
	maps.Copy(ops, clockOperations())
	maps.Copy(ops, changeOperations())
	maps.Copy(ops, grantOperations())
	maps.Copy(ops, ruleDifferenceOperations())
	return ops
}

func searchParameters() []parameter {
	return []parameter{
		{name: "q", about: "query; all messages without"}, limitParameter(),
		{name: "offset", about: "how many to leave out", number: true}, {name: "sort", about: "-date (default), date, received, size, sender or relevance; a - in front turns the order round"},
		{name: "after", about: "next of an earlier result: the hits behind it"},
		{name: "facets", about: "count by these, separated by commas: mailbox, domain, year, month, filetype, flag"},
		{name: "facet_limit", about: "how many values of each", number: true},
		{name: "threads", about: "true: one hit a thread"},
		viewParameter(),
	}
}

func withParameter() parameter {
	return parameter{name: "with", about: "what else the same view is going to show, separated by commas: structure, conversation, html, pictures, source, custody. " +
		"One event in the ledger names all of it"}
}

func viewParameter() parameter {
	return parameter{name: "view", about: "view of an answer to /messages/{id} whose with named this: it is not recorded again", number: true}
}

func limitParameter() parameter {
	return parameter{name: "limit", about: "how many at most", number: true}
}

var pathParameter = regexp.MustCompile(`\{(\w+)(?:\.\.\.)?\}`)

// Document returns the OpenAPI 3.1 description of the API.
func (s *Server) Document() ([]byte, error) {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "Postkeep", Version: s.opts.Version, License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			Description: "Errors are problem documents (RFC 9457). Whatever is searched or read is in the ledger before the answer is sent."},
		Components: &huma.Components{Schemas: registry, SecuritySchemes: map[string]*huma.SecurityScheme{
			"token":   {Type: "http", Scheme: "bearer", Description: "made with postkeep user token, or in the profile"},
			"session": {Type: "apiKey", In: "cookie", Name: "postkeep_session", Description: "of somebody who is logged in"},
		}},
		Security: []map[string][]string{{"token": {}}, {"session": {}}},
		Paths:    map[string]*huma.PathItem{},
	}
	ops := operations()
	for _, r := range s.routes() {
		method, at, _ := strings.Cut(r.pattern, " ")
		at = strings.ReplaceAll(at, "...}", "}")
		item := doc.Paths[at]
		if item == nil {
			item = &huma.PathItem{}
			doc.Paths[at] = item
		}
		place(item, method, ops[r.pattern].describe(registry, method, at, string(r.may)))
	}
	return json.MarshalIndent(doc, "", " ")
}

func place(item *huma.PathItem, method string, op *huma.Operation) {
	switch method {
	case http.MethodGet:
		item.Get = op
	case http.MethodPost:
		item.Post = op
	case http.MethodPut:
		item.Put = op
	case http.MethodPatch:
		item.Patch = op
	case http.MethodDelete:
		item.Delete = op
	}
}

// describe makes the description of one operation.
func (o operation) describe(registry huma.Registry, method, at, may string) *huma.Operation {
	op := &huma.Operation{
		OperationID: operationID(method, at), Summary: o.summary, Method: method, Path: at,
		Description: "Needs the permission “" + may + "”.", Tags: []string{strings.Split(at, "/")[3]},
	}
	for _, m := range pathParameter.FindAllStringSubmatch(at, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: m[1], In: "path", Required: true, Schema: &huma.Schema{Type: "string"}})
	}
	for _, p := range o.query {
		kind := "string"
		if p.number {
			kind = "integer"
		}
		op.Parameters = append(op.Parameters, &huma.Param{Name: p.name, In: "query", Description: p.about, Required: p.required, Schema: &huma.Schema{Type: kind}})
	}
	if o.in != nil {
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schemaOf(registry, o.in)}}}
	}
	op.Responses = map[string]*huma.Response{
		"200":     {Description: "done", Content: o.content(registry)},
		"default": {Description: "a problem", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: schemaOf(registry, Problem{})}}},
	}
	return op
}

func (o operation) content(registry huma.Registry) map[string]*huma.MediaType {
	media, schema := o.media, &huma.Schema{Type: "string", Format: "binary"}
	switch {
	case o.lines:
		media = mediaLines
	case media == "":
		media = "application/json"
	}
	if o.out != nil {
		schema = schemaOf(registry, o.out)
	}
	return map[string]*huma.MediaType{media: {Schema: schema}}
}

func schemaOf(registry huma.Registry, v any) *huma.Schema {
	if _, free := v.(json.RawMessage); free {
		return &huma.Schema{}
	}
	return registry.Schema(reflect.TypeOf(v), true, "")
}

// schemaName names a type; those of other packages begin with the package.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	if pkg := path.Base(t.PkgPath()); t.Name() != "" && pkg != "api" && pkg != "." {
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	return name
}

// operationID is method and path as one word.
func operationID(method, at string) string {
	words := strings.FieldsFunc(strings.TrimPrefix(at, "/api/v1/"), func(r rune) bool { return strings.ContainsRune("/{}.", r) })
	id := strings.ToLower(method)
	for _, w := range words {
		id += strings.ToUpper(w[:1]) + w[1:]
	}
	return id
}

func (s *Server) document(w http.ResponseWriter, _ *http.Request) error {
	doc, err := s.Document()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(doc)
	return err
}
