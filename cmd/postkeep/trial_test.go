package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/poller/pop3/pop3test"
	"github.com/postkeep/postkeep/web/api"
)

const (
	// programSteps is the number of steps in a usual test run; POSTKEEP_PROGRAM_STEPS in the environment is another.
	programSteps = 60
	// programLength is after how many steps another archive is begun.
	programLength = 30
	// programLookAtAll is after how many steps an export and a verification are made.
	programLookAtAll = 50
)

// TestWhateverOrderOperatorsTypeCommandsNothingIsLost types commands at random, one after the other and at the same time, while
// mail arrives and servers misbehave, and compares archive, index, export and servers with a model. In every other archive
// the program is the built one, and is killed now and then; in the others it runs in the test, with a clock that is set.
// A failure prints the seed of the archive and the step:
//
//	POSTKEEP_SEED=17 POSTKEEP_PROGRAM_STEPS=20 go test -run TestWhateverOrderOperators ./cmd/postkeep
func TestWhateverOrderOperatorsTypeCommandsNothingIsLost(t *testing.T) {
	seed := fromEnv(t, "POSTKEEP_SEED", uint64(time.Now().UnixNano())%1e9)
	steps := int(fromEnv(t, "POSTKEEP_PROGRAM_STEPS", programSteps))
	t.Logf("%d steps, POSTKEEP_SEED=%d", steps, seed)
	did := map[string]int{}
	for ; steps > 0; seed++ {
		n := min(steps, programLength)
		steps -= n
		newProgramTrial(t, seed, did).run(n)
	}
	t.Logf("%v", did)
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A programTrial is a program to which things happen at random.
type programTrial struct {
	*testing.T
	seed    uint64
	step    int
	did     map[string]int
	dir     string
	config  string
	inside  bool // the commands run in this process, with its clock
	extract bool
	server  *pop3test.Server

	began          time.Time
	waited, offset atomic.Int64 // the time that has gone by, and by how much the clock is wrong

	daemon *running // nil while none runs

	mu      sync.Mutex // of what follows
	history []string
	m       *programModel
	count   int
	faults  *rand.Rand // of the server
	faulty  bool
	unseen  bool // several commands run at the same time
	killed  bool // the program was killed during this step
}

// running is postkeep run.
type running struct {
	cancel  context.CancelFunc // inside
	process *os.Process        // or the built program
	done    chan struct{}
	log     *lockedBuffer
}

// lockedBuffer is a buffer for several.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var programBoxes = []string{"sales", "legal"}

func newProgramTrial(t *testing.T, seed uint64, did map[string]int) *programTrial {
	dir, err := os.MkdirTemp("", "pk") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	x := &programTrial{T: t, seed: seed, did: did, dir: dir, m: newProgramModel(), inside: seed%2 == 0, began: time.Now()}
	x.config = filepath.Join(dir, "postkeep.yaml")
	rng := x.rng()
	x.extract = rng.IntN(2) == 0
	x.faults = rand.New(rand.NewPCG(seed, 1<<32))
	cfg := pop3test.Config{Hook: x.hook}
	if rng.IntN(2) == 0 {
		cfg.Without = []string{"PIPELINING"}
	}
	for _, box := range programBoxes {
		cfg.Mailboxes = append(cfg.Mailboxes, pop3test.Mailbox{User: box, Password: "geheim"})
	}
	if x.server, err = pop3test.Start(cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	x.configure()
	if r := x.command("init", dir); r.code != 0 {
		t.Fatal(r.stderr)
	}
	return x
}

// configure writes the configuration.
func (x *programTrial) configure() {
	yaml := fmt.Sprintf("data_dir: %q\nweb: { listen: \"\" }\nindex: { extract: %v }\narchive: { volume_size: 1MiB }\nmailboxes:\n", filepath.Join(x.dir, "data"), x.extract)
	for _, box := range programBoxes {
		yaml += fmt.Sprintf("  - { name: %s, host: %s, port: %d, tls: none, username: %s, password_file: %q, schedule: \"0 0 1 1 *\" }\n",
			box, x.server.Host(), x.server.Port(), box, filepath.Join(x.dir, "password"))
	}
	if err := os.WriteFile(x.config, []byte(yaml), 0o600); err != nil {
		x.Fatal(err)
	}
}

func (x *programTrial) rng() *rand.Rand { return rand.New(rand.NewPCG(x.seed, uint64(x.step))) }

// trueTime is the time that has truly gone by.
func (x *programTrial) trueTime() time.Time { return time.Now().Add(time.Duration(x.waited.Load())) }

func (x *programTrial) now() time.Time { return x.trueTime().Add(time.Duration(x.offset.Load())) }

func (x *programTrial) run(steps int) {
	defer func() {
		x.stopDaemon(false)
		if err := x.server.Close(); err != nil {
			x.Error(err)
		}
		_ = os.RemoveAll(x.dir)
	}()
	for x.step = 1; x.step <= steps; x.step++ {
		rng := x.rng()
		x.killed = false
		x.do(rng, pick(rng, programKinds))
		x.look()
		if x.step%programLookAtAll == 0 || x.step == steps {
			x.lookAtEverything()
		}
	}
}

func (x *programTrial) do(rng *rand.Rand, k programKind) {
	x.mu.Lock()
	x.did[k.name]++
	x.mu.Unlock()
	k.do(x, rng)
}

func (x *programTrial) note(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.history = append(x.history, fmt.Sprintf("%4d  ", x.step)+fmt.Sprintf(format, args...))
}

func (x *programTrial) problem(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.m.problem(format, args...)
}

func (x *programTrial) name(what string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.count++
	return fmt.Sprint(what, x.count)
}

// stop ends the test if anything is not as it has to be.
func (x *programTrial) stop() {
	x.Helper()
	if len(x.m.problems) == 0 {
		return
	}
	const shown = 40
	log := ""
	if x.daemon != nil {
		log = x.daemon.log.String()
	}
	x.Fatalf("%s\n\nto repeat it: POSTKEEP_SEED=%d POSTKEEP_PROGRAM_STEPS=%d\nin this process %v, clock off by %s; before that:\n%s\nlog of the running program:\n%s",
		strings.Join(x.m.problems, "\n"), x.seed, x.step, x.inside, time.Duration(x.offset.Load()),
		strings.Join(x.history[max(0, len(x.history)-shown):], "\n"), log)
}

// command types a command and waits for its end.
func (x *programTrial) command(args ...string) result {
	ctx, cancel := context.WithTimeout(x.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	r := result{}
	if x.inside {
		r.code = x.app(&stdout, &stderr).run(ctx, args)
	} else {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Env = append(os.Environ(), "POSTKEEP_CONFIG="+x.config)
		cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = x.dir, strings.NewReader("y\n"), &stdout, &stderr
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			x.problem("postkeep %v: %v", args, err)
		}
		r.code = cmd.ProcessState.ExitCode()
	}
	if ctx.Err() != nil {
		x.problem("postkeep %v does not end", args)
	}
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r
}

func (x *programTrial) app(stdout, stderr io.Writer) *app {
	return &app{stdin: strings.NewReader("y\n"), stdout: stdout, stderr: stderr,
		getenv: func(name string) string { return map[string]string{"POSTKEEP_CONFIG": x.config}[name] },
		archive: func(o *archive.Options) {
			o.Now = x.now
			o.Boot = func() (archive.BootClock, bool) {
				return archive.BootClock{ID: "boot", Up: x.trueTime().Sub(x.began)}, true
			}
		}}
}

// typed types a command and notes how it went. One that fails has to say one of the reasons.
func (x *programTrial) typed(reasons []string, args ...string) result {
	r := x.command(args...)
	last := strings.TrimSpace(r.stderr)
	x.note("%s: exit code %d %.400s", strings.Join(args, " "), r.code, last)
	if r.code == exitDone || x.killed {
		return r
	}
	if x.unseen {
		reasons = append(reasons, "already", "no such message", "there is none", "data directory", "refused", "does not answer")
	}
	if !slices.ContainsFunc(reasons, func(reason string) bool { return strings.Contains(r.stdout+r.stderr, reason) }) {
		x.problem("postkeep %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}

// startDaemon starts postkeep run and waits until it answers.
func (x *programTrial) startDaemon() {
	if x.daemon != nil {
		return
	}
	d := &running{done: make(chan struct{}), log: &lockedBuffer{}}
	if x.inside {
		ctx, cancel := context.WithCancel(context.Background())
		d.cancel = cancel
		go func() {
			defer close(d.done)
			if code := x.app(io.Discard, d.log).run(ctx, []string{"run"}); code != exitDone {
				x.problem("postkeep run: exit code %d\n%s", code, d.log)
			}
		}()
	} else {
		cmd := exec.Command(binary, "run")
		cmd.Env = append(os.Environ(), "POSTKEEP_CONFIG="+x.config)
		cmd.Stderr, cmd.Dir = d.log, x.dir
		if err := cmd.Start(); err != nil {
			x.Fatal(err)
		}
		d.process = cmd.Process
		go func() { defer close(d.done); _ = cmd.Wait() }()
	}
	x.daemon = d
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if client, err := api.Dial(x.Context(), filepath.Join(x.dir, "data")); err == nil {
			_ = client.Close()
			return
		}
		select {
		case <-d.done:
			x.problem("postkeep run ended: %s", d.log)
			x.daemon = nil
			return
		default:
		}
	}
}

// stopDaemon ends postkeep run properly, or kills it where that is possible.
func (x *programTrial) stopDaemon(kill bool) {
	d := x.daemon
	if d == nil {
		return
	}
	switch {
	case x.inside:
		d.cancel()
	case kill:
		_ = d.process.Kill()
	default:
		_ = d.process.Signal(os.Interrupt)
	}
	<-d.done
	x.daemon = nil
}

// hook lets the server misbehave.
func (x *programTrial) hook(_ *pop3test.Session, cmd pop3test.Command, normal pop3test.Answer) pop3test.Answer {
	if cmd.Verb == "RETR" {
		normal = pop3test.Edit(normal, func(raw []byte) []byte { return bytes.Replace(raw, []byte("\r\n..\r\n"), []byte("\r\n.\r\n"), 1) })
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.faulty || x.faults.IntN(15) > 0 {
		if cmd.Verb == "RETR" {
			return normal
		}
		return nil
	}
	switch cmd.Verb {
	case "RETR":
		return oneOf(x.faults, pop3test.DropAfter(x.faults.Int64N(300), normal), pop3test.Raw("-ERR [SYS/TEMP] try again\r\n"))
	case "DELE", "QUIT", "TOP":
		return oneOf(x.faults, pop3test.Drop(), pop3test.DropAfter(0, normal))
	}
	return nil
}

// onServer has the ids of what the servers have, by mailbox.
func (x *programTrial) onServer() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, box := range programBoxes {
		out[box] = map[string]bool{}
		messages, err := x.server.Messages(box)
		if err != nil {
			x.Fatal(err)
		}
		for _, m := range messages {
			b, err := m.ReadAll()
			if err != nil {
				x.Fatal(err)
			}
			out[box][hashOf(string(b))] = true
		}
	}
	return out
}

// there has the mailboxes of every message that a search finds.
func (x *programTrial) there() map[string][]string {
	r := x.command("search", "--json", "--limit", "1000", "*")
	if r.code != exitDone {
		x.problem("search: exit code %d, %s", r.code, r.stderr)
		return nil
	}
	out := map[string][]string{}
	dec := json.NewDecoder(strings.NewReader(r.stdout))
	for dec.More() {
		var hit struct {
			ID        string   `json:"id"`
			Mailboxes []string `json:"mailboxes"`
		}
		if err := dec.Decode(&hit); err != nil {
			x.problem("search: %v", err)
			return out
		}
		out[hit.ID] = hit.Mailboxes
	}
	return out
}

// look compares the servers and what a search finds with the model.
func (x *programTrial) look() {
	x.stop()
	server := x.onServer()
	for c, state := range x.m.copies {
		if !server[c.mailbox][c.id] && !state.gone {
			state.archived, state.deleted = true, true // who deletes has archived
		}
	}
	there := x.there()
	deadline := time.Now().Add(20 * time.Second)
	for !x.m.owed(there) && time.Now().Before(deadline) && x.behind() { // the index may be
		there = x.there()
	}
	x.m.found(there, x.step, x.trueTime())
	x.stop()
}

// behind is whether the index is said to lack something.
func (x *programTrial) behind() bool {
	r := x.command("status", "--json")
	var s struct {
		Index struct {
			Behind int64 `json:"behind"`
		} `json:"index"`
	}
	return json.Unmarshal([]byte(r.stdout), &s) != nil || s.Index.Behind > 0
}

// lookAtEverything empties the servers, and compares an export, the catalog and the index made anew, and a verification.
func (x *programTrial) lookAtEverything() {
	x.mu.Lock()
	x.faulty = false
	x.mu.Unlock()
	x.startDaemon()
	for range 3 { // what servers had broken is confirmed before it is deleted
		x.command("poll")
	}
	x.look()
	for box, ids := range x.onServer() {
		for id := range ids {
			gone := x.m.copies[programCopy{id, box}].gone // what was disposed of stays there
			if !gone && !x.m.mail[id].unstuffed {
				x.problem("%s of %s is left on the server: %s", x.m.mail[id].token, box, x.command("poll").stdout)
			}
		}
	}
	there := x.there()
	x.export(there)
	for _, args := range [][]string{{"verify", "--deep"}, {"rebuild", "catalog"}, {"rebuild", "index"}, {"verify", "--deep"}} {
		if r := x.command(args...); r.code != exitDone {
			x.problem("postkeep %v: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
	}
	if again := x.there(); !maps.EqualFunc(there, again, slices.Equal[[]string]) {
		x.problem("made anew the archive has %d messages: %v, not %d: %v", len(again), again, len(there), there)
	}
	x.stop()
}

// export reads back everything, byte for byte.
func (x *programTrial) export(there map[string][]string) {
	out := filepath.Join(x.dir, x.name("export"))
	if r := x.command("export", "--format", "eml", "--out", out); r.code != exitDone {
		x.problem("export: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		return
	}
	names, err := filepath.Glob(filepath.Join(out, "*.eml"))
	if err != nil {
		x.Fatal(err)
	}
	got := map[string]bool{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			x.Fatal(err)
		}
		id := strings.TrimSuffix(filepath.Base(name), ".eml")
		if got[id] = true; hashOf(string(data)) != id {
			x.problem("exported message %s has other bytes", id)
		}
	}
	for id := range there {
		if !got[id] {
			x.problem("message %s is not exported", id)
		}
	}
	if len(got) != len(there) {
		x.problem("%d messages are exported, %d are found", len(got), len(there))
	}
}
