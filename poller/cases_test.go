package poller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/postkeep/postkeep/pipeline"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
)

// pollCase is a way in which servers misbehave, or the world around them. The
// case numbers and names are those of docs/pop3.md.
type pollCase struct {
	number string
	name   string
	rigOptions
	// asSent are the bytes that the server really sends for messages, by their
	// content on the server.
	asSent map[string]string
	polls  []casePoll
	// archived and onServer are what must be there at the end. The server's
	// list is compared if it is not nil.
	archived []string
	onServer []string
	check    func(t *testing.T, r *caseRig)
}

// casePoll is one poll of a case.
type casePoll struct {
	before func(r *caseRig)
	want   string // numbers of the report
	left   string // is in the reasons for what was left
	kept   string // is in the reasons for what was kept
	kind   string // of the error; "" is no error, "other" one that is not of POP3
	error  string // is in the error
	// lies means that the server deletes other messages than it says.
	lies bool
}

// caseRig is a rig that watches every DELE.
type caseRig struct {
	*rig
	server *pop3test.Server
	lease  *pipeline.Lease // of another session

	mu       sync.Mutex
	asSent   map[string]string
	commands []string
	broken   []string        // deletions without the message in the archive
	seen     map[string]bool // every message that ever was on the server
}

// wire is what a client gets for a message.
func (r *caseRig) wire(content string) string {
	if sent, ok := r.asSent[content]; ok {
		return sent
	}
	return string(pop3test.OnWire([]byte(content)))
}

// watch looks, before the server executes a command, whether what a DELE is for
// is in the archive.
func (r *caseRig) watch(name string, cmd pop3test.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = append(r.commands, cmd.String())
	if cmd.Verb != "DELE" || name == "" {
		return
	}
	var number int
	if _, err := fmt.Sscan(cmd.Arg, &number); err != nil {
		r.broken = append(r.broken, cmd.String())
		return
	}
	messages, err := r.rig.server.Messages(user)
	if err == nil && (number < 1 || number > len(messages)) {
		err = errors.New("no such message")
	}
	if err == nil {
		var content []byte
		if content, err = messages[number-1].ReadAll(); err == nil {
			err = r.holds(r.wire(string(content)))
		}
	}
	if err != nil {
		r.broken = append(r.broken, fmt.Sprintf("%s: %v", cmd, err))
	}
}

// holds reports whether the archive has exactly these bytes.
func (r *caseRig) holds(content string) error {
	sum := sha256.Sum256([]byte(content))
	body, err := r.store.OpenMessage(context.Background(), hex.EncodeToString(sum[:]))
	if err != nil {
		return err
	}
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	if string(got) != content {
		return errors.New("the archive has other bytes")
	}
	return nil
}

func (r *caseRig) note(contents []string) {
	for _, c := range contents {
		r.seen[c] = true
	}
}

// sent returns the commands of a verb.
func (r *caseRig) sent(verb string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, c := range r.commands {
		if c == verb || strings.HasPrefix(c, verb+" ") {
			out = append(out, c)
		}
	}
	return out
}

func newCaseRig(t *testing.T, c *pollCase) *caseRig {
	r := &caseRig{asSent: c.asSent, seen: map[string]bool{}}
	c.server.OnCommand = r.watch
	r.rig = newRig(t, c.rigOptions)
	r.server = r.rig.server
	return r
}

// once polls and checks the report.
func (r *caseRig) once(t *testing.T, p *casePoll) pipeline.PollReport {
	if p.before != nil {
		p.before(r)
	}
	before := r.onServer()
	r.note(before)
	report := r.poll()
	r.want(report, p.want)
	after := r.onServer()
	r.note(after)
	if gone := len(before) - len(after); gone != report.Deleted && !p.lies {
		t.Errorf("%d messages are gone from the server, the report says %d deleted", gone, report.Deleted)
	}
	contains(t, "left because", fmt.Sprint(report.Reasons), p.left)
	contains(t, "kept because", fmt.Sprint(report.KeptWhy), p.kept)
	contains(t, "error", report.Error, p.error)
	kind := report.Kind
	if report.Error != "" && kind == "" {
		kind = "other"
	}
	if kind != p.kind {
		t.Errorf("error kind %q, want %q: %s", kind, p.kind, report.Error)
	}
	if strings.ContainsAny(report.Error, "\r\n") || strings.Contains(report.Error, secret) {
		t.Errorf("error %q is not one line without secrets", report.Error)
	}
	return report
}

func contains(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s %q, want %q in it", what, got, want)
	}
}

// nothingLost is what must hold after every case: each message is, byte for
// byte, in the archive or on the server, and no DELE was sent for one that the
// archive did not have.
func (r *caseRig) nothingLost(t *testing.T) {
	left := map[string]bool{}
	for _, content := range r.onServer() {
		left[content] = true
	}
	for content := range r.seen {
		if err := r.holds(r.wire(content)); err != nil && !left[content] {
			t.Errorf("lost: %.80q: %v", content, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.broken) > 0 {
		t.Errorf("deleted without being archived: %v", r.broken)
	}
}

// sortedOnce is a list without order and repetitions.
func sortedOnce(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func allCases() []pollCase {
	return slices.Concat(identityCases(), deletionCases(), policyCases(), loginCases(), payloadCases())
}

func TestCases(t *testing.T) {
	var table strings.Builder
	for _, c := range allCases() {
		result := "-" // left out by -run
		t.Run(c.number+" "+c.name, func(t *testing.T) {
			result = "FAIL"
			r := newCaseRig(t, &c)
			var last []string
			for i := range c.polls {
				report := r.once(t, &c.polls[i])
				last = append(last, numbers(report))
			}
			same(t, "archived", sortedOnce(r.archived()), sortedOnce(c.archived))
			if c.onServer != nil {
				same(t, "on the server", r.onServer(), c.onServer)
			}
			r.nothingLost(t)
			if c.check != nil {
				c.check(t, r)
			}
			if !t.Failed() {
				result = "ok    " + strings.Join(last, "; ")
			}
		})
		fmt.Fprintf(&table, "%-6s %-55s %s\n", c.number, c.name, result)
	}
	t.Logf("\n%s", table.String())
}

// TestEveryCaseIsDocumented keeps docs/pop3.md and the table of cases the same.
func TestEveryCaseIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/pop3.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for l := range strings.Lines(string(text)) {
		if cells := strings.Split(l, "|"); len(cells) == 5 {
			documented[strings.TrimSpace(cells[1])+" "+strings.TrimSpace(cells[2])] = true
		}
	}
	numbers := map[string]bool{}
	for _, c := range allCases() {
		key := c.number + " " + c.name
		numbers[c.number] = true
		if !documented[key] {
			t.Errorf("docs/pop3.md has no line for case %s", key)
		}
		delete(documented, key)
	}
	delete(documented, "Case Test")
	delete(documented, "--- ---")
	for key := range documented {
		t.Errorf("docs/pop3.md has a line for case %s, which is not tested", key)
	}
	for n := range 34 {
		if !numbers[fmt.Sprint(n+1)] {
			t.Errorf("case %d is not tested", n+1)
		}
	}
}

// Helpers to write cases with.

var never = func(m *Mailbox) { m.Delete.Never = true }

// withUIDLs are messages that have these unique-ids.
func withUIDLs(uidls []string, contents []string) []pop3test.Message {
	var out []pop3test.Message
	for i, c := range contents {
		m := pop3test.Bytes([]byte(c))
		m.UIDL = uidls[i]
		out = append(out, m)
	}
	return out
}

func set(messages ...pop3test.Message) func(*caseRig) {
	return func(r *caseRig) { r.must(r.rig.server.SetMessages(user, messages...)) }
}

// times is a server with one fault for its first n commands.
func times(n int, hook pop3test.Hook) pop3test.Config {
	return pop3test.Config{Hook: pop3test.Times(n, hook)}
}

func hooked(hooks ...pop3test.Hook) pop3test.Config {
	return pop3test.Config{Hook: pop3test.Hooks(hooks...)}
}

// drop drops the connection at a command, without executing it.
func drop(verb, arg string) pop3test.Hook {
	return pop3test.On(verb, arg, func(*pop3test.Session, pop3test.Answer) pop3test.Answer { return pop3test.Drop() })
}

// cut drops the connection after n bytes of the answer.
func cut(verb, arg string, n int64) pop3test.Hook {
	return pop3test.On(verb, arg, func(_ *pop3test.Session, normal pop3test.Answer) pop3test.Answer {
		return pop3test.DropAfter(n, normal)
	})
}

// allOf and the like are the usual outcomes.
func allOf(what string, n int) string {
	counts := map[string]int{"listed": n, what: n}
	if what == "archived" || what == "known" {
		counts["deleted"] = n
	}
	var out []string
	for _, name := range []string{"listed", "archived", "known", "left", "deleted", "kept"} {
		out = append(out, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(out, " ")
}

const nothing = "listed 0 archived 0 known 0 left 0 deleted 0 kept 0"
